"""The simulator's sockets: listeners, connections, framing, time.

Owns everything that the front end must not know. Bounds what a client can make it hold: connections, message
sizes (the framer's), unread answers, time without a registration.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set

from ..sip.framing import StreamFramer
from ..sip.message import Message, ParseError
from .faults import Faults
from .frontend import FrontEnd
from .link import Link, Outgoing
from .wire import Emission, emit, joined

MAX_CONNECTIONS = 256  # a check makes two
MAX_UNREAD = 8 * 1024 * 1024  # octets that a client does not fetch before it is cut
LONGEST_IDLE = 120.0  # seconds that a connection may stay without a registration
TICK = 1.0  # seconds between two looks at what has expired
BAD_REQUEST = b"SIP/2.0 400 Bad Request\r\nServer: RTC/5.0\r\nContent-Length: 0\r\n\r\n"

_log = logging.getLogger(__name__)


class Ports(NamedTuple):
    """The ports that are listened on; None where a transport is not offered."""

    tls: Optional[int]
    tcp: Optional[int]


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Server, transport_name: str, redirect_port: Optional[int]) -> None:
        self._server = server
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
        cid = self._server.next_cid()
        self.link = Link(cid, peer[0], peer[1], self._name, local[0], local[1], self._redirect_port)
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

    def send(self, emission: Emission) -> None:
        """Send, unless the client has gone or does not read, or nothing may follow what was sent before."""
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
        if len(self._held) > MAX_CONNECTIONS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answer and self._transport is not None:
            self._transport.write(self._answer)
            self._transport.close()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._transport is not None:
            self._held.discard(self._transport)


class Server:
    """Listeners and connections around a front end. `delay` is how many seconds every answer takes."""

    def __init__(self, front_end: FrontEnd, faults: Faults, delay: float) -> None:
        self._front_end = front_end
        self._faults = faults
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_note)
        self._connections: Dict[Link, Connection] = {}
        self._mute: Set[asyncio.Transport] = set()
        self._listeners: List[asyncio.AbstractServer] = []
        self._cid = 0x4A2300

    async def listen(
        self, host: str, tls: Optional[int], tcp: Optional[int], context: Optional[ssl.SSLContext]
    ) -> Ports:
        """Open the listeners. Raises OSError."""
        elsewhere: Dict[str, Optional[int]] = {"tls": None, "tcp": None}
        if "redirect" in self._faults:
            # The home pool: what is reached there is not sent on.
            home = await self._open(host, None if tls is None else 0, None if tcp is None else 0, context, elsewhere)
            elsewhere = {"tls": home.tls, "tcp": home.tcp}
        ports = await self._open(host, tls, tcp, context, elsewhere)
        self._loop.call_later(TICK, self._tick)
        return ports

    async def _open(
        self,
        host: str,
        tls: Optional[int],
        tcp: Optional[int],
        context: Optional[ssl.SSLContext],
        elsewhere: Dict[str, Optional[int]],
    ) -> Ports:
        ports: Dict[str, Optional[int]] = {"tls": None, "tcp": None}
        for name, port in (("tls", tls), ("tcp", tcp)):
            if port is not None:
                ports[name] = await self._listen(host, port, name, context if name == "tls" else None, elsewhere[name])
        return Ports(**ports)

    async def _listen(
        self, host: str, port: int, name: str, context: Optional[ssl.SSLContext], elsewhere: Optional[int]
    ) -> int:
        def connection() -> asyncio.Protocol:
            return Connection(self, name, elsewhere)

        def mute() -> asyncio.Protocol:
            return Mute(self._mute, BAD_REQUEST if "plain-text-on-tls" in self._faults else b"")

        if name == "tls" and ("tls-silent" in self._faults or "plain-text-on-tls" in self._faults):
            listener = await self._loop.create_server(mute, host, port)
        else:
            listener = await self._loop.create_server(connection, host, port, ssl=context)
        self._listeners.append(listener)
        opened: int = listener.sockets[0].getsockname()[1]
        return opened

    def close(self) -> None:
        """Stop listening and cut every connection."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections.values()):
            connection.abort()
        for transport in list(self._mute):
            transport.abort()

    def census(self) -> Dict[str, Any]:
        """What clients have left here."""
        return {"users": self._front_end.census(), "connections": len(self._connections) + len(self._mute)}

    # --------------------------------------------------- called by connections

    def next_cid(self) -> str:
        """The connection's number as it shows in Via and Contact."""
        self._cid += 0x100
        return f"{self._cid:X}"

    def opened(self, connection: Connection) -> None:
        assert connection.link is not None
        self._connections[connection.link] = connection
        if len(self._connections) > MAX_CONNECTIONS:
            connection.abort()

    def received(self, link: Link, message: Message) -> None:
        self._send(self._front_end.receive(link, message, time.time()))

    def lost(self, connection: Connection) -> None:
        if connection.link is not None and self._connections.pop(connection.link, None) is not None:
            self._send(self._front_end.closed(connection.link, time.time()))

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
        emissions: Dict[Connection, List[Emission]] = {}
        for item in items:
            connection = self._connections.get(item.link)
            if connection is None:
                continue
            emission = emit(item, self._faults)
            emissions.setdefault(connection, []).append(emission)
            if emission.lost:
                break
        for connection, found in emissions.items():
            for emission in [joined(found)] if "joined-messages" in self._faults else found:
                connection.send(emission)

    def _tick(self) -> None:
        self._loop.call_later(TICK, self._tick)
        self._send(self._front_end.tick(time.time()))
        registered = self._front_end.registered()
        limit = time.monotonic() - LONGEST_IDLE
        for link, connection in list(self._connections.items()):
            if connection.since < limit and link not in registered:
                connection.abort()


def _note(loop: asyncio.AbstractEventLoop, context: Dict[str, Any]) -> None:
    """asyncio tells of clients that break off a handshake as if it were our fault; what is, must be seen."""
    error = context.get("exception")
    level = logging.INFO if error is None or isinstance(error, OSError) else logging.ERROR
    _log.log(level, "%s", context.get("message"), exc_info=error)
