"""HTTPS to the hosts of one organisation: a request, an answer, one connection a host while it lasts.

Owns the rules of where to connect, and the bounds of an answer. Must not know what is asked. http.client is imported
with this module, so who needs no HTTPS does not import it.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from typing import Callable, Dict, Optional, Tuple
from urllib.parse import urlsplit

from ..value import NamedTuple
from .deadline import Deadline
from .resolve import Address, ResolveError, in_thread, is_ip_literal, resolve
from .transport import CONNECT_LIMIT, TlsError, TransportError, open_connection, tls_error

MAX_BODY = 256 * 1024  # a description of a service has 60 kB
MAX_ADDRESS = 1024


class HttpsError(Exception):
    """There was no answer; the text says why. `code` is that of a TlsError."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class Origin(NamedTuple):
    """Where an address leads: host, port, and the path with its query."""

    host: str
    port: int
    path: str


class Reply(NamedTuple):
    """An answer: its status, the values of its WWW-Authenticate headers, its body."""

    status: int
    challenges: Tuple[str, ...]
    body: bytes


class Https:
    """Requests to hosts of whom `is_ours` says that they may be asked. Close it when it has been used.

    An IP address has no name of its own: the certificate there must be good for `target`, as after a redirect.
    """

    def __init__(
        self, context: ssl.SSLContext, target: str, family: Optional[int], is_ours: Callable[[str], bool]
    ) -> None:
        self._context = context
        self._target = target
        self._family = family
        self._is_ours = is_ours
        self._open: Dict[Tuple[str, int], http.client.HTTPConnection] = {}

    def origin(self, url: str) -> Origin:
        """Where `url` leads. Raises HttpsError where nobody should go."""
        try:
            parts = urlsplit(url if len(url) <= MAX_ADDRESS and url.isascii() and url.isprintable() else "")
            host, port = parts.hostname or "", parts.port or 443
        except ValueError:
            host, port = "", 0
        if not host or " " in url or "@" in parts.netloc:
            raise HttpsError(f"{url[:80]!r} is no address of a service")
        if parts.scheme != "https":
            raise HttpsError(f"the pool names {url[:80]}, which is not encrypted")
        if not is_ip_literal(host) and not self._is_ours(host):
            raise HttpsError(f"the pool names {host}, which is none of its hosts")
        return Origin(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    def server_name(self, origin: Origin) -> str:
        """The name that the server's certificate must have."""
        return self._target if is_ip_literal(origin.host) else origin.host

    async def request(
        self, method: str, origin: Origin, headers: Dict[str, str], body: Optional[bytes], deadline: Deadline
    ) -> Reply:
        """Ask. A redirect is an answer like any other. Raises HttpsError."""
        place = origin[:2]
        try:
            if place not in self._open:
                self._open[place] = await self._connect(origin, deadline)
            connection = self._open[place]

            def ask() -> Tuple[Reply, bool]:
                assert connection.sock is not None
                connection.sock.settimeout(max(deadline.remaining, 0.001))
                connection.request(method, origin.path, body, headers)
                with connection.getresponse() as response:
                    # Into room of our own: what `read` returns has no bound where a chunk claims a negative size.
                    room = bytearray(MAX_BODY + 1)
                    size = response.readinto(room)
                    if response.length and size <= MAX_BODY:  # cut short
                        raise http.client.IncompleteRead(b"")
                challenges = tuple(response.headers.get_all("WWW-Authenticate", ()))
                return Reply(response.status, challenges, bytes(room[:size])), response.will_close or size > MAX_BODY

            reply, over = await in_thread(ask, deadline)
        except (TimeoutError, socket.timeout):
            self.close()
            raise HttpsError(f"no answer from {origin.host}:{origin.port} within {deadline.span} s") from None
        except ResolveError as error:
            raise HttpsError(str(error)) from None
        except TransportError as error:
            raise HttpsError(str(error), error.code if isinstance(error, TlsError) else "") from None
        except (http.client.HTTPException, OSError, ValueError) as error:
            self.close()
            said = getattr(error, "strerror", None) or type(error).__name__
            raise HttpsError(f"{origin.host}:{origin.port} does not answer as HTTP has it ({said})") from None
        if over:
            self._open.pop(place).close()
        if len(reply.body) > MAX_BODY:
            raise HttpsError(f"the answer of {origin.host}:{origin.port} is longer than {MAX_BODY // 1024} KiB")
        return reply

    def certificate(self, origin: Origin) -> bytes:
        """The certificate (DER) that was shown on the connection that is open, empty where none is."""
        connection = self._open.get(origin[:2])
        sock = connection.sock if connection is not None else None
        return (sock.getpeercert(True) or b"") if isinstance(sock, ssl.SSLSocket) else b""

    def close(self) -> None:
        for connection in self._open.values():
            with contextlib.suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that still reads
            connection.close()
        self._open.clear()

    async def _connect(self, origin: Origin, deadline: Deadline) -> http.client.HTTPConnection:
        addresses: Tuple[Address, ...] = await resolve(origin.host, origin.port, self._family, deadline)
        opened = await open_connection(addresses, None, "", deadline)
        connection = http.client.HTTPConnection(origin.host, origin.port)
        connection.auto_open = 0  # without TLS, and to whatever a name leads to by then
        limit = deadline.within(CONNECT_LIMIT)
        name = self.server_name(origin)

        def secured() -> ssl.SSLSocket:
            plain = opened.detach()
            plain.settimeout(max(limit.remaining, 0.001))
            return self._context.wrap_socket(plain, server_hostname=name)

        try:
            connection.sock = await in_thread(secured, limit)
        except OSError as error:
            raise tls_error(error, opened.peer, name, limit) from None
        except BaseException:
            opened.close()
            raise
        return connection
