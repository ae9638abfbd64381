"""The arithmetic of time limits, on a clock that stands still until it is told to go on."""

from __future__ import annotations

from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.net.deadline import Deadline

from ..strategies import many

spans = st.floats(0, 10_000)


class FakeClock:
    """A monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_remains_shrinks_with_the_clock(clock: FakeClock) -> None:
    deadline = Deadline(40, clock)
    clock.now += 15
    assert deadline.remaining == 25


def test_what_remains_is_never_negative(clock: FakeClock) -> None:
    deadline = Deadline(1, clock)
    clock.now += 5
    assert deadline.remaining == 0


def test_a_step_takes_no_more_than_what_remains(clock: FakeClock) -> None:
    whole = Deadline(40, clock)
    clock.now += 35
    step = whole.within(32)
    assert (step.limit, step.at) == (5, whole.at)


def test_a_step_takes_no_more_than_its_own_limit(clock: FakeClock) -> None:
    step = Deadline(40, clock).within(3)
    assert (step.limit, step.at) == (3, 1003)


def test_a_step_after_the_end_has_no_time(clock: FakeClock) -> None:
    whole = Deadline(40, clock)
    clock.now += 50
    assert whole.within(3).remaining == 0


def test_a_negative_step_has_no_time(clock: FakeClock) -> None:
    assert Deadline(40, clock).within(-3).remaining == 0


def test_a_deadline_can_be_brought_forward(clock: FakeClock) -> None:
    deadline = Deadline(40, clock)
    clock.now += 2
    deadline.shorten(25)
    assert (deadline.remaining, deadline.limit) == (25, 25)


def test_a_deadline_cannot_be_put_off(clock: FakeClock) -> None:
    deadline = Deadline(40, clock)
    clock.now += 30
    deadline.shorten(25)
    assert (deadline.remaining, deadline.limit) == (10, 40)


@many
@given(whole=spans, steps=st.lists(st.tuples(spans, spans), max_size=8))
def test_no_chain_of_steps_ends_after_the_whole(whole: float, steps: List[tuple[float, float]]) -> None:
    clock = FakeClock()
    first = deadline = Deadline(whole, clock)
    for passed, limit in steps:
        clock.now += passed
        deadline = deadline.within(limit)
        assert deadline.remaining <= limit + 1e-9
        assert clock.now + deadline.remaining <= max(first.at, clock.now) + 1e-9


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (25.0, "25"),
        (32, "32"),
        (0.45, "0.45"),
        (3.6000001, "3.6"),
        (3.594, "3.59"),
        (999.7, "1000"),
        (1234.0, "1234"),
        (3600, "3600"),
        (0.0, "0"),
    ],
)
def test_its_span_for_a_text_has_no_exponent(clock: FakeClock, seconds: float, text: str) -> None:
    assert Deadline(seconds, clock).span == text
