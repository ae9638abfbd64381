"""Servers of a few octets on the loopback interface, and the client's end of a connection to them."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from typing import Any, Callable, Coroutine, Iterator, List, Optional, Set, Tuple

from check_lync_presence.net.deadline import Deadline
from check_lync_presence.net.resolve import Address
from check_lync_presence.net.tasks import run
from check_lync_presence.net.transport import Connection
from check_lync_presence.sip.framing import StreamFramer
from check_lync_presence.sip.message import Message

_given: Set[int] = set()  # by lasting_port
GUARD = 10.0  # seconds after which a server gives up; no test comes near


def soon(seconds: float = GUARD) -> Deadline:
    """A deadline on the real clock."""
    return Deadline(seconds, time.monotonic)


def finish(job: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine of the check to its end."""
    return run(job, time.monotonic)


def lasting_port() -> int:
    """A port where nobody listens, outside of the range that the system gives to clients: it stays free."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as sock:
            if port not in _given and sock.connect_ex(("127.0.0.1", port)):
                _given.add(port)
                return port


class Server:
    """Serves every connection in a thread of its own until the ``with`` ends; then no server may have complained."""

    def __init__(self, serve: Callable[[socket.socket], None], host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self._serve = serve
        self._threads: List[threading.Thread] = []
        self._connections: List[socket.socket] = []
        self._complaints: List[BaseException] = []
        self._closing = False
        self.address = Address(self._listener.family, self._listener.getsockname())

    @property
    def port(self) -> int:
        return self.address.port

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._connections)

    def __enter__(self) -> Server:
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with contextlib.suppress(OSError), socket.create_connection((self.address.host, self.port), GUARD):
            self._accepting.join(GUARD)
        self._listener.close()
        for thread in self._threads:
            thread.join(GUARD)
        for connection in self._connections:
            connection.close()
        if self._complaints:
            raise self._complaints[0]

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.settimeout(GUARD)
            self._connections.append(connection)
            if self._closing:
                return
            thread = threading.Thread(target=self._run, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
        except BaseException as complaint:
            self._complaints.append(complaint)


def until_closed(connection: socket.socket) -> bytes:
    """Everything that the client sends until it closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while True:
            data = connection.recv(65536)
            if not data:
                break
            received += data
    return received


class Wire:
    """The server's end of a SIP connection: whole messages in, octets out."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._framer = StreamFramer()
        self._messages: List[Message] = []

    def receive(self) -> Optional[Message]:
        """The next message, None once the client has closed."""
        while not self._messages:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._messages += self._framer.feed(data)
        return self._messages.pop(0)

    def waiting(self) -> List[Message]:
        """What has already arrived, without waiting for more."""
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self.sock.recv(65536)
                if not data:
                    break
                self._messages += self._framer.feed(data)
        self.sock.settimeout(GUARD)
        found, self._messages = self._messages, []
        return found

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)


@contextlib.contextmanager
def pair() -> Iterator[Tuple[Connection, socket.socket]]:
    """The check's connection, and the socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    theirs.settimeout(GUARD)
    connection = Connection(ours, Address(ours.family, ours.getpeername()))
    with theirs:
        try:
            yield connection, theirs
        finally:
            connection.close()
