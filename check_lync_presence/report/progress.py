"""The activity under way, for a person at a terminal: one line on standard error that is gone before the verdict comes.

Owns that line. Nobody imports this where standard error or standard output is no terminal.
"""

from __future__ import annotations

import contextlib
import os
from typing import Callable, List, TextIO, Tuple

from ..outcome import Activity
from .text import clean

WIDTH = 80  # columns, where the terminal does not tell
ERASE = "\r\x1b[K"  # to the first column, and nothing to the right of it (ECMA-48: EL)


class Progress:
    """Shows what has begun and is not over. It passes on what it is told to `watch`; `close` leaves an empty line."""

    def __init__(self, terminal: TextIO, watch: Callable[[Activity], None]) -> None:
        self._terminal = terminal
        self._watch = watch
        self._under_way: List[Tuple[str, str]] = []

    def watch(self, activity: Activity) -> None:
        """Show the change, and pass it on."""
        self._watch(activity)
        about = (activity.name, activity.user)
        if activity.ended is None:
            self._under_way.append(about)
        elif about in self._under_way:
            self._under_way.remove(about)
        if self._under_way:
            self.say(_words(self._under_way))

    def close(self) -> None:
        """Take the line away."""
        self._write(ERASE)

    def say(self, text: str) -> None:
        """Show this instead of what is there."""
        try:
            width = os.get_terminal_size(self._terminal.fileno()).columns or WIDTH
        except (OSError, ValueError):
            width = WIDTH
        self._write(ERASE + clean(f"{text} …", width - 1))  # one column less: a full line would wrap

    def _write(self, text: str) -> None:
        # A terminal may go away, or lack a character.
        with contextlib.suppress(OSError, ValueError):
            self._terminal.write(text)
            self._terminal.flush()


def _words(under_way: List[Tuple[str, str]]) -> str:
    users = {name: [user for other, user in under_way if other == name] for name, _ in under_way}
    return ", ".join(f"{name} {' and '.join(dict.fromkeys(whom))}" for name, whom in users.items())
