"""SIGTERM: how a scheduler ends a check that takes longer than it allows.

Owns the signal. What a stopped run says is up to whoever catches Stopped.
"""

from __future__ import annotations

import signal
import warnings
from typing import Any, NoReturn


class Stopped(KeyboardInterrupt):
    """Somebody wants this process to end at once. `stuck_in` is what was waited for before a run could begin."""

    stuck_in = ""


def watch_for_sigterm() -> None:
    """From here on SIGTERM raises Stopped, wherever the main thread is."""
    signal.signal(signal.SIGTERM, _stop)


def finish_anyway() -> None:
    """From here on only a verdict is printed, which takes no time: SIGTERM must not lose it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _stop(*_: Any) -> NoReturn:
    finish_anyway()
    # Coroutines that were made and not yet begun are thrown away: Python would say so on standard error.
    warnings.simplefilter("ignore", RuntimeWarning)
    raise Stopped
