"""SIGTERM, by which schedulers end what takes too long: a verdict at once, wherever the check is."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from .commands import POOL, Finished, Simulator, environment, write_accounts
from .loopback import Server, until_closed

AT_ONCE = 2.0  # seconds; it takes 0.02, and this machine may be busy


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return write_accounts(tmp_path / "accounts.ini")


@pytest.fixture
def silent() -> Iterator[Server]:
    def reads(connection: socket.socket) -> None:
        until_closed(connection)

    with Server(reads) as server:
        yield server


def stopped(where: List[str], accounts: Path, ready: Any) -> Finished:
    """What a check says that gets SIGTERM once `ready()` is true."""
    process = subprocess.Popen(
        [sys.executable, "-m", "check_lync_presence", "-H", POOL, "--accounts", str(accounts), *where],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    )
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=20)
    assert time.monotonic() - started < AT_ONCE
    return Finished(process.returncode, output, errors)


def well_formed(result: Finished) -> None:
    assert (result.code, result.stderr) == (2, "")
    assert "success=0" in result.first_line
    assert [line.partition(" ")[0] for line in result.lines[1:6]] == [
        "TargetFqdn", "Result", "Latency", "Error", "Diagnosis"
    ]  # fmt: skip
    assert "make its limit longer than --timeout" in result.lines[6]


@pytest.mark.parametrize(
    ("fault", "method", "words"),
    [
        ("no-answer=register", "REGISTER", "Register failed for both users: Not over after "),
        ("no-answer=subscribe", "SUBSCRIBE", "SubscribePresence failed for sip:ben@contoso.example: Not over after "),
        ("notification-never", "SERVICE", "PublishPresence failed for sip:"),
    ],
)
def test_the_activity_it_was_stuck_in_is_named(accounts: Path, fault: str, method: str, words: str) -> None:
    with Simulator(accounts, "--tls", "0", "--fault", fault) as simulator:
        where = ["--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"]]
        wanted = {"REGISTER": (0, 2), "SUBSCRIBE": (2, 2), "SERVICE": (2, 2)}[method]

        def reached() -> bool:
            census = simulator.census()
            endpoints = sum(user["endpoints"] for user in census["users"].values())
            published = sum(user["publications"] for user in census["users"].values())
            return (endpoints, census["connections"]) == wanted and bool(published) == (method == "SERVICE")

        result = stopped(where, accounts, reached)
    well_formed(result)
    assert words in result.first_line
    assert " s, then SIGTERM" in result.first_line


def test_a_server_that_never_speaks_is_named(accounts: Path, silent: Server) -> None:
    where = ["--connect", f"127.0.0.1:{silent.port}"]
    result = stopped(where, accounts, lambda: silent.connections == 2)
    well_formed(result)
    assert "Register failed for both users: Not over after" in result.first_line
