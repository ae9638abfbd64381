"""The server's end of a recorded connection: recorded messages are answered by what answered them, at its time.

What was random is random anew when a run is played, so the recorded messages get the new run's Call-IDs, tags and
marker; and what was signed is signed again, with the keys of the new run's sign-in. What was not signed, or wrongly, is
neither here. Must not know what the messages are for.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import itertools
import re
from typing import Dict, Iterator, List, Optional, Tuple, Union

from ..lync import ntlm
from ..lync.association import (
    AuthHeader,
    ReplayWindow,
    challenges,
    credentials_header,
    server_signature,
    signed_text,
)
from ..net.deadline import Deadline
from ..net.resolve import Address
from ..net.transport import Connection, PeerGoneError, TransportError, UnreachableError
from ..outcome import Signature, WireMessage
from ..settings import SettingsError
from ..sip.framing import StreamFramer
from ..sip.message import CREDENTIALS_HEADER, Message, ParseError, Response
from ..sip.uri import AddressError, parse_name_addr
from ..value import NamedTuple
from .clock import DIGITS, PlayedClock, until
from .plain import PASSWORD
from .values import Break, Contact, Recording

SCHEMES = ("ntlm", "digest")  # the sign-ins that one can be the other end of
LEAST_WORD = 8  # letters; what is shorter may as well be a word of the protocol as one that was made up at random

_WORD = re.compile(rb"[0-9A-Za-z-]+")
_NONCE = re.compile(rb'\bnonce="\*\*\*"')
_LENGTH = re.compile(rb"\r\nContent-Length: [0-9]+")
_SIGNATURE = b'rspauth="***"'


class Stage:
    """What the connections of a played run share: the time, and which words of the record stand for which new ones."""

    def __init__(self, recording: Recording, clock: PlayedClock) -> None:
        self._clock = clock
        self._zero = recording.began or 0.0
        self._entries: Dict[int, List[_Entry]] = {}
        self._messages = recording.messages
        for message in recording.messages:
            self.entries(message.connection).append(_Entry(message, self._due(message.at)))
        for broken in recording.breaks:
            entry, others = _Entry(broken, self._due(broken.at)), self.entries(broken.number)
            # What is sent in that moment is sent because of it.
            later = (index for index, other in enumerate(others) if other.is_sent and other.due >= entry.due)
            others.insert(next(later, len(others)), entry)
        self._words: Dict[bytes, bytes] = {}
        self.nonces = itertools.count(1)

    def entries(self, connection: int) -> List[_Entry]:
        """What happened on a connection, in order."""
        return self._entries.setdefault(connection, [])

    def played(self) -> Tuple[WireMessage, ...]:
        """The recorded messages that have been sent and received again."""
        over = {id(entry.happened) for entries in self._entries.values() for entry in entries if entry.is_over}
        return tuple(message for message in self._messages if id(message) in over)

    @property
    def now(self) -> float:
        return self._clock.now

    async def wait(self, at: float, deadline: Deadline) -> None:
        """Wait until so many seconds after the start, or for as long as the deadline lets us."""
        await self.wait_until(self._due(at), deadline)

    async def wait_until(self, due: float, deadline: Deadline) -> None:
        """Wait until the clock shows `due`, or for as long as the deadline lets us."""
        if due > self._clock.now:
            await until(due, deadline)

    def learn(self, recorded: Message, sent: Message) -> None:
        """Take note of what in a message that is sent is not as it was recorded."""
        for former, new in _texts(recorded, sent):
            words, others = _WORD.findall(former), _WORD.findall(new)
            if len(words) == len(others):
                self._words.update(
                    (word, other) for word, other in zip(words, others) if word != other and len(word) >= LEAST_WORD
                )

    def renewed(self, recorded: bytes) -> bytes:
        """What was recorded, with the words of this run."""
        return _WORD.sub(lambda found: self._words.get(found.group(), found.group()), recorded)

    def _due(self, at: float) -> float:
        return round(self._zero + at, DIGITS)


class _Entry:
    """Something that happened on a connection, when it is due on the clock, and whether it has happened again."""

    def __init__(self, happened: Union[WireMessage, Break], due: float) -> None:
        self.happened = happened
        self.due = due
        self.is_over = False
        self.data: Optional[bytes] = None
        self.sent: Optional[Message] = None
        if isinstance(happened, WireMessage):
            self.connection = happened.connection
            if happened.sent:
                self.sent = _parsed(happened.data)
        else:
            self.connection = happened.number

    @property
    def is_sent(self) -> bool:
        """Whether it was ours."""
        return isinstance(self.happened, WireMessage) and self.happened.sent

    @property
    def ends_sending(self) -> bool:
        return isinstance(self.happened, Break) and self.happened.sending


class _Session(NamedTuple):
    """What signs the server's messages, and which numbers it has signed with."""

    keys: ntlm.SessionKeys
    version: int
    window: ReplayWindow


