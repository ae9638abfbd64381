"""The whole check against a server that lies: no socket, no clock, the same every time.

The simulator's front ends answer, and a script (the fuzzer's input) changes what they say: before it is signed, as a
front end could that has been broken into, or on the wire, as anybody in between could. Whatever it is, the run must end
in an Outcome, in time, and in a success only if the server has told the subscriber of this very publication.

A script is one line of words, a dialect, faults of the simulator, `auto`, `mic`, `tcp`, `udp`, `verbose`, and `all` for
two front ends with --all-front-ends, and then edits:

    lync no-piggyback
    @7 set Contact: <sip:ann@192.0.2.1>
    @9 body <categories/>

The number is that of the server's message, from 0 on; what stands behind the word goes on until the next edit.

    line TEXT          another start line             splice A B OCTETS   these octets in the place of octets A to B
    set NAME: VALUE    another value of a header      wire A B OCTETS     the same behind the signing
    add NAME: VALUE    one header more                say OCTETS          octets behind the message, as they are
    del NAME           no such header                 tell OCTETS         a message behind the message, signed
    body OCTETS        another body                   notify OCTETS       the same to the subscriber
    twice  drop  close  other  late

`other` sends it to the other user, `late` three seconds later. In the octets {marker} is what was published, {id} its
number; {call}, {tag} and {theirs} are Call-ID, own and remote tag of the subscriber's last subscription.
"""

from __future__ import annotations

import contextlib
import html
import itertools
import math
import random
import re
import selectors
import socket
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple
from unittest import mock

from check_lync_presence import locate, roundtrip
from check_lync_presence.diagnosis import diagnose
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.net.resolve import Address
from check_lync_presence.net.tasks import Gate, _Loop
from check_lync_presence.net.transport import Connection, TlsFacts
from check_lync_presence.outcome import REGISTER, Outcome
from check_lync_presence.plugin import measured
from check_lync_presence.report.text import activity_log, clean, cmdlet_lines, front_end_lines, sip_log, what_failed
from check_lync_presence.roundtrip import MAX_REDIRECTS, World
from check_lync_presence.settings import Account, Settings
from check_lync_presence.simulator import pool, simple
from check_lync_presence.simulator.faults import LYNC, SIMPLE, FaultError, Faults
from check_lync_presence.simulator.frontend import FrontEnd
from check_lync_presence.simulator.link import Link, Outgoing
from check_lync_presence.simulator.wire import emit
from check_lync_presence.sip.framing import StreamFramer, read_datagram
from check_lync_presence.sip.message import CSeq, Message, ParseError, Request, Response

from ..samples import ANN, BEN, settings
from ..transcripts import POOL

START = 1_370_088_000.0  # 2013-06-01 12:00 UTC
TIMEOUT = 40.0
ADDRESSES = ("127.0.0.1", "127.0.0.2")
MAX_EDITS = 40
MAX_SENT = 500  # messages of the check in one run; an undisturbed one has about 20

_EDIT = re.compile(rb"(?:\A|\n)@([0-9]{1,3}) ([a-z]+) ?")
_RANGE = re.compile(rb"([0-9]{1,5}) ([0-9]{1,5}) ?")
_MARKER = re.compile(rb"presence-check [0-9a-f]{16}")
_TOKEN = re.compile(rb'gssapi-data="[^"]')
_RSPAUTH = re.compile(r'rspauth="([0-9a-f]+)"', re.IGNORECASE)


WORDS = (
    *("line", "set", "add", "del", "body", "splice", "wire", "say", "tell", "notify"),
    *("twice", "drop", "close", "other", "late"),
)


# Behind these a user's end may not understand what it is told.
_ON_THE_WAY = {b"splice", b"wire", b"say", b"tell", b"notify", b"twice", b"late", b"other"}


class Edit(NamedTuple):
    """One change of a message of the server."""

    word: bytes
    octets: bytes


class Script(NamedTuple):
    """What is to happen: words of the first line, edits by the number of the message."""

    words: Tuple[str, ...]
    edits: Dict[int, List[Edit]]


def read_script(data: bytes) -> Script:
    """Any octets are a script; what makes no sense is passed over."""
    first, _, rest = data[:-1].partition(b"\n") if data.endswith(b"\n") else data.partition(b"\n")
    edits: Dict[int, List[Edit]] = {}
    _, *found = _EDIT.split(rest)
    for number, word, octets in list(zip(found[0::3], found[1::3], found[2::3]))[:MAX_EDITS]:
        edits.setdefault(int(number), []).append(Edit(word, octets))
    return Script(tuple(first.decode("ascii", "replace").split()[:8]), edits)


