"""Standard output: whoever reads it, or has stopped, or has gone, the verdict is neither held up nor changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Iterator, Optional, TextIO, Tuple

import pytest

from check_lync_presence import stdout
from check_lync_presence.stdout import patient

from .commands import Simulator, environment, run_check, write_accounts

F_SETPIPE_SZ = 1031  # fcntl has it by name from Python 3.10 on
MORE_THAN_A_PIPE_HOLDS = "0123456789abcde\n" * 20_000


@pytest.fixture
def pipe() -> Iterator[Tuple[int, TextIO]]:
    """The end that is read, and what a process has as its standard output at the other one."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="ascii") as begun_with:
        yield reading, begun_with
        with contextlib.suppress(OSError):
            os.close(reading)


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "PATIENCE", 0.2)


def tell(begun_with: TextIO, text: str, stderr: Optional[TextIO] = None) -> float:
    """Write all of `text`; the seconds that it took."""
    output = patient(begun_with, stderr)
    assert output is not None
    began = time.monotonic()
    output.write(text)
    output.flush()
    return time.monotonic() - began


def test_a_reader_gets_everything_however_slow_he_is(pipe: Tuple[int, TextIO]) -> None:
    reading, begun_with = pipe
    heard = bytearray()

    def read() -> None:
        while len(heard) < len(MORE_THAN_A_PIPE_HOLDS):
            heard.extend(os.read(reading, 30_000))
            time.sleep(0.02)

    reader = threading.Thread(target=read)
    reader.start()
    tell(begun_with, MORE_THAN_A_PIPE_HOLDS)
    reader.join()
    assert heard.decode() == MORE_THAN_A_PIPE_HOLDS


@pytest.mark.usefixtures("in_a_hurry")
def test_a_reader_that_has_stopped_is_given_up_once(pipe: Tuple[int, TextIO]) -> None:
    _, begun_with = pipe
    assert 0.15 < tell(begun_with, 3 * MORE_THAN_A_PIPE_HOLDS) < 2.0


@pytest.mark.usefixtures("in_a_hurry")
def test_the_patience_is_for_all_the_pauses_of_a_reader_together(pipe: Tuple[int, TextIO]) -> None:
    reading, begun_with = pipe
    stop = threading.Event()

    def dawdle() -> None:
        while not stop.wait(0.05):
            os.read(reading, 5000)

    reader = threading.Thread(target=dawdle)
    reader.start()
    took = tell(begun_with, 3 * MORE_THAN_A_PIPE_HOLDS)
    stop.set()
    reader.join()
    assert took < 2.0


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize("at", ["a terminal", "no terminal"])
def test_who_pages_through_it_at_a_terminal_has_time(pipe: Tuple[int, TextIO], at: str) -> None:
    reading, begun_with = pipe
    heard = bytearray()

    def page() -> None:
        time.sleep(1.0)
        while chunk := os.read(reading, 30_000):
            heard.extend(chunk)

    pager = threading.Thread(target=page)
    pager.start()
    master, terminal = pty.openpty()
    with os.fdopen(terminal, "w", encoding="ascii") as screen:
        tell(begun_with, MORE_THAN_A_PIPE_HOLDS, screen if at == "a terminal" else begun_with)
    begun_with.close()
    pager.join()
    os.close(master)
    assert (heard.decode() == MORE_THAN_A_PIPE_HOLDS) == (at == "a terminal")


def test_a_reader_that_has_gone_is_no_error(pipe: Tuple[int, TextIO]) -> None:
    reading, begun_with = pipe
    os.close(reading)
    assert tell(begun_with, MORE_THAN_A_PIPE_HOLDS) < 1.0


def test_a_full_disk_is_no_error() -> None:
    with open("/dev/full", "w", encoding="ascii") as begun_with:
        tell(begun_with, "verdict\n")


def test_a_pipe_that_does_not_block_gets_everything_as_well(pipe: Tuple[int, TextIO]) -> None:
    reading, begun_with = pipe
    os.set_blocking(begun_with.fileno(), False)
    test_a_reader_gets_everything_however_slow_he_is((reading, begun_with))


def test_what_a_locale_cannot_say_is_replaced(pipe: Tuple[int, TextIO]) -> None:
    reading, begun_with = pipe
    tell(begun_with, "caf\u00e9\n")
    assert os.read(reading, 100) == b"caf?\n"


def test_without_a_standard_output_there_is_none() -> None:
    assert patient(None, None) is None


@pytest.mark.parametrize("reader", ["deaf", "gone"])
def test_the_exit_code_is_the_verdict_whoever_reads_it(tmp_path: Path, reader: str) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, F_SETPIPE_SZ, 4096)
    simulator = Simulator(write_accounts(tmp_path / "accounts.ini"))
    with simulator:
        command = [sys.executable, "-m", "check_lync_presence", *simulator.named(), "-vvv"]
        assert len(run_check(*command[3:]).stdout) > 8192
        with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, env=environment()) as process:
            os.close(writing)
            if reader == "gone":
                os.close(reading)
            assert process.wait(30) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
    if reader == "deaf":
        os.close(reading)
