"""Everything that a check can be kept waiting for: how it gets there, and how to know that it is there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
import struct
import sys
import termios
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional

from check_lync_presence.lockout import LockoutGuard
from check_lync_presence.sip.message import Request

from .. import tiny_directory as directory
from ..commands import ACCOUNTS, POOL, write_accounts
from ..lab.resolving import Host, free_address
from ..loopback import Server, until_closed
from ..samples import ANN
from ..tiny_nameserver import NameServer, silence
from ..tiny_pool import Session, TinyPool
from .attack import accounts

HOUR = 3600.0


class Phase(NamedTuple):
    """A check that will wait: its command line, whether it waits by now, what of its own input it reads.

    `stuck_in` is found in the first line when it is stopped there with the exit code `stopped`, `in_time` in the output
    when its time is over and it ends with `code`.
    """

    command: List[str]
    waits: Callable[[], bool]
    stuck_in: str
    in_time: str
    code: int = 2
    stdin: Optional[int] = None
    stopped: int = 2


Enter = Callable[[Path], "contextlib.AbstractContextManager[Phase]"]
PHASES: Dict[str, Enter] = {}


def _phase(function: Callable[[Path], Iterator[Phase]]) -> Callable[[Path], Iterator[Phase]]:
    """Add a place, by its name."""
    PHASES[function.__name__.replace("_", " ")] = contextlib.contextmanager(function)
    return function


def command(folder: Path, *arguments: str, prefix: List[str] = []) -> List[str]:  # noqa: B006
    """The check's command line."""
    path = folder / "accounts.ini"
    if not path.exists():
        accounts(folder)
    return [*prefix, sys.executable, "-m", "check_lync_presence", "-H", POOL, "--accounts", str(path), *arguments]


def _tcp(port: int) -> List[str]:
    return ["--connect", f"127.0.0.1:{port}", "--transport", "tcp"]


def _silent() -> Server:
    def read(sock: socket.socket) -> None:
        until_closed(sock)

    return Server(read)


# ----------------------------------------------------------- before the run


@_phase
def a_password_command(folder: Path) -> Iterator[Phase]:
    began = folder / "began"
    hang = f"sh -c {shlex.quote(f'touch {began}; exec tail -f /dev/null')}"
    text = "\n".join(
        f"publisher_password_command = {hang}" if line.startswith("publisher_password") else line
        for line in ACCOUNTS.splitlines()
    )
    write_accounts(folder / "accounts.ini", f"{text}\n")
    what = "publisher_password_command"
    yield Phase(command(folder), began.exists, f"{what}: not over", f"{what} gave no password: it did not end", 3)


@_phase
def a_password_on_standard_input(folder: Path) -> Iterator[Phase]:
    ours, theirs = os.pipe()
    os.write(theirs, b"the publisher's\n")
    options = [f"--{role}-password-file=-" for role in ("publisher", "subscriber")]

    looks: List[bool] = []

    def waits() -> bool:  # the first line has been read, and was so a moment ago
        looks.append(struct.unpack("i", fcntl.ioctl(theirs, termios.FIONREAD, b"\0" * 4)) == (0,))
        return looks[-2:] == [True, True]

    try:
        stuck_in = "subscriber's password on standard input: not over"
        yield Phase(command(folder, *options), waits, stuck_in, "no password came on standard input", 3, ours)
    finally:
        os.close(ours)
        os.close(theirs)


# ---------------------------------------------------------------------- DNS


@contextlib.contextmanager
def _mute_names(folder: Path, name: str, *arguments: str) -> Iterator[Phase]:
    host = Host(folder, free_address())
    with NameServer({name: silence}, host.address, 53) as server:
        what = "contoso.example" if "--discover" in arguments else POOL
        yield Phase(
            command(folder, *arguments, prefix=host.prefix),
            lambda: name in [asked for asked, _, _ in server.asked],
            f"Register failed: the look-up of {what}: not over",
            "no answer",
        )


