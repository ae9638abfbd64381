"""The simulator's sockets: listeners, connections, framing, time (datagrams have a room of their own).

Owns everything that the front end must not know. Bounds what a client can make it hold: connections, message
sizes (the framer's), unread answers, time without a registration.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
import time
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Protocol, Sequence, Set, Tuple, Union

from ..sip.framing import StreamFramer
from ..sip.message import Message, ParseError
from .datagrams import Datagrams, Peer
from .faults import Faults
from .link import Link, Outgoing
from .wire import Emission, emit, joined

MAX_CLIENTS = 256  # a check makes two
MAX_UNREAD = 8 * 1024 * 1024  # octets that a client does not fetch before it is cut
LONGEST_IDLE = 120.0  # seconds that a connection may stay without a registration
MAX_TRIES = 20  # ports that are looked at for one that is free at every front end
TICK = 1.0  # seconds between two looks at what has expired
BAD_REQUEST = b"SIP/2.0 400 Bad Request\r\nServer: RTC/5.0\r\nContent-Length: 0\r\n\r\n"

_log = logging.getLogger(__name__)


class Site(NamedTuple):
    """One front end of the pool: the address it listens on, the faults that strike there, its TLS side."""

    address: str
    faults: Faults
    context: Optional[ssl.SSLContext]


class Ports(NamedTuple):
    """The ports that every front end listens on; None where a transport is not offered."""

    tls: Optional[int]
    tcp: Optional[int]
    udp: Optional[int]


class FrontEnd(Protocol):
    """What a dialect is: messages of clients in, messages to clients out. Times are Unix seconds."""

    def receive(self, link: Link, message: Message, now: float) -> List[Outgoing]: ...
    def closed(self, link: Link, now: float) -> List[Outgoing]: ...
    def tick(self, now: float) -> List[Outgoing]: ...
    def registered(self) -> Set[Link]: ...
    def census(self) -> Dict[str, Dict[str, Any]]: ...


class Connection(asyncio.Protocol):
    """One client's connection."""

    patience = LONGEST_IDLE

    def __init__(self, server: Server, site: Site, transport_name: str, redirect_port: Optional[int]) -> None:
        self._server = server
        self._site = site
        self._name = transport_name
        self._redirect_port = redirect_port
        self._framer = StreamFramer()
        self._silent = False
        self.transport: Optional[asyncio.Transport] = None
        self.link: Optional[Link] = None
        self.since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not local:
            transport.abort()
            return
        self.link = self._server.link(self._site, self._name, peer, local, self._redirect_port)
        self.link.trusted = bool(transport.get_extra_info("peercert"))
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        if self.link is None:
            return
        try:
            for message in self._framer.feed(data):
                self._server.received(self.link, message)
        except ParseError as error:
            _log.info("%s:%s sent no SIP: %s", self.link.host, self.link.port, error)
            self.cut()
        except Exception:
            _log.exception("a message of %s:%s could not be handled", self.link.host, self.link.port)
            self.abort()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._server.lost(self)

    def write(self, sent: Sequence[Tuple[Message, Emission]]) -> None:
        """Send messages, unless the client has gone or does not read, or nothing may follow what was sent before."""
        assert self.link is not None
        emissions = [emission for _, emission in sent]
        for emission in [joined(emissions)] if "joined-messages" in self.link.faults else emissions:
            self._send(emission)

    def _send(self, emission: Emission) -> None:
        if self.transport is None or self._silent:
            return
        for piece in emission.pieces:
            if self.transport.is_closing():
                return
            self.transport.write(piece)
            if self.transport.get_write_buffer_size() > MAX_UNREAD:
                self.abort()
        self._silent = emission.mute
        if emission.cut:
            self.cut()

    def cut(self) -> None:
        """Hang up, behind what is on its way."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        if self.transport is not None:
            self.transport.abort()


class Mute(asyncio.Protocol):
    """A TLS port that does not do TLS: it stays silent, or answers everything in plain text and hangs up."""

    def __init__(self, held: Set[asyncio.Transport], answer: bytes) -> None:
        self._held = held
        self._answer = answer
        self._transport: Optional[asyncio.Transport] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._held.add(transport)
        if len(self._held) > MAX_CLIENTS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answer and self._transport is not None:
            self._transport.write(self._answer)
            self._transport.close()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._transport is not None:
            self._held.discard(self._transport)


Client = Union[Connection, Peer]


class Server:
    """Listeners and clients of a pool's front ends. `delay` is how many seconds every answer takes."""

    def __init__(self, front_end: FrontEnd, sites: Sequence[Site], delay: float) -> None:
        self._front_end = front_end
        self._sites = sites
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_note)
        # It warns of clients that have gone before all of a message was sent, without saying which.
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        self._clients: Dict[Link, Client] = {}
        self._mute: Set[asyncio.Transport] = set()
        self._listeners: List[Union[asyncio.AbstractServer, asyncio.DatagramTransport]] = []
        self._cid = 0x4A2300

    async def listen(self, tls: Optional[int], tcp: Optional[int], udp: Optional[int]) -> Ports:
        """Open these ports at every front end; 0 is one that is free at all of them. Raises OSError."""
        ports = Ports(
            None if tls is None else await self._listen_everywhere("tls", tls),
            None if tcp is None else await self._listen_everywhere("tcp", tcp),
            None if udp is None else await self._listen_everywhere("udp", udp),
        )
        self._loop.call_later(TICK, self._tick)
        return ports

    async def _listen_everywhere(self, name: str, wanted: int) -> int:
        # The home pool of a redirection: what is reached there is not sent on.
        homes = [await self._listen(site, name, 0) if "redirect" in site.faults else None for site in self._sites]
        for tries_left in reversed(range(MAX_TRIES)):
            port, before = wanted, len(self._listeners)
            try:
                for site, home in zip(self._sites, homes):
                    port = await self._listen(site, name, port, home)
            except OSError as error:
                if wanted or not tries_left or error.errno != errno.EADDRINUSE:
                    raise
                for listener in self._listeners[before:]:
                    listener.close()
                del self._listeners[before:]
            else:
                break
        return port

    async def _listen(self, site: Site, name: str, port: int, home: Optional[int] = None) -> int:
        """Listen with one transport at one front end; the port. `home` is where it redirects to."""
        if name == "udp":
            transport, _ = await self._loop.create_datagram_endpoint(
                lambda: Datagrams(self, site, home), local_addr=(site.address, port)
            )
            self._listeners.append(transport)
            bound: int = transport.get_extra_info("sockname")[1]
            return bound

        def connection() -> asyncio.Protocol:
            return Connection(self, site, name, home)

        def mute() -> asyncio.Protocol:
            return Mute(self._mute, BAD_REQUEST if "plain-text-on-tls" in site.faults else b"")

        if name == "tls" and ("tls-silent" in site.faults or "plain-text-on-tls" in site.faults):
            listener = await self._loop.create_server(mute, site.address, port)
        else:
            context = site.context if name == "tls" else None
            listener = await self._loop.create_server(connection, site.address, port, ssl=context)
        self._listeners.append(listener)
        opened: int = listener.sockets[0].getsockname()[1]
        return opened

    def close(self) -> None:
        """Stop listening and cut every connection."""
        for listener in self._listeners:
            listener.close()
        for client in list(self._clients.values()):
            client.abort()
        for transport in list(self._mute):
            transport.abort()

    def census(self) -> Dict[str, Any]:
        """What clients have left here."""
        connections = sum(isinstance(client, Connection) for client in self._clients.values()) + len(self._mute)
        return {"users": self._front_end.census(), "connections": connections}

    # ------------------------------------------------------- called by clients

    def link(self, site: Site, name: str, peer: Any, local: Any, home: Optional[int]) -> Link:
        """What a front end is told of a new client: the addresses of both sides, as sockets have them."""
        self._cid += 0x100  # the number shows in Via and Contact
        return Link(
            f"{self._cid:X}", peer[0], peer[1], name, local[0], local[1], site.address, site.faults, redirect_port=home
        )

    def opened(self, client: Client) -> None:
        assert client.link is not None
        self._clients[client.link] = client
        if len(self._clients) > MAX_CLIENTS:
            client.abort()

    def received(self, link: Link, message: Message) -> None:
        self._send(self._front_end.receive(link, message, time.time()))

    def lost(self, client: Client) -> None:
        if client.link is not None and self._clients.pop(client.link, None) is not None:
            self._send(self._front_end.closed(client.link, time.time()))

    # ------------------------------------------------------------------ sending

    def _send(self, outgoing: Iterable[Outgoing]) -> None:
        """Send what belongs together at the same time: all of it after the delay, what is late after that."""
        times: Dict[float, List[Outgoing]] = {}
        for item in outgoing:
            times.setdefault(self._delay + item.late, []).append(item)
        for seconds, items in times.items():
            if seconds > 0:
                self._loop.call_later(seconds, self._write, items)
            else:
                self._write(items)

    def _write(self, items: List[Outgoing]) -> None:
        """Write what came of one request."""
        sent: Dict[Client, List[Tuple[Message, Emission]]] = {}
        for item in items:
            client = self._clients.get(item.link)
            if client is None:
                continue
            emission = emit(item)
            sent.setdefault(client, []).append((item.message, emission))
            if emission.lost:
                break
        for client, messages in sent.items():
            client.write(messages)

    def _tick(self) -> None:
        self._loop.call_later(TICK, self._tick)
        self._send(self._front_end.tick(time.time()))
        registered = self._front_end.registered()
        now = time.monotonic()
        for link, client in list(self._clients.items()):
            if client.since + client.patience < now and link not in registered:
                client.abort()


def _note(loop: asyncio.AbstractEventLoop, context: Dict[str, Any]) -> None:
    """asyncio tells of clients that break off a handshake as if it were our fault; what is, must be seen."""
    error = context.get("exception")
    level = logging.INFO if error is None or isinstance(error, OSError) else logging.ERROR
    _log.log(level, "%s", context.get("message"), exc_info=error)
