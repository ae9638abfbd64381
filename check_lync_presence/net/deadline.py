"""The one clock of a run: how long there is still time.

Owns the arithmetic of time limits; every wait below takes the smaller of its own limit and what remains.
"""

from __future__ import annotations

from typing import Callable

Clock = Callable[[], float]


class Deadline:
    """A point on a monotonic clock. `limit` is the span in seconds it was made of, for texts that name it."""

    __slots__ = ("at", "clock", "limit")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.clock = clock
        self.limit = seconds
        self.at = clock() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock())

    @property
    def span(self) -> str:
        """`limit` for a text: three significant digits, whole seconds from a thousand on, so without an exponent."""
        return f"{self.limit:.3g}" if self.limit < 999.5 else f"{self.limit:.0f}"

    def within(self, seconds: float) -> Deadline:
        """A deadline `seconds` from now, or this one's end where that comes first."""
        return Deadline(max(0.0, min(seconds, self.remaining)), self.clock)

    def shorten(self, seconds: float) -> None:
        """Bring the end forward to `seconds` from now; whoever waits for this deadline waits no longer."""
        sooner = self.clock() + seconds
        if sooner < self.at:
            self.at, self.limit = sooner, seconds