class _Clock:
    """Time that passes only while everybody waits, and a little with every read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Waiting(selectors.SelectSelector):
    """Nothing to wait for but time."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        if timeout:
            self._clock.now = max(self._clock.now + timeout, math.nextafter(self._clock.now, math.inf))
        return []


class _Wire(Connection):
    """A connection of one user to the server, and the server's end of it."""

    def __init__(self, server: _LyingServer, place: Address, transport: str) -> None:
        self.name, self.reliable = ("UDP", False) if transport == "udp" else ("TCP", True)
        self.peer = place
        self.local = Address(socket.AF_INET, ("127.0.0.1", 50000 + len(server.wires)))
        self.tls = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", START + 864000) if transport == "tls" else None
        self.link = server.link(self, place)
        self.account: Optional[Account] = None
        self.received: List[bytes] = []
        self.published: Set[str] = set()
        self.subscriptions: Set[str] = set()
        self.tokens: List[CSeq] = []
        self.ended = self.muted = self.signed_in = self.signed_off = self.comes_after_a_refusal = False
        self._server = server
        self._ready: Deque[Tuple[float, bytes]] = deque()
        self._gate = Gate()
        self._framer = StreamFramer()

    async def send(self, data: bytes, deadline: Deadline) -> None:
        # What leaves the check is SIP, whatever the server said before.
        for message in self._framer.feed(data) if self.reliable else read_datagram(data):
            if _TOKEN.search(data):
                self.tokens.append(message.cseq)
            self._server.take(self, message, data)

    async def receive(self, deadline: Deadline) -> bytes:
        clock = self._server.clock
        clock.now += 0.0001
        while True:
            if not deadline.remaining:
                raise TimeoutError
            if self._ready and self._ready[0][0] <= clock.now:
                self.received.append(self._ready.popleft()[1])
                return self.received[-1]
            if self.ended and not self._ready:
                return b""
            self._gate = Gate()
            first = self._ready[0][0] - clock.now if self._ready else math.inf
            try:
                await self._gate.passed(deadline.within(first))
            except TimeoutError:
                continue

    def deliver(self, octets: bytes, late: float = 0.0) -> None:
        """What the user's end can read from now on, or later."""
        if octets and not (self.ended or self.muted):
            self._ready.append((self._server.clock.now + late, octets))
            self._ready = deque(sorted(self._ready, key=lambda item: item[0]))
            self._gate.open()

    def end(self) -> None:
        """The server hangs up."""
        self.ended = self.reliable
        self._gate.open()

    def close(self) -> None:
        self.ended = True
        self._server.gone(self)

    def notifications(self) -> Iterator[Message]:
        """What the user was sent in the dialogs of his subscriptions."""
        framer = StreamFramer()
        for piece in self.received:
            try:
                for message in framer.feed(piece) if self.reliable else read_datagram(piece):
                    if message.call_id in self.subscriptions and message.cseq.method in ("NOTIFY", "BENOTIFY"):
                        yield message
            except ParseError:
                if self.reliable:
                    return


class _LyingFrontEnd(FrontEnd):
    """A front end whose messages are changed before it signs them."""

    change: Callable[[Outgoing], Outgoing]
    issued: Callable[[Outgoing, Message], None]

    def _sign(self, item: Outgoing) -> Outgoing:
        signed = super()._sign(self.change(item))
        self.issued(item, signed.message)
        return signed

    def sign(self, item: Outgoing) -> Message:
        """A message that is no answer to anything."""
        signed = super()._sign(item).message
        self.issued(item, signed)
        return signed


