"""The messages of a Lync Server 2013.

Owns the shape of its answers and requests: Via, tags, Server header, ms-diagnostics. Must not know what they are for.
"""

from __future__ import annotations

from typing import Iterable, Tuple

from ..sip.message import Header, Request, Response, reason_phrase
from .link import Link, Outgoing, name_addr
from .pool import Endpoint

SERVER = "RTC/5.0"  # Lync Server 2013

_REASONS = {
    301: "Redirect request to Home Server",
    405: "Method Not Allowed",
    409: "Conflict",
    421: "Extension Required",
    481: "Call Leg/Transaction Does Not Exist",
    489: "Bad Event",
    504: "Server time-out",
}


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
