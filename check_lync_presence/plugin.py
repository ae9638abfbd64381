"""The nagiosplugin edge: an Outcome becomes metrics, states, a first line, long output, an exit code.

Owns the mapping of verdicts to states. Nothing below imports nagiosplugin.
"""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import ssl
import sys
import time
from typing import TYPE_CHECKING, Callable, Dict, Generator, List, NoReturn, Optional, Protocol, Sequence, Tuple

import nagiosplugin
from nagiosplugin.performance import Performance

from .attempt import attempt
from .net.deadline import Deadline
from .net.transport import tls_context
from .outcome import (
    PUBLISH,
    REGISTER,
    SELF_SUBSCRIBE,
    SUBSCRIBE,
    UNREGISTER,
    Activity,
    Cause,
    CertificateEnd,
    Diagnosis,
    Failure,
    Outcome,
)
from .report.text import (
    MAX_OUTPUT,
    Redaction,
    activity_log,
    clean,
    cmdlet_lines,
    credentials,
    front_end_lines,
    octets,
    sip_log,
    what_failed,
    within,
    without_secrets,
)
from .roundtrip import World
from .settings import DirectorySettings, Settings, SettingsError
from .stop import Stopped, finish_anyway

if TYPE_CHECKING:
    from .diagnosis.accounts import Ask
    from .report.progress import Progress
    from .trace.values import Recording

NAME = "LYNC PRESENCE"
FENCE = 1  # seconds beyond the run's own deadline after which the alarm ends it: a bug, not a verdict

TELLING = 10  # seconds for what is said of a run, by when it is over; with -vvv there may be much

# Perfdata label by activity.
LABELS = {
    REGISTER: "register",
    SELF_SUBSCRIBE: "self_subscribe",
    SUBSCRIBE: "subscribe",
    PUBLISH: "publish",
    UNREGISTER: "unregister",
}
# Every label of the performance data, and what it measures.
PERFDATA = {
    "latency": "from the first connection to the notification; only after a success",
    "register": "both users: connection, TLS, sign-in, registration",
    "self_subscribe": "the publisher learns what it has published",
    "subscribe": "the subscriber becomes a watcher",
    "publish": "the publication, until it is accepted",
    "notify": "from the sending of the publication to the notification of it",
    "unregister": "log-off of both users",
    "success": "1 or 0",
    "certificate_days": "whole days until the first certificate ends, the server's or our own (not with --insecure)",
}
# The same with --all-front-ends, where 10.0.0.4 and 10.0.0.5 are front ends; `success` and `certificate_days` stay.
FRONT_END_PERFDATA = {
    "front_ends": "how many front ends the pool has",
    "front_ends_failed": "how many of them fail, or do not reach their neighbour",
    "latency_10_0_0_4": "of this front end; likewise every activity that has a threshold",
    "success_10_0_0_4": "1 or 0",
    "notify_10_0_0_5_to_10_0_0_4": "from the sending of a publication at the first to the notification at the other",
}
# What --account-state can be.
STATES = {"critical": nagiosplugin.Critical, "warning": nagiosplugin.Warn, "unknown": nagiosplugin.Unknown}
SECONDS_PER_DAY = 86400
# Headers that are kept to redact by; a flood makes more, of signatures, long after what passwords are guessed from.
MAX_CREDENTIALS = 10_000
ROOM = 119 - len(f"{NAME} CRITICAL - ")  # what a first line of less than 120 characters has left for us


class Staging(Protocol):
    """What stands around a run that is recorded, or in the place of the world when one is played."""

    def world(self, world: World) -> World: ...
    def attempt(
        self, settings: Settings, context: Optional[ssl.SSLContext], world: World, deadline: Deadline
    ) -> Outcome: ...
    @property
    def ask(self) -> Ask: ...
    def recording(self) -> Recording: ...


