"""SIGTERM: how a scheduler ends a check that takes longer than it allows.

Owns the signal. What a stopped run says is up to whoever catches Stopped.
"""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from types import FrameType
from typing import Any, Optional

# What Python calls when an object dies (of importlib, weakref, and everybody's own): it would print what they raise on
# standard error, and go on.
_DEAF = frozenset(("cb", "remove", "_remove", "__del__"))
SOON = 0.005  # seconds


class Stopped(KeyboardInterrupt):
    """Somebody wants this process to end at once. `stuck_in` is what was waited for before a run could begin."""

    stuck_in = ""


def watch_for_sigterm() -> None:
    """From here on SIGTERM raises Stopped, wherever the main thread is."""
    signal.signal(signal.SIGTERM, _stop)


def finish_anyway() -> None:
    """From here on only a verdict is printed, which takes no time: SIGTERM must not lose it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _stop(_: Any, frame: Optional[FrameType]) -> None:
    while frame is not None:
        if frame.f_code.co_name in _DEAF:
            again = threading.Timer(SOON, signal.pthread_kill, (threading.get_ident(), signal.SIGTERM))
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    finish_anyway()
    # Nor must it complain of what is left half done from here on.
    sys.unraisablehook = _ignore
    warnings.simplefilter("ignore")
    raise Stopped


def _ignore(_: object) -> None:
    pass
