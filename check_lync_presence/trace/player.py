"""Playing a recorded run: the check runs as it does against servers, and what those did comes from the recording.

Nothing is taken over from the recorded verdict. Owns the look-ups, the connections, and the clock, which only waits
move. Must not know messages (trace.server) nor verdicts, and touches no network and no file.
"""

from __future__ import annotations

import hashlib
import itertools
import ssl
from typing import Callable, List, Optional, Sequence, Tuple

from ..directory import Answer, DirectoryError
from ..locate import Located, Pick, Server
from ..lockout import LockoutGuard
from ..net.deadline import Clock, Deadline
from ..net.resolve import Address, ResolveError
from ..net.tasks import Job, run
from ..net.transport import Connection, TcpError, TlsError
from ..outcome import Cause, Outcome, PresenceError
from ..roundtrip import Network, World, presence_round_trip
from ..settings import Account, DirectorySettings, Settings, SettingsError
from ..stop import Stopped
from .clock import PlayedClock, PlayingSelector
from .server import PlayedConnection, Stage
from .values import Found, Recording


class Player:
    """A recorded run in the place of a world. Raises SettingsError where it cannot be played."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._clock = PlayedClock()
        self._network = _PlayedNetwork(recording, self._clock)
        self._asked = list(recording.asked)

    def world(self, world: World) -> World:
        """`world` without anything that is not recorded, but for who watches."""
        clock, now = self._clock, self._recording.now
        numbers = itertools.count()

        def token(digits: int) -> str:
            return hashlib.sha256(str(next(numbers)).encode()).hexdigest()[:digits]

        return world._replace(clock=clock, now=lambda: now + clock(), token=token, network=self._network, log=None)

    def recording(self) -> Recording:
        """What was played."""
        return self._recording._replace(messages=self._network.stage.played())

    def attempt(
        self, settings: Settings, context: Optional[ssl.SSLContext], world: World, deadline: Deadline
    ) -> Outcome:
        """The run once more, or what it came to without a round trip."""
        recording = self._recording
        if recording.began is None:
            if recording.stopped is not None:
                self._clock.now = recording.stopped
                raise Stopped
            if not recording.held_back:
                raise SettingsError("the trace cannot be played: its run has not begun")
            outcome = Outcome(settings.target, recording.held_back, (), None, None, None, dialect=settings.spoken)
        else:
            self._clock.now = recording.began
            outcome = presence_round_trip(settings._replace(timeout=recording.timeout), None, world)
        return outcome._replace(messages=self._network.stage.played(), remarks=(*outcome.remarks, *recording.remarks))

    def ask(
        self,
        settings: DirectorySettings,
        pool_of: Callable[[Account], str],
        accounts: Sequence[Tuple[Account, bool]],
        now: float,
        deadline: Deadline,
        guard: Optional[LockoutGuard] = None,
    ) -> List[Answer]:
        """What the directory has said."""
        if self._recording.stopped is not None:
            raise Stopped
        return [self._answer(account.uri) for account, _ in accounts]

    def _answer(self, user: str) -> Answer:
        for index, asked in enumerate(self._asked):
            if asked.user == user:
                del self._asked[index]
                return asked.report or DirectoryError(asked.error)
        return DirectoryError("the trace has no answer of a directory")


class _PlayedNetwork(Network):
    def __init__(self, recording: Recording, clock: PlayedClock) -> None:
        self._clock = clock
        self._stop = recording.stopped
        self._found = list(recording.found)
        self._contacts = list(recording.contacts)
        self.stage = Stage(recording, clock)

    def run(self, job: Job, clock: Clock) -> Outcome:
        outcome: Outcome = run(job, clock, PlayingSelector(self._clock, self._stop, Stopped()))
        return outcome

    async def locate(
        self, settings: Settings, target: str, connect: Optional[Tuple[str, int]], pick: Pick, deadline: Deadline
    ) -> Located:
        found = await self._look_up(target, deadline)
        if found.error:
            raise PresenceError(Cause.RESOLVE, found.error, detail=found.detail)
        return Located(found.servers, found.remarks)

    async def resolve(self, host: str, port: int, family: Optional[int], deadline: Deadline) -> Tuple[Address, ...]:
        found = await self._look_up(host, deadline)
        if found.error:
            raise ResolveError(found.error)
        return found.servers[0].addresses

    async def _look_up(self, name: str, deadline: Deadline) -> Found:
        for index, found in enumerate(self._found):
            if found.name == name and (found.error or found.servers):
                del self._found[index]
                await self.stage.wait(found.at, deadline)
                return found
        raise SettingsError(f"the trace cannot be played: it has no addresses of {name}")

    async def connect(
        self, user: str, server: Server, transport: str, context: Optional[ssl.SSLContext], deadline: Deadline
    ) -> Connection:
        for index, contact in enumerate(self._contacts):
            if contact.user == user and contact.addresses == server.addresses:
                del self._contacts[index]
                break
        else:
            raise SettingsError(f"the trace cannot be played: it has no connection of {user} to {server.addresses[0]}")
        is_over = contact.error or contact.peer is not None
        await self.stage.wait(contact.ended if is_over else float("inf"), deadline)
        if contact.failed == "TLS":
            raise TlsError(contact.error, contact.code)
        if contact.local is None or contact.peer is None:
            raise TcpError(contact.error)
        return PlayedConnection(contact, contact.local, contact.peer, self.stage)
