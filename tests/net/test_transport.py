"""Connections against real servers on the loopback interface."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
import socket
import ssl
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.diagnosis import _TLS
from check_lync_presence.net import transport
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.net.resolve import Address
from check_lync_presence.net.tasks import together
from check_lync_presence.net.transport import (
    Connection,
    PeerGoneError,
    TcpError,
    TlsError,
    TransportError,
    certificate_time,
    open_connection,
    tls_context,
)
from check_lync_presence.settings import SettingsError, TlsSettings

from ..loopback import Server, finish, pair, soon, until_closed
from ..transcripts import POOL

MEGABYTES = 1024 * 1024


class Pki(NamedTuple):
    """A certification authority and the file that it can be trusted by."""

    ca: trustme.CA
    ca_file: str
    folder: Path

    def server(self, *names: str, **validity: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or (POOL,)), **validity).configure_cert(context)
        return context

    def client_files(self) -> Tuple[str, str]:
        certificate, key = self.folder / "client.pem", self.folder / "client.key"
        issued = self.ca.issue_cert("monitoring@contoso.example")
        certificate.write_bytes(issued.cert_chain_pems[0].bytes())
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return str(certificate), str(key)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    ca = trustme.CA()
    (folder / "ca.pem").write_bytes(ca.cert_pem.bytes())
    return Pki(ca, str(folder / "ca.pem"), folder)


def speaking_tls(context: ssl.SSLContext, talk: Callable[[ssl.SSLSocket], None]) -> Callable[[socket.socket], None]:
    def serve(plain: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError, ConnectionError), context.wrap_socket(plain, server_side=True) as sock:
            talk(sock)

    return serve


def drain(sock: socket.socket) -> None:
    until_closed(sock)


def echo(sock: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            data = sock.recv(65536)
            if not data:
                return
            sock.sendall(data)


def trusting(pki: Pki, **more: Any) -> ssl.SSLContext:
    return tls_context(TlsSettings(ca_file=pki.ca_file, **more))


def connect(
    server: Server, context: Optional[ssl.SSLContext] = None, deadline: Optional[Deadline] = None, name: str = POOL
) -> Connection:
    connection: Connection = finish(open_connection((server.address,), context, name, deadline or soon()))
    return connection


async def _say(connection: Connection, data: bytes, deadline: Deadline) -> bytes:
    await connection.send(data, deadline)
    return await connection.receive(deadline)


def said(connection: Connection, data: bytes) -> bytes:
    """What comes back for `data`."""
    answer: bytes = finish(_say(connection, data, soon()))
    return answer


@pytest.fixture
def black_hole() -> Iterator[Address]:
    """An address that answers no SYN: its queue of connections is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield Address(socket.AF_INET, listener.getsockname())


