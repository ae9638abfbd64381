"""Standard output to whoever reads it: one that has gone, or has stopped reading, neither holds up a verdict nor
changes the exit code that carries it.

Owns the writing. Must not know what is written.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import select
import time
from typing import Any, Optional, TextIO

PATIENCE = 5.0  # seconds for which a program that reads may keep us waiting, all in all


class _Reader(io.RawIOBase):
    """A descriptor that always takes everything: what its reader does not want goes nowhere."""

    def __init__(self, descriptor: int, patience: float) -> None:
        self._descriptor = descriptor
        self._left = patience

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._left:
            with contextlib.suppress(OSError):
                if self._takes_some():  # and then a pipe takes so many at once
                    return os.write(self._descriptor, data[: select.PIPE_BUF])
            self._left = 0.0
        return len(data)

    def _takes_some(self) -> bool:
        waits = select.poll()
        waits.register(self._descriptor, select.POLLOUT)
        began = time.monotonic()
        ready = waits.poll(None if self._left == math.inf else self._left * 1000)
        self._left = max(0.0, self._left - (time.monotonic() - began))
        return bool(ready)


def patient(stdout: Optional[TextIO], stderr: Optional[TextIO]) -> Optional[TextIO]:
    """`stdout`, as the process began with it, as an output that no reader can hold up; None if there is none.

    Only somebody at a terminal can: a scheduler gives a check none as `stderr`, and who pages through it has time.
    """
    if stdout is None:
        return None
    patience = math.inf if stderr is not None and stderr.isatty() else PATIENCE
    return io.TextIOWrapper(
        io.BufferedWriter(_Reader(stdout.fileno(), patience)),
        encoding=stdout.encoding,
        errors="replace",  # a scheduler's locale must not turn a verdict into an encoding error
        line_buffering=stdout.isatty(),
    )
