"""A small SIMPLE client, to drive the simulator with: over sockets, or straight into its front end.

It answers challenges with the check's own Digest: the simulator's is another one.
"""

from __future__ import annotations

import random
import socket
import time
from collections import deque
from typing import Deque, Dict, Iterable, Iterator, List, Optional, Tuple

from check_lync_presence.settings import Secret
from check_lync_presence.simulator.faults import SIMPLE, Faults
from check_lync_presence.simulator.link import Link, Outgoing
from check_lync_presence.simulator.simple import SimpleFrontEnd, User
from check_lync_presence.sip import digest
from check_lync_presence.sip.framing import StreamFramer, read_datagram
from check_lync_presence.sip.message import CHALLENGE_HEADER, CREDENTIALS_HEADER, Header, Message, Request, Response

from .client import ANN, BEN, DEADLINE, PASSWORDS, POOL, START, Silence, SocketWire, Wire, tag_of

PIDF = "application/pidf+xml"
DOMAIN = "sip:contoso.example"


class SimpleStage:
    """A SIMPLE server without sockets, whose clock the test moves."""

    def __init__(self, *faults: str) -> None:
        self.now = START
        roles = {ANN: "publisher", BEN: "subscriber"}
        users = [
            User(address, address[4:], Secret(PASSWORDS[address]), POOL, frozenset((role,)))
            for address, role in roles.items()
        ]
        self.faults = Faults(faults, SIMPLE)
        self.front_end = SimpleFrontEnd(users, random.Random(1))
        self.wires: Dict[Link, SimpleStageWire] = {}

    def client(self, address: str, at: str = "127.0.0.1", password: str = "") -> SimpleClient:
        """A client on a connection of its own, `at` one of the front ends."""
        wire = SimpleStageWire(self, f"4A{len(self.wires):04X}", at)
        self.wires[wire.link] = wire
        return SimpleClient(wire, address, password or PASSWORDS[address])

    def deliver(self, outgoing: Iterable[Outgoing]) -> None:
        for item in outgoing:
            if item.link in self.wires:
                self.wires[item.link].ready.append(item.message)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.deliver(self.front_end.tick(self.now))


class SimpleStageWire:
    def __init__(self, stage: SimpleStage, cid: str, at: str) -> None:
        self._stage = stage
        self.link = Link(cid, "127.0.0.1", 50000, "tls", at, 5061, front_end=at, faults=stage.faults.at(at))
        self.ready: Deque[Message] = deque()

    def send(self, message: Message) -> None:
        (received,) = StreamFramer().feed(bytes(message))
        self._stage.deliver(self._stage.front_end.receive(self.link, received, self._stage.now))

    def receive(self) -> Message:
        if not self.ready:
            raise Silence("no message")
        (received,) = StreamFramer().feed(bytes(self.ready.popleft()))
        return received

    def close(self) -> None:
        del self._stage.wires[self.link]
        self._stage.deliver(self._stage.front_end.closed(self.link, self._stage.now))


