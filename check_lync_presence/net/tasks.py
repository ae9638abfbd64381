"""Several waits at once on one thread: coroutines that wait for sockets, run side by side until all are done.

Owns the loop. It is a small part of what asyncio does, for a fifth of what importing asyncio costs; a scheduler
starts this program thousands of times an hour. Must not know what is sent or received.
"""

from __future__ import annotations

import selectors
import socket
import types
from typing import Any, Coroutine, Dict, Generator, List, Optional, Sequence, Union

from .deadline import Clock, Deadline

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

LOOK_EVERY = 0.01  # seconds: as late as a deadline can be noticed while there is always something to do

Job = Coroutine[Any, Any, Any]


class Cancelled(BaseException):
    """Thrown into a coroutine whose result nobody needs any more."""


class _Wait:
    """For `sock`, or, where that is None, for a gate, which then puts it into `woken`; the loop sets that."""

    __slots__ = ("deadline", "events", "sock", "woken")

    def __init__(self, sock: Optional[socket.socket], events: int, deadline: Deadline) -> None:
        self.sock = sock
        self.events = events
        self.deadline = deadline
        self.woken: List[_Wait] = []


class _Group:
    """Coroutines that somebody waits for together. `cancel_at` is set once one of them has failed."""

    __slots__ = ("cancel_at", "grace", "jobs", "left", "results")

    def __init__(self, jobs: Sequence[Job], grace: float) -> None:
        self.jobs = jobs
        self.grace = grace
        self.left = len(jobs)
        self.results: List[Any] = [None] * len(jobs)
        self.cancel_at: Optional[float] = None


class _Task:
    __slots__ = ("coroutine", "group", "index", "parent")

    def __init__(self, coroutine: Job, parent: Optional[_Task], group: Optional[_Group], index: int) -> None:
        self.coroutine = coroutine
        self.parent = parent
        self.group = group
        self.index = index

    @property
    def cancel_at(self) -> Optional[float]:
        """When this task is to be given up: its own group's limit, or that of any group around it."""
        limits = []
        task: Optional[_Task] = self
        while task is not None:
            if task.group is not None and task.group.cancel_at is not None:
                limits.append(task.group.cancel_at)
            task = task.parent
        return min(limits, default=None)


@types.coroutine
def _suspend(what: Union[_Wait, _Group]) -> Generator[Union[_Wait, _Group], Any, Any]:
    return (yield what)


async def ready(sock: socket.socket, events: int, deadline: Deadline) -> None:
    """Wait until `sock` can be read or written. Raises TimeoutError at the deadline."""
    await _suspend(_Wait(sock, events, deadline))


async def together(*jobs: Job, grace: float) -> List[Any]:
    """Run coroutines side by side; their results in order, an exception standing where a job raised it.

    Once one has failed the others have `grace` seconds left; then they are cancelled and their result is Cancelled.
    """
    if not jobs:
        return []
    group = _Group(jobs, grace)
    await _suspend(group)
    return group.results


class Gate:
    """A fact that others wait for: closed until somebody calls `open`, and open from then on."""

    def __init__(self) -> None:
        self.is_open = False
        self._waits: List[_Wait] = []

    def open(self) -> None:
        self.is_open = True
        for wait in self._waits:
            wait.woken.append(wait)

    async def passed(self, deadline: Deadline) -> None:
        """Wait until the gate is open. Raises TimeoutError at the deadline."""
        if not self.is_open:
            wait = _Wait(None, 0, deadline)
            self._waits.append(wait)
            await _suspend(wait)


