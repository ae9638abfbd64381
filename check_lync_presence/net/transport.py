"""Connections over TLS or TCP: open, send, receive, close, never longer than a deadline.

Owns sockets and TLS contexts. Must not know SIP.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
import warnings
from typing import Callable, Optional, Sequence, TypeVar, Union

from ..moment import unix_time
from ..settings import SettingsError, TlsSettings, read_private_octets
from ..value import NamedTuple
from .deadline import Deadline
from .resolve import Address
from .tasks import READ, WRITE, ready

CONNECT_LIMIT = 10.0  # a host that is up answers a SYN in its third second at the latest (RFC 6298: 1 s, then 2 s)
READ_SIZE = 64 * 1024

_Result = TypeVar("_Result")

_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
# OpenSSL's X509_V_ERR_* numbers whose texts repeat themselves.
_VERIFY_FAULTS = {9: "is not valid yet", 10: "has expired", 62: "is not for {}", 64: "is not for {}"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OP_LEGACY_SERVER_CONNECT = 0x4  # OpenSSL's SSL_OP_LEGACY_SERVER_CONNECT; ssl names it from Python 3.12 on


class TransportError(Exception):
    """The connection could not be opened, or broke. The text names the address and what happened."""


# How a connection looks that the peer has closed, whichever of us notices first.
_GONE = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError, BrokenPipeError)


class PeerGoneError(TransportError):
    """The peer has closed the connection, as was seen when something was sent."""


class TcpError(TransportError):
    """No TCP connection."""


class UnreachableError(TransportError):
    """Nobody takes our datagrams (ICMP says so)."""


class TlsError(TransportError):
    """No TLS session. `code` is OpenSSL's verification code or reason, ``""`` where it gave none."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class TlsFacts(NamedTuple):
    """What a handshake settled. `expires` is the certificate's end as Unix time, None where it was not verified."""

    version: str
    cipher: str
    expires: Optional[float]


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """The client's context. Raises SettingsError when its files cannot be used."""
    for path in (settings.ca_file, settings.client_cert, settings.client_key):
        if path is not None and _is_pipe(path):  # OpenSSL would wait for somebody to write to it
            raise SettingsError(f"cannot use {path}: it is a pipe, not a regular file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca_file is not None:
        try:
            context.load_verify_locations(settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"cannot use the CA file {settings.ca_file}: {_file_fault(error)}") from None
    else:
        context.load_default_certs()
    if settings.client_cert is not None:
        _show(context, settings.client_cert, settings.client_key)
    if settings.minimum in ("1.0", "1.1"):
        # OpenSSL 3 lets TLS below 1.2, SHA-1 and unpatched peers through at security level 0 only.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.options |= _OP_LEGACY_SERVER_CONNECT

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the administrator has asked for it by name
        context.minimum_version = _VERSIONS[settings.minimum]
    return context


def _show(context: ssl.SSLContext, certificate: str, key: Optional[str]) -> None:
    """Let `context` show a client certificate; without `key` the key is in the same file. Raises SettingsError."""
    what = "client key" if key else "client certificate with its key"
    text = read_private_octets(key or certificate, what, "holds a private key")
    if b"ENCRYPTED" in text:
        raise SettingsError(
            f"the key in {key or certificate} is encrypted, and nobody is there to type its passphrase: store it "
            "without one (openssl pkey -in … -out …, mode 0600)"
        )
    try:
        # OpenSSL would ask on the terminal for the passphrase of a key that has been encrypted since.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        files = certificate + (f" and {key}" if key else "")
        raise SettingsError(f"cannot use the client certificate {files}: {_file_fault(error)}") from None


class Connection:
    """An open connection. `local` and `peer` are its addresses, `tls` its facts (None over TCP and UDP).

    `number` tells the connections of a recorded run apart.
    """

    name = "TCP"
    reliable = True
    number = 0
    tls: Optional[TlsFacts] = None

    def __init__(self, sock: socket.socket, peer: Address) -> None:
        self._sock = sock
        self.peer = peer
        self.local = Address(sock.family, sock.getsockname())

    async def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of `data`. Raises PeerGoneError, TransportError, TimeoutError."""
        try:
            await self._put(data, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            word = self._last_word()
            if word is None and isinstance(error, _GONE):
                raise PeerGoneError(f"{self.peer} has closed the connection") from None
            raise self._broken(word or error) from None

    async def receive(self, deadline: Deadline) -> bytes:
        """The next octets, ``b""`` when the peer has closed. Raises TransportError, TimeoutError."""
        try:
            return await self._get(deadline)
        except TimeoutError:
            raise
        except _GONE:
            return b""
        except OSError as error:
            raise self._broken(error) from None

    async def _put(self, data: bytes, deadline: Deadline) -> None:
        await _send(self._sock, data, deadline)

    async def _get(self, deadline: Deadline) -> bytes:
        return await _receive(self._sock, deadline)

    def _last_word(self) -> Optional[OSError]:
        """The alert of a server that has hung up on what we were sending, None where it left none."""
        return None

    def _broken(self, error: OSError) -> TransportError:
        return TransportError(f"the connection to {self.peer} broke: {_reason(error)}")

    def detach(self) -> socket.socket:
        """The socket, for a library that reads and writes itself; this object is done with."""
        return self._sock

    def close(self) -> None:
        self._sock.close()


class TlsConnection(Connection):
    """TLS, of which OpenSSL sees no more at a time than has been read for it.

    On the socket itself it stays inside one call for as long as a peer sends records that hold nothing for us (session
    tickets, requests to renegotiate), where no deadline and no signal is heard.
    """

    def __init__(self, sock: socket.socket, peer: Address, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(sock, peer)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # As octets: for text, ssl loads the whole of internationalised domain names.
        name = server_name.encode("ascii")
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    async def handshake(self, deadline: Deadline) -> None:
        """Settle the session. Raises OSError, of which ssl's are some; TimeoutError."""
        try:
            await self._through(self._session.do_handshake, deadline)
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                self._sock.send(self._outgoing.read())  # the server is told what was wrong, if it still listens
            raise
        certificate = self._session.getpeercert()
        expires = certificate_time(str(certificate["notAfter"])) if certificate else None
        cipher = self._session.cipher()
        self.tls = TlsFacts(self._session.version() or "", cipher[0] if cipher else "", expires)

    async def _put(self, data: bytes, deadline: Deadline) -> None:
        await self._through(lambda: self._session.write(data), deadline)

    async def _get(self, deadline: Deadline) -> bytes:
        return await self._through(lambda: self._session.read(READ_SIZE), deadline)

    async def _through(self, step: Callable[[], _Result], deadline: Deadline) -> _Result:
        """What `step` returns once it has read and written as much as it needs."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush(deadline)
                self._feed(await _receive(self._sock, deadline))
            else:
                await self._flush(deadline)
                return done

    async def _flush(self, deadline: Deadline) -> None:
        if self._outgoing.pending:
            await _send(self._sock, self._outgoing.read(), deadline)

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _last_word(self) -> Optional[OSError]:
        try:
            with contextlib.suppress(BlockingIOError):
                self._feed(self._sock.recv(READ_SIZE))
            self._session.read(READ_SIZE)
        except OSError as word:
            return word if _is_alert(word) else None
        return None

    def _broken(self, error: OSError) -> TransportError:
        broken = super()._broken(error)
        # In TLS 1.3 a server says only after the handshake what it has against our certificate.
        return TlsError(str(broken), str(getattr(error, "reason", ""))) if _is_alert(error) else broken


class DatagramConnection(Connection):
    """UDP to one address: what is sent may be lost, what is received comes in whole messages."""

    name = "UDP"
    reliable = False

    async def receive(self, deadline: Deadline) -> bytes:
        """The next datagram. Raises TransportError, TimeoutError."""
        while True:
            try:
                data = await _receive(self._sock, deadline)
            except TimeoutError:
                raise
            except OSError as error:
                raise UnreachableError(f"cannot reach {self.peer}: {_reason(error)}") from None
            if data:
                return data


def open_datagrams(addresses: Sequence[Address]) -> DatagramConnection:
    """A socket for datagrams to the first address; whether somebody takes them shows later. Raises TcpError."""
    address = addresses[0]
    try:
        sock = socket.socket(address.family, socket.SOCK_DGRAM)
    except OSError as error:
        raise TcpError(f"cannot reach {address}: {_reason(error)}") from None
    try:
        sock.setblocking(False)
        sock.connect(address.sockaddr)
    except OSError as error:
        sock.close()
        raise TcpError(f"cannot reach {address}: {_reason(error)}") from None
    return DatagramConnection(sock, address)


async def open_connection(
    addresses: Sequence[Address], context: Optional[ssl.SSLContext], server_name: str, deadline: Deadline
) -> Connection:
    """Connect to the first address that answers; TLS for `server_name` where there is a context.

    Raises TcpError of the last address when none answers, TlsError when the one that answered fails at TLS.
    """
    last: Optional[TcpError] = None
    for left, address in zip(range(len(addresses), 0, -1), addresses):
        step = deadline.within(min(CONNECT_LIMIT, deadline.remaining / left))
        try:
            sock = await _connect(address, step)
        except TcpError as error:
            last = error
            continue
        try:
            if context is None:
                return Connection(sock, address)
            connection = TlsConnection(sock, address, context, server_name)
            limit = deadline.within(CONNECT_LIMIT)
            try:
                await connection.handshake(limit)
            except OSError as error:
                raise tls_error(error, address, server_name, limit) from None
            return connection
        except BaseException:
            sock.close()
            raise
    raise last or TcpError("there is no address to connect to")


async def _connect(address: Address, deadline: Deadline) -> socket.socket:
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:
        raise TcpError(f"cannot connect to {address}: {_reason(error)}") from None
    try:
        sock.setblocking(False)
        # Small messages go back and forth: Nagle's algorithm would hold each back for the peer's delayed ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address.sockaddr)
        await ready(sock, WRITE, deadline)
        error_number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error_number:
            raise OSError(error_number, os.strerror(error_number))
    except TimeoutError as error:
        sock.close()
        if error.errno:  # the kernel's own limit came first
            raise TcpError(f"cannot connect to {address}: {_reason(error)}") from None
        raise TcpError(f"cannot connect to {address}: no answer within {deadline.span} s") from None
    except OSError as error:
        sock.close()
        raise TcpError(f"cannot connect to {address}: {_reason(error)}") from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _send(sock: socket.socket, data: bytes, deadline: Deadline) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await ready(sock, WRITE, deadline)


async def _receive(sock: socket.socket, deadline: Deadline) -> bytes:
    while True:
        # Others get their turn first: a server that never pauses keeps nobody from his own.
        await ready(sock, READ, deadline)
        if not deadline.remaining:
            raise TimeoutError
        with contextlib.suppress(BlockingIOError):
            return sock.recv(READ_SIZE)


def tls_error(error: OSError, address: Address, server_name: str, deadline: Deadline) -> TlsError:
    """What a handshake that ended with `error` is to be called. `deadline` was its limit."""
    if isinstance(error, (TimeoutError, socket.timeout)):  # two until Python 3.10
        return TlsError(f"no answer to the TLS handshake with {address} within {deadline.span} s", "TIMEOUT")
    if isinstance(error, ssl.SSLCertVerificationError):
        fault = _VERIFY_FAULTS.get(error.verify_code) or f"is not trusted: {error.verify_message.rstrip('.')}"
        text = f"the certificate of {address} {fault.format(server_name)}"
        return TlsError(text, f"VERIFY_{error.verify_code}")
    code = str(getattr(error, "reason", None) or "")
    return TlsError(f"the TLS handshake with {address} failed: {_reason(error)}", code)


def certificate_time(text: str) -> float:
    """A time as OpenSSL writes it, ``Jun  9 12:00:00 2031 GMT``; the one in ssl loads all of strptime for that."""
    month, day, clock, year, _ = text.split()
    hour, minute, second = map(int, clock.split(":"))
    return unix_time(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second)


def _is_alert(error: OSError) -> bool:
    """Whether the other side has said what is wrong (OpenSSL's names of reasons)."""
    return isinstance(error, ssl.SSLError) and "_ALERT_" in str(error.reason)


def _reason(error: OSError) -> str:
    """What a person calls it: OpenSSL's reason without its source line, else the system's text."""
    if isinstance(error, _GONE):
        return "the server closed the connection"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or type(error).__name__


def _is_pipe(path: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISFIFO(os.stat(path).st_mode)
    return False


def _file_fault(error: Union[OSError, ssl.SSLError]) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "key and certificate do not belong together"
    if isinstance(error, ssl.SSLError):
        return "it is not a valid PEM file"
    return error.strerror or type(error).__name__