class PlayedConnection(Connection):
    """A connection to a server that does what was recorded."""

    def __init__(self, contact: Contact, local: Address, peer: Address, stage: Stage) -> None:
        self.reliable = contact.transport != "udp"
        self.name = "TCP" if self.reliable else "UDP"
        self.local, self.peer, self.tls = local, peer, contact.tls
        self.number = contact.number
        self._entries = stage.entries(contact.number)
        for entry in self._entries:
            if entry.sent is not None:
                _refuse_others(entry.sent)
        self._stage = stage
        self._reached = 0  # entries before this one may happen, those of ours after it have not
        self._advance(-1)
        self._begun = 0  # so many octets of the next message have come
        self._challenge = b""
        self._session: Optional[_Session] = None
        self._is_closed = False

    async def send(self, data: bytes, deadline: Deadline) -> None:
        for entry in self._entries:
            if entry.ends_sending and not entry.is_over and entry.due <= self._stage.now:
                entry.is_over = True
                assert isinstance(entry.happened, Break)
                raise (PeerGoneError if entry.happened.gone else TransportError)(entry.happened.error)
        (message,) = StreamFramer().feed(data)
        for index, entry in enumerate(self._entries):
            if entry.sent is not None and not entry.is_over and _kind(entry.sent) == _kind(message):
                entry.is_over = True
                self._advance(index)
                self._stage.learn(entry.sent, message)
                break
        self._sign_in(message)

    async def receive(self, deadline: Deadline) -> bytes:
        while True:
            entry = next(self._to_come(), None)
            if entry is not None and entry.due <= self._stage.now:
                return self._happen(entry)
            if self._is_closed:
                return b""
            if not deadline.remaining:
                raise TimeoutError
            await self._stage.wait_until(entry.due if entry is not None else float("inf"), deadline)

    def close(self) -> None:
        pass

    def _advance(self, index: int) -> None:
        """What follows entry `index`, up to our next message, may happen."""
        following = (later for later in range(index + 1, len(self._entries)) if self._entries[later].is_sent)
        self._reached = max(self._reached, next(following, len(self._entries)))

    def _to_come(self) -> Iterator[_Entry]:
        for entry in self._entries[: self._reached]:
            if not entry.is_over and not entry.is_sent and not entry.ends_sending:
                yield entry

    def _happen(self, entry: _Entry) -> bytes:
        entry.is_over = True
        happened = entry.happened
        if isinstance(happened, Break):
            if happened.unreachable:
                raise UnreachableError(happened.error)
            if happened.error:
                raise TransportError(happened.error)
            self._is_closed = True
            return b""
        data = self._octets(entry, happened)
        if self.reliable:  # what came in one piece comes in one piece
            for other in self._entries:
                if other.due != entry.due or other.is_over or other.is_sent or isinstance(other.happened, Break):
                    continue
                other.is_over = True
                data += self._octets(other, other.happened)
        return data

    def _octets(self, entry: _Entry, message: WireMessage) -> bytes:
        """What comes at an entry: a message, or half of one whose other half comes later."""
        whole = entry
        if not message.sip and self.reliable:
            following = self._entries[self._entries.index(entry) + 1 :]
            whole = next((other for other in following if _is_received(other)), entry)
        if whole.data is None and isinstance(whole.happened, WireMessage):
            whole.data = self._again(whole.happened)
        data, begun = whole.data or b"", self._begun
        if whole is entry:
            self._begun = 0
            return data[begun:]
        self._begun = min(begun + len(message.data), len(data) - 1)
        return data[begun : self._begun]

    def _again(self, recorded: WireMessage) -> bytes:
        """A message of the server for this run."""
        head, end, body = recorded.data.partition(b"\r\n\r\n")
        # A server's nonces are different, and whoever answers one must see that.
        head = _NONCE.sub(lambda _: b'nonce="%d"' % next(self._stage.nonces), self._stage.renewed(head))
        body = self._stage.renewed(body)
        if recorded.sip:
            head = _LENGTH.sub(b"\r\nContent-Length: %d" % len(body), head)
        data = head + end + body
        message = _parsed(data) if recorded.sip else None
        if message is None:
            return data
        if isinstance(message, Response) and message.status in CREDENTIALS_HEADER:
            offer = challenges(message).get("ntlm")
            if offer is not None and offer.get("gssapi-data"):
                self._challenge = _decoded(offer)
        signature = self._signature(message, recorded.signature)
        return data.replace(_SIGNATURE, signature, 1) if signature else data

    # -------------------------------------------------------------- sign-in

    def _sign_in(self, message: Message) -> None:
        """Take the keys from the last message of an NTLM sign-in."""
        header = credentials_header(message)
        if header is None or self._session is not None:
            return
        token = _decoded(header)
        if not token:
            return
        with contextlib.suppress(ntlm.NtlmError):
            key = ntlm.accept_authenticate(
                ntlm.parse_challenge(self._challenge), ntlm.parse_authenticate(token), PASSWORD
            )
            if key is not None:
                keys = ntlm.session_keys(key, "server-to-client")
                self._session = _Session(keys, header.version, ReplayWindow())

    def _signature(self, message: Message, found: Optional[Signature]) -> bytes:
        """The parameter that signs `message`, if it is to be signed and can be; else ``b""``."""
        header, session = server_signature(message), self._session
        if header is None or session is None:
            return b""
        number = header.get("snum")
        is_new = number.isascii() and number.isdigit() and session.window.accept(int(number[:10]))
        if found is not Signature.VALID and is_new:
            return b""
        text = signed_text(
            message,
            session.version,
            header.scheme,
            header.get("srand"),
            number,
            header.get("realm"),
            header.get("targetname"),
        )
        return f'rspauth="{session.keys.mac(text).hex()}"'.encode()


