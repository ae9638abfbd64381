"""A small client that signs, to drive the simulator with: over sockets, or straight into its front end.

It shares with the check what the simulator shares with it: messages, framing, signing, NTLM. Nothing else.
"""

from __future__ import annotations

import base64
import random
import socket
import ssl
import time
from collections import deque
from typing import Callable, Deque, Dict, Iterable, List, Optional, Protocol, Tuple, TypeVar

from check_lync_presence.lync import ntlm
from check_lync_presence.lync.association import Association, challenges, format_auth_header
from check_lync_presence.lync.identity import gruu, instance_id
from check_lync_presence.settings import Secret
from check_lync_presence.simulator.faults import Faults
from check_lync_presence.simulator.frontend import FrontEnd
from check_lync_presence.simulator.link import Link, Outgoing
from check_lync_presence.simulator.pool import User
from check_lync_presence.sip.framing import StreamFramer
from check_lync_presence.sip.message import Header, Message, Request, Response, with_body
from check_lync_presence.sip.uri import parse_name_addr

POOL = "pool01.contoso.example"
REALM = "SIP Communications Service"
DEADLINE = 10.0  # seconds that a test waits for what must come
START = 1_370_088_000.0  # 2013-06-01 12:00 UTC
ANN, BEN = "sip:ann@contoso.example", "sip:ben@contoso.example"
PASSWORDS = {ANN: "Ann-Pass.1", BEN: "Ben-Pass.2"}
NS = "http://schemas.microsoft.com/2006/09/sip"


AnyMessage = TypeVar("AnyMessage", Request, Response)


class Wire(Protocol):
    """What a client speaks through."""

    def send(self, message: Message) -> None: ...

    def receive(self) -> Message: ...


class Silence(AssertionError):
    """Nothing came where something was expected."""


class SocketWire:
    """A connection; `context` makes it TLS."""

    def __init__(self, port: int, context: Optional[ssl.SSLContext] = None, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), timeout=DEADLINE)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname=POOL)
        self.deadline = DEADLINE
        self._framer = StreamFramer()
        self._ready: Deque[Message] = deque()

    def send(self, message: Message) -> None:
        self.socket.sendall(bytes(message))

    def receive(self) -> Message:
        end = time.monotonic() + self.deadline
        while not self._ready:
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                raise Silence("no message before the deadline") from None
            if not data:
                raise EOFError("the server hung up")
            self._ready.extend(self._framer.feed(data))
        return self._ready.popleft()

    def close(self) -> None:
        self.socket.close()


class Stage:
    """A pool without sockets, whose clock the test moves."""

    def __init__(self, *faults: str, passwords: Optional[Dict[str, str]] = None) -> None:
        self.now = START
        self.passwords = passwords or PASSWORDS
        roles = {ANN: "publisher", BEN: "subscriber"}
        users = [
            User(
                address,
                "CONTOSO\\" + address[4:7],
                Secret(password),
                POOL,
                frozenset((roles.get(address, "publisher"),)),
            )
            for address, password in self.passwords.items()
        ]
        self.faults = Faults(faults)
        self.front_end = FrontEnd(users, self.faults, random.Random(1), self.now)
        self.pool = self.front_end.pool
        self.wires: Dict[Link, StageWire] = {}

    def client(self, address: str, at: str = "127.0.0.1", **options: object) -> Client:
        """A client on a connection of its own, `at` one of the front ends."""
        wire = StageWire(self, f"4A{len(self.wires):04X}", at)
        self.wires[wire.link] = wire
        return Client(wire, address, self.passwords.get(address, "no-password"), **options)  # type: ignore[arg-type]

    def deliver(self, outgoing: Iterable[Outgoing]) -> None:
        for item in outgoing:
            if item.link in self.wires:
                self.wires[item.link].ready.append(item.message)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.deliver(self.front_end.tick(self.now))


class StageWire:
    def __init__(self, stage: Stage, cid: str, at: str) -> None:
        self._stage = stage
        self.link = Link(cid, "127.0.0.1", 50000, "tls", at, 5061, front_end=at, faults=stage.faults.at(at))
        self.ready: Deque[Message] = deque()

    def send(self, message: Message) -> None:
        # Through octets and back: what the front end gets is what a connection would give it.
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


