"""One user's end of one connection: requests out and their responses in, and an answer to whatever the server asks
meanwhile.

Owns the order of octets on a connection. Must not know which request comes next (dialects) nor what the verdict is
(roundtrip). A Guard, where a dialect has set one, signs what goes out and judges what comes in.
"""

from __future__ import annotations

import contextlib
from typing import Callable, Dict, List, Optional, Protocol, Sequence, Tuple, Union

from .net.deadline import Clock, Deadline
from .net.transport import Connection, PeerGoneError, TlsError, TransportError, UnreachableError
from .outcome import Cause, PresenceError, Signature, WireMessage
from .sip.dialog import Dialog
from .sip.framing import StreamFramer, read_datagram
from .sip.message import Message, ParseError, Request, Response
from .sip.transaction import BRANCH_COOKIE, T1, T2, TIMER_F, answer, belongs, identity

MAX_ANSWERED = 100  # of the server's requests whose answers can be repeated, over UDP
MAX_INBOX = 1000  # notifications that nobody has asked for yet; a flood drops the oldest
MAX_INBOX_OCTETS = 4 * 1024 * 1024  # the same, of all their bodies
MAX_OCTETS = 32 * 1024 * 1024  # of messages that are kept; a run with a hundred front ends has 4 MB

Token = Callable[[int], str]


class MessageLog(List[WireMessage]):
    """Messages, up to MAX_OCTETS of them; `left_out` came after those."""

    def __init__(self) -> None:
        super().__init__()
        self._octets = 0
        self.left_out = 0

    def append(self, message: WireMessage) -> None:
        self._octets += len(message.data)
        if self._octets > MAX_OCTETS:
            self.left_out += 1
        else:
            super().append(message)


def newest(messages: Sequence[Request], count: int, octets: int) -> List[Request]:
    """The last of `messages`: at most `count`, with at most `octets` in all their bodies."""
    kept: List[Request] = []
    for message in reversed(messages[-count:]):
        octets -= len(message.body)
        if octets < 0:
            break
        kept.insert(0, message)
    return kept


class Guard(Protocol):
    """What protects the messages of a connection once a user is signed in.

    `signature` is what the last message that was judged by `accept` came with.
    """

    signature: Signature

    def sign(self, message: Message) -> Message:
        """`message` with this end's signature."""
        ...

    def accept(self, message: Message) -> bool:
        """Whether a message of the server may be used; raises PresenceError if it must end the run."""
        ...


