"""A client's connection as a front end sees it, and what goes out on it.

Owns what is known of a connection, and the reading of header fields that both dialects read alike. Must not know
sockets, nor how a dialect's messages look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional, Tuple

from ..lync.association import Association
from ..sip.message import Message
from ..sip.uri import AddressError, NameAddr, parse_name_addr
from .faults import Faults

if TYPE_CHECKING:
    from .acceptor import Acceptor
    from .pool import User

MAX_PER_LINK = 32  # handshakes, associations and Call-IDs that are remembered of one connection


class Handshake(NamedTuple):
    """A sign-in that is under way. `claimed` is (address of record, endpoint) of the REGISTER."""

    claimed: Tuple[str, str]
    scheme: str
    version: int
    targetname: str
    acceptor: Acceptor


@dataclass
class Session:
    """An established security association: who it belongs to and since when. A trusted server has none."""

    association: Optional[Association]
    user: User
    epid: str
    since: float


@dataclass(eq=False)
class Link:
    """A connection: the peer's address, our own, the pending and the established associations by ``opaque``.

    `front_end` is the address that was told to listen on where it ends; `faults` are those that strike there. A
    `trusted` client has shown the certificate of a trusted server.
    """

    cid: str
    host: str
    port: int
    transport: str
    local_host: str
    local_port: int
    front_end: str = ""
    faults: Faults = field(default_factory=Faults)
    redirect_port: Optional[int] = None
    trusted: bool = False
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


def redirection(link: Link) -> str:
    """Host and port where a user is sent, empty if he is at home here."""
    if "redirect-foreign" in link.faults:
        return "evil.attacker.example:5061"
    if "redirect-loop" in link.faults:
        return host_port(link.local_host, link.local_port)
    return host_port(link.local_host, link.redirect_port) if link.redirect_port else ""