@_phase
def the_address_of_the_pool(folder: Path) -> Iterator[Phase]:
    with _mute_names(folder, POOL) as phase:
        yield phase


@_phase
def the_records_of_the_domain(folder: Path) -> Iterator[Phase]:
    with _mute_names(folder, "_sip._tls.contoso.example", "--discover") as phase:
        yield phase


# -------------------------------------------------------------- connections


@_phase
def a_full_backlog(folder: Path) -> Iterator[Phase]:
    with contextlib.ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # who nobody accepts; those that do not fit in are not answered
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]

        def unanswered() -> int:
            return Path("/proc/net/tcp").read_text().count(f"0100007F:{port:04X} 02 ")  # SYN_SENT

        before = unanswered()
        yield Phase(
            command(folder, *_tcp(port)),
            lambda: unanswered() >= before + 2,
            "Register failed for both users: Not over",
            "cannot connect to",
        )


@_phase
def a_server_that_accepts_and_is_silent(folder: Path) -> Iterator[Phase]:
    with _silent() as server:
        yield Phase(
            command(folder, *_tcp(server.port)),
            lambda: server.connections == 2,
            "Register failed for both users: Not over",
            "No answer to REGISTER",
        )


@_phase
def a_handshake_of_TLS(folder: Path) -> Iterator[Phase]:
    with _silent() as server:
        yield Phase(
            command(folder, "--connect", f"127.0.0.1:{server.port}"),
            lambda: server.connections == 2,
            "Register failed for both users: Not over",
            "no answer to the TLS handshake",
        )


# --------------------------------------------------------------- activities


class _Mute(TinyPool):
    """Does not answer one kind of request; `unanswered` are those."""

    def __init__(self, activity: str) -> None:
        super().__init__()
        self._activity = activity
        self.unanswered: List[Request] = []

    def _leave(self, activity: str, request: Request) -> bool:
        if activity == self._activity:
            self.unanswered.append(request)
        return activity == self._activity

    def handle(self, session: Session, request: Request) -> None:
        signed_in = session.association is not None
        activity = {
            "REGISTER": "unregister" if signed_in else "register",
            "SUBSCRIBE": "self-subscribe" if "roaming" in (request.get("Event") or "") else "subscribe",
            "SERVICE": "publish",
        }.get(request.method, "")
        if not self._leave(activity, request):
            super().handle(session, request)

    def published(self, session: Session, note: str) -> None:
        if not self._leave("notify", session.register or Request("NOTIFY", "sip:x", ())):
            super().published(session, note)


def _at(folder: Path, pool: _Mute, stuck_in: str, in_time: str, code: int = 2) -> Iterator[Phase]:
    with pool:
        waits = lambda: bool(pool.unanswered)  # noqa: E731
        yield Phase(command(folder, *_tcp(pool.server.port)), waits, stuck_in, in_time, code, None, code)


def _mute_in(activity: str, stuck_in: str, in_time: str, code: int = 2) -> Enter:
    """The place where the pool no longer answers in `activity`."""

    @contextlib.contextmanager
    def enter(folder: Path) -> Iterator[Phase]:
        yield from _at(folder, _Mute(activity), stuck_in, in_time, code)

    return enter


PHASES["Register"] = _mute_in("register", "Register failed", "No answer to REGISTER")
PHASES["SelfSubscribeActivity"] = _mute_in(
    "self-subscribe", "SelfSubscribeActivity failed for sip:ann@", "No answer to SUBSCRIBE"
)
PHASES["SubscribePresence"] = _mute_in(
    "subscribe",
    "SubscribePresence failed for sip:ben@|SelfSubscribeActivity failed for sip:ann@",  # at the same time
    "No answer to SUBSCRIBE",
)
PHASES["PublishPresence"] = _mute_in("publish", "PublishPresence failed for sip:ann@", "No answer to SERVICE")
PHASES["the notification"] = _mute_in(
    "notify",
    "PublishPresence failed for sip:(ann|ben)@",
    "notification is not received",
)
PHASES["Unregister"] = _mute_in("unregister", "reached sip:ben@", "reached sip:ben@", 0)


