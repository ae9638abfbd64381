"""SIGTERM, by which schedulers end what takes too long: a verdict at once, wherever the check is."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, Iterator, List, Set, Tuple

import pytest

from check_lync_presence.plugin import PERFDATA
from check_lync_presence.sip.message import Request
from check_lync_presence.stop import Stopped, watch_for_sigterm

from .commands import POOL, Finished, Simulator, environment, write_accounts
from .in_process import replay
from .loopback import Server, until_closed
from .tiny_pool import Session, TinyPool

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


@pytest.fixture
def files(tmp_path: Path) -> List[Path]:
    return [tmp_path / "run.jsonl", tmp_path / "run.html"]


def test_a_report_and_a_trace_of_a_stopped_run_are_written(accounts: Path, silent: Server, files: List[Path]) -> None:
    trace, report = files
    where = ["--connect", f"127.0.0.1:{silent.port}", "--transport", "tcp", "-v"]
    where += ["--trace", str(trace), "--report", str(report)]
    result = stopped(where, accounts, lambda: silent.connections == 2)
    assert " s, then SIGTERM" in result.first_line
    assert "not over" in report.read_text(encoding="utf-8")
    assert replay(trace).stdout == result.stdout


def test_the_verdict_of_a_stopped_run_does_not_wait_for_its_files(
    accounts: Path, silent: Server, tmp_path: Path
) -> None:
    # A slow disk: whoever writes waits until somebody has read the verdict.
    code = (
        "import sys; from check_lync_presence.report import files; "
        "files.write_private = lambda *_: sys.stdin.readline(); "
        "from check_lync_presence.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "-H", POOL, "--accounts", str(accounts)]
    command += ["--connect", f"127.0.0.1:{silent.port}", "--transport", "tcp", "--trace", str(tmp_path / "run.jsonl")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment()
    ) as process:
        end = time.monotonic() + 20
        while silent.connections < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.stdin is not None
        assert process.stdout is not None
        first_line = process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(20) == 2
    assert " s, then SIGTERM" in first_line


def well_formed(result: Finished) -> None:
    assert (result.code, result.stderr) == (2, "")
    assert "success=0" in result.first_line
    assert [line.partition(" ")[0] for line in result.lines[1:6]] == [
        "TargetFqdn", "Result", "Latency", "Error", "Diagnosis"
    ]  # fmt: skip
    assert "make its limit longer than --timeout" in result.lines[6]


@pytest.mark.parametrize(
    ("faults", "left", "words"),
    [
        # What the server has before the check is stuck for good: connections, endpoints, subscriptions, publications.
        (["no-answer=register"], (2, 0, 0, False), "Register failed for both users: Not over after "),
        (
            ["no-answer=self-subscribe", "no-answer=subscribe"],
            (2, 2, 2, False),
            "SelfSubscribeActivity failed for sip:ann@contoso.example: Not over after ",
        ),
        (["notification-never"], (2, 2, 2, True), "PublishPresence failed for sip:"),
    ],
)
def test_the_activity_it_was_stuck_in_is_named(
    accounts: Path, faults: List[str], left: Tuple[int, int, int, bool], words: str
) -> None:
    with Simulator(accounts, "--tls", "0", *(f"--fault={fault}" for fault in faults)) as simulator:
        where = ["--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"]]

        def reached() -> bool:
            census = simulator.census()
            endpoints, subscriptions, publications = (
                sum(user[kind] for user in census["users"].values())
                for kind in ("endpoints", "subscriptions", "publications")
            )
            return (census["connections"], endpoints, subscriptions, publications > 0) == left

        result = stopped(where, accounts, reached)
    well_formed(result)
    assert words in result.first_line
    assert " s, then SIGTERM" in result.first_line
    assert "certificate_days" in result.perfdata or not left[1]


class MuteAtTheEnd(TinyPool):
    """Answers everything but the log-off; `asked` is set by the users who wait for that."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Set[str] = set()

    def on_register(self, session: Session, request: Request) -> None:
        if request.get("Expires") == "0":
            self.asked.add(session.uri)
        else:
            super().on_register(session, request)


@pytest.mark.parametrize(("limit", "code"), [("notify=0.0000001", 2), ("notify=100", 0)])
def test_a_success_whose_log_off_is_cut_short_has_met_its_thresholds(accounts: Path, limit: str, code: int) -> None:
    with MuteAtTheEnd() as pool:
        where = ["--connect", f"127.0.0.1:{pool.server.port}", "--transport", "tcp", "--activity-critical", limit]
        result = stopped(where, accounts, lambda: len(pool.asked) == 2)
    assert (result.code, result.stderr) == (code, ""), result.stdout
    assert set(result.perfdata) == set(PERFDATA) - {"certificate_days", "unregister"}
    assert result.perfdata["success"] == "1"
    assert "The log-off was cut short (SIGTERM)." in result.lines


def test_a_server_that_never_speaks_is_named(accounts: Path, silent: Server) -> None:
    where = ["--connect", f"127.0.0.1:{silent.port}"]
    result = stopped(where, accounts, lambda: silent.connections == 2)
    well_formed(result)
    assert "Register failed for both users: Not over after" in result.first_line


def test_what_is_thrown_away_before_it_has_begun_is_no_matter_for_standard_error() -> None:
    code = (
        "import os, signal\n"
        "from check_lync_presence.net.tasks import run, together\n"
        "from check_lync_presence.stop import Stopped, watch_for_sigterm\n"
        "async def stops(): os.kill(os.getpid(), signal.SIGTERM)\n"
        "async def waits(): pass\n"
        "async def both(): await together(stops(), waits(), grace=1.0)\n"
        "watch_for_sigterm()\n"
        "try: run(both(), lambda: 0.0)\n"
        "except Stopped: print('stopped')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


def test_a_signal_that_comes_while_an_object_dies_is_heard_afterwards_and_causes_no_complaint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    complaints: List[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    former = signal.getsignal(signal.SIGTERM)
    watch_for_sigterm()
    try:
        with warnings.catch_warnings():
            dying = [Dying()]
            dying.clear()
            assert complaints == []
            with pytest.raises(Stopped):
                threading.Event().wait(20)
    finally:
        signal.signal(signal.SIGTERM, former)
