"""A clock that only waits move: what is read between two waits is one time, in a recorded run as in a played one."""

from __future__ import annotations

import itertools
import socket
from typing import List

import pytest

from check_lync_presence.net.deadline import Deadline
from check_lync_presence.net.tasks import READ, Gate, ready, run, together
from check_lync_presence.stop import Stopped
from check_lync_presence.trace.clock import PlayedClock, PlayingSelector, RecordingSelector, StepClock, until


def ticking(step: float = 0.001) -> StepClock:
    """A clock whose time goes on with every look at it."""
    times = itertools.count(100.0, step)
    return StepClock(lambda: next(times))


def test_a_held_clock_stands_still() -> None:
    clock = ticking()
    assert [clock(), clock(), clock()] == [0.0, 0.0, 0.0]
    clock.held = False
    first, second = clock(), clock()
    assert 0 < first < second


def test_a_clock_that_is_held_again_shows_what_it_showed() -> None:
    clock = ticking()
    clock.held = False
    shown = clock()
    clock.held = True
    assert clock() == shown


def test_what_is_later_is_later_even_where_no_time_has_passed() -> None:
    clock = StepClock(lambda: 5.0)
    assert clock.later() == 0.000001


def test_a_wait_for_a_socket_moves_the_clock_once() -> None:
    clock = ticking()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        seen: List[float] = []

        async def wait() -> None:
            await ready(ours, READ, Deadline(10, clock))
            seen.extend([clock(), clock()])

        run(wait(), clock, RecordingSelector(clock))
    assert seen[0] == seen[1] > 0


def test_sockets_that_are_ready_together_are_served_one_after_the_other() -> None:
    clock = ticking()
    pairs = [socket.socketpair() for _ in range(3)]
    seen: List[float] = []

    async def wait(sock: socket.socket) -> None:
        await ready(sock, READ, Deadline(10, clock))
        seen.append(clock())

    for _, theirs in pairs:
        theirs.send(b"x")
    run(together(*(wait(ours) for ours, _ in pairs), grace=0.0), clock, RecordingSelector(clock))
    for ours, theirs in pairs:
        ours.close()
        theirs.close()
    assert len(set(seen)) == 3


@pytest.mark.parametrize("played", [False, True])
def test_a_limit_is_over_when_it_is_over_and_not_later(played: bool) -> None:
    clock = PlayedClock() if played else ticking()
    selector = PlayingSelector(clock, None, Stopped()) if isinstance(clock, PlayedClock) else RecordingSelector(clock)
    seen: List[float] = []

    async def wait(seconds: float) -> None:
        with pytest.raises(TimeoutError):
            await Gate().passed(Deadline(seconds, clock))
        seen.append(clock())

    run(together(wait(0.02), wait(0.01), grace=0.0), clock, selector)
    assert seen == [0.01, 0.02]


def test_a_played_day_takes_no_time() -> None:
    clock = PlayedClock()

    async def wait() -> float:
        await until(86400.0, Deadline(100_000, clock))
        return clock()

    assert run(wait(), clock, PlayingSelector(clock, None, Stopped())) == 86400.0


def test_until_ends_with_a_deadline_that_is_brought_forward() -> None:
    clock = PlayedClock()
    limit = Deadline(50, clock)

    async def shorten() -> None:
        await until(10.0, Deadline(100, clock))
        limit.shorten(5)

    async def wait() -> float:
        await until(40.0, limit)
        return clock()

    assert run(together(wait(), shorten(), grace=0.0), clock, PlayingSelector(clock, None, Stopped()))[0] == 15.0


def test_a_played_run_is_stopped_when_the_recorded_one_was() -> None:
    clock = PlayedClock()
    with pytest.raises(Stopped):
        run(until(10.0, Deadline(20, clock)), clock, PlayingSelector(clock, 3.0, Stopped()))
    assert clock() == 3.0