def execute(settings: Settings, played: Optional[Staging] = None) -> NoReturn:
    """Run the check, or judge a run that is `played`, and exit with its state."""
    context = None
    if played is None:
        settings, context = ready(settings)
    staging = played
    if staging is None and (settings.report or settings.trace):
        from .trace.recorder import Recorder

        staging = Recorder(settings)
    presence = _Presence(settings, context, staging)
    check = Judgement(presence, *_contexts(settings), _Summary(presence))
    try:
        check.conclude(settings)
    except SystemExit:
        if staging is not None:
            _tell(_written(check, presence, staging))
        raise
    except BaseException:  # a mistake of ours is understood the sooner with a trace
        if staging is not None:
            _written(check, presence, staging)
        raise


def ready(settings: Settings) -> Tuple[Settings, Optional[ssl.SSLContext]]:
    """What a run needs of this machine: TLS, with the certificate that we show, and the libraries of the sign-in.

    Raises SettingsError where something is missing.
    """
    context = tls_context(settings.tls) if settings.transport == "tls" else None
    if context is not None and settings.tls.client_cert is not None:
        from .net.client_certificate import client_certificate

        shown = client_certificate(settings.tls, time.time())
        settings = settings._replace(tls=settings.tls._replace(shown=shown))
    if settings.auth == "kerberos":
        from .lync.kerberos import gss_api

        gss_api()
    if settings.auth == "tls-dsk":
        from .user_certificates import require_extra

        require_extra()
    if settings.directory is not None:
        _check_directory(settings.directory)
    return settings, context