class _LyingServer:
    """Everything behind the connections."""

    def __init__(self, script: Script, clock: _Clock) -> None:
        self.clock = clock
        self.script = script
        self.dialect = SIMPLE if SIMPLE in script.words or "udp" in script.words else LYNC
        self.wires: List[_Wire] = []
        self.signatures: Dict[str, Tuple[str, ...]] = {}
        self.refused: Set[Account] = set()
        self.taken = 0
        self._words = {b"{marker}": b"{marker}", b"{id}": b"{id}", b"{call}": b"1", b"{tag}": b"1", b"{theirs}": b"1"}
        self._changed = self._sent = 0
        wanted = []
        for word in script.words:
            try:
                Faults([word], self.dialect)
            except FaultError:
                continue
            wanted.append(word)
        self.faults = Faults(wanted, self.dialect)
        people = ((ANN, "publisher"), (BEN, "subscriber"))
        if self.dialect == SIMPLE:
            self._front_end: Any = simple.SimpleFrontEnd(
                [simple.User(one.uri, one.user, one.password, POOL, frozenset((role,))) for one, role in people],
                random.Random(1),
            )
        else:
            self._front_end = _LyingFrontEnd(
                [pool.User(one.uri, one.user, one.password, POOL, frozenset((role,))) for one, role in people],
                self.faults,
                random.Random(1),
                START,
            )
            self._front_end.change, self._front_end.issued = self._change, self._issued

    # ------------------------------------------------------------ connections

    def connect(self, name: str, place: Address, transport: str) -> _Wire:
        assert f".{name}".endswith(".contoso.example"), f"credentials went to {name}"
        wire = _Wire(self, place, transport)
        self.wires.append(wire)
        assert len(self.wires) <= 2 * len(ADDRESSES) * (MAX_REDIRECTS + 1)
        return wire

    def link(self, wire: _Wire, place: Address) -> Link:
        at, transport = place.host, wire.name.lower() if wire.tls is None else "tls"
        home = 5062 if "redirect" in self.faults and place.port != 5062 else None
        faults = self.faults.at(at)
        cid = f"4A{len(self.wires):04X}"
        return Link(cid, wire.local.host, wire.local.port, transport, at, place.port, at, faults, home)

    def gone(self, wire: _Wire) -> None:
        self._deliver(self._front_end.closed(wire.link, START + self.clock.now))

    # --------------------------------------------------------------- messages

    def take(self, wire: _Wire, message: Message, data: bytes) -> None:
        """A message of the check."""
        self.taken += 1
        assert self.taken <= MAX_SENT, "the check is kept busy without end"
        for account in (ANN, BEN):
            assert account.password.reveal().encode() not in data
        if wire.account is None:
            wire.account = next(one for one in (ANN, BEN) if f"<{one.uri}>" in (message.get("From") or ""))
            # One that is under way elsewhere at the same moment is not called back.
            wire.comes_after_a_refusal = wire.account in self.refused
        if message.cseq in wire.tokens:
            assert len(wire.tokens) == 1, "a password was tried twice on one connection"
            assert not wire.comes_after_a_refusal, "a refused password was tried again"
        wire.signed_off |= message.cseq.method == "REGISTER" and message.get("Expires") == "0"
        marker = _MARKER.search(message.body)
        if marker is not None:
            self._words[b"{marker}"], self._words[b"{id}"] = marker.group(), marker.group()[-16:]
            wire.published.add(marker.group().decode())
        if isinstance(message, Request) and message.method == "SUBSCRIBE" and wire.account is BEN:
            wire.subscriptions.add(message.call_id)
            self._words[b"{call}"] = _octets(message.call_id)
            self._words[b"{tag}"] = _tag(message, "From")
        self._deliver(self._front_end.receive(wire.link, message, START + self.clock.now))

    def _deliver(self, outgoing: List[Outgoing]) -> None:
        for item in outgoing:
            number = self._sent
            self._sent += 1
            if _octets(item.message.call_id) == self._words[b"{call}"] and isinstance(item.message, Response):
                self._words[b"{theirs}"] = _tag(item.message, "To")
            if self.dialect == SIMPLE:
                item = self._change(item)
            if self._send(item, self.script.edits.get(number, ())):
                break

    def _send(self, item: Outgoing, edits: Any) -> bool:
        """Send a message with all that happens to it on its way; whether nothing else comes of the request."""
        words = [edit.word for edit in edits]
        wire = next((wire for wire in self.wires if wire.link is item.link), None)
        if wire is None or b"drop" in words:
            return False
        emission = emit(item)
        pieces = emission.pieces
        for edit in edits:
            if edit.word == b"wire" and pieces:
                pieces = [self._spliced(b"".join(pieces), edit.octets)]
        pieces *= 2 if b"twice" in words else 1
        target = wire
        if b"other" in words:
            target = next((other for other in self.wires if other.account is not wire.account), wire)
        late = item.late + (3.0 if b"late" in words else 0.0)
        for piece in pieces:
            target.deliver(piece, late)
        for edit in edits:
            if edit.word == b"say":
                target.deliver(self._filled(edit.octets), late)
            elif edit.word == b"tell":
                target.deliver(self._signed(item, self._filled(edit.octets)), late)
            elif edit.word == b"notify":
                subscriber = next((other for other in reversed(self.wires) if other.account is BEN), wire)
                session = next(reversed(subscriber.link.sessions.values()), None)
                told = Outgoing(subscriber.link, item.message, session, "notify")
                subscriber.deliver(self._signed(told, self._filled(edit.octets)), late)
        if pieces and not edits and not emission.lost and not wire.ended and not wire.muted:
            if self._refuses(wire, item.message):
                self.refused.update(filter(None, (wire.account,)))
            accepted = item.activity == "register" and item.message.start_line == "SIP/2.0 200 OK"
            wire.signed_in |= accepted and self._vouches(item.message)
        wire.muted = wire.muted or emission.mute
        if emission.cut or b"close" in words:
            wire.end()
        return emission.lost

    def _refuses(self, wire: _Wire, message: Message) -> bool:
        return isinstance(message, Response) and message.status in (401, 407) and message.cseq in wire.tokens

    def _signed(self, item: Outgoing, octets: bytes) -> bytes:
        octets = _measured(octets)
        message = _one(octets)
        if message is None or self.dialect == SIMPLE:
            return octets
        return bytes(self._front_end.sign(item._replace(message=message)))

    def _issued(self, item: Outgoing, message: Message) -> None:
        """Remember what was signed: nothing else may pass for the server's."""
        found = _RSPAUTH.search(message.get("Authentication-Info") or "")
        faults = item.link.faults
        wrong = faults.has("signature-wrong", "all")
        wrong |= item.activity == "notify" and faults.has("signature-wrong", "notification")
        if item.session is not None and found is not None and not wrong:
            self.signatures[found.group(1).lower()] = _identity(message)

    # ------------------------------------------------------------------ edits

    def _change(self, item: Outgoing) -> Outgoing:
        number = self._changed
        self._changed += 1
        message = item.message
        for edit in self.script.edits.get(number, ()):
            message = _one(self._edited(bytes(message), edit)) or message
        return item._replace(message=message)

    def _edited(self, data: bytes, edit: Edit) -> bytes:
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        octets = self._filled(edit.octets)
        name = octets.partition(b":")[0].strip().lower() + b":"
        if edit.word == b"line":
            lines[0] = octets
        elif edit.word in (b"set", b"del"):
            lines = [lines[0], *(line for line in lines[1:] if not line.lower().startswith(name))]
            lines += [octets] if edit.word == b"set" else []
        elif edit.word == b"add":
            lines.append(octets)
        elif edit.word == b"body":
            body = octets
        elif edit.word == b"splice":
            return self._spliced(data, edit.octets)
        return _measured(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def _spliced(self, data: bytes, octets: bytes) -> bytes:
        places = _RANGE.match(octets)
        if places is None:
            return data
        start, end = int(places.group(1)), int(places.group(2))
        return data[:start] + self._filled(octets[places.end() :]) + data[max(start, end) :]

    def _filled(self, octets: bytes) -> bytes:
        for word, value in self._words.items():
            octets = octets.replace(word, value)
        return octets

    # ---------------------------------------------------------------- verdict

    def has_told(self, here: str = "", there: str = "") -> bool:
        """Whether the subscriber was sent what the publisher has published, as nobody but this server could.

        `here` and `there` are the front ends of the two, where it matters; a redirect leads away from them.
        """
        if len(self.wires) > 2 * len(ADDRESSES):
            here = there = ""
        markers: Set[str] = set().union(*(wire.published for wire in self.wires if wire.peer.host == here or not here))
        return any(
            _tells(message.body, self._marks(marker)) and self._vouches(message)
            for wire in self.wires
            if wire.account is BEN and (wire.peer.host == there or not there)
            for message in wire.notifications()
            for marker in markers
        )

    def _marks(self, marker: str) -> Tuple[str, ...]:
        """What shows a publication: the note, and on SIMPLE also the id of the tuple, which is the marker's number."""
        return (marker, "p" + marker[-16:]) if self.dialect == SIMPLE else (marker,)

    def _vouches(self, message: Message) -> bool:
        if self.dialect == SIMPLE:
            return True  # nothing is signed: TLS is all that there is
        values = message.all("Authentication-Info") + message.all("Proxy-Authentication-Info")
        found = [value.group(1).lower() for value in map(_RSPAUTH.search, values) if value is not None]
        return any(self.signatures.get(item) == _identity(message) for item in found)


def _tag(message: Message, name: str) -> bytes:
    return _octets((message.get(name) or "").partition(";tag=")[2].partition(";")[0])


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _measured(data: bytes) -> bytes:
    """A message with the Content-Length that its body has."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body


def _one(data: bytes) -> Optional[Message]:
    """The message that the octets are, None if they are something else."""
    framer = StreamFramer()
    try:
        found = list(framer.feed(data))
    except ParseError:
        return None
    return found[0] if len(found) == 1 and not framer.partial else None


def _identity(message: Message) -> Tuple[str, ...]:
    names = ("From", "To", "Call-ID", "CSeq")
    return (*(message.get(name) or "" for name in names), "" if isinstance(message, Request) else message.start_line)


def _tells(body: bytes, marks: Tuple[str, ...]) -> bool:
    texts = [html.unescape(body.decode(encoding, "replace")) for encoding in ("utf-8", "utf-16")]
    return any(mark in text for text in texts for mark in marks)


def play(data: bytes) -> Outcome:
    """What a run came to against the server of a script; raises if a property does not hold."""
    script = read_script(data)
    clock = _Clock()
    server = _LyingServer(script, clock)
    told = _settings(script)
    numbers = itertools.count(0x1000)
    world = World(clock, lambda: START + clock.now, lambda digits: f"{next(numbers):0{digits}x}"[-digits:], "HOST")
    addresses = tuple(Address(socket.AF_INET, (host, 5061)) for host in ADDRESSES[: 1 + told.all_front_ends])

    async def resolve(host: str, port: int, *_: Any) -> Tuple[Address, ...]:
        return addresses if (host, port) == (POOL, 5061) else (Address(socket.AF_INET, (host, port)),)

    async def connect(places: Sequence[Address], context: object, name: str, deadline: Deadline) -> Connection:
        return server.connect(name, places[0], told.transport)

    def datagrams(places: Sequence[Address]) -> Connection:
        return server.connect(POOL, places[0], told.transport)

    with contextlib.ExitStack() as stack:
        for module, name, ours in (
            (locate, "resolve", resolve),
            (roundtrip, "resolve", resolve),
            (roundtrip, "open_connection", connect),
            (roundtrip, "open_datagrams", datagrams),
        ):
            stack.enter_context(mock.patch.object(module, name, ours))
        selector = stack.enter_context(_Waiting(clock))
        outcome: Outcome = _Loop(selector, clock).run(roundtrip._run(told, None, world))
    assert clock.now <= TIMEOUT + 0.1, "it took longer than it may"
    assert outcome.success is not bool(outcome.failures)
    for item in outcome.front_ends or (outcome,):
        _judge(item, server)
    if not {edit.word for edits in script.edits.values() for edit in edits} & _ON_THE_WAY:
        assert all(wire.signed_off for wire in server.wires if wire.signed_in), "a user stayed signed in"
    _print(outcome, told)
    return outcome


def _judge(outcome: Outcome, server: _LyingServer) -> None:
    """No success without proof."""
    here = outcome.server
    if outcome.latency is not None and not outcome.failures:
        assert server.has_told(here, here), "a success without a notification of this very publication"
        signed_in = {item.user for item in outcome.activities if item.name == REGISTER and item.seconds is not None}
        assert signed_in == {ANN.uri, BEN.uri}
    for seconds in measured(outcome).values():
        assert 0 <= seconds <= TIMEOUT + 0.1
    for there, path in outcome.paths.items():
        assert path.failure is not None or server.has_told(here, there), "a path without a notification at its end"


def _settings(script: Script) -> Settings:
    simple_only = "udp" in script.words or (SIMPLE in script.words and "auto" not in script.words)
    return settings(
        transport="udp" if "udp" in script.words else "tcp" if "tcp" in script.words else "tls",
        protocol="simple" if simple_only else "auto",
        # Whatever else this machine could sign in with is none of the script's.
        auth="auto" if SIMPLE in script.words or simple_only else "ntlm",
        all_front_ends="all" in script.words,
        ntlm_mic="mic" in script.words,
        verbose=3 if "verbose" in script.words else 0,
        timeout=TIMEOUT,
    )


def _print(outcome: Outcome, told: Settings) -> None:
    """Everything that a person reads of it can be printed, and holds no password."""
    diagnosis = diagnose(outcome, told)
    lines = (
        cmdlet_lines(outcome, diagnosis)
        + front_end_lines(outcome)
        + activity_log(outcome)
        + sip_log(outcome.messages, told)
    )
    lines += [clean(text) for text in (*outcome.remarks, *diagnosis.advice)]
    lines += [clean(what_failed(outcome))] if outcome.failures else []
    for line in lines:
        assert line.isprintable()
        assert not set(line) & set("|<>")
        for account in (ANN, BEN):
            assert account.password.reveal() not in line


def client(data: bytes) -> None:
    """A whole run against the server of a script."""
    play(data)