class _Forbidding(_Mute):
    """Refuses the subscription, and is mute when users log off."""

    def __init__(self) -> None:
        super().__init__("unregister")

    def on_subscribe(self, session: Session, request: Request) -> None:
        self.reply(session, request, 403)


@_phase
def Unregister_after_a_failure(folder: Path) -> Iterator[Phase]:
    failure = "SubscribePresence failed for sip:ben@contoso.example: 403, Forbidden"
    yield from _at(folder, _Forbidding(), failure, failure)


# ---------------------------------------------------------------- directory


class _Unknown(TinyPool):
    """Knows nobody, which is what the directory is asked about."""

    def on_first_register(self, session: Session, request: Request) -> None:
        self.reply(session, request, 404, sign=False)


@contextlib.contextmanager
def _asked(folder: Path, uri: str, waits: Callable[[], bool], *arguments: str) -> Iterator[Phase]:
    with _Unknown() as pool:
        where = [*_tcp(pool.server.port), "--ldap-uri", uri, "--ldap-base", directory.BASE, *arguments]
        yield Phase(command(folder, *where), waits, "Register failed for both users: 404", "404, Not Found")


@contextlib.contextmanager
def _asked_of(folder: Path, server: directory.TinyDirectory, tag: int, *arguments: str) -> Iterator[Phase]:
    with server, _asked(folder, server.uri, lambda: tag in server.tags, *arguments) as phase:
        yield phase


@_phase
def the_directory_at_the_bind(folder: Path) -> Iterator[Phase]:
    with _asked_of(folder, directory.TinyDirectory(bind=directory.silent), directory.BIND) as phase:
        yield phase


@_phase
def the_directory_at_the_search(folder: Path) -> Iterator[Phase]:
    with _asked_of(folder, directory.TinyDirectory(search=directory.silent), directory.SEARCH) as phase:
        yield phase


@_phase
def the_directory_at_StartTLS(folder: Path) -> Iterator[Phase]:
    server = directory.TinyDirectory(extended=directory.silent)
    with _asked_of(folder, server, directory.EXTENDED, "--ldap-starttls") as phase:
        yield phase


@_phase
def the_directory_at_TLS(folder: Path) -> Iterator[Phase]:
    server = _silent()
    uri = f"ldaps://127.0.0.1:{server.port}"
    with server, _asked(folder, uri, lambda: server.connections == 1) as phase:
        yield phase


@_phase
def the_directory_about_a_refused_password(folder: Path) -> Iterator[Phase]:
    state = folder / "state"
    state.mkdir(mode=0o700)
    guard = LockoutGuard([str(state)], f"{POOL} {('127.0.0.1', 9)} False")
    assert guard.remember(ANN, time.time() - HOUR)
    with directory.TinyDirectory(search=directory.silent) as server:
        where = ["--connect", "127.0.0.1:9", "--ldap-uri", server.uri, "--ldap-base", directory.BASE]
        yield Phase(
            command(folder, *where, "--state-dir", str(state)),
            lambda: directory.SEARCH in server.tags,
            "Register failed: the question to the directory about CONTOSO.ann: not over",
            "No attempt, refused since",
        )


@_phase
def the_directory_for_verify_accounts(folder: Path) -> Iterator[Phase]:
    with directory.TinyDirectory(search=directory.silent) as server:
        where = ["--ldap-uri", server.uri, "--ldap-base", directory.BASE, "--verify-accounts"]
        yield Phase(
            command(folder, *where),
            lambda: directory.SEARCH in server.tags,
            "not verified",
            "no answer",
            3,
            None,
            3,
        )
