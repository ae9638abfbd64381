"""A client's connection as the front end sees it, and the messages that go out on it.

Owns the shape of answers and requests of a Lync Server 2013 (Via, tags, Server header, ms-diagnostics) and what is
known of a connection: its addresses, its security associations. Must not know sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, NamedTuple, Optional, Tuple

from ..lync.association import Association
from ..lync.ntlm import Challenge
from ..sip.message import Header, Message, Request, Response, reason_phrase
from ..sip.uri import AddressError, NameAddr, parse_name_addr
from .pool import Endpoint, User

SERVER = "RTC/5.0"  # Lync Server 2013
MAX_PER_LINK = 32  # handshakes, associations and Call-IDs that are remembered of one connection

_REASONS = {
    301: "Redirect request to Home Server",
    405: "Method Not Allowed",
    409: "Conflict",
    421: "Extension Required",
    481: "Call Leg/Transaction Does Not Exist",
    489: "Bad Event",
    504: "Server time-out",
}


class Handshake(NamedTuple):
    """A sign-in between challenge and answer. `claimed` is (address of record, endpoint) of the REGISTER."""

    claimed: Tuple[str, str]
    version: int
    targetname: str
    challenge: Challenge


@dataclass
class Session:
    """An established security association: who it belongs to and since when."""

    association: Association
    user: User
    epid: str
    since: float


@dataclass(eq=False)
class Link:
    """A connection: the peer's address, our own port, the pending and the established associations by ``opaque``."""

    cid: str
    host: str
    port: int
    transport: str
    local_host: str
    local_port: int
    redirect_port: Optional[int] = None
    handshakes: Dict[str, Handshake] = field(default_factory=dict)
    sessions: Dict[str, Session] = field(default_factory=dict)
    register_cseqs: Dict[str, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return host_port(self.host, self.port)


class Outgoing(NamedTuple):
    """A message on its way. It is signed if it has a `session`; `activity` is what the client is doing."""

    link: Link
    message: Message
    session: Optional[Session]
    activity: str
    late: float = 0.0


def host_port(host: str, port: int) -> str:
    """Host and port as a SIP URI has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bounded(known: Dict[str, Any]) -> None:
    """Forget the oldest entries of a dictionary that a peer can fill."""
    while len(known) > MAX_PER_LINK:
        del known[next(iter(known))]


def name_addr(message: Message, name: str) -> NameAddr:
    """The address in a header; empty where there is none that can be read."""
    try:
        return parse_name_addr(message.get(name) or "")
    except AddressError:
        return NameAddr("", {})


def lists(message: Message, name: str, token: str) -> bool:
    """Whether a header that holds tokens, on one line or several, has this one."""
    return token.lower() in [item.strip().lower() for value in message.all(name) for item in value.split(",")]


def expires(message: Message) -> Optional[int]:
    """The number of the Expires header, None where there is none."""
    text = message.get("Expires") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None


def diagnostics(code: int, reason: str, source: str = "") -> Header:
    """An ms-diagnostics header; without a source the form that outsiders may see."""
    name = "ms-diagnostics" if source else "ms-diagnostics-public"
    return name, f'{code};reason="{reason}"' + (f';source="{source}"' if source else "")


def answer(
    link: Link,
    request: Request,
    status: int,
    to_tag: str,
    headers: Iterable[Header] = (),
    content: Tuple[str, bytes] = ("", b""),
    display: str = "",
) -> Response:
    """The response to `request`. `content` is (Content-Type, body), `display` a name to put before the From address."""
    content_type, body = content
    sender = request.get("From") or ""
    receiver = request.get("To") or ""
    if display and sender.startswith("<"):
        sender = f'"{display}"{sender}'
    if not name_addr(request, "To").tag:
        receiver += f";tag={to_tag}"
    fields = [("From", sender), ("To", receiver), ("Call-ID", request.call_id), ("CSeq", str(request.cseq))]
    for index, via in enumerate(request.all("Via")):
        if index == 0:
            via += f";ms-received-port={link.port};ms-received-cid={link.cid}"
        fields.append(("Via", via))
    fields += [("Record-Route", value) for value in request.all("Record-Route")]
    fields += headers
    if content_type:
        fields.append(("Content-Type", content_type))
    fields.append(("Server", SERVER))
    return Response(status, _REASONS.get(status) or reason_phrase(status), fields, body)


def outbound(
    method: str,
    endpoint: Endpoint,
    dialog: Tuple[str, str, str, int],
    branch: str,
    activity: str,
    headers: Iterable[Header] = (),
    content: Tuple[str, bytes] = ("", b""),
    late: float = 0.0,
) -> Outgoing:
    """A request to an endpoint in the `dialog` (Call-ID, our tag, its tag, our CSeq)."""
    link = endpoint.link
    call_id, local_tag, remote_tag, cseq = dialog
    content_type, body = content
    user = endpoint.user
    transport = link.transport.upper()
    fields = [
        ("Via", f"SIP/2.0/{transport} {user.pool}:{link.local_port};branch=z9hG4bK{branch};branched=FALSE"),
        ("Max-Forwards", "70"),
        ("To", f"<{user.address}>{f';tag={remote_tag}' if remote_tag else ''};epid={endpoint.epid}"),
        ("From", f"<{user.address}>;tag={local_tag}"),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
        *headers,
    ]
    if content_type:
        fields.append(("Content-Type", content_type))
    return Outgoing(link, Request(method, endpoint.contact, fields, body), endpoint.session, activity, late)
