"""Outgoing messages as octets, and the faults that live there: form, pieces, nonsense, silence.

Owns how a message looks on the wire. Must not know what it says.
"""

from __future__ import annotations

from typing import List, NamedTuple, Sequence

from ..sip.message import Response
from .link import Outgoing

GIGABYTE = 1024**3
ENDLESS = 256 * 1024  # octets of a head "without end": more than anybody should wait for
STORM = b"\r\n" * 100
NONSENSE = b"\x00\xfe\xff this is not SIP \x80\r\n\r\n" * 4


class Emission(NamedTuple):
    """What to write, piece by piece, and what is over then.

    `cut`: the connection ends. `mute`: nothing is written on it any more. `lost`: nothing else comes of the request
    that this was to answer, as if the server had fallen over it.
    """

    pieces: List[bytes]
    cut: bool = False
    mute: bool = False
    lost: bool = False


def emit(item: Outgoing) -> Emission:
    """The octets of a message, as the faults of its front end want them."""
    faults, activity = item.link.faults, item.activity
    if faults.has("no-answer", activity):
        return Emission([])
    if faults.has("cut", activity):
        return Emission([], cut=True, lost=True)
    if faults.has("garbage", activity):
        return Emission([NONSENSE], lost=True)
    if faults.has("oversized-message", activity):
        return Emission([_oversized(item)], lost=True)
    head, body = _styled(item)
    data = head + body
    if faults.has("half-message", activity):
        return Emission([data[: len(data) // 2]], mute=True, lost=True)
    if "crlf-storm" in faults:
        head = STORM + head
    if "joined-messages" in faults and isinstance(item.message, Response):
        trying = _trying(item.message)
        if item.link.transport == "udp":  # where a datagram holds one message (RFC 3261 18.1.1)
            return Emission([trying, head + body])
        head = trying + head
    if "split-messages" in faults and item.link.transport != "udp":
        return Emission([head[index : index + 1] for index in range(len(head))] + ([body] if body else []))
    return Emission([head + body])


def joined(emissions: Sequence[Emission]) -> Emission:
    """Several emissions in one piece; only the last one can be the end of something."""
    return emissions[-1]._replace(pieces=[b"".join(piece for emission in emissions for piece in emission.pieces)])


def _styled(item: Outgoing) -> tuple[bytes, bytes]:
    """(head with its empty line, body)."""
    faults = item.link.faults
    head, end, body = bytes(item.message).partition(b"\r\n\r\n")
    start_line, *lines = head.split(b"\r\n")
    if "upper-case-headers" in faults:
        lines = [name.upper() + colon + value for name, colon, value in (line.partition(b":") for line in lines)]
    if "folded-headers" in faults:
        lines = [line.replace(b": ", b":\r\n ", 1).replace(b", ", b",\r\n\t") for line in lines]
    return b"\r\n".join([start_line, *lines]) + end, body


def _oversized(item: Outgoing) -> bytes:
    head = bytes(item.message).partition(b"\r\n\r\n")[0].rpartition(b"\r\nContent-Length:")[0]
    if item.activity == "notify":
        return head + b"\r\nX-Endless: " + b"x" * ENDLESS
    return head + b"\r\nContent-Length: %d\r\n\r\n" % GIGABYTE + b"x" * 1024


def _trying(response: Response) -> bytes:
    wanted = ("via", "from", "to", "call-id", "cseq")
    return bytes(Response(100, "Trying", [item for item in response.headers if item[0].lower() in wanted]))
