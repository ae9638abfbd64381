"""Whatever a check waits for, it ends by --timeout and a second, and at once when its scheduler says so.

Starting a process takes as long as the machine likes; it is not the check's waiting, and is not held against it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Tuple, Union

import pytest

from ..commands import ANN_PASSWORD, BEN_PASSWORD, Finished, environment
from .phases import PHASES, Phase

TIMEOUT = 1.0  # seconds
LATE = 1.0  # by which a check may be late
START = 4.0  # that a busy machine may take to start and end a process; what is not bounded takes ten and more
AT_ONCE = 2.0  # seconds from SIGTERM to the end; they are 0.006 where nothing else runs, and this machine may be busy

phases = pytest.mark.parametrize("name", PHASES)


def started(phase: Phase, *arguments: str) -> subprocess.Popen[str]:
    stdin: Union[int, IO[str]] = subprocess.DEVNULL if phase.stdin is None else phase.stdin
    return subprocess.Popen(
        [*phase.command, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    )


def ended(process: subprocess.Popen[str]) -> Finished:
    output, errors = process.communicate(timeout=60)
    assert errors == ""
    assert "internal error" not in output
    assert ANN_PASSWORD not in output
    assert BEN_PASSWORD not in output
    return Finished(process.returncode, output, errors)


def waiting(phase: Phase, *arguments: str) -> subprocess.Popen[str]:
    """A check that has come to where it waits."""
    process = started(phase, *arguments)
    end = time.monotonic() + 30
    while not phase.waits():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


def stopped(process: subprocess.Popen[str], *signals: int) -> Tuple[Finished, float]:
    """What a check says that gets these signals, and how long after them it has ended."""
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
    result = ended(process)
    print(f"TOOK {time.monotonic() - began:.3f}")
    return result, time.monotonic() - began


@phases
def test_the_time_is_kept_whatever_is_waited_for(tmp_path: Path, name: str) -> None:
    with PHASES[name](tmp_path) as phase:
        began = time.monotonic()
        result = ended(started(phase, "--timeout", str(TIMEOUT)))
        took = time.monotonic() - began
    assert result.code == phase.code, result.stdout
    assert phase.in_time in result.stdout
    assert took < TIMEOUT + LATE + START


@phases
def test_sigterm_ends_it_at_once_and_it_says_what_it_was_stuck_in(tmp_path: Path, name: str) -> None:
    with PHASES[name](tmp_path) as phase:
        result, took = stopped(waiting(phase), signal.SIGTERM)
    assert result.code == phase.stopped, result.stdout
    assert re.search(phase.stuck_in, result.first_line), result.stdout
    assert "SIGTERM" in result.stdout
    assert took < AT_ONCE
    if phase.stopped == 2:
        assert "success=0" in result.first_line
        assert [line.partition(" ")[0] for line in result.lines[1:6]] == [
            "TargetFqdn", "Result", "Latency", "Error", "Diagnosis"
        ]  # fmt: skip


SILENT = "a server that accepts and is silent"


@pytest.mark.parametrize("more", [[signal.SIGTERM], [signal.SIGTERM] * 5, [signal.SIGINT]], ids=str)
def test_a_second_signal_does_not_cost_the_verdict_of_the_first(tmp_path: Path, more: Tuple[int, ...]) -> None:
    with PHASES[SILENT](tmp_path) as phase:
        result, _ = stopped(waiting(phase), signal.SIGTERM, *more)
    assert result.code == 2
    assert re.search(r"Not over after \d+\.\d s, then SIGTERM", result.first_line)


def test_sigint_twice_is_one_line_and_nothing_else(tmp_path: Path) -> None:
    with PHASES[SILENT](tmp_path) as phase:
        result, took = stopped(waiting(phase), signal.SIGINT, signal.SIGINT)
    assert (result.code, result.stdout) == (3, "LYNC PRESENCE UNKNOWN - interrupted\n")
    assert took < AT_ONCE


def test_sigterm_with_nobody_to_read_the_verdict_has_its_exit_code(tmp_path: Path) -> None:
    with PHASES[SILENT](tmp_path) as phase:
        process = waiting(phase)
        assert process.stdout is not None
        process.stdout.close()
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(20) == 2
        process.stderr.close()


def test_a_password_command_ends_with_the_check_that_started_it(tmp_path: Path) -> None:
    with PHASES["a password command"](tmp_path) as phase:
        process = waiting(phase)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        stopped(process, signal.SIGTERM)
    assert not os.path.exists(f"/proc/{children[0]}")


def test_what_a_password_command_took_is_taken_from_the_run(tmp_path: Path) -> None:
    with PHASES["a password command"](tmp_path) as hanging, PHASES[SILENT](tmp_path) as phase:
        path = tmp_path / "accounts.ini"
        path.write_text(path.read_text().replace("exec tail -f /dev/null", "sleep 0.6; echo x"))
        began = time.monotonic()
        result = ended(started(phase, "--timeout", "4"))
        assert hanging.waits()
    assert time.monotonic() - began < 4 + LATE + START
    found = re.search(r"No answer to REGISTER in ([\d.]+) secs", result.stdout)
    assert found is not None, result.stdout
    assert float(found.group(1)) < (4 - 0.6) * 0.9 + 0.01  # without the log-off's share


@pytest.mark.parametrize(
    "option",
    ["accounts", "publisher-password-file", "ca-file", "client-cert", "client-key", "state-dir", "ldap-password-file"],
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, option: str) -> None:
    with PHASES["a handshake of TLS"](tmp_path) as phase:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe, 0o600)
        more = {
            "client-key": ["--client-cert", str(tmp_path / "accounts.ini")],
            "ldap-password-file": ["--ldap-uri", "ldaps://127.0.0.1:9", "--ldap-bind", "x"],
        }.get(option, [])
        began = time.monotonic()
        result = ended(started(phase, *more, f"--{option}", str(pipe), "--timeout", str(TIMEOUT)))
    assert time.monotonic() - began < TIMEOUT + LATE + START
    assert result.code == (2 if option == "state-dir" else 3)
    assert option == "state-dir" or "a regular file" in result.stdout
