"""``--self-test``: what a check needs, tested point by point without signing in, as a checklist.

Owns the points, their states, and the nagiosplugin edge of them. What a failure means stands in diagnosis. Says nothing
of the passwords but where they come from.
"""

from __future__ import annotations

import contextlib
import math
import os
import ssl
import stat
import time
from typing import Generator, List, NoReturn, Optional, Tuple

import nagiosplugin
from nagiosplugin.state import ServiceState

from .attempt import guard_of, held_back
from .diagnosis import diagnose
from .diagnosis.accounts import sentence
from .directory import DirectoryError, Finding, ask
from .locate import Located, locate
from .lockout import LockoutGuard, why_not_kept
from .net.deadline import Deadline
from .net.resolve import Address, is_ip_literal
from .net.tasks import run, together
from .net.transport import TcpError, TlsError, open_connection
from .outcome import REGISTER, Cause, Failure, Outcome, PresenceError
from .plugin import ROOM, SECONDS_PER_DAY, Judgement, Subject, ready
from .report.text import clean
from .settings import Account, Settings, read_accounts_file, user_name
from .stop import Stopped, finish_anyway
from .value import NamedTuple
from .verify import state_of

MAX_ADDRESSES = 32  # that are tested: twice as many front ends as a pool can have
INVISIBLE = "\ufeff\u200b\u00a0"  # what an editor or a web page adds: byte order mark, zero width and no-break space


class Point(NamedTuple):
    """What was tested, its state, what was found and what to do."""

    what: str
    state: ServiceState
    said: str


def self_test(settings: Settings) -> NoReturn:
    """Test every point and exit with the worst state. Raises SettingsError where a file or a library is missing."""
    settings, context = ready(settings)
    points = _Points(settings, context)
    Judgement(points, _State("point"), _Summary(points)).conclude(settings)