class Client:
    """One endpoint of a user. `mic` makes its NTLM token carry one; `verify` checks every signature of the server."""

    def __init__(
        self,
        wire: Wire,
        address: str,
        password: str,
        epid: str = "a1b2c3d4e5f6",
        mic: bool = False,
        logon: str = "",
        verify: bool = True,
    ) -> None:
        self.wire = wire
        self.address = address
        self.epid = epid
        user, domain = ntlm.split_logon_name(logon or "CONTOSO\\" + address[4:7])
        self._credentials = ntlm.Credentials(user, domain, password)
        self._mic = mic
        self._verify = verify
        self.association: Optional[Association] = None
        self.requests: Deque[Request] = deque()
        self._tokens = random.Random(address + epid)
        self.register_call = self.token(32)
        self.register_cseq = 0

    def token(self, digits: int = 8) -> str:
        return f"{self._tokens.getrandbits(4 * digits):0{digits}x}"

    # ------------------------------------------------------------------ messages

    def build(
        self,
        method: str,
        headers: Iterable[Header] = (),
        body: bytes = b"",
        to: str = "",
        call_id: str = "",
        cseq: int = 1,
        tags: Tuple[str, str] = ("", ""),
    ) -> Request:
        """An unsigned request. `tags` are those of From and To."""
        target = to or self.address
        from_tag, to_tag = tags
        uri = "sip:" + target.partition("@")[2] if method == "REGISTER" else target
        fields: List[Header] = [
            ("Via", f"SIP/2.0/TLS 127.0.0.1:50000;branch=z9hG4bK{self.token(16)}"),
            ("From", f"<{self.address}>;tag={from_tag or self.token()};epid={self.epid}"),
            ("To", f"<{target}>" + (f";tag={to_tag}" if to_tag else "")),
            ("Max-Forwards", "70"),
            ("CSeq", f"{cseq} {method}"),
            ("Call-ID", call_id or self.token(32)),
            *headers,
        ]
        return Request(method, uri, fields, body)

    def sign(self, message: Message) -> Message:
        assert self.association is not None
        return message.with_headers(("Authorization", self.association.credentials(message, self.token())))

    def answer_of(self, request: Message) -> Response:
        """Send, and give the final response; requests that come before it are kept."""
        self.wire.send(request)
        while True:
            message = self.wire.receive()
            if isinstance(message, Request):
                self.requests.append(self.checked(message))
            elif message.status >= 200 and (message.call_id, message.cseq) == (request.call_id, request.cseq):
                self.checked(message)
                return message

    def checked(self, message: AnyMessage) -> AnyMessage:
        """`message`, whose signature must be right if there is one and an association."""
        if self.association is not None and self._verify and message.get("Authentication-Info"):
            assert self.association.verify_server(message)
        return message

    def next_request(self) -> Request:
        """The next request of the server."""
        if not self.requests:
            message = self.wire.receive()
            assert isinstance(message, Request), message.start_line
            self.requests.append(self.checked(message))
        return self.requests.popleft()

    def reply(self, request: Request, status: int) -> None:
        names = ("via", "from", "to", "call-id", "cseq")
        response = Response(status, "Fine", [item for item in request.headers if item[0].lower() in names])
        self.wire.send(self.sign(response))

    # ------------------------------------------------------------------ activities

    def register(self, *headers: Header, sign: bool = False, tag: str = "regtag") -> Request:
        self.register_cseq += 1
        contact = (
            '<sip:127.0.0.1:50000;transport=tls;ms-opaque=d3470f2e1d>;methods="NOTIFY, BENOTIFY";proxy=replace;'
            f'+sip.instance="<urn:uuid:{instance_id(self.epid)}>"'
        )
        usual = (
            ("Contact", contact),
            ("Supported", "gruu-10, adhoclist, msrtc-event-categories, com.microsoft.msrtc.presence"),
            ("Event", "registration"),
        )
        names = {name.lower() for name, _ in headers}
        fields = [*headers, *(item for item in usual if item[0].lower() not in names)]
        request = self.build("REGISTER", fields, b"", "", self.register_call, self.register_cseq, (tag, ""))
        signed = self.sign(request) if sign else request
        assert isinstance(signed, Request)
        return signed

    def sign_in(self, *headers: Header, spoil: Optional[Callable[[Request], Request]] = None) -> Response:
        """All three legs of REGISTER; `spoil` may change the last request behind its signing. Its answer."""
        menu = challenges(self.answer_of(self.register(*headers)))
        offer = menu["ntlm"]
        base = {"qop": "auth", "realm": REALM, "targetname": offer.get("targetname")}
        version = {"version": str(offer.version)} if offer.version > 2 else {}
        empty = format_auth_header("NTLM", {**base, "gssapi-data": "", **version})
        second = challenges(self.answer_of(self.register(("Authorization", empty), *headers)))["ntlm"]
        challenge = ntlm.parse_challenge(base64.b64decode(second.get("gssapi-data")))
        exported = self._tokens.getrandbits(128).to_bytes(16, "big")
        token = ntlm.build_authenticate(
            challenge,
            self._credentials,
            "MON01",
            b"12345678",
            exported,
            ntlm.filetime(START),
            f"sip/{POOL}" if self._mic else None,
        )
        self.association = Association(
            "NTLM",
            REALM,
            second.get("targetname"),
            second.get("opaque"),
            second.version,
            outgoing=ntlm.session_keys(exported, "client-to-server"),
            incoming=ntlm.session_keys(exported, "server-to-client"),
        )
        last = self.register(*headers)
        params = {**base, "opaque": second.get("opaque"), "gssapi-data": base64.b64encode(token).decode(), **version}
        if second.version >= 4:
            params.update(self.association.sign_as_client(last, self.token()))
        last = last.with_headers(("Authorization", format_auth_header("NTLM", params)))
        return self.answer_of(spoil(last) if spoil else last)

    def sign_out(self) -> Response:
        return self.answer_of(self.register(("Expires", "0"), sign=True))

    def signed(self, method: str, headers: Iterable[Header] = (), body: bytes = b"", **dialog: object) -> Response:
        """The answer to a signed request."""
        return self.answer_of(self.sign(self.build(method, headers, body, **dialog)))  # type: ignore[arg-type]

    def subscribe(self, event: str, body: bytes, *headers: Header, **dialog: object) -> Response:
        supported = (
            ("Supported", "ms-piggyback-first-notify"),
            ("Supported", "ms-benotify"),
            ("Contact", f"<{gruu(self.address, self.epid)}>"),
            ("Event", event),
        )
        return self.signed("SUBSCRIBE", (*supported, *headers), body, **dialog)

    def subscribe_self(self) -> Response:
        parts = "".join(f'<roaming type="{part}"/>' for part in ("categories", "containers", "subscribers"))
        body = f'<roamingList xmlns="{NS}/roaming-self">{parts}</roamingList>'.encode()
        content = ("Content-Type", "application/vnd-microsoft-roaming-self+xml")
        return self.subscribe("vnd-microsoft-roaming-self", body, content)

    def watch(self, *presentities: str, batch: bool = True, extra: Iterable[Header] = (), **dialog: object) -> Response:
        resources = "".join(f'<resource uri="{uri}"/>' for uri in presentities)
        body = (
            f'<batchSub xmlns="http://schemas.microsoft.com/2006/01/sip/batch-subscribe" uri="{self.address}" name="">'
            f'<action name="subscribe" id="1"><adhocList>{resources}</adhocList>'
            f'<categoryList xmlns="{NS}/categorylist"><category name="note"/><category name="state"/></categoryList>'
            "</action></batchSub>"
        ).encode()
        headers = [("Content-Type", "application/msrtc-adrl-categorylist+xml"), *extra]
        if batch:
            headers.append(("Require", "adhoclist, categoryList"))
        else:
            dialog.setdefault("to", presentities[0])
        return self.subscribe("presence", body, *headers, **dialog)

    def publish(self, *items: str) -> Response:
        body = (
            f'<publish xmlns="{NS}/rich-presence"><publications uri="{self.address}">'
            + "".join(items)
            + "</publications></publish>"
        ).encode()
        return self.signed("SERVICE", [("Content-Type", "application/msrtc-category-publish+xml")], body)

    def set_members(self, *containers: str) -> Response:
        body = f'<setContainerMembers xmlns="{NS}/container-management">{"".join(containers)}</setContainerMembers>'
        content = ("Content-Type", "application/msrtc-setcontainermembers+xml")
        return self.signed("SERVICE", [content], body.encode())