class DatagramWire(SocketWire):
    """A UDP socket that is connected to the simulator."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((host, port))
        self.deadline = DEADLINE

    def receive(self) -> Message:
        end = time.monotonic() + self.deadline
        while True:
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                raise Silence("no message before the deadline") from None
            for message in read_datagram(data):
                return message


class SimpleClient:
    """A user's program. `requests` are those of the server that have not been looked at."""

    def __init__(self, wire: Wire, address: str, password: str) -> None:
        self.wire = wire
        self.address = address
        self._user = address[4:].partition("@")[0]
        self._password = password
        self.requests: Deque[Request] = deque()
        self._tokens = random.Random(address)
        self.challenges: Dict[int, digest.Challenge] = {}
        self._counts: Dict[str, int] = {}
        self._cseqs: Dict[str, Iterator[int]] = {}
        self.contact = f"<sip:{self._user}@127.0.0.1:50000>"
        self.seen: List[int] = []

    def token(self, digits: int = 8) -> str:
        return f"{self._tokens.getrandbits(4 * digits):0{digits}x}"

    def build(
        self,
        method: str,
        uri: str,
        headers: Iterable[Header] = (),
        body: bytes = b"",
        dialog: Tuple[str, str, str, int] = ("", "", "", 0),
    ) -> Request:
        """A request; the `dialog` is (Call-ID, our tag, its tag, CSeq), made up where it is left out."""
        call_id, local_tag, remote_tag, number = dialog
        to = self.address if method == "REGISTER" else uri
        fields: List[Header] = [
            ("Via", f"SIP/2.0/TLS 192.0.2.9:50000;branch=z9hG4bK{self.token(16)};rport"),
            ("From", f"<{self.address}>;tag={local_tag or self.token()}"),
            ("To", f"<{to}>" + (f";tag={remote_tag}" if remote_tag else "")),
            ("Call-ID", call_id or self.token(32)),
            ("CSeq", f"{number or 1} {method}"),
            *headers,
        ]
        return Request(method, uri, fields, body)

    def signed(self, request: Request) -> Request:
        """`request` with credentials for the challenges that are known."""
        found = []
        for status, challenge in self.challenges.items():
            count = self._counts[challenge.nonce] = self._counts.get(challenge.nonce, 0) + 1
            value = digest.credentials(
                challenge, request.method, request.uri, self._user, self._password, count, self.token(16)
            )
            found.append((CREDENTIALS_HEADER[status], value))
        return request.with_headers(*found)

    def answer_of(self, request: Request) -> Response:
        """The final answer to `request` as it is."""
        self.wire.send(request)
        while True:
            message = self.wire.receive()
            if isinstance(message, Request):
                self.requests.append(message)
            elif message.status >= 200 and (message.call_id, message.cseq) == (request.call_id, request.cseq):
                self.seen.append(message.status)
                return message

    def ask(
        self,
        method: str,
        uri: str = "",
        *headers: Header,
        body: bytes = b"",
        dialog: Optional[Tuple[str, str, str, int]] = None,
    ) -> Response:
        """The answer to a request, after at most two challenges."""
        call_id, local_tag, remote_tag, number = dialog or (self.token(32), self.token(), "", 1)
        for attempt in range(3):
            known = (call_id, local_tag, remote_tag, number + attempt)
            response = self.answer_of(self.signed(self.build(method, uri or self.address, headers, body, known)))
            if response.status not in (401, 407):
                break
            self.challenges[response.status] = digest.choose(response.all(CHALLENGE_HEADER[response.status]))
        return response

    def next_request(self) -> Request:
        """The next request of the server."""
        if not self.requests:
            message = self.wire.receive()
            assert isinstance(message, Request), message.start_line
            self.requests.append(message)
        return self.requests.popleft()

    def reply(self, request: Request, status: int) -> None:
        names = ("via", "from", "to", "call-id", "cseq")
        self.wire.send(Response(status, "Fine", [item for item in request.headers if item[0].lower() in names]))

    # ------------------------------------------------------------------ activities

    def register(self, *headers: Header, expires: int = 120) -> Response:
        named = {name.lower() for name, _ in headers}
        usual = [("Contact", self.contact), ("Expires", str(expires))]
        return self.ask("REGISTER", DOMAIN, *(item for item in usual if item[0].lower() not in named), *headers)

    def watch(
        self,
        presentity: str,
        *headers: Header,
        expires: int = 120,
        event: str = "presence",
        dialog: Optional[Tuple[str, str, str, int]] = None,
    ) -> Response:
        usual = (("Event", event), ("Expires", str(expires)), ("Contact", self.contact))
        return self.ask("SUBSCRIBE", presentity, *usual, *headers, dialog=dialog)

    def publish(
        self, body: bytes = b"", etag: str = "", expires: int = 120, content_type: str = PIDF, event: str = "presence"
    ) -> Response:
        headers = [("Event", event), ("Expires", str(expires))]
        headers += [("SIP-If-Match", etag)] if etag else []
        headers += [("Content-Type", content_type)] if body else []
        return self.ask("PUBLISH", "", *headers, body=body)


def in_dialog(accepted: Response, number: int = 10) -> Tuple[str, str, str, int]:
    """The dialog that an accepted SUBSCRIBE has opened, for a next request."""
    return accepted.call_id, tag_of(accepted, "From"), tag_of(accepted, "To"), number


def document(note: str, tuple_id: str = "t1", extra: str = "") -> bytes:
    """A presence document of ann."""
    return (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{ANN}"><tuple id="{tuple_id}">'
        f"<status><basic>open</basic></status><note>{note}</note></tuple>{extra}</presence>"
    ).encode()
