"""The command line in this very process: what it prints and its exit code, without the price of a new interpreter."""

from __future__ import annotations

import contextlib
import io
import logging
import signal
from pathlib import Path
from typing import Any

import nagiosplugin
import pytest

from check_lync_presence.cli import main

from .commands import ANN_PASSWORD, BEN_PASSWORD, Finished, Simulator


def run_here(*arguments: str) -> Finished:
    """Run the check with these arguments."""
    logger, handler = logging.getLogger("nagiosplugin"), signal.getsignal(signal.SIGTERM)
    handlers, output, errors = list(logger.handlers), io.StringIO(), io.StringIO()
    runtime: Any = nagiosplugin.runtime.Runtime
    runtime.instance = None
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as end:
            main(list(arguments))
    finally:
        runtime.instance = None
        logger.handlers[:] = handlers
        signal.signal(signal.SIGTERM, handler)
    assert isinstance(end.value.code, int)
    return Finished(end.value.code, output.getvalue(), errors.getvalue())


def replay(trace: Path, *arguments: str) -> Finished:
    """Judge a recorded run again."""
    return run_here("--replay", str(trace), *arguments)


def recorded(simulator: Simulator, folder: Path, *arguments: str) -> Path:
    """The trace of a run against a simulator; it is judged again as it was."""
    trace = folder / "run.jsonl"
    options = ("-vvv", "--timeout", "1", "--notify-timeout", "0.4", "--state-dir", str(folder / "state"))
    result = run_here(*simulator.named(), *options, "--trace", str(trace), *arguments)
    return judged_again(result, trace)


def judged_again(result: Finished, trace: Path) -> Path:
    """A trace whose replay says what `result` said, to the last digit, and in which there is no secret."""
    again = replay(trace)
    assert again.stdout == result.stdout
    assert (again.code, again.stderr, result.stderr) == (result.code, "", "")
    assert "UNKNOWN" not in result.first_line
    assert "not written" not in result.stdout
    text = trace.read_text(encoding="ascii")
    assert ANN_PASSWORD not in text
    assert BEN_PASSWORD not in text
    assert trace.stat().st_mode & 0o777 == 0o600
    return trace
