"""A directory of the least that one search needs, written in octets; a test says what is to go wrong at which step.

It knows no LDAP library: what the check's own (ldap3) makes of hostile octets is what the tests want to see.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from check_lync_presence.settings import DirectorySettings, Secret

from .loopback import GUARD, Server
from .samples import ANN

# Tags of RFC 4511.
BIND, BIND_DONE, UNBIND = 0x60, 0x61, 0x42
SEARCH, ENTRY, DONE, REFERENCE = 0x63, 0x64, 0x65, 0x73
EXTENDED, EXTENDED_DONE = 0x77, 0x78
BASE = "DC=contoso,DC=example"

Values = Sequence[Union[str, bytes]]


def tlv(tag: int, *parts: bytes) -> bytes:
    """Tag, length, value."""
    content = b"".join(parts)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes(4, "big").lstrip(b"\0")
    return bytes((tag, 0x80 | len(length))) + length + content


def text(value: Union[str, bytes], tag: int = 0x04) -> bytes:
    return tlv(tag, value.encode() if isinstance(value, str) else value)


def integer(value: int, tag: int = 0x02) -> bytes:
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def message(number: int, operation: bytes) -> bytes:
    """An LDAPMessage."""
    return tlv(0x30, integer(number), operation)


def result(tag: int, code: int = 0, said: str = "", referrals: Sequence[str] = ()) -> bytes:
    """How an operation ended."""
    named = tlv(0xA3, *(text(uri) for uri in referrals)) if referrals else b""
    return tlv(tag, integer(code, 0x0A), text(""), text(said), named)


def entry(dn: str, attributes: Mapping[str, Values]) -> bytes:
    """A searchResEntry."""
    values = [tlv(0x30, text(name), tlv(0x31, *map(text, found))) for name, found in attributes.items()]
    return tlv(ENTRY, text(dn), tlv(0x30, *values))


def reference(uri: str) -> bytes:
    """A searchResRef: look over there as well."""
    return tlv(REFERENCE, text(uri))


def user(**changes: Union[str, bytes, None]) -> Dict[str, Values]:
    """The attributes of a test user in order, with some of them changed (None: taken away); ``_`` stands for ``-``."""
    values: Dict[str, Union[str, bytes, None]] = {
        "msRTCSIP_PrimaryUserAddress": ANN.uri,
        "msRTCSIP_UserEnabled": "TRUE",
        "msRTCSIP_PrimaryHomeServer": "CN=Lc Services,CN=Microsoft,CN=pool01.contoso.example,CN=Pools,CN=RTC Service,"
        f"CN=Services,CN=Configuration,{BASE}",
        "msRTCSIP_DeploymentLocator": "SRV:",
        "msRTCSIP_OriginatorSid": None,
        "proxyAddresses": ANN.uri,
        "userPrincipalName": ANN.address,
        "sAMAccountName": "ann",
        "userAccountControl": "512",
        "msDS_User_Account_Control_Computed": "0",
        "lockoutTime": "0",
        "accountExpires": "9223372036854775807",
        "pwdLastSet": "133500000000000000",
        "msDS_UserPasswordExpiryTimeComputed": "9223372036854775807",
    }
    assert set(changes) <= set(values)
    values.update(changes)
    return {name.replace("_", "-"): [value] for name, value in values.items() if value is not None}


ANN_ENTRY = entry(f"CN=ann,{BASE}", user())


class Request(NamedTuple):
    """What a client asked: message number, tag of the operation, its octets."""

    number: int
    tag: int
    body: bytes


class Talk:
    """The server's end of a connection."""

    def __init__(self, sock: socket.socket, over: threading.Event) -> None:
        self.sock = sock
        self._over = over

    def send(self, *operations: bytes, to: Request) -> None:
        """Answer a request."""
        self.raw(b"".join(message(to.number, operation) for operation in operations))

    def raw(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def silence(self) -> None:
        """Say nothing more until the test is over."""
        self._over.wait(GUARD)

    def drip(self, octets: bytes) -> None:
        """One octet at a time, without an end."""
        for octet in octets:
            if self._over.wait(0.01):
                return
            self.raw(bytes((octet,)))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def receive(self) -> Optional[Request]:
        """The next request; None when there will be none."""
        head = self._octets(2)
        if head is None:
            return None
        length = head[1]
        if length & 0x80:
            length = int.from_bytes(self._octets(length & 0x7F) or b"", "big")
        body = self._octets(length)
        if head[0] != 0x30 or not body:  # or TLS where none is spoken
            return None
        number, rest = int.from_bytes(body[2 : 2 + body[1]], "big"), body[2 + body[1] :]
        return Request(number, rest[0], rest)

    def _octets(self, count: int) -> Optional[bytes]:
        received = b""
        while len(received) < count:
            data = self.sock.recv(count - len(received))
            if not data:
                return None
            received += data
        return received


Step = Callable[[Talk, Request], None]


def says(*operations: bytes) -> Step:
    """A step that answers with these operations."""
    return lambda talk, request: talk.send(*operations, to=request)


def finds(*found: bytes, code: int = 0, said: str = "") -> Step:
    """A step that answers a search."""
    return says(*found, result(DONE, code, said))


def sends(octets: bytes, *then: Callable[[Talk], None]) -> Step:
    """A step that answers with octets that need not be LDAP, and goes on."""

    def step(talk: Talk, _: Request) -> None:
        talk.raw(octets)
        for action in then:
            action(talk)

    return step


def silent(talk: Talk, _: Request) -> None:
    """A step that says nothing."""
    talk.silence()


def closes(talk: Talk, _: Request) -> None:
    """A step that hangs up."""
    talk.close()


class TinyDirectory:
    """The server. A step each for the connection, the bind and a search; `requests` and `connections` are what came."""

    def __init__(
        self,
        search: Step = finds(ANN_ENTRY),  # noqa: B008
        bind: Step = says(result(BIND_DONE)),  # noqa: B008
        greeting: Optional[Callable[[Talk], None]] = None,
        extended: Step = closes,
        context: Optional[ssl.SSLContext] = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._steps = {BIND: bind, SEARCH: search, EXTENDED: extended}
        self._greeting = greeting
        self._context = context
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._talks: List[Talk] = []
        self.requests: List[Request] = []
        self.connections = 0
        self._server = Server(self._serve, host)
        shown = f"[{host}]" if ":" in host else host
        self.uri = f"{'ldaps' if context else 'ldap'}://{shown}:{self._server.port}"

    def __enter__(self) -> TinyDirectory:
        self._server.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for talk in self._talks:
            talk.close()
        self._server.__exit__(*exception)

    @property
    def settings(self) -> DirectorySettings:
        return directory(self.uri)

    @property
    def tags(self) -> List[int]:
        """The operations that came, without the farewell."""
        return [request.tag for request in self.requests if request.tag != UNBIND]

    def _serve(self, sock: socket.socket) -> None:
        with self._lock:
            self.connections += 1
        with contextlib.suppress(OSError):  # the check may leave whenever it likes
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                talk = Talk(sock, self._over)
                self._talks.append(talk)
                if self._greeting is not None:
                    self._greeting(talk)
                while not self._over.is_set():
                    request = talk.receive()
                    if request is None:
                        return
                    self.requests.append(request)
                    if request.tag in self._steps:
                        self._steps[request.tag](talk, request)


def directory(*uris: str, **changes: Any) -> DirectorySettings:
    """Where to ask, with some of it changed."""
    return DirectorySettings(uris, BASE, None, Secret(""), "anonymous", None, False)._replace(**changes)