class Slots:
    """At most so many at a time, first come, first served."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._queue: List[Gate] = []

    async def take(self, deadline: Deadline) -> None:
        """Wait for a slot. Raises TimeoutError at the deadline."""
        if self._free:
            self._free -= 1
            return
        gate = Gate()
        self._queue.append(gate)
        try:
            await gate.passed(deadline)
        except BaseException:
            if gate in self._queue:
                self._queue.remove(gate)
            else:  # it came in the same moment
                self.give()
            raise

    def give(self) -> None:
        """Give a slot back."""
        if self._queue:
            self._queue.pop(0).open()
        else:
            self._free += 1


def run(job: Job, clock: Clock, selector: Optional[selectors.BaseSelector] = None) -> Any:
    """Run a coroutine to its end and return its result. What waits is `selector`, which is closed; else a real one."""
    with selector or selectors.DefaultSelector() as waits:
        return _Loop(waits, clock).run(job)


class _Loop:
    def __init__(self, selector: selectors.BaseSelector, clock: Clock) -> None:
        self._selector = selector
        self._clock = clock
        self._tasks: List[_Task] = []
        self._waiting: Dict[_Task, _Wait] = {}
        self._waits_for: Dict[socket.socket, _Task] = {}
        self._woken: List[_Wait] = []
        self._look_at = 0.0
        self._outcome: Any = None
        self._finished = False

    def run(self, job: Job) -> Any:
        try:
            self._step(self._task(job, None, None, 0), None)
            while not self._finished:
                self._turn()
        finally:
            self._close()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def _task(self, job: Job, parent: Optional[_Task], group: Optional[_Group], index: int) -> _Task:
        task = _Task(job, parent, group, index)
        self._tasks.append(task)
        return task

    def _close(self) -> None:
        """Close what an interruption has left, the inner before the outer: garbage collection knows no order and may
        come upon a coroutine in the middle of its closing, of which Python complains on standard error.
        """
        for task in reversed(self._tasks):
            task.coroutine.close()

    def _turn(self) -> None:
        # To ask each of many waits for its limit costs more than to deal with what has arrived. They are asked when
        # nothing has, and now and then, so that a socket that is never idle keeps nobody from his deadline.
        # Who was woken goes on in the moment in which he was.
        events = [] if self._woken else self._selector.select(0)
        if not events and not self._woken:
            limits = [wait.deadline.at for wait in self._waiting.values()]
            limits += [at for at in (task.cancel_at for task in self._waiting) if at is not None]
            events = self._selector.select(max(0.0, min(limits) - self._clock()))
            self._look_at = 0.0
        if self._woken:
            woken = self._woken[:]
            self._woken.clear()
            for task in [task for task, wait in self._waiting.items() if wait in woken]:
                self._resume(task, None)
        for key, _ in events:
            waiting = self._waits_for.get(key.fileobj)  # type: ignore[call-overload]
            if waiting is not None:
                self._resume(waiting, None)
            else:
                self._selector.unregister(key.fd)
        if self._clock() >= self._look_at:
            self._end_waits()

    def _end_waits(self) -> None:
        """Resume those whose time is over."""
        now = self._clock()
        self._look_at = now + LOOK_EVERY
        for task, wait in list(self._waiting.items()):
            if self._waiting.get(task) is not wait:
                continue  # what came before in this turn has resumed it
            cancel_at = task.cancel_at
            if cancel_at is not None and cancel_at <= now:
                self._resume(task, Cancelled())
            elif wait.deadline.at <= now:
                self._resume(task, TimeoutError())

    def _resume(self, task: _Task, error: Optional[BaseException]) -> None:
        sock = self._waiting.pop(task).sock
        if sock is not None:
            del self._waits_for[sock]
        self._step(task, error)

    def _watch(self, sock: socket.socket, events: int) -> None:
        # It stays watched when its wait is over: most are waited for again at once. It is forgotten when it is ready
        # and nobody waits for it, or when its number has gone to another one.
        number = sock.fileno()
        known = self._selector.get_map().get(number)
        if known is not None and (known.fileobj, known.events) == (sock, events):
            return
        if known is not None:
            self._selector.unregister(number)
        self._selector.register(sock, events)

    def _step(self, task: _Task, error: Optional[BaseException]) -> None:
        try:
            request = task.coroutine.throw(error) if error is not None else task.coroutine.send(None)
        except StopIteration as stop:
            self._end(task, stop.value)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:
            self._end(task, failure)
        else:
            if isinstance(request, _Wait):
                if request.sock is not None:
                    self._watch(request.sock, request.events)
                    self._waits_for[request.sock] = task
                else:
                    request.woken = self._woken
                self._waiting[task] = request
            else:
                for child in [self._task(job, task, request, index) for index, job in enumerate(request.jobs)]:
                    self._step(child, None)

    def _end(self, task: _Task, result: Any) -> None:
        group = task.group
        if group is None or task.parent is None:
            self._outcome, self._finished = result, True
            return
        group.results[task.index] = result
        group.left -= 1
        if isinstance(result, BaseException) and group.cancel_at is None:
            group.cancel_at = self._clock() + group.grace
        if not group.left:
            self._step(task.parent, None)
