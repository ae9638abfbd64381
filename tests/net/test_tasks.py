"""Waits side by side: results, failures, grace, cancellation, and nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import socket
import time
from typing import Any, Iterator, List, Optional, Tuple

import pytest

from check_lync_presence.net import tasks
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.net.tasks import READ, WRITE, Cancelled, Gate, Slots, ready, run, together

from ..loopback import finish, soon

Pair = Tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def second_pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


async def returns(value: Any) -> Any:
    return value


async def fails(error: BaseException) -> None:
    raise error


async def reads(sock: socket.socket, deadline: Deadline) -> bytes:
    await ready(sock, READ, deadline)
    return sock.recv(100)


async def notes_its_end(sock: socket.socket, deadline: Deadline, ends: List[str]) -> None:
    try:
        await ready(sock, READ, deadline)
    except BaseException as end:
        ends.append(type(end).__name__)
        raise


def test_a_coroutine_that_never_waits_gives_its_result() -> None:
    assert finish(returns(42)) == 42


def test_an_error_of_the_coroutine_is_raised() -> None:
    with pytest.raises(KeyError):
        finish(fails(KeyError("x")))


def test_a_readable_socket_is_ready(pair: Pair) -> None:
    pair[1].send(b"hello")
    assert finish(reads(pair[0], soon())) == b"hello"


def test_a_writable_socket_is_ready(pair: Pair) -> None:
    finish(ready(pair[0], WRITE, soon()))
    with pytest.raises(TimeoutError):
        finish(ready(pair[0], READ, soon(0.01)))


def test_the_wait_ends_at_the_deadline_and_not_before(pair: Pair) -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        finish(ready(pair[0], READ, soon(0.05)))
    assert 0.05 <= time.monotonic() - started < 1


def test_a_deadline_that_has_passed_ends_the_wait_at_once(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        finish(ready(pair[0], READ, soon(0)))


def test_results_stand_in_the_order_of_the_jobs_and_not_of_their_ends(pair: Pair, second_pair: Pair) -> None:
    async def answers_first() -> bytes:
        data = await reads(second_pair[0], soon())
        pair[1].send(b"slow")
        return data

    second_pair[1].send(b"quick")
    assert finish(together(reads(pair[0], soon()), answers_first(), grace=1)) == [b"slow", b"quick"]


def test_nothing_together_is_an_empty_list() -> None:
    assert finish(together(grace=1)) == []


def test_a_failure_stands_where_its_result_would() -> None:
    first, second = finish(together(fails(ValueError("no")), returns("yes"), grace=1))
    assert isinstance(first, ValueError)
    assert second == "yes"


def test_what_is_left_when_one_has_failed_is_cancelled_after_the_grace(pair: Pair) -> None:
    started = time.monotonic()
    _, second = finish(together(fails(ValueError("no")), reads(pair[0], soon()), grace=0.05))
    assert isinstance(second, Cancelled)
    assert 0.05 <= time.monotonic() - started < 1


def test_without_grace_what_is_left_is_cancelled_at_once(pair: Pair) -> None:
    started = time.monotonic()
    first, _ = finish(together(reads(pair[0], soon()), fails(ValueError("no")), grace=0))
    assert isinstance(first, Cancelled)
    assert time.monotonic() - started < 1


def test_what_ends_within_the_grace_has_its_result(pair: Pair) -> None:
    async def fails_once_read() -> None:
        pair[1].send(b"in time")
        raise ValueError

    assert finish(together(reads(pair[0], soon()), fails_once_read(), grace=5))[0] == b"in time"


def test_a_second_failure_within_the_grace_is_kept_too(pair: Pair) -> None:
    first, second = finish(together(fails(ValueError("no")), reads(pair[0], soon(0.01)), grace=5))
    assert isinstance(first, ValueError)
    assert isinstance(second, TimeoutError)


def test_a_second_failure_does_not_prolong_the_grace(pair: Pair, second_pair: Pair) -> None:
    # A grace that began anew would end after the third one's own deadline.
    jobs = (fails(ValueError()), reads(pair[0], soon(0.1)), reads(second_pair[0], soon(0.45)))
    results = finish(together(*jobs, grace=0.4))
    assert [type(result) for result in results] == [ValueError, TimeoutError, Cancelled]


def test_a_timeout_of_one_leaves_the_other_its_own_time(pair: Pair, second_pair: Pair) -> None:
    ends: List[str] = []
    finish(together(notes_its_end(pair[0], soon(0.02), ends), notes_its_end(second_pair[0], soon(0.06), ends), grace=5))
    assert ends == ["TimeoutError", "TimeoutError"]


def test_a_cancelled_coroutine_can_clean_up(pair: Pair) -> None:
    ends: List[str] = []
    finish(together(fails(ValueError("no")), notes_its_end(pair[0], soon(), ends), grace=0))
    assert ends == ["Cancelled"]


def test_who_has_a_deadline_brought_forward_waits_no_longer(pair: Pair) -> None:
    deadline = soon()

    async def shortens() -> None:
        deadline.shorten(0.02)

    started = time.monotonic()
    result, _ = finish(together(reads(pair[0], deadline), shortens(), grace=0))
    assert isinstance(result, TimeoutError)
    assert time.monotonic() - started < 1


def test_groups_nest(pair: Pair, second_pair: Pair) -> None:
    async def inner() -> List[Any]:
        return await together(reads(pair[0], soon()), returns(2), grace=1)

    pair[1].send(b"1")
    second_pair[1].send(b"3")
    assert finish(together(inner(), reads(second_pair[0], soon()), grace=1)) == [[b"1", 2], b"3"]


def test_a_failure_around_a_group_cancels_what_is_in_it(pair: Pair) -> None:
    async def inner() -> List[Any]:
        return await together(reads(pair[0], soon()), reads(pair[1], soon()), grace=5)

    results, _ = finish(together(inner(), fails(ValueError("no")), grace=0))
    assert [type(result) for result in results] == [Cancelled, Cancelled]


def test_a_failure_inside_a_group_does_not_reach_what_is_around_it(pair: Pair) -> None:
    async def inner() -> List[Any]:
        return await together(fails(ValueError("no")), grace=0)

    pair[1].send(b"untouched")
    (failure,), outer = finish(together(inner(), reads(pair[0], soon()), grace=0))
    assert isinstance(failure, ValueError)
    assert outer == b"untouched"


def test_what_comes_to_a_socket_that_nobody_waits_for_keeps_the_loop_idle(
    pair: Pair, second_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: List[float] = []

    class Counting(selectors.DefaultSelector):
        def select(self, timeout: Optional[float] = None) -> Any:
            turns.append(timeout or 0.0)
            return super().select(timeout)

    async def job() -> bytes:
        pair[1].send(b"1")
        await reads(pair[0], soon())
        pair[1].send(b"nobody waits for it")
        with pytest.raises(TimeoutError):
            await reads(second_pair[0], soon(0.2))
        return await reads(pair[0], soon())

    monkeypatch.setattr(selectors, "DefaultSelector", Counting)
    assert finish(job()) == b"nobody waits for it"
    assert len(turns) < 12


def test_a_socket_is_waited_for_under_the_number_of_one_that_was_closed(pair: Pair, second_pair: Pair) -> None:
    async def job() -> bytes:
        pair[1].send(b"old ")
        old = await reads(pair[0], soon())
        number = pair[0].fileno()
        pair[0].close()
        with socket.socket(fileno=os.dup2(second_pair[0].fileno(), number)) as heir:
            second_pair[1].send(b"new")
            return old + await reads(heir, soon())

    assert finish(job()) == b"old new"


def test_a_socket_is_waited_for_now_to_be_read_and_now_to_be_written(pair: Pair) -> None:
    async def job() -> bytes:
        await ready(pair[0], WRITE, soon())
        pair[1].send(b"1")
        first = await reads(pair[0], soon())
        await ready(pair[0], WRITE, soon())
        pair[1].send(b"2")
        return first + await reads(pair[0], soon())

    assert finish(job()) == b"12"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes_at_once(pair: Pair, interruption: type[BaseException]) -> None:
    with pytest.raises(interruption):
        finish(together(reads(pair[0], soon()), fails(interruption()), grace=5))


def test_an_interruption_of_the_wait_closes_every_coroutine_without_a_word(
    pair: Pair, second_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: List[str] = []

    class Interrupted(selectors.DefaultSelector):
        def select(self, timeout: Any = None) -> Any:
            raise KeyboardInterrupt

    async def outer() -> None:
        try:
            await together(notes_its_end(pair[0], soon(), ends), notes_its_end(second_pair[0], soon(), ends), grace=1)
        finally:
            ends.append("outer")

    monkeypatch.setattr(selectors, "DefaultSelector", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(outer(), time.monotonic)
    assert ends == ["GeneratorExit", "GeneratorExit", "outer"]


def test_an_interruption_of_one_has_closed_the_others_when_it_arrives(pair: Pair) -> None:
    # Left to garbage collection, their order is anybody's guess, and Python may complain on standard error.
    ends: List[str] = []

    async def named(name: str, work: Any) -> None:
        try:
            await work
        finally:
            ends.append(name)

    async def interrupted() -> None:
        raise KeyboardInterrupt

    waiting = named("inner", named("innermost", ready(pair[0], READ, soon())))
    with pytest.raises(KeyboardInterrupt) as interruption:
        finish(named("outer", together(waiting, interrupted(), grace=5)))
    assert ends == ["innermost", "inner", "outer"]
    assert interruption.value.__traceback__ is not None  # which keeps alive what is not closed


def test_what_has_not_begun_when_another_is_interrupted_is_closed_too(recwarn: pytest.WarningsRecorder) -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(together(interrupted(), returns(1), grace=5))
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


def test_many_jobs_take_turns(pair: Pair) -> None:
    turns: List[int] = []

    async def job(number: int, sock: socket.socket) -> None:
        for _ in range(3):
            await ready(sock, WRITE, soon())
            turns.append(number)

    finish(together(job(1, pair[0]), job(2, pair[1]), grace=1))
    assert sorted(turns[:2]) == [1, 2]
    assert sorted(turns) == [1, 1, 1, 2, 2, 2]


def test_cancelled_is_no_exception_that_a_job_catches_by_accident() -> None:
    assert not issubclass(tasks.Cancelled, Exception)


# ------------------------------------------------------------ gates and slots


async def passes(gate: Gate, deadline: Deadline, order: List[str], name: str) -> None:
    await gate.passed(deadline)
    order.append(name)


async def opens(gate: Gate, order: List[str]) -> None:
    order.append("open")
    gate.open()


def test_everybody_passes_a_gate_once_it_is_open() -> None:
    gate = Gate()
    order: List[str] = []
    jobs = [passes(gate, soon(), order, "a"), passes(gate, soon(), order, "b"), opens(gate, order)]
    assert finish(together(*jobs, grace=1)) == [None] * 3
    assert order == ["open", "a", "b"]
    finish(passes(gate, soon(), order, "late"))
    assert order[-1] == "late"


def test_a_gate_that_stays_closed_is_waited_for_until_the_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        finish(Gate().passed(soon(0.05)))
    assert 0.05 <= time.monotonic() - started < 1


def test_a_gate_that_opens_too_late_troubles_nobody(pair: Pair) -> None:
    gate = Gate()

    async def too_late() -> bytes:
        with contextlib.suppress(TimeoutError):
            await gate.passed(soon(0.01))
        gate.open()
        pair[1].send(b"afterwards")
        return await reads(pair[0], soon())

    assert finish(too_late()) == b"afterwards"


def test_a_busy_socket_keeps_nobody_from_his_deadline(pair: Pair, second_pair: Pair) -> None:
    async def busy(until: Deadline) -> None:
        while until.remaining:
            await ready(pair[0], WRITE, until)

    started = time.monotonic()
    _, waited = finish(together(busy(soon(0.5)), reads(second_pair[0], soon(0.05)), grace=1))
    assert isinstance(waited, TimeoutError)
    assert time.monotonic() - started >= 0.5


def test_no_more_than_the_slots_are_taken_at_a_time() -> None:
    slots, gate = Slots(2), Gate()
    taken: List[int] = []
    most = 0

    async def worker(number: int) -> None:
        nonlocal most
        await slots.take(soon())
        taken.append(number)
        most = max(most, len(taken))
        if number == 1:
            gate.open()
        await gate.passed(soon())
        taken.remove(number)
        slots.give()

    assert finish(together(*map(worker, range(5)), grace=1)) == [None] * 5
    assert (most, taken) == (2, [])


def test_whoever_gives_up_waiting_leaves_his_place_to_the_next() -> None:
    slots, gate = Slots(1), Gate()

    async def keeps() -> None:
        await slots.take(soon())
        await gate.passed(soon())
        slots.give()

    async def gives_up() -> None:
        await slots.take(soon(0.01))

    async def patient() -> str:
        await slots.take(soon())
        return "has it"

    async def ends_it() -> None:
        with contextlib.suppress(TimeoutError):
            await Gate().passed(soon(0.05))
        gate.open()

    _, gave_up, had, _ = finish(together(keeps(), gives_up(), patient(), ends_it(), grace=5))
    assert isinstance(gave_up, TimeoutError)
    assert had == "has it"
