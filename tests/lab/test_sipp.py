"""SIPp as the server: a scripted peer that neither of us wrote, for sequences that no server in order produces.

A script fails where the check sends something else than it expects: another answer to a notification, another route,
wrong credentials. So a script that has ended well has proven both ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

import pytest

from ..commands import Finished, run_check, write_accounts
from .required import without_lab

SERVER = (Path(__file__).parent / "sipp" / "server.xml").read_text(encoding="utf-8")
PACKAGES = "sip-tester"
PASSWORD = "Secret-of-both.1"
ACCOUNTS = f"""\
[sip01.contoso.example]
publisher = sip:ann@contoso.example
publisher_password = {PASSWORD}
subscriber = sip:ben@contoso.example
subscriber_password = {PASSWORD}
"""
LIMIT = 20.0  # seconds until SIPp listens, or has ended
PACE = 0.02  # seconds between two looks at a starting server
# Two registrations, a subscription, a publication, its withdrawal.
CALLS = 5
OVER_ALL = pytest.mark.parametrize(
    ("transport", "host"),
    [("tcp", "127.0.0.1"), ("udp", "127.0.0.1"), ("tcp", "::1"), ("udp", "::1")],
    ids=["tcp", "udp", "tcp-over-ipv6", "udp-over-ipv6"],
)


# SIPp wants every variable to be assigned somewhere.
_ANY = "".join(f'<ereg regexp="." search_in="msg" assign_to="{name}"/>' for name in ("route", "target"))


class Story(NamedTuple):
    """What becomes of a subscription: until it is ended, what its end must look like, and what comes after that."""

    told: Tuple[str, ...]
    checks: str = _ANY
    last: Tuple[str, ...] = ()


def sends(message: str, after: int = 0) -> str:
    pause = f'<pause milliseconds="{after}"/>' if after else ""
    return f"{pause}<send><![CDATA[\n{message.strip()}\n\n]]></send>"


def accepts(status: str = "200 OK", more: str = "") -> str:
    """The answer to the SUBSCRIBE, whatever has come since."""
    return sends(
        f"SIP/2.0 {status}\nVia:[$via]\nFrom:[$watcher]\nTo:[$presentity];tag=notifier\n[last_Call-ID:]\nCSeq:[$cseq]\n"
        f"{more or 'Contact: <sip:presence@[local_ip]:[local_port]>'}\nExpires: 120\nContent-Length: 0\n"
    )


def challenges(more: str) -> str:
    """A refusal of the SUBSCRIBE, and the next one."""
    values = "".join(
        f'<ereg regexp=".*" search_in="hdr" header="{name}:" assign_to="{variable}"/>'
        for name, variable in (("Via", "via"), ("CSeq", "cseq"))
    )
    return (
        sends(
            f"SIP/2.0 {more}\n[last_Via:]\n[last_From:]\n[last_To:];tag=challenge\n[last_Call-ID:]\n[last_CSeq:]\n"
            "Content-Length: 0\n"
        )
        + f'<recv request="SUBSCRIBE"><action>{values}</action></recv>'
    )


def notifies(
    number: int, note: str = "", answered: int = 200, state: str = "active;expires=119", after: int = 0
) -> str:
    """A NOTIFY, and what the check must answer to it."""
    document = (
        "Content-Type: application/pidf+xml\nContent-Length: [len]\n\n"
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:ann@contoso.example"><tuple id="t1"><status>'
        f"<basic>open</basic></status><note>{note}</note></tuple></presence>"
    )
    return (
        sends(
            "NOTIFY [$contact] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n"
            "Max-Forwards: 70\nFrom:[$presentity];tag=notifier\nTo:[$watcher]\nCall-ID: [call_id]\n"
            f"CSeq: {number} NOTIFY\nContact: <sip:presence@[local_ip]:[local_port]>\nEvent: presence\n"
            f"Subscription-State: {state}\n{document if note else 'Content-Length: 0'}",
            after,
        )
        + f'<recv response="{answered}"/>'
    )


PUBLISHED = (
    '<label id="wait"/><pause milliseconds="20"/><nop test="marker" next="told"/><nop next="wait"/><label id="told"/>'
)
ENDED = "terminated;reason=timeout"
LAST = (notifies(99, state=ENDED),)

# What the check is fine with.
STORIES = {
    "notified before the subscription is answered": Story(
        (notifies(2), accepts("202 Accepted"), PUBLISHED, notifies(3, "[$marker]")), last=LAST
    ),
    "notified of something else twice, then of what is older": Story(
        (
            *(accepts(), notifies(5), PUBLISHED, notifies(7, "lunch"), notifies(7, "lunch")),
            *(notifies(6, "[$marker]", answered=500), notifies(8, "[$marker]")),
        ),
        last=LAST,
    ),
    "behind two proxies": Story(
        (
            accepts(
                more="Record-Route: <sip:near.contoso.example;lr>, <sip:far.contoso.example;lr>\n"
                "Record-Route: <sip:home.contoso.example;lr>\nContact: <sip:presence@192.0.2.60:5070>"
            ),
            *(notifies(1), PUBLISHED, notifies(2, "[$marker]")),
        ),
        checks='<ereg regexp="^SUBSCRIBE sip:presence@192.0.2.60:5070 " search_in="msg" check_it="true" '
        'assign_to="target"/><ereg regexp="Route: .*home.*Route: .*far.*Route: .*near" search_in="msg" check_it="true" '
        'assign_to="route"/>',
        last=LAST,
    ),
    "asked for a longer life, and again with a new nonce": Story(
        (
            challenges("423 Interval Too Brief\nMin-Expires: 3600"),
            challenges(
                "407 Proxy Authentication Required\n"
                'Proxy-Authenticate: Digest realm="contoso.example", nonce="n1", qop="auth", algorithm=SHA-256'
            ),
            challenges(
                "407 Proxy Authentication Required\n"
                'Proxy-Authenticate: Digest realm="contoso.example", nonce="n2", stale=true, qop="auth"'
            ),
            *(accepts(), notifies(1), PUBLISHED, notifies(2, "[$marker]")),
        ),
        last=LAST,
    ),
    "told of the end a while later": Story(
        (accepts(), notifies(1), PUBLISHED, notifies(2, "[$marker]")), last=(notifies(3, state=ENDED, after=200),)
    ),
}


class Sipp:
    """A running SIPp that is the server of the story."""

    def __init__(self, folder: Path, story: Story, transport: str, host: str) -> None:
        program = shutil.which("sipp") or without_lab("sipp is missing", PACKAGES)
        self.transport, self.host = transport, host
        self.port = free_port(transport, host)
        self._folder = folder
        scenario = SERVER.replace("@PASSWORD@", PASSWORD).replace("@STORY@", "\n".join(story.told))
        scenario = scenario.replace("@CHECKS@", story.checks).replace("@LAST@", "\n".join(story.last))
        (folder / "server.xml").write_text(scenario, encoding="utf-8")
        where = ["-t", "t1" if transport == "tcp" else "u1", "-i", host, "-p", str(self.port)]
        errors = ["-trace_err", "-error_file", str(folder / "errors")]
        # Without defaults: what is not in the story is a failure and nothing that SIPp answers by itself.
        with (folder / "screen").open("wb") as screen:
            self.process = subprocess.Popen(
                [program, "-sf", str(folder / "server.xml"), "-m", str(CALLS), "-nostdin", "-nd", *where, *errors],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
            )
        end = time.monotonic() + LIMIT
        while is_free(transport, host, self.port):
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"SIPp ended with {self.process.wait(PACE)}: {self.said()}")
            assert time.monotonic() < end, self.said()

    def said(self) -> str:
        """What it complains of."""
        files = [self._folder / "errors", self._folder / "screen"]
        return "\n".join(path.read_text(encoding="utf-8", errors="replace")[-3000:] for path in files if path.exists())

    def ended_well(self) -> bool:
        """Whether all calls went as they were written."""
        try:
            return self.process.wait(LIMIT) == 0
        except subprocess.TimeoutExpired:
            return False

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT)

    def check(self, accounts: Path, *arguments: str) -> Finished:
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = ["--connect", f"{host}:{self.port}", "--transport", self.transport, "--protocol", "simple"]
        return run_check("-H", "sip01.contoso.example", "--accounts", str(accounts), *where, *arguments)


def is_free(transport: str, host: str, port: int) -> bool:
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                without_lab(f"this host has no {host} ({os.strerror(error.errno or 0)})", PACKAGES)
            return False
    return True


def free_port(transport: str, host: str) -> int:
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
        try:
            sock.bind((host, 0))
        except OSError as error:
            without_lab(f"this host has no {host} ({os.strerror(error.errno or 0)})", PACKAGES)
        return int(sock.getsockname()[1])


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return write_accounts(tmp_path / "accounts.ini", ACCOUNTS)


@contextlib.contextmanager
def server(folder: Path, story: Story, transport: str = "tcp", host: str = "127.0.0.1") -> Iterator[Sipp]:
    running = Sipp(folder, story, transport, host)
    try:
        yield running
    finally:
        running.stop()


@OVER_ALL
@pytest.mark.parametrize("name", STORIES)
def test_a_presence_arrives_in_spite_of_all_that_is_legal(
    tmp_path: Path, accounts: Path, name: str, transport: str, host: str
) -> None:
    with server(tmp_path, STORIES[name], transport, host) as sipp:
        done = sipp.check(accounts, "--timeout", "10", "-v")
        assert (done.code, done.stderr) == (0, ""), done.stdout + sipp.said()
        assert sipp.ended_well(), done.stdout + sipp.said()


def failure(done: Finished) -> Tuple[int, str, List[str]]:
    return done.code, done.first_line.partition(" | ")[0], done.lines


def test_a_server_that_accepts_the_subscription_and_sends_nothing_is_named(tmp_path: Path, accounts: Path) -> None:
    with server(tmp_path, Story((accepts(), PUBLISHED))) as sipp:
        code, text, lines = failure(sipp.check(accounts, "--timeout", "6", "--notify-timeout", "1"))
    assert code == 2
    words = "PublishPresence failed: Presence notification is not received within 1 secs"
    assert text == f"LYNC PRESENCE CRITICAL - {words}"
    assert any("no notification arrived, not even the first one" in line for line in lines)
