"""What a person at a terminal sees while the check runs, and that nobody else ever sees it."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from check_lync_presence.outcome import NOTIFY, PUBLISH, REGISTER, Activity
from check_lync_presence.report.progress import ERASE, Progress

from ..commands import POOL, Simulator, environment, write_accounts
from ..samples import ANN, BEN

VERDICT = "LYNC PRESENCE OK - sip:ann@contoso.example reached sip:ben@contoso.example"


class Terminal:
    """A pseudo terminal: one end is a process's, the other one ours."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()

    def read(self) -> str:
        """All that is written until nobody has the other end any more."""
        os.close(self.theirs)
        octets = b""
        while True:
            try:
                more = os.read(self._ours, 65536)
            except OSError:  # Linux says EIO where others say end of file
                more = b""
            if not more:
                os.close(self._ours)
                return octets.decode()
            octets += more

    def read_until(self, words: str) -> str:
        """What is written up to `words`."""
        text = b""
        while words.encode() not in text:
            text += os.read(self._ours, 65536)
        return text.decode()


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    running = Simulator(write_accounts(tmp_path_factory.mktemp("progress") / "accounts.ini"), "--tls", "0")
    with running:
        yield running


def command(simulator: Simulator) -> List[str]:
    where = ["--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"]]
    check = [sys.executable, "-m", "check_lync_presence", "-H", POOL, "--accounts", str(simulator.accounts)]
    return check + where


def visible(text: str) -> str:
    """What is left on the screen: of a line only what follows its last erasure."""
    return "\n".join(line.rpartition("\x1b[K")[2].rstrip("\r") for line in text.split("\n"))


def test_a_person_at_a_terminal_sees_each_activity_and_then_the_verdict_alone(simulator: Simulator) -> None:
    terminal = Terminal()
    process = subprocess.Popen(
        command(simulator),
        stdin=subprocess.DEVNULL,
        stdout=terminal.theirs,
        stderr=terminal.theirs,
        env=environment(TERM="xterm"),
    )
    said = terminal.read()
    assert process.wait(20) == 0
    lines = [line.strip("\r") for line in said.partition("LYNC")[0].split(ERASE)]
    assert lines[1] == f"looking for {POOL} …"
    assert f"Register {ANN.uri} and {BEN.uri} …" in lines
    assert any(line.startswith("PublishPresence ") for line in lines)
    assert lines[-1] == ""
    assert visible(said).startswith(VERDICT)


@pytest.mark.parametrize("piped", ["stdout", "stderr", "both"])
def test_a_scheduler_sees_nothing_of_it(simulator: Simulator, piped: str) -> None:
    terminal = Terminal()
    ends = {"stdout": terminal.theirs, "stderr": terminal.theirs}
    ends.update(dict.fromkeys(("stdout", "stderr") if piped == "both" else (piped,), subprocess.PIPE))
    process = subprocess.Popen(command(simulator), stdin=subprocess.DEVNULL, env=environment(), **ends)  # type: ignore[call-overload]
    output, errors = process.communicate(timeout=20)
    on_terminal = terminal.read()
    assert process.returncode == 0
    assert not errors
    verdict = output.decode() if piped != "stderr" else on_terminal
    assert verdict.startswith(VERDICT)
    assert "\x1b" not in verdict + on_terminal
    assert piped != "stdout" or on_terminal == ""


def test_a_terminal_that_cannot_take_a_line_away_is_shown_the_verdict_alone(simulator: Simulator) -> None:
    terminal = Terminal()
    process = subprocess.Popen(
        command(simulator), stdin=subprocess.DEVNULL, stdout=terminal.theirs, stderr=terminal.theirs,
        env=environment(TERM="dumb"),
    )  # fmt: skip
    said = terminal.read()
    assert process.wait(20) == 0
    assert said.startswith(VERDICT)


def test_the_line_is_gone_when_the_check_is_ended_from_outside(tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini")
    silent = Simulator(accounts, "--tls", "0", "--fault", "no-answer=register")
    with silent:
        terminal = Terminal()
        process = subprocess.Popen(
            command(silent),
            stdin=subprocess.DEVNULL,
            stdout=terminal.theirs,
            stderr=terminal.theirs,
            env=environment(TERM="xterm"),
        )
        said = terminal.read_until(f"and {BEN.uri}")
        process.send_signal(signal.SIGTERM)
        said += terminal.read()
        assert process.wait(20) == 2
    assert visible(said).startswith("LYNC PRESENCE CRITICAL - Register failed for both users: Not over after")


def test_where_there_is_no_terminal_nothing_of_it_is_imported(simulator: Simulator) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command(simulator)[1:]], capture_output=True, encoding="utf-8",
        env=environment(), check=True, timeout=20,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "check_lync_presence.plugin" in imported
    assert "check_lync_presence.report.progress" not in imported


def began(name: str, user: str) -> Activity:
    return Activity(name, user, 0.0, None)


def test_the_line_is_never_wider_than_the_terminal_and_shows_no_control_characters() -> None:
    terminal = Terminal()
    told: List[Activity] = []
    with open(os.dup(terminal.theirs), "w", encoding="utf-8") as file:
        progress = Progress(file, told.append)
        progress.watch(began(REGISTER, "sip:" + "a" * 200 + "\x1b[2J"))
        progress.close()
    (line,) = re.findall(r"Register[^\r]*", terminal.read())
    assert len(line) == 79
    assert "\x1b" not in line
    assert len(told) == 1


def test_what_is_over_is_taken_out_and_what_is_under_way_stays() -> None:
    terminal = Terminal()
    steps: Tuple[Activity, ...] = (began(PUBLISH, ANN.uri), began(NOTIFY, BEN.uri))
    with open(os.dup(terminal.theirs), "w", encoding="utf-8") as file:
        progress = Progress(file, lambda _: None)
        for step in (*steps, steps[0]._replace(ended=1.0), steps[1]._replace(ended=1.0)):
            progress.watch(step)
    last = terminal.read().split(ERASE)[-1]
    assert last.startswith(NOTIFY)
    assert ANN.uri not in last


class Gone(io.StringIO):
    """A terminal that somebody has closed."""

    def flush(self) -> None:
        raise OSError("Input/output error")


def test_a_terminal_that_has_gone_away_costs_no_verdict() -> None:
    told: List[Activity] = []
    progress = Progress(Gone(), told.append)
    progress.watch(began(REGISTER, ANN.uri))
    progress.close()
    assert told == [began(REGISTER, ANN.uri)]
