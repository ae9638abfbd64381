"""Recording a run while it takes place.

A Recorder stands around the world of a run: its clock, its network, its log. Owns what is noted of connections and
look-ups; the messages are noted by whoever sends and reads them (useragent). Must not know files.
"""

from __future__ import annotations

import platform
import ssl
from typing import Callable, List, Optional, Sequence, Tuple

from ..attempt import attempt
from ..directory import Answer, Report
from ..directory import ask as ask_directory
from ..locate import Located, Pick, Server
from ..lockout import LockoutGuard
from ..net.deadline import Clock, Deadline
from ..net.resolve import Address, ResolveError
from ..net.tasks import Job, run
from ..net.transport import Connection, PeerGoneError, TlsError, TransportError, UnreachableError
from ..outcome import Outcome, PresenceError
from ..roundtrip import Network, World
from ..settings import Account, DirectorySettings, Settings
from ..useragent import MessageLog
from ..versions import versions
from .clock import RecordingSelector, StepClock, until
from .values import Asked, Break, Contact, Found, Recording


class Recorder:
    """What is noted of one run, told by `settings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._now = 0.0
        self._log = MessageLog()
        self._network: Optional[_RecordingNetwork] = None
        self._stopped: Optional[float] = None
        self._asked: List[Asked] = []
        self._outcome: Optional[Outcome] = None

    def world(self, world: World) -> World:
        """`world` with this recorder around it."""
        clock, now = StepClock(world.clock), world.now()
        self._now = now
        self._network = _RecordingNetwork(clock)
        return world._replace(clock=clock, now=lambda: now + clock(), network=self._network, log=self._log)

    def attempt(
        self, settings: Settings, context: Optional[ssl.SSLContext], world: World, deadline: Deadline
    ) -> Outcome:
        """See attempt.attempt."""
        assert self._network is not None
        clock = self._network.clock
        clock.held = False
        try:
            self._outcome = attempt(settings, context, world, deadline)
        except KeyboardInterrupt:
            self._stopped = clock()
            clock.held = True
            raise
        return self._outcome

    def ask(
        self,
        settings: DirectorySettings,
        pool_of: Callable[[Account], str],
        accounts: Sequence[Tuple[Account, bool]],
        now: float,
        deadline: Deadline,
        guard: Optional[LockoutGuard] = None,
    ) -> List[Answer]:
        """See directory.ask."""
        try:
            answers = ask_directory(settings, pool_of, accounts, now, deadline, guard)
        except KeyboardInterrupt:
            self._stopped = deadline.clock()
            raise
        for (account, _), answer in zip(accounts, answers):
            if isinstance(answer, Report):
                self._asked.append(Asked(account.uri, answer))
            else:
                self._asked.append(Asked(account.uri, None, str(answer)))
        return answers

    def recording(self) -> Recording:
        """What has been noted so far."""
        network, outcome = self._network, self._outcome
        assert network is not None
        tripped = network.outcome
        return Recording(
            settings=self._settings,
            now=self._now,
            versions={**versions(), "system": platform.platform()},
            began=network.began,
            timeout=network.timeout,
            stopped=self._stopped,
            found=tuple(network.found),
            contacts=tuple(network.contacts),
            breaks=tuple(network.breaks),
            messages=tuple(sorted(self._log, key=lambda message: message.at)),
            asked=tuple(self._asked),
            held_back=outcome.failures if outcome is not None and network.began is None else (),
            remarks=outcome.remarks[len(tripped.remarks) :] if outcome is not None and tripped is not None else (),
            complete=not self._log.left_out,
        )


class _RecordingNetwork(Network):
    def __init__(self, clock: StepClock) -> None:
        self.clock = clock
        self.began: Optional[float] = None
        self.timeout = 0.0
        self.outcome: Optional[Outcome] = None
        self.found: List[Found] = []
        self.contacts: List[Contact] = []
        self.breaks: List[Break] = []

    def since_start(self) -> float:
        return self.clock() - (self.began or 0.0)

    def run(self, job: Job, clock: Clock) -> Outcome:
        self.began = self.clock()
        self.clock.held = True
        try:
            self.outcome = run(job, clock, RecordingSelector(self.clock))
        finally:
            self.clock.held = False
        return self.outcome

    async def locate(
        self, settings: Settings, target: str, connect: Optional[Tuple[str, int]], pick: Pick, deadline: Deadline
    ) -> Located:
        self.timeout = settings.timeout
        try:
            located = await super().locate(settings, target, connect, pick, deadline)
        except PresenceError as error:
            self.found.append(Found(self.since_start(), target, error=str(error), detail=error.detail))
            raise
        self.found.append(Found(self.since_start(), target, located.servers, located.remarks))
        return located

    async def resolve(self, host: str, port: int, family: Optional[int], deadline: Deadline) -> Tuple[Address, ...]:
        try:
            addresses = await super().resolve(host, port, family, deadline)
        except ResolveError as error:
            self.found.append(Found(self.since_start(), host, error=str(error)))
            raise
        self.found.append(Found(self.since_start(), host, (Server(host, addresses),)))
        return addresses

    async def connect(
        self, user: str, server: Server, transport: str, context: Optional[ssl.SSLContext], deadline: Deadline
    ) -> Connection:
        began, place = self.since_start(), len(self.contacts)
        contact = Contact(place + 1, user, server.name, server.addresses, transport, began, began)
        self.contacts.append(contact)
        try:
            connection = await super().connect(user, server, transport, context, deadline)
        except TransportError as error:
            is_tls = isinstance(error, TlsError)
            self.contacts[place] = contact._replace(
                ended=self.since_start(),
                error=str(error),
                failed="TLS" if is_tls else "TCP",
                code=error.code if isinstance(error, TlsError) else "",
            )
            raise
        self.contacts[place] = contact._replace(
            ended=self.since_start(), local=connection.local, peer=connection.peer, tls=connection.tls
        )
        return _RecordedConnection(connection, contact.number, self, self.clock)


class _RecordedConnection(Connection):
    """A connection; notes how it ended, and lets time pass where nobody had to wait for what came."""

    def __init__(self, real: Connection, number: int, network: _RecordingNetwork, clock: StepClock) -> None:
        self._real = real
        self._network = network
        self._clock = clock
        self.number = number
        self.name, self.reliable = real.name, real.reliable
        self.local, self.peer, self.tls = real.local, real.peer, real.tls

    async def send(self, data: bytes, deadline: Deadline) -> None:
        try:
            await self._real.send(data, deadline)
        except TransportError as error:
            self._note(str(error), sending=True, gone=isinstance(error, PeerGoneError))
            raise

    async def receive(self, deadline: Deadline) -> bytes:
        before = self._clock.now
        try:
            data = await self._real.receive(deadline)
            if self._clock.now == before:
                await until(self._clock.later(), deadline)
        except TransportError as error:
            self._note(str(error), unreachable=isinstance(error, UnreachableError))
            raise
        if not data:
            self._note("")
        return data

    def close(self) -> None:
        self._real.close()

    def _note(self, error: str, unreachable: bool = False, sending: bool = False, gone: bool = False) -> None:
        at = self._network.since_start()
        self._network.breaks.append(Break(at, self.number, error, unreachable, sending, gone))