class UserAgent:
    """A user on a connection. `token(n)` gives n random hexadecimal digits; `log`, if not None, collects messages;
    `credentials` is told of every value of an Authorization header that is sent.

    `garbled` is what was wrong with a datagram that has come since the last request and is no message.
    """

    def __init__(
        self,
        user: str,
        connection: Connection,
        token: Token,
        clock: Clock,
        log: Optional[List[WireMessage]],
        credentials: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.user = user
        self.connection = connection
        self.token = token
        self.guard: Optional[Guard] = None
        self.dialogs: List[Dialog] = []
        self.patience = TIMER_F  # seconds for a server that has not said anything yet
        self.heard = False
        self._clock = clock
        self._log = log
        self._credentials = credentials
        self._framer = StreamFramer()
        self._arrived = 0.0
        self._recorded_rest = b""
        self._inbox: List[Request] = []
        self._pending: Optional[Request] = None
        self._response: Optional[Response] = None
        self._provisional = False
        self.garbled: Optional[ParseError] = None
        self._answered: Dict[Tuple[str, str, str], Optional[Response]] = {}
        self.retransmissions = 0

    @property
    def transport(self) -> str:
        return "TLS" if self.connection.tls is not None else self.connection.name

    def via(self) -> str:
        """A Via value with a fresh branch."""
        return f"SIP/2.0/{self.transport} {self.connection.local};branch={BRANCH_COOKIE}{self.token(16)}"

    async def request(self, request: Request, deadline: Deadline) -> Response:
        """Send a request and wait for its final response. Raises PresenceError."""
        limit = deadline.within(TIMER_F if self.heard else self.patience)
        self._pending, self._response, self._provisional, self.garbled = request, None, False, None
        try:
            await self._send(request, limit)
            while self._response is None:
                if self.connection.reliable:
                    await self._receive(limit)
                else:
                    await self._receive_or_repeat(request, limit)
        except TimeoutError:
            if self.garbled is not None:
                raise self._not_sip(self.garbled) from None
            raise PresenceError(
                Cause.NO_ANSWER, f"No answer to {request.method} in {limit.span} secs.", detail=request.method
            ) from None
        finally:
            self._pending = None
        return self._response

    async def _receive_or_repeat(self, request: Request, limit: Deadline) -> None:
        """Wait over UDP: the request is sent again after T1, twice that, … at most T2 (RFC 3261 17.1.2.2, timer E)."""
        interval = T1
        while self._response is None:
            step = limit.within(T2 if self._provisional else interval)
            try:
                while self._response is None:
                    await self._receive(step)
            except TimeoutError:
                if not limit.remaining:
                    raise
                self.retransmissions += 1
                await self._send(request, limit)
                interval = min(2 * interval, T2)

    async def notification(self, dialog: Dialog, deadline: Deadline) -> Request:
        """The next NOTIFY or BENOTIFY in `dialog`. Raises TimeoutError, PresenceError."""
        while True:
            if not deadline.remaining:  # there may be more here than there is time to read
                raise TimeoutError
            for index, request in enumerate(self._inbox):
                if request.call_id == dialog.call_id:
                    return self._inbox.pop(index)
            await self._receive(deadline)

    async def overhear(self, deadline: Deadline) -> None:
        """Deal with what the server has sent unasked, until the deadline. Raises PresenceError."""
        with contextlib.suppress(TimeoutError):
            while True:
                await self._receive(deadline)

    def close(self) -> None:
        self.connection.close()
        self._record_rest()

    async def _send(self, message: Message, deadline: Deadline) -> None:
        if self.guard is not None:
            message = self.guard.sign(message)
        for name, value in message.headers:
            if name.endswith("Authorization"):
                self._credentials(value)
        self._record(True, message)
        try:
            await self.connection.send(bytes(message), deadline)
        except PeerGoneError:  # that this is noticed here and not at the next look is chance: it is the same fault
            raise self._closed() from None
        except TransportError as error:
            raise self._broken(error) from None

    async def _receive(self, deadline: Deadline) -> None:
        """Wait for octets and deal with the messages that they complete."""
        try:
            data = await self.connection.receive(deadline)
            if not data:
                raise self._closed()
            if self._log is not None:
                self._arrived = self._clock()
            await self._read(data, deadline)
        except UnreachableError as error:
            raise PresenceError(Cause.CONNECT, f"{error}.") from None
        except TransportError as error:
            raise self._broken(error) from None
        except ParseError as error:
            self._record_rest()
            raise self._not_sip(error) from None
        except TimeoutError:
            if self._framer.partial:
                self._record_rest()
                text = f"No more than half a message in {deadline.span} secs."
                raise PresenceError(Cause.NO_ANSWER, text) from None
            raise

    async def _read(self, data: bytes, deadline: Deadline) -> None:
        if self.connection.reliable:
            for message in self._framer.feed(data):
                await self._take(message, deadline)
            return
        try:
            for message in read_datagram(data):
                await self._take(message, deadline)
        except ParseError as error:
            # Anybody may have sent it. It is what is wrong where nothing better comes.
            self._record(False, data, sip=False)
            self.garbled = error

    async def _take(self, message: Message, deadline: Deadline) -> None:
        self.heard = True
        if isinstance(message, Response):
            expected = self._pending is not None and belongs(message, self._pending)
            self._provisional |= expected and message.status < 200
            # Provisional answers may be unsigned; answers to nothing we asked are nobody's.
            if not expected or message.status < 200:
                self._record(False, message)
            elif self._accepted(message):
                self._response = message
            return
        if not self._accepted(message):
            return
        if not self.connection.reliable and identity(message) in self._answered:
            # Our answer was lost, or came late: it is repeated, and the request is not looked at again.
            self.retransmissions += 1
            former = self._answered[identity(message)]
            if former is not None:
                await self._send(former, deadline)
            return
        dialog = next((dialog for dialog in self.dialogs if dialog.owns(message)), None)
        late = dialog is not None and not dialog.in_order(message)
        reply = answer(message, dialog is not None, self.token(8), late)
        if reply is not None:
            await self._send(reply, deadline)
        if not self.connection.reliable:
            self._answered[identity(message)] = reply
            if len(self._answered) > MAX_ANSWERED:
                del self._answered[next(iter(self._answered))]
        if dialog is not None and not late and message.method in ("NOTIFY", "BENOTIFY"):
            self._inbox = newest([*self._inbox, message], MAX_INBOX, MAX_INBOX_OCTETS)

    def _accepted(self, message: Message) -> bool:
        """What the guard says of a message, if there is one."""
        if self.guard is None:
            self._record(False, message)
            return True
        try:
            return self.guard.accept(message)
        finally:
            self._record(False, message, self.guard.signature)

    def _broken(self, error: TransportError) -> PresenceError:
        if isinstance(error, TlsError):
            return PresenceError(Cause.TLS, f"{error}.", detail=error.code)
        return PresenceError(Cause.CLOSED, f"{error}.", detail=str(self.connection.peer))

    def _not_sip(self, error: ParseError) -> PresenceError:
        return PresenceError(Cause.PROTOCOL, f"The answer is not SIP: {error}.", detail=str(self.connection.peer))

    def _closed(self) -> PresenceError:
        self._record_rest()
        where = " in the middle of a message" if self._framer.partial else ""
        return PresenceError(
            Cause.CLOSED, f"The server closed the connection{where}.", detail=str(self.connection.peer)
        )

    def _record(
        self,
        sent: bool,
        message: Union[Message, bytes],
        signature: Optional[Signature] = None,
        sip: bool = True,
    ) -> None:
        if self._log is not None:
            at = self._clock() if sip else self._arrived
            number = self.connection.number
            self._log.append(WireMessage(at, self.user, sent, bytes(message), signature, number, sip))

    def _record_rest(self) -> None:
        """Record what has come and is no whole message, each octet once."""
        if self._log is not None and self._framer.partial:
            rest, known = self._framer.rest, self._recorded_rest
            self._recorded_rest = rest
            if rest != known:
                self._record(False, rest[len(known) :] if rest.startswith(known) else rest, sip=False)