def note(text: str, version: int = 0, container: int = 200, instance: int = 0) -> str:
    """A publication of a note."""
    return (
        f'<publication categoryName="note" instance="{instance}" container="{container}" version="{version}" '
        f'expireType="static"><note xmlns="{NS}/note"><body type="personal" uri="">{text}</body></note></publication>'
    )


def no_note(version: int, container: int = 200) -> str:
    """The end of a note."""
    return (
        f'<publication categoryName="note" instance="0" container="{container}" version="{version}" '
        'expireType="static" expires="0"/>'
    )


def state(availability: int, version: int = 0, kind: str = "machineState", instance: int = 974859325) -> str:
    """A state in both input containers."""
    expire_type = "static" if kind == "userState" else "endpoint"
    return "".join(
        f'<publication categoryName="state" instance="{instance}" container="{container}" version="{version}" '
        f'expireType="{expire_type}"><state xmlns="{NS}/state" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'manual="false" xsi:type="{kind}"><availability>{availability}</availability></state></publication>'
        for container in (2, 3)
    )


def tag_of(response: Message, name: str) -> str:
    """The tag in a From or To."""
    return parse_name_addr(response.get(name) or "").tag


def replaced(request: Request, name: str, value: str) -> Request:
    """`request` with another value for a header."""
    headers = [(key, value if key.lower() == name.lower() else old) for key, old in request.headers]
    changed = with_body(Request(request.method, request.uri, headers), request.body)
    assert isinstance(changed, Request)
    return changed
