"""UDP: a port's clients, and the transactions with each (RFC 3261 17.1.2 and 17.2.2, RFC 3581).

Owns what is lost, repeated and absorbed. Must not know what a message is about.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple, cast

from ..sip.framing import read_datagram
from ..sip.message import Message, ParseError, Request, Response
from ..sip.transaction import T1, T2, TIMER_F, response_to
from .link import Link
from .wire import Emission

if TYPE_CHECKING:
    from .server import Server, Site

TIMER_J = TIMER_F  # how long an answer can be repeated
MAX_DATAGRAM = 65507  # octets; what is longer is cut off
MAX_TRANSACTIONS = 200  # of one client

_BRANCH = re.compile(r";\s*branch\s*=\s*([^;,\s]+)")
_log = logging.getLogger(__name__)

Key = Tuple[str, str, str]


@dataclass
class Datagram:
    """A message as octets, and how often it has been sent."""

    data: bytes
    copies: int = 0


class Peer:
    """One client: its link, and the transactions with it. `send` makes a datagram of octets, `forget` is the end."""

    patience = TIMER_J  # seconds without a datagram after which nothing can be repeated any more

    def __init__(self, server: Server, link: Link, send: Callable[[bytes], None], forget: Callable[[], object]) -> None:
        self._server = server
        self.link = link
        self.since = time.monotonic()
        self._send = send
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._silent = False
        self._answers: Dict[Key, List[Datagram]] = {}
        self._unanswered: Dict[Key, asyncio.TimerHandle] = {}

    def take(self, message: Message) -> None:
        """A message has come: what is new goes on, what is repeated gets the answers of the first time."""
        self.since = time.monotonic()
        key = _transaction(message)
        if isinstance(message, Response):
            timer = self._unanswered.pop(key, None) if message.status >= 200 else None
            if timer is not None:
                timer.cancel()
                self._server.received(self.link, message)
        elif key in self._answers:
            for datagram in self._answers[key]:
                self._transmit(datagram)
        else:
            self._answers[key] = []
            self._loop.call_later(TIMER_J, self._answers.pop, key, None)
            while len(self._answers) > MAX_TRANSACTIONS:
                del self._answers[next(iter(self._answers))]
            self._server.received(self.link, message)

    def write(self, sent: Sequence[Tuple[Message, Emission]]) -> None:
        """Send messages: each answer as often as its request comes, each request until it is answered."""
        for message, emission in sent:
            if self._silent:
                return
            key = _transaction(message)
            for data in emission.pieces:
                datagram = Datagram(data[:MAX_DATAGRAM])
                if isinstance(message, Request):
                    self._repeat(key, message, datagram, T1, self._loop.time() + TIMER_F)
                else:
                    self._answers.setdefault(key, []).append(datagram)
                self._transmit(datagram)
            self._silent = emission.mute

    def abort(self) -> None:
        """Forget the client."""
        for timer in self._unanswered.values():
            timer.cancel()
        self._unanswered.clear()
        self._forget()
        self._server.lost(self)

    def _transmit(self, datagram: Datagram) -> None:
        datagram.copies += 1
        if datagram.copies > int(self.link.faults.value("lost") or 0):
            self._send(datagram.data)

    def _repeat(self, key: Key, request: Request, datagram: Datagram, interval: float, end: float) -> None:
        """Send a request again after `interval` seconds, twice that, … (timer E), and give up at `end` (timer F)."""

        def again() -> None:
            if self._silent:
                return
            if self._loop.time() >= end:
                del self._unanswered[key]
                self._server.received(self.link, response_to(request, 408, ""))  # RFC 3261 8.1.3.1
                return
            self._transmit(datagram)
            self._repeat(key, request, datagram, min(2 * interval, T2), end)

        self._unanswered[key] = self._loop.call_later(interval, again)


class Datagrams(asyncio.DatagramProtocol):
    """A UDP port of a front end. `home` is the port that it redirects to, if it does."""

    def __init__(self, server: Server, site: Site, home: Optional[int]) -> None:
        self._server = server
        self._site = site
        self._home = home
        self._peers: Dict[Any, Peer] = {}
        self._transport: Optional[asyncio.DatagramTransport] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every version of Python makes it one by its class.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        peer = self._peers.get(addr) or self._welcome(addr)
        if addr not in self._peers:
            return  # there are too many already
        try:
            for message in read_datagram(data):
                peer.take(message)
        except ParseError as error:
            _log.info("%s sent no SIP: %s", peer.link.address, error)
        except Exception:
            _log.exception("a message of %s could not be handled", peer.link.address)
            peer.abort()

    def _welcome(self, address: Any) -> Peer:
        transport = self._transport
        assert transport is not None
        link = self._server.link(self._site, "udp", address, transport.get_extra_info("sockname"), self._home)
        peer = self._peers[address] = Peer(
            self._server, link, lambda data: transport.sendto(data, address), lambda: self._peers.pop(address, None)
        )
        self._server.opened(peer)
        return peer


def _transaction(message: Message) -> Key:
    """What a message has in common with its repetitions and with its answers (RFC 3261 17.1.3, 17.2.3)."""
    via = message.get("Via") or ""
    branch = _BRANCH.search(via)
    return branch.group(1) if branch else "", via.partition(";")[0], message.cseq.method
