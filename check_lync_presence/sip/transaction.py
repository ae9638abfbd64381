"""Transactions over a reliable transport (RFC 3261 section 17): which response belongs to which request, and what a
client answers to a server's request.

Must not know sockets or signatures; there are no retransmissions on TCP and TLS.
"""

from __future__ import annotations

from typing import Optional, Tuple

from .message import Header, Request, Response, reason_phrase
from .uri import AddressError, parse_name_addr

# RFC 3261 17.1.2.2, 17.1.1.1: a client gives up on a request after 64 × T1.
T1 = 0.5
T2 = 4.0
TIMER_F = 64 * T1

BRANCH_COOKIE = "z9hG4bK"  # RFC 3261 8.1.1.7
ALLOWED = ("NOTIFY", "BENOTIFY", "OPTIONS")

# What is copied from a request into its response (RFC 3261 8.2.6.2).
_COPIED = ("via", "from", "to", "call-id", "cseq", "record-route")


def belongs(response: Response, request: Request) -> bool:
    """Whether `response` answers `request` (RFC 3261 17.1.3, with Call-ID and CSeq as MS servers match them)."""
    if response.cseq != request.cseq or response.call_id != request.call_id:
        return False
    via = response.get("Via")
    # A server that leaves out Via is lenient; one that sends somebody else's branch answers somebody else.
    return via is None or _branch(via) == _branch(request.get("Via") or "")


def answer(request: Request, known: bool, tag: str, late: bool = False) -> Optional[Response]:
    """What a client answers to a server's request; None: nothing.

    `known`: it belongs to one of our dialogs; `late`: where it comes behind a newer one. That is a 500 (RFC 3261
    12.2.2): at a 481 the server would end the subscription.
    """
    if request.method in ("BENOTIFY", "ACK"):
        return None
    if request.method == "NOTIFY":
        return response_to(request, 500 if late else 200 if known else 481, tag)
    if request.method == "OPTIONS":
        return response_to(request, 200, tag, (("Allow", ", ".join(ALLOWED)),))
    return response_to(request, 405, tag, (("Allow", ", ".join(ALLOWED)),))


def response_to(request: Request, status: int, tag: str, extra: Tuple[Header, ...] = ()) -> Response:
    """A response to `request`; `tag` is added to a To that has none."""
    headers = []
    for name, value in request.headers:
        if name.lower() not in _COPIED:
            continue
        if name.lower() == "to":
            value = _tagged(value, tag)
        headers.append((name, value))
    return Response(status, reason_phrase(status), (*headers, *extra))


def _tagged(to: str, tag: str) -> str:
    try:
        return to if parse_name_addr(to).tag else f"{to};tag={tag}"
    except AddressError:
        return to  # there is nothing that could carry a tag


def identity(request: Request) -> Tuple[str, str, str]:
    """What a retransmission shares with the request it repeats (RFC 3261 17.2.3)."""
    via = request.get("Via") or ""
    return _branch(via), via.partition(";")[0], request.method


def _branch(via: str) -> str:
    for param in via.split(",")[0].split(";")[1:]:
        name, _, value = param.partition("=")
        if name.strip().lower() == "branch":
            return value.strip()
    return ""