def _check_directory(directory: DirectorySettings) -> None:
    """What would be missed only in an alarm, when the directory is asked. Raises SettingsError."""
    if directory.auth == "kerberos":
        from .directory import missing_for_kerberos

        missing = missing_for_kerberos()
        if missing:
            raise SettingsError(missing)
    if directory.ca_file is not None:
        try:
            os.close(os.open(directory.ca_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            text = f"cannot read the CA file of the directory {directory.ca_file}: {error.strerror}"
            raise SettingsError(text) from None


class Subject(nagiosplugin.Resource):
    """What is measured, with more to say than fits into the first line."""

    name = NAME

    def long_output(self, room: int) -> List[str]:
        """The lines below the first one, once it has been measured; `room` octets are left for them by default."""
        raise NotImplementedError


class Judgement(nagiosplugin.Check):
    """A subject, its contexts and its summary; `conclude` measures, judges, prints and exits."""

    def __call__(self) -> None:
        super().__call__()
        signal.alarm(TELLING)  # what was measured must not be lost over what is said of it
        output = nagiosplugin.Runtime().output
        room = MAX_OUTPUT - octets([f"{output.format_status(self)} {output.format_perfdata(self)}"])
        for resource in self.resources:
            if isinstance(resource, Subject):
                output.add_longoutput(resource.long_output(room))

    def conclude(self, settings: Settings) -> NoReturn:
        # With verbose above 0 the library puts perfdata behind the long output, where Icinga cuts them to pieces; the
        # long output is ours at every level.
        self.main(verbose=0, timeout=math.ceil(settings.timeout) + FENCE)
        raise AssertionError("nagiosplugin exits")


def _written(check: Judgement, presence: _Presence, staging: Staging) -> List[str]:
    """Write what was asked for; returns what is to be said of it. The verdict is out by now: nothing that happens here
    can hold it up or change it.
    """
    from .report.files import write_files
    from .report.view import View

    if sys.stdout is not None:
        sys.stdout.flush()
    view = None
    if presence.outcome is not None and check.results:
        sentences = tuple(map(clean, presence.sentences(presence.outcome)))
        state = str(check.state).upper()
        view = View(state, check.summary_str, presence.outcome, presence.diagnosis, sentences)
    return write_files(presence.settings, staging.recording(), view)


def _tell(sentences: Sequence[str]) -> None:
    for text in sentences:
        print(clean(text))


class _Presence(Subject):
    """One run of the round trip."""

    def __init__(
        self, settings: Settings, context: Optional[ssl.SSLContext], staging: Optional[Staging] = None
    ) -> None:
        self.settings = settings
        self._context = context
        self._failures: Dict[Tuple[str, str, str], Failure] = {}
        self._ends: List[CertificateEnd] = []
        self._latency: Optional[float] = None
        self._notified_after: Optional[float] = None
        self._credentials: List[str] = []
        hostname = socket.gethostname().partition(".")[0][:15].upper()
        self._progress = _progress(self._watch)
        watch = self._watch if self._progress is None else self._progress.watch
        world = World(
            time.monotonic,
            time.time,
            _token,
            hostname,
            watch,
            failed=self._failed,
            notified=self._notified,
            ends=self._ends.append,
            credentials=self._sent,
        )
        self._world = staging.world(world) if staging is not None else world
        self._attempt = staging.attempt if staging is not None else attempt
        self._ask = staging.ask if staging is not None else None
        self._activities: List[Activity] = []
        self.outcome: Optional[Outcome] = None
        self.diagnosis = Diagnosis("", "", ())
        self.proven = False
        self.remarks: List[str] = []

    def probe(self) -> Generator[nagiosplugin.Metric, None, None]:
        settings, world = self.settings, self._world
        deadline = Deadline(settings.timeout, world.clock)
        started = world.clock()
        if self._progress is not None:
            self._progress.say(f"looking for {settings.target}")
        try:
            self.outcome = self._harmless(self._attempt(settings, self._context, world, deadline))
            self._explain(self.outcome, deadline)
        except Stopped as stop:
            if self.outcome is None:
                self.outcome = self._harmless(self._stopped(stop, world.clock() - started))
            self._explain(self.outcome, deadline.within(0.0))  # nobody waits for what a directory would say
        finally:
            if self._progress is not None:
                self._progress.close()
        finish_anyway()
        outcome = self.outcome
        yield nagiosplugin.Metric("success", 1 if outcome.success else 0, context="success")
        if outcome.front_ends:
            yield from self._of_front_ends(outcome)
        elif not self.settings.all_front_ends:  # there each has its own
            for label, seconds in measured(outcome).items():
                yield nagiosplugin.Metric(label, seconds, min=0, context=label)
        end = self.first_end()
        if end is not None:
            days = int((end.at - self._world.now()) // SECONDS_PER_DAY)
            yield nagiosplugin.Metric("certificate_days", days, context="certificate_days")

    def first_end(self) -> Optional[CertificateEnd]:
        """The certificate that ends first, of all that were seen and shown."""
        end = self.outcome.certificate_expires if self.outcome is not None else None
        return min([end, *self.own_ends()]) if end is not None else None

    def own_ends(self) -> List[CertificateEnd]:
        """When those end that somebody must renew: what a pool gives to the check is not among them."""
        settings = self.settings
        ends = [
            CertificateEnd(account.certificate.ends, f"the certificate of {account.uri}")
            for account in (settings.publisher, settings.subscriber)
            if account.certificate is not None
        ]
        if settings.tls.shown is not None:
            ends.append(CertificateEnd(settings.tls.shown.ends, f"the client certificate {settings.tls.shown.path}"))
        return ends

    def _watch(self, activity: Activity) -> None:
        if activity.ended is None:
            self._activities.append(activity)
        else:
            begun = (activity.name, activity.user, activity.started, None)
            for place in reversed(range(len(self._activities))):
                if self._activities[place][:4] == begun:
                    self._activities[place] = activity
                    break

    def _failed(self, failure: Failure) -> None:
        self._failures.setdefault(failure.key, failure)

    def _notified(self, latency: float, notified_after: float) -> None:
        if not self.settings.all_front_ends:  # there each has its own
            self._latency, self._notified_after = latency, notified_after

    def _sent(self, value: str) -> None:
        if len(self._credentials) < MAX_CREDENTIALS:
            self._credentials.append(value)

    def _stopped(self, stop: Stopped, seconds: float) -> Outcome:
        """What a run came to that was ended from outside after so many seconds."""
        settings = self.settings
        under_way = [item for item in self._activities if item.ended is None]
        over = [item for item in self._activities if item.ended is not None]
        stuck = [item for item in under_way if item.name != UNREGISTER]
        succeeded = self._latency is not None and not stuck and not self._failures
        known = Outcome(
            settings.target,
            (),
            tuple(self._activities),
            self._latency if succeeded else None,
            self._notified_after,
            min(self._ends, default=None),
            ("The log-off was cut short (SIGTERM).",) if succeeded or len(stuck) < len(under_way) else (),
            dialect=settings.spoken,
        )
        if succeeded:
            return known
        failures = list(self._failures.values())
        # Times of activities count from the start of the round trip, which is that of the run but for the directory.
        failures += [_stop_in(item.name, item.user, seconds - item.started) for item in stuck]
        if not failures and len(stuck) < len(under_way):  # of many front ends, whose results are not there yet
            failures = [_stop_in(UNREGISTER, "", seconds)]
        elif not failures and over:
            failures = [_stop_in(over[-1].name, over[-1].user, seconds - over[-1].started)]
        elif not failures:
            host = settings.publisher.domain if settings.discover else (settings.connect or (settings.target,))[0]
            failures = [_stop_in(REGISTER, "", seconds, f"{stop.stuck_in or f'the look-up of {host}'}: not")]
        return known._replace(failures=tuple(failures))

    def _harmless(self, outcome: Outcome) -> Outcome:
        """`outcome` without our credentials, which a server may say again in its own words."""
        if not (outcome.failures or outcome.remarks or self.settings.verbose):
            return outcome
        # No server is told a password, and a short one is in many words.
        return without_secrets(outcome, Redaction((), credentials(self._credentials)))

    def _explain(self, outcome: Outcome, deadline: Deadline) -> None:
        if not outcome.failures:
            return
        from .diagnosis import diagnose
        from .diagnosis.accounts import Investigation, investigate

        try:
            found = investigate(outcome, self.settings, self._world.now(), deadline, self._ask)
        except Stopped:
            text = "Active Directory was not asked to the end: the check was ended from outside (SIGTERM)."
            found = Investigation({}, False, text)
        self.proven = found.proven
        self.remarks += [found.remark] if found.remark else []
        self.diagnosis = diagnose(outcome, self.settings, found.said, found.explained)

    def _of_front_ends(self, outcome: Outcome) -> Generator[nagiosplugin.Metric, None, None]:
        yield nagiosplugin.Metric("front_ends", len(outcome.front_ends), min=0, context="value")
        yield nagiosplugin.Metric("front_ends_failed", len(failing(outcome)), min=0, context="front_ends_failed")
        limited = {"latency"}.union(*self.settings.thresholds)
        for front_end in outcome.front_ends:
            name = _label(front_end.server)
            yield nagiosplugin.Metric(f"success_{name}", 1 if front_end.success else 0, context="value")
            for label, seconds in measured(front_end).items():
                if label in limited:
                    yield nagiosplugin.Metric(f"{label}_{name}", seconds, min=0, context=label)
            for other, path in front_end.paths.items():
                if path.notified_after is not None:
                    label = f"notify_{name}_to_{_label(other)}"
                    yield nagiosplugin.Metric(label, path.notified_after, min=0, context="notify")

    def sentences(self, outcome: Outcome) -> List[str]:
        """Remarks and advice."""
        return [*outcome.remarks, *self._important(), *self.remarks]

    def _important(self) -> List[str]:
        return [*_standing_remarks(self.settings), *self.diagnosis.advice]

    def long_output(self, room: int) -> List[str]:
        """Everything below the first line."""
        outcome, settings = self.outcome, self.settings
        assert outcome is not None
        sentences = list(map(clean, self.sentences(outcome)))
        lines = [*cmdlet_lines(outcome, self.diagnosis), *front_end_lines(outcome), *sentences]
        if settings.verbose == 0 and octets(lines) > room:
            lines = within(room, outcome, self.diagnosis, sentences, list(map(clean, self._important())))
        if settings.verbose > 0:
            lines += activity_log(outcome)
        if settings.verbose > 1:
            lines += sip_log(outcome.messages, settings, outcome.left_out)
        return lines


def _progress(watch: Callable[[Activity], None]) -> Optional[Progress]:
    """For a person at a terminal; a scheduler reads both streams through pipes and never sees anything of it."""
    if sys.stderr is None or sys.stdout is None or not (sys.stderr.isatty() and sys.stdout.isatty()):
        return None
    if os.environ.get("TERM") == "dumb":  # it cannot take a line away
        return None
    from .report.progress import Progress

    return Progress(sys.stderr, watch)


def _stop_in(activity: str, user: str, seconds: float, what: str = "Not") -> Failure:
    text = f"{what} over after {seconds:.1f} s, then SIGTERM."
    return Failure(activity, user, Cause.STOPPED, text, None, (), "", "")


class _Verdict(nagiosplugin.Context):
    """Success or failure of the round trip itself."""

    def evaluate(self, metric: nagiosplugin.Metric, resource: nagiosplugin.Resource) -> nagiosplugin.Result:
        assert isinstance(resource, _Presence)
        outcome, settings = resource.outcome, resource.settings
        assert outcome is not None
        if metric.value:
            state = nagiosplugin.Ok
        elif resource.proven:
            state = STATES[settings.account_state]
        elif "front_ends_failed" in settings.thresholds.critical and len(failing(outcome)) < len(outcome.front_ends):
            state = nagiosplugin.Warn  # how many are too many was told
        else:
            state = nagiosplugin.Critical
        return nagiosplugin.Result(state, metric=metric)

    def performance(self, metric: nagiosplugin.Metric, resource: nagiosplugin.Resource) -> Performance:
        return Performance(metric.name, metric.value)


class _Limited(nagiosplugin.ScalarContext):
    """A measured value with its thresholds; perfdata in plain decimals, thresholds as they were typed."""

    def __init__(self, label: str, warning: str, critical: str) -> None:
        super().__init__(label, warning, critical)
        self._typed = (warning, critical)

    def evaluate(self, metric: nagiosplugin.Metric, resource: nagiosplugin.Resource) -> nagiosplugin.Result:
        assert isinstance(resource, _Presence)
        if resource.proven:  # what --account-state says of such a failure is not overruled by what was measured of it
            return nagiosplugin.Result(nagiosplugin.Ok, metric=metric)
        return super().evaluate(metric, resource)

    def performance(self, metric: nagiosplugin.Metric, resource: nagiosplugin.Resource) -> Performance:
        minimum = "" if metric.min is None else metric.min
        return Performance(metric.name, decimal(metric.value), "", *self._typed, minimum)


class _Summary(nagiosplugin.Summary):
    def __init__(self, presence: _Presence) -> None:
        self._presence = presence

    def ok(self, results: nagiosplugin.Results) -> str:
        return self._line(results)

    def problem(self, results: nagiosplugin.Results) -> str:
        return self._line(results)

    def _line(self, results: nagiosplugin.Results) -> str:
        outcome, settings = self._presence.outcome, self._presence.settings
        assert outcome is not None
        where = settings.target
        if settings.subscriber_target is not None:
            where = f"{where} and {settings.subscriber_target}"
        if outcome.front_ends:
            where = f"{_all(len(outcome.front_ends))} of {where}"
        if not outcome.success:
            return clean(_front_ends_failed(outcome) if outcome.front_ends else what_failed(outcome, ROOM))
        who = f"{settings.publisher.uri} reached {settings.subscriber.uri}"
        whole = f"{who} on {where} in {outcome.latency:.3f} s"
        broken = [
            f"{self._name(result.metric.name)} {decimal(result.metric.value)} is {result.hint}"
            for result in results
            if result.state.code and result.metric is not None
        ]
        return clean(_with_limits([whole, who, who.rpartition("@")[0]], broken) if broken else whole)

    def _name(self, label: str) -> str:
        end = self._presence.first_end()
        own = label == "certificate_days" and self._presence.own_ends()
        return f"{label} of {end.whose}" if own and end is not None else label


def _with_limits(texts: Sequence[str], broken: Sequence[str]) -> str:
    """A success and the ranges that it is outside of: these, behind the first of `texts` that there is room for."""
    limits = ", ".join(broken)
    if len(limits) > ROOM and len(broken) > 1:
        limits = f"{broken[0]} (and {len(broken) - 1} more)"
    return next((f"{text}, {limits}" for text in texts if len(f"{text}, {limits}") <= ROOM), limits)


def _front_ends_failed(outcome: Outcome) -> str:
    """Which ones, as many as there is room for, and why, if there is room for that."""
    wrong = [front_end.server for front_end in outcome.front_ends if front_end.failures]
    wrong += [
        f"{front_end.server} to {other}"
        for front_end in outcome.front_ends
        for other, path in front_end.paths.items()
        if path.failure is not None
    ]
    count, total = len(failing(outcome)), len(outcome.front_ends)
    text = f"{count} of {total} front ends of {outcome.target} {'fails' if count == 1 else 'fail'}: "
    if count == total and all(front_end.failures for front_end in outcome.front_ends):
        text, wrong = f"{_all(total)} of {outcome.target} {'fail' if total > 1 else 'fails'}", []
    shown = len(wrong)
    while shown > 1 and len(text + _listed(wrong, shown)) > ROOM:
        shown -= 1
    text += _listed(wrong, shown)
    reason = f" ({what_failed(outcome._replace(failures=outcome.failures[:1]))})"
    return text + reason if len(text + reason) <= ROOM else text


def _all(front_ends: int) -> str:
    return f"all {front_ends} front ends" if front_ends > 1 else "the only front end"


def _listed(names: Sequence[str], shown: int) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more else "")


def failing(outcome: Outcome) -> List[Outcome]:
    """The front ends that fail themselves or do not reach their neighbour."""
    return [
        front_end
        for front_end in outcome.front_ends
        if front_end.failures or any(path.failure is not None for path in front_end.paths.values())
    ]


def measured(outcome: Outcome) -> Dict[str, float]:
    """Seconds by perfdata label; what was not measured is not there."""
    values: Dict[str, float] = {}
    if outcome.success and outcome.latency is not None:
        values["latency"] = outcome.latency
    if outcome.notified_after is not None:
        values["notify"] = outcome.notified_after
    for name, label in LABELS.items():
        times = [
            (activity.seconds, activity.started, activity.ended)
            for activity in outcome.activities
            if activity.name == name
        ]
        if times and all(seconds is not None for seconds, _, _ in times):
            values[label] = max(end or 0.0 for _, _, end in times) - min(start for _, start, _ in times)
    return values


def _label(server: str) -> str:
    """An address as part of a label: letters, digits and underscores."""
    return re.sub(r"[^0-9A-Za-z]+", "_", server).strip("_")


def decimal(value: float) -> str:
    """A number in plain decimals, never with an exponent, without trailing zeros."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _contexts(settings: Settings) -> List[nagiosplugin.Context]:
    warning, critical = settings.thresholds
    labels = ("latency", "notify", "certificate_days", "front_ends_failed", *LABELS.values())
    limited = [_Limited(label, warning.get(label, ""), critical.get(label, "")) for label in labels]
    return [_Verdict("success"), _Limited("value", "", ""), *limited]


def _standing_remarks(settings: Settings) -> List[str]:
    if settings.transport != "tls":
        remarks = [f"The connection is not encrypted (--transport {settings.transport})."]
    elif settings.tls.insecure:
        remarks = ["The server's certificate was not verified (--insecure)."]
    else:
        return []
    if any("certificate_days" in limits for limits in settings.thresholds):
        remarks.append("So the days that the certificate has left were not measured, and have met no threshold.")
    return remarks


def _token(digits: int) -> str:
    return os.urandom((digits + 1) // 2).hex()[:digits]