@pytest.fixture
def refusing() -> Iterator[Address]:
    """An address where nobody listens; it is held so that nobody else can take it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield Address(socket.AF_INET, held.getsockname())


# ------------------------------------------------------------------------ TCP


def test_octets_go_there_and_back_over_tcp() -> None:
    with Server(echo) as server:
        connection = connect(server)
        assert said(connection, b"hello") == b"hello"
        assert (connection.tls, connection.peer) == (None, server.address)
        assert connection.local.host == "127.0.0.1"
        connection.close()


def test_a_refused_connection_names_the_address_and_the_reason(refusing: Address) -> None:
    with pytest.raises(TcpError) as failure:
        finish(open_connection((refusing,), None, POOL, soon()))
    assert str(failure.value) == f"cannot connect to {refusing}: Connection refused"


def test_an_address_that_does_not_answer_ends_at_the_deadline(black_hole: Address) -> None:
    started = time.monotonic()
    with pytest.raises(TcpError) as failure:
        finish(open_connection((black_hole,), None, POOL, soon(0.1)))
    # What was left when the address was tried, which on a busy machine is a little less than 0.1.
    assert re.fullmatch(f"cannot connect to {black_hole}: no answer within 0\\.(1|0\\d+) s", str(failure.value))
    assert 0.1 <= time.monotonic() - started < 1


def test_the_second_address_is_tried_when_the_first_refuses(refusing: Address) -> None:
    with Server(drain) as server:
        connection = finish(open_connection((refusing, server.address), None, POOL, soon()))
        assert connection.peer == server.address
        connection.close()


def test_the_second_address_has_its_share_of_the_time_when_the_first_does_not_answer(black_hole: Address) -> None:
    with Server(drain) as server:
        started = time.monotonic()
        connection = finish(open_connection((black_hole, server.address), None, POOL, soon(1)))
        assert 0.5 <= time.monotonic() - started < 1
        assert connection.peer == server.address
        connection.close()


def test_when_no_address_answers_the_error_is_about_the_last(black_hole: Address, refusing: Address) -> None:
    with pytest.raises(TcpError, match="Connection refused"):
        finish(open_connection((black_hole, refusing), None, POOL, soon(0.1)))


def test_no_address_at_all_is_said() -> None:
    with pytest.raises(TcpError, match="no address"):
        finish(open_connection((), None, POOL, soon()))


def test_a_family_that_this_host_does_not_have_is_a_tcp_error() -> None:
    nowhere = Address(socket.AF_INET6, ("2001:db8::1", 5061, 0, 0))
    with pytest.raises(TcpError, match=r"cannot connect to \[2001:db8::1\]:5061: "):
        finish(open_connection((nowhere,), None, POOL, soon(0.1)))


def test_small_messages_are_not_held_back() -> None:
    with Server(drain) as server:
        connection = connect(server)
        assert connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.close()


def test_the_end_of_the_connection_is_an_empty_answer() -> None:
    with Server(lambda sock: sock.close()) as server:
        connection = connect(server)
        assert finish(connection.receive(soon())) == b""
        connection.close()


def test_a_reset_is_an_end_too() -> None:
    with pair() as (connection, theirs):
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        assert finish(connection.receive(soon())) == b""


def test_sending_to_a_peer_that_is_gone_names_it() -> None:
    with pair() as (connection, theirs):
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        with pytest.raises(PeerGoneError, match=f"{connection.peer} has closed the connection"):
            finish(connection.send(b"x" * MEGABYTES, soon()))


def test_silence_ends_at_the_deadline() -> None:
    with pair() as (connection, _), pytest.raises(TimeoutError):
        finish(connection.receive(soon(0.02)))


def test_a_large_message_arrives_whole_through_a_narrow_pipe() -> None:
    large = bytes(range(256)) * (8 * MEGABYTES // 256)
    arrived: List[bytes] = []

    def read_slowly(sock: socket.socket) -> None:
        digest, left = hashlib.sha256(), len(large)
        while left:
            data = sock.recv(min(left, 30_000))
            digest.update(data)
            left -= len(data)
        arrived.append(digest.digest())
        sock.sendall(b"done")

    with Server(read_slowly) as server:
        connection = connect(server)
        assert said(connection, large) == b"done"
        connection.close()
    assert arrived == [hashlib.sha256(large).digest()]


def test_sending_to_a_peer_that_does_not_read_ends_at_the_deadline() -> None:
    with pair() as (connection, _), pytest.raises(TimeoutError):
        finish(connection.send(b"x" * 64 * MEGABYTES, soon(0.1)))


def test_after_the_deadline_nothing_is_received_however_much_is_there() -> None:
    with pair() as (connection, theirs):
        theirs.sendall(b"x" * 100)
        with pytest.raises(TimeoutError):
            finish(connection.receive(soon(0)))


def test_a_peer_that_never_pauses_leaves_the_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_SIZE", 1024)
    heard: List[str] = []

    async def flooded(connection: Connection) -> None:
        for _ in range(32):
            await connection.receive(soon())
        heard.append("the end of the flood")

    async def other(connection: Connection) -> None:
        heard.append((await connection.receive(soon())).decode())

    with pair() as (connection, theirs), pair() as (quiet, somebody):
        theirs.sendall(b"x" * 32 * 1024)
        somebody.sendall(b"a word")
        finish(together(flooded(connection), other(quiet), grace=5))
    assert heard == ["a word", "the end of the flood"]


def test_a_peer_that_never_stops_sending_does_not_hold_us_beyond_the_deadline() -> None:
    async def swallow(connection: Connection, deadline: Deadline) -> None:
        while True:
            await connection.receive(deadline)

    def flood(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(b"\r\n" * 32768)

    with Server(flood) as server:
        connection = connect(server)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            finish(swallow(connection, soon(0.1)))
        assert time.monotonic() - started < 1
        connection.close()


# ------------------------------------------------------------------------ TLS


def test_octets_go_there_and_back_over_tls(pki: Pki) -> None:
    with Server(speaking_tls(pki.server(), echo)) as server:
        connection = connect(server, trusting(pki))
        assert said(connection, b"hello") == b"hello"
        connection.close()


def test_the_facts_of_the_handshake_are_told(pki: Pki) -> None:
    ends = datetime.datetime(2037, 5, 4, 12, 30, tzinfo=datetime.timezone.utc)
    with Server(speaking_tls(pki.server(not_after=ends), drain)) as server:
        connection = connect(server, trusting(pki))
        assert connection.tls is not None
        assert connection.tls.version == "TLSv1.3"
        assert connection.tls.cipher.startswith("TLS_")
        assert connection.tls.expires == ends.timestamp()
        connection.close()


def test_a_large_message_arrives_whole_over_tls(pki: Pki) -> None:
    large = b"0123456789abcdef" * (4 * MEGABYTES // 16)

    def count(sock: ssl.SSLSocket) -> None:
        left = len(large)
        while left:
            left -= len(sock.recv(min(left, 30_000)))
        sock.sendall(b"done")

    with Server(speaking_tls(pki.server(), count)) as server:
        connection = connect(server, trusting(pki))
        assert said(connection, large) == b"done"
        connection.close()


def refused(server: Server, context: ssl.SSLContext, name: str = POOL, seconds: float = 5) -> TlsError:
    """The error of a handshake that must fail."""
    with pytest.raises(TlsError) as failure:
        connect(server, context, soon(seconds), name)
    return failure.value


def test_a_certificate_for_another_name_is_refused(pki: Pki) -> None:
    with Server(speaking_tls(pki.server("pool02.contoso.example"), drain)) as server:
        error = refused(server, trusting(pki))
        assert str(error) == f"the certificate of {server.address} is not for {POOL}"
        assert error.code == "VERIFY_62"


def test_a_certificate_for_another_address_is_refused(pki: Pki) -> None:
    with Server(speaking_tls(pki.server(), drain)) as server:
        error = refused(server, trusting(pki), name="127.0.0.1")
        assert str(error) == f"the certificate of {server.address} is not for 127.0.0.1"
        assert error.code == "VERIFY_64"


def test_a_certificate_for_the_address_is_good_for_the_address(pki: Pki) -> None:
    with Server(speaking_tls(pki.server("127.0.0.1"), drain)) as server:
        connect(server, trusting(pki), name="127.0.0.1").close()


def test_an_expired_certificate_is_refused(pki: Pki) -> None:
    ended = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    with Server(speaking_tls(pki.server(not_after=ended), drain)) as server:
        error = refused(server, trusting(pki))
        assert str(error) == f"the certificate of {server.address} has expired"
        assert error.code == "VERIFY_10"


def test_a_certificate_of_an_unknown_issuer_is_refused(pki: Pki) -> None:
    other = pki._replace(ca=trustme.CA())
    with Server(speaking_tls(other.server(), drain)) as server:
        error = refused(server, trusting(pki))
        assert str(error).startswith(f"the certificate of {server.address} is not trusted: ")
        assert error.code in _TLS


def test_an_unverified_certificate_has_no_end(pki: Pki) -> None:
    other = pki._replace(ca=trustme.CA())
    with Server(speaking_tls(other.server("elsewhere.example"), drain)) as server:
        connection = connect(server, tls_context(TlsSettings(insecure=True)))
        assert connection.tls is not None
        assert connection.tls.expires is None
        connection.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SIP/2.0 400 Bad Request\r\n\r\n"])
def test_a_server_without_tls_is_recognised(pki: Pki, answer: bytes) -> None:
    def plain(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)
        until_closed(sock)

    with Server(plain) as server:
        error = refused(server, trusting(pki))
        assert str(error).startswith(f"the TLS handshake with {server.address} failed: ")
        assert "does not speak TLS" in _TLS[error.code]


def test_a_server_that_says_nothing_to_the_handshake_ends_at_the_deadline(pki: Pki) -> None:
    with Server(drain) as server:
        started = time.monotonic()
        error = refused(server, trusting(pki), seconds=0.1)
        assert time.monotonic() - started < 1
        assert str(error).startswith(f"no answer to the TLS handshake with {server.address} within 0.")
        assert error.code == "TIMEOUT"


@pytest.mark.parametrize("politely", [True, False])
def test_a_server_that_closes_during_the_handshake_is_said(pki: Pki, politely: bool) -> None:
    def hang_up(sock: socket.socket) -> None:
        sock.recv(65536)
        if not politely:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    with Server(hang_up) as server:
        error = refused(server, trusting(pki))
        assert str(error) == f"the TLS handshake with {server.address} failed: the server closed the connection"


def old_server(pki: Pki) -> ssl.SSLContext:
    """TLS 1.0 and nothing newer, as an unpatched Lync 2013 host has it."""
    context = pki.server()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def test_tls_1_0_is_refused_unless_it_is_asked_for(pki: Pki) -> None:
    with Server(speaking_tls(old_server(pki), drain)) as server:
        assert "--tls-min 1.0" in _TLS[refused(server, trusting(pki)).code]


def test_tls_1_0_works_when_it_is_asked_for(pki: Pki) -> None:
    with Server(speaking_tls(old_server(pki), echo)) as server:
        connection = connect(server, trusting(pki, minimum="1.0"))
        assert connection.tls is not None
        assert connection.tls.version == "TLSv1"
        assert said(connection, b"hello") == b"hello"
        connection.close()


def test_allowing_tls_1_0_does_not_keep_two_modern_ends_from_tls_1_3(pki: Pki) -> None:
    with Server(speaking_tls(pki.server(), drain)) as server:
        connection = connect(server, trusting(pki, minimum="1.0"))
        assert connection.tls is not None
        assert connection.tls.version == "TLSv1.3"
        connection.close()


def test_demanding_tls_1_3_refuses_1_2(pki: Pki) -> None:
    context = pki.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Server(speaking_tls(context, drain)) as server:
        assert refused(server, trusting(pki, minimum="1.3")).code


def demanding(pki: Pki) -> ssl.SSLContext:
    context = pki.server()
    context.verify_mode = ssl.CERT_REQUIRED
    pki.ca.configure_trust(context)
    return context


def test_a_client_certificate_is_shown_where_one_is_demanded(pki: Pki) -> None:
    certificate, key = pki.client_files()
    with Server(speaking_tls(demanding(pki), echo)) as server:
        connection = connect(server, trusting(pki, client_cert=certificate, client_key=key))
        assert said(connection, b"hello") == b"hello"
        connection.close()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_without_the_client_certificate_that_is_demanded_there_is_a_transport_error(
    pki: Pki, newest: ssl.TLSVersion
) -> None:
    context = demanding(pki)
    context.maximum_version = newest
    with Server(speaking_tls(context, echo)) as server:
        with pytest.raises(TransportError) as failure:
            connect_and_say(server, trusting(pki))
        assert str(server.address) in str(failure.value)


def test_in_tls_1_3_what_a_server_has_against_us_is_a_tls_error_with_its_reason(pki: Pki) -> None:
    certificate, key = pki.client_files()
    strict = demanding(pki)
    strict.load_verify_locations(cadata=trustme.CA().cert_pem.bytes().decode())
    stranger = trustme.CA().issue_cert("stranger@contoso.example")
    Path(certificate).write_bytes(stranger.cert_chain_pems[0].bytes())
    Path(key).write_bytes(stranger.private_key_pem.bytes())
    with Server(speaking_tls(strict, echo)) as server, pytest.raises(TlsError) as failure:
        connect_and_say(server, trusting(pki, client_cert=certificate, client_key=key))
    assert failure.value.code == "TLSV1_ALERT_UNKNOWN_CA"
    assert "refuses our certificate" in _TLS[failure.value.code]


def connect_and_say(server: Server, context: ssl.SSLContext) -> None:
    # In TLS 1.3 our end is content before the server has looked at the certificate.
    with contextlib.closing(connect(server, context)) as connection:
        said(connection, b"hello")


# ---------------------------------------------------------------- the context


def test_a_ca_file_that_is_missing_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot use the CA file .*nowhere\.pem: No such file"):
        tls_context(TlsSettings(ca_file=str(tmp_path / "nowhere.pem")))


def test_a_ca_file_that_is_no_pem_file_is_a_settings_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(SettingsError, match="not a valid PEM file"):
        tls_context(TlsSettings(ca_file=str(tmp_path / "ca.pem")))


def test_a_key_of_another_certificate_is_a_settings_error(pki: Pki, tmp_path: Path) -> None:
    certificate, _ = pki.client_files()
    (tmp_path / "other.key").touch(mode=0o600)
    (tmp_path / "other.key").write_bytes(pki.ca.issue_cert("x@contoso.example").private_key_pem.bytes())
    with pytest.raises(SettingsError, match="do not belong together"):
        tls_context(TlsSettings(ca_file=pki.ca_file, client_cert=certificate, client_key=str(tmp_path / "other.key")))


def test_a_missing_client_certificate_is_a_settings_error(pki: Pki) -> None:
    with pytest.raises(
        SettingsError, match=r"cannot read the client certificate with its key /nowhere/client\.pem: No such"
    ):
        tls_context(TlsSettings(ca_file=pki.ca_file, client_cert="/nowhere/client.pem"))


def test_an_encrypted_key_asks_nobody_and_is_a_settings_error(pki: Pki, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate, key = pki.client_files()
    loaded = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    (tmp_path / "encrypted.key").touch(mode=0o600)
    (tmp_path / "encrypted.key").write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(SettingsError, match=r"the key in .*encrypted\.key is encrypted"):
        tls_context(TlsSettings(client_cert=certificate, client_key=str(tmp_path / "encrypted.key")))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o755])
def test_a_key_that_others_may_read_or_write_is_refused_with_the_command_that_mends_it(
    pki: Pki, tmp_path: Path, mode: int
) -> None:
    certificate, key = pki.client_files()
    mine = tmp_path / "client.key"
    mine.write_bytes(Path(key).read_bytes())
    mine.chmod(mode)
    with pytest.raises(SettingsError, match=rf"mode {mode:04o} and holds a private key; .* chmod 06[04]0 {mine}"):
        tls_context(TlsSettings(client_cert=certificate, client_key=str(mine)))


def test_a_certificate_with_its_key_in_the_same_file_must_be_private(pki: Pki, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(b"".join(Path(name).read_bytes() for name in pki.client_files()))
    tls_context(TlsSettings(client_cert=str(both)))
    both.chmod(0o644)
    with pytest.raises(SettingsError, match="holds a private key"):
        tls_context(TlsSettings(client_cert=str(both)))


def test_the_default_context_verifies_with_the_certificates_of_the_system() -> None:
    context = tls_context(TlsSettings())
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@given(st.datetimes(min_value=datetime.datetime(1950, 1, 1), max_value=datetime.datetime(9999, 12, 31)))
def test_the_end_of_a_certificate_is_read_as_the_standard_library_reads_it(moment: datetime.datetime) -> None:
    text = f"{moment.ctime()[4:-4]}{moment.year} GMT"
    assert certificate_time(text) == ssl.cert_time_to_seconds(text)
