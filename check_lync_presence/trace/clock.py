"""Time that can be told again: a clock that moves only where the run waits, in a recorded run as in a played one.

Whatever a run reads between two waits shows the same time, so that who waits for the same things again reads the same
times. Owns the clock and the two selectors that move it. Must not know what is waited for.
"""

from __future__ import annotations

import contextlib
import selectors
from typing import Any, List, Mapping, Optional, Tuple

from ..net.deadline import Clock, Deadline
from ..net.tasks import Gate

TICK = 1e-6  # seconds; what happens one after the other has different times
DIGITS = 6


class StepClock:
    """Seconds since it was made, in whole ticks. While it is `held`, and it is so at first, only a wait moves it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._zero = clock()
        self.held = True
        self.now = 0.0

    def __call__(self) -> float:
        if not self.held:
            self.now = self.live()
        return self.now

    def live(self) -> float:
        """What it would show if nobody held it."""
        return round(self._clock() - self._zero, DIGITS)

    def later(self) -> float:
        """What it would show if nobody held it, but later than it shows."""
        return round(max(self.live(), self.now + TICK), DIGITS)


async def until(due: float, deadline: Deadline) -> None:
    """Wait until the clock shows `due`, or for as long as the deadline lets us; somebody may shorten it meanwhile."""
    with contextlib.suppress(TimeoutError):
        await Gate().passed(_Sooner(due, deadline))


class _Sooner(Deadline):
    """A moment, or a deadline where that comes first."""

    def __init__(self, due: float, deadline: Deadline) -> None:
        self._due = due
        self._deadline = deadline

    @property
    def at(self) -> float:  # type: ignore[override]
        return min(self._due, self._deadline.at)


class PlayedClock:
    """A clock that nothing moves but a wait."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class RecordingSelector(selectors.BaseSelector):
    """A real selector that moves a StepClock: by what it has waited, and one event at a time."""

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock
        self._real = selectors.DefaultSelector()

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        limit = self._clock.now + (timeout or 0.0)
        # The clock may be behind by what the run did since it has waited.
        events = self._real.select(max(0.0, limit - self._clock.live()) if timeout else timeout)
        if timeout and (not events or self._clock.live() >= limit):
            self._clock.now = limit  # what comes later than somebody's limit comes after it
            return []
        if events:
            self._clock.now = self._clock.later()
        return events[:1]

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class PlayingSelector(selectors.BaseSelector):
    """Waits by moving a PlayedClock; nothing is ever ready. At `stop` it raises what `stopped` is."""

    def __init__(self, clock: PlayedClock, stop: Optional[float], stopped: BaseException) -> None:
        self._clock = clock
        self._stop = stop
        self._stopped = stopped

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        limit = self._clock.now + (timeout or 0.0)
        if timeout and self._stop is not None and limit >= self._stop:
            self._clock.now = self._stop
            raise self._stopped
        self._clock.now = limit
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise AssertionError("a played run has no sockets")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise AssertionError("a played run has no sockets")

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}