def _refuse_others(recorded: Message) -> None:
    """Raise SettingsError where a sign-in was recorded that one cannot be the other end of."""
    header = credentials_header(recorded)
    if header is not None and header.scheme.lower() not in SCHEMES:
        raise SettingsError(f"the trace cannot be played: nobody can be signed in again with {header.scheme}")


def _is_received(entry: _Entry) -> bool:
    """Whether it is a message of the server."""
    return isinstance(entry.happened, WireMessage) and entry.happened.sip and not entry.happened.sent


def _decoded(header: AuthHeader) -> bytes:
    try:
        return base64.b64decode(header.get("gssapi-data"), validate=True)
    except binascii.Error:
        return b""


def _parsed(data: bytes) -> Optional[Message]:
    """The one message in `data`, None where there is none."""
    try:
        return next(StreamFramer().feed(data), None)
    except ParseError:
        return None


def _kind(message: Message) -> Tuple[object, ...]:
    """What two messages that do the same in two runs have in common."""
    if isinstance(message, Response):
        return message.status, message.cseq.method
    try:
        in_dialog = bool(parse_name_addr(message.get("To") or "").tag)
    except AddressError:
        in_dialog = False
    return message.method, in_dialog, message.get("Expires") == "0"


def _texts(one: Message, other: Message) -> Iterator[Tuple[bytes, bytes]]:
    """The parts of two messages that belong together, but for credentials."""
    credentials = {name.lower() for name in CREDENTIALS_HEADER.values()}
    for name in dict.fromkeys(name.lower() for name, _ in one.headers):
        if name not in credentials:
            for value, new in zip(one.all(name), other.all(name)):
                yield value.encode("utf-8", "surrogateescape"), new.encode("utf-8", "surrogateescape")
    yield one.body, other.body