class _Points(Subject):
    def __init__(self, settings: Settings, context: Optional[ssl.SSLContext]) -> None:
        self.settings = settings
        self._context = context
        self.points: List[Point] = []
        self._notes: List[str] = []

    def probe(self) -> Generator[nagiosplugin.Metric, None, None]:
        deadline = Deadline(self.settings.timeout, time.monotonic)
        try:
            self._here()
            run(self._network(deadline), time.monotonic)
            self._directory(deadline)
        except Stopped:
            self._add("self-test", nagiosplugin.Unknown, "Ended from outside (SIGTERM) before it was over.")
        finish_anyway()
        for point in self.points:
            yield nagiosplugin.Metric(point.what, point, context="point")

    def long_output(self, _: int) -> List[str]:
        lines = [f"[{point.state.text.upper()}] {point.what}: {point.said}" for point in self.points]
        return [clean(line) for line in (*lines, *self._notes)]

    def _add(self, what: str, state: ServiceState, said: str) -> None:
        self.points.append(Point(what, state, said))

    def _fails(self, what: str, failure: Failure, state: ServiceState = nagiosplugin.Critical) -> None:
        settings = self.settings
        outcome = Outcome(settings.target, (failure,), (), None, None, None, dialect=settings.spoken)
        self._add(what, state, " ".join((failure.text, *diagnose(outcome, settings).advice)))

    # ------------------------------------------------------- on this machine

    def _here(self) -> None:
        settings = self.settings
        if settings.accounts_file is not None:
            self._add("accounts file", nagiosplugin.Ok, settings.accounts_file + _permissions(settings.accounts_file))
        guard = guard_of(settings)
        for role, account in (("publisher", settings.publisher), ("subscriber", settings.subscriber)):
            self._password(role, account, guard)
        directory = settings.directory
        doubt = self._doubt("ldap", settings.target, directory.password.reveal()) if directory is not None else ""
        if directory is not None and doubt:
            self._add(f"password of {directory.bind}", nagiosplugin.Warn, doubt)
        shown = settings.tls.shown
        if shown is not None:
            days = int((shown.ends - time.time()) // SECONDS_PER_DAY)
            text = f"{shown.path} has {days} days left."
            self._add("client certificate", self._state_of(days), text)
        folder = guard.folder()
        if folder is not None:
            self._add("state folder", nagiosplugin.Ok, folder)
        else:
            tried = why_not_kept(settings.state_folders)
            text = f"Refused passwords cannot be remembered ({tried}): name a folder of this user with --state-dir."
            self._add("state folder", nagiosplugin.Warn, text)
        if os.geteuid() == 0:
            self._notes.append(
                "Run as root, who may read everything: run it as the monitoring user too (runuser -u nagios --)."
            )

    def _password(self, role: str, account: Account, guard: LockoutGuard) -> None:
        what = f"password of {account.uri}"
        refusal = guard.refusal(account)
        doubt = self._doubt(role, self.settings.pool_of(account), account.password.reveal())
        if refusal is not None:
            self._fails(what, held_back(refusal, account))
        elif doubt:
            self._add(what, nagiosplugin.Warn, doubt)
        else:
            keytab = f"the keytab {account.keytab.path} instead" if account.keytab is not None else "none is needed"
            self._add(what, nagiosplugin.Ok, self.settings.origins.get(role) or keytab)

    def _doubt(self, role: str, pool: str, password: str) -> str:
        """What looks as if this were not the password that is meant: to try it may cost a logon; empty: nothing."""
        text, origin = "", self.settings.origins.get(role)
        if password and not password.strip(".…"):
            text = "It is dots alone, as in an example"
        elif password != password.strip().strip(INVISIBLE):
            text = "It begins or ends with a blank or an invisible character"
        elif len(password) > 1 and password[0] == password[-1] and password[0] in "\"'":
            text = "It stands in quotes, which are part of it"
        elif origin == f"{role}_password in {self.settings.accounts_file}" and self._is_cut(role, pool, password):
            text = "What follows behind a blank and a semicolon is a comment and no part of it"
        return f"{text} ({origin}): is that meant?" if text else ""

    def _is_cut(self, role: str, pool: str, password: str) -> bool:
        """Whether a comment follows this password, which is one of the accounts file."""
        whole = read_accounts_file(self.settings.accounts_file or "", inline_comments=False)
        for keys in (whole.section(pool), whole.section(self.settings.target), whole.defaults):
            for name, value in (keys or {}).items():
                if name.replace("-", "_") == f"{role}_password" and value.startswith(password):
                    return value[len(password) :].lstrip().startswith(";")
        return False

    # ------------------------------------------------------------ the network

    async def _network(self, deadline: Deadline) -> None:
        settings = self.settings
        await self._pool(settings.target, settings.connect, deadline)
        if settings.subscriber_target is not None:
            await self._pool(settings.subscriber_target, settings.subscriber_connect, deadline)
        if settings.transport == "udp":
            self._notes.append("Whether somebody takes UDP datagrams shows only when somebody signs in.")

    async def _pool(self, target: str, connect: Optional[Tuple[str, int]], deadline: Deadline) -> None:
        settings = self.settings
        host = connect[0] if connect is not None else target
        what = f"DNS {host}"
        if settings.discover and target == settings.target:
            what = f"DNS SRV {settings.publisher.domain}"
        try:
            located = await locate(settings, target, connect, _first, deadline)
        except PresenceError as error:
            self._fails(what, _failure(error.cause, str(error), error.detail))
            return
        servers = located.servers
        if not is_ip_literal(host):
            found = ", ".join(f"{address}" for server in servers for address in server.addresses)
            self._add(what, nagiosplugin.Ok, found)
        for remark in located.remarks:
            self._add("DNS", nagiosplugin.Warn, remark)
        if settings.transport != "udp":
            await self._addresses(located, deadline)

    async def _addresses(self, located: Located, deadline: Deadline) -> None:
        places = [(server.name, address) for server in located.servers for address in server.addresses]
        tested = places[:MAX_ADDRESSES]
        results = await together(*(self._connect(name, address, deadline) for name, address in tested), grace=math.inf)
        answers = 0
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, (TcpError, TlsError)):
                raise result
            answers += not isinstance(result, TcpError)
        # The check goes on to the next address where one does not answer, and not where one fails at TLS.
        mute = nagiosplugin.Warn if answers and not self.settings.all_front_ends else nagiosplugin.Critical
        for (_, address), result in zip(tested, results):
            if isinstance(result, TcpError):
                self._fails(f"TCP {address}", _failure(Cause.CONNECT, f"{result}."), mute)
            elif isinstance(result, TlsError):
                self._add(f"TCP {address}", nagiosplugin.Ok, "It answers.")
                self._fails(f"TLS {address}", _failure(Cause.TLS, f"{result}.", result.code))
            else:
                self._add(f"TCP {address}", nagiosplugin.Ok, "It answers.")
                self.points += [] if result is None else [result._replace(what=f"TLS {address}")]
        if places[MAX_ADDRESSES:]:
            text = f"{len(places) - MAX_ADDRESSES} addresses beyond the first {MAX_ADDRESSES} were not tested."
            self._add("TCP", nagiosplugin.Warn, text)

    async def _connect(self, name: str, address: Address, deadline: Deadline) -> Optional[Point]:
        """What TLS settles, None without TLS. Raises TcpError, TlsError."""
        connection = await open_connection([address], self._context, name, deadline)
        connection.close()
        facts = connection.tls
        if facts is None:
            return None
        if facts.expires is None:
            return Point("", nagiosplugin.Ok, f"{facts.version}, the certificate was not verified (--insecure).")
        days = int((facts.expires - time.time()) // SECONDS_PER_DAY)
        return Point("", self._state_of(days), f"{facts.version}, the certificate for {name} has {days} days left.")

    def _state_of(self, days: int) -> ServiceState:
        warning, critical = (limits.get("certificate_days", "") for limits in self.settings.thresholds)
        return (
            nagiosplugin.ScalarContext("certificate_days", warning, critical)
            .evaluate(nagiosplugin.Metric("certificate_days", days), self)
            .state
        )

    # ---------------------------------------------------------- the directory

    def _directory(self, deadline: Deadline) -> None:
        settings = self.settings
        directory = settings.directory
        if directory is None:
            self._notes.append(
                "No directory is named (--ldap-uri): nobody will be asked about an account that is refused."
            )
            return
        guard = LockoutGuard(settings.state_folders, "the directory")
        accounts = (settings.publisher, settings.subscriber)
        for left, uri in zip(range(len(directory.uris), 0, -1), directory.uris):
            share = deadline.within(deadline.remaining / left)
            one = directory._replace(uris=(uri,))
            answers = ask(one, settings.pool_of, [(account, True) for account in accounts], time.time(), share, guard)
            faults = [answer for answer in answers if isinstance(answer, DirectoryError)]
            what = f"directory {uri}"
            if faults:
                self._add(what, nagiosplugin.Warn, f"It could not be asked: {faults[0]}.")
            else:
                origin = settings.origins.get("ldap")
                self._add(what, nagiosplugin.Ok, f"It answers{f' (bind with {origin})' if origin else ''}.")
            for account, answer in zip(accounts, answers):
                if not isinstance(answer, DirectoryError):
                    state = nagiosplugin.Ok if answer.finding is Finding.FINE else state_of(answer, settings)
                    self._add(account.uri, state, sentence(answer, account, settings))


def _first(_: int) -> int:
    """A choice that is the same at every run."""
    return 0


def _failure(cause: Cause, text: str, detail: str = "") -> Failure:
    return Failure(REGISTER, "", cause, text, None, (), detail, "")


def _permissions(path: str) -> str:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return f", mode {stat.S_IMODE(status.st_mode):04o}, owner {user_name(status.st_uid)}"
    return ""


class _State(nagiosplugin.Context):
    def evaluate(self, metric: nagiosplugin.Metric, resource: nagiosplugin.Resource) -> nagiosplugin.Result:
        return nagiosplugin.Result(metric.value.state, metric=metric)


class _Summary(nagiosplugin.Summary):
    def __init__(self, points: _Points) -> None:
        self._points = points

    def ok(self, results: nagiosplugin.Results) -> str:
        return self.problem(results)

    def problem(self, results: nagiosplugin.Results) -> str:
        points = self._points.points
        wrong = [point.what for point in sorted(points, key=lambda point: -point.state.code) if point.state.code]
        text = f"self-test of {self._points.settings.target}: "
        if not wrong:
            return clean(f"{text}all {len(points)} points are in order")
        verb = "is" if len(wrong) == 1 else "are"
        return clean(f"{text}{len(wrong)} of {len(points)} points {verb} not in order: {', '.join(wrong)}", ROOM)
