"""Attacks of a server on the check, each by its name: bounded in time and memory, with the right verdict.

Parsers have their own tests, and the simulator's faults are pinned in tests/simulator; here stands what takes a server
that means harm.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
import trustme

from check_lync_presence.lync.association import AuthHeader
from check_lync_presence.net.tasks import LOOK_EVERY
from check_lync_presence.sip.message import Request, Response
from check_lync_presence.sip.transaction import response_to

from ..commands import ANN_PASSWORD, BEN_PASSWORD
from ..loopback import Server, Wire, until_closed
from ..simple import tiny_server as tiny_simple
from ..tiny_pool import ROAMING, Session, TinyPool, presence
from ..transcripts import POOL
from .attack import SHORT, TIMEOUT, Attacked, attacked
from .tls import Tls

MIB = 1024 * 1024
BIDI = "\u202e\u2066\u200f"


def against(
    serve: Callable[[socket.socket], None], folder: Path, *arguments: str, timeout: float = TIMEOUT
) -> Attacked:
    """The check against a server of sockets."""
    with Server(_forgiving(serve)) as server:
        return attacked(folder, server.port, *arguments, timeout=timeout)


def _forgiving(serve: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """A server that does not mind that it is hung up on."""

    def served(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            serve(sock)

    return served


def endlessly(sock: socket.socket, begin: bytes, again: bytes) -> None:
    sock.recv(65536)
    sock.sendall(begin)
    while True:
        sock.sendall(again)


# ----------------------------------------------------------------- the stream


def test_an_endless_header_ends_at_the_limit(tmp_path: Path) -> None:
    done = against(lambda sock: endlessly(sock, b"SIP/2.0 200 OK\r\nX: ", b"x" * MIB), tmp_path)
    assert done.code == 2
    assert "The answer is not SIP" in done.stdout


def test_endlessly_many_headers_end_at_the_limit(tmp_path: Path) -> None:
    done = against(lambda sock: endlessly(sock, b"SIP/2.0 200 OK\r\n", b"X: y\r\n" * 10_000), tmp_path)
    assert done.code == 2
    assert "The answer is not SIP" in done.stdout


def test_an_endless_body_ends_at_the_limit(tmp_path: Path) -> None:
    begin = b"SIP/2.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    done = against(lambda sock: endlessly(sock, begin, b"x" * MIB), tmp_path)
    assert done.code == 2
    assert "The answer is not SIP" in done.stdout


def test_endless_empty_lines_between_messages_end_at_the_deadline(tmp_path: Path) -> None:
    done = against(lambda sock: endlessly(sock, b"", b"\r\n" * 30_000), tmp_path, timeout=SHORT)
    assert done.code == 2
    assert "Register failed" in done.first_line


def test_one_octet_at_a_time_does_not_stretch_the_deadline(tmp_path: Path) -> None:
    def drip(sock: socket.socket) -> None:
        sock.recv(65536)
        over = threading.Event()
        for octet in b"SIP/2.0 200 OK\r\n" + b"X: y\r\n" * 1000:
            sock.sendall(bytes([octet]))
            over.wait(LOOK_EVERY)

    done = against(drip, tmp_path, timeout=SHORT)
    assert done.code == 2
    assert "half a message" in done.stdout


def test_provisional_answers_do_not_stretch_the_deadline(tmp_path: Path) -> None:
    def ring(sock: socket.socket) -> None:
        wire = Wire(sock)
        request = wire.receive()
        assert isinstance(request, Request)
        while True:
            wire.send(bytes(response_to(request, 100, "server")))

    done = against(ring, tmp_path, timeout=SHORT)
    assert done.code == 2
    assert re.search("No answer to REGISTER|half a message", done.stdout)  # whatever the deadline met


def test_a_server_that_mirrors_everything_is_not_taken_for_a_pool(tmp_path: Path) -> None:
    def mirror(sock: socket.socket) -> None:
        while True:
            data = sock.recv(65536)
            if not data:
                return
            sock.sendall(data)

    done = against(mirror, tmp_path, timeout=SHORT)
    assert done.code == 2
    assert "Register failed" in done.first_line


def test_a_half_closed_connection_is_a_closed_one(tmp_path: Path) -> None:
    def half_close(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.shutdown(socket.SHUT_WR)
        until_closed(sock)

    done = against(half_close, tmp_path)
    assert done.code == 2
    assert "The server closed the connection." in done.stdout


# --------------------------------------------------------------------- TLS


def test_tls_that_is_truncated_in_the_middle_of_a_message_is_no_message(tmp_path: Path) -> None:
    tls = Tls(tmp_path)

    def truncate(sock: socket.socket) -> None:
        with tls.wrap(sock) as secure:
            request = Wire(secure).receive()
            assert isinstance(request, Request)
            secure.sendall(bytes(response_to(request, 200, "server"))[:-2])  # what is missing ends the head
            secure.shutdown(socket.SHUT_RDWR)  # without close_notify

    done = against(truncate, tmp_path, "--ca-file", str(tls.ca_file))
    assert done.code == 2
    assert "The server closed the connection" in done.stdout  # perhaps before the octets could be read


def test_a_handshake_that_goes_on_for_ever_ends_at_the_deadline(tmp_path: Path) -> None:
    # Handshake records of TLS 1.2 that never make up a ServerHello of the length that is promised.
    record = b"\x16\x03\x03\x00\x04\x02\x00\xff\xff"

    def promise(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(record)
        over = threading.Event()
        while True:
            sock.sendall(b"\x16\x03\x03\x00\x01\x00")
            over.wait(LOOK_EVERY)

    tls = Tls(tmp_path)
    done = against(promise, tmp_path, "--ca-file", str(tls.ca_file), timeout=SHORT)
    assert done.code == 2
    assert "TLS handshake" in done.first_line


def test_renegotiation_that_the_server_asks_for_is_not_endless(tmp_path: Path) -> None:
    ossl = pytest.importorskip("OpenSSL.SSL", reason="pip install pyOpenSSL, to play a server that renegotiates")
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    leaf = authority.issue_cert(POOL, key_type=trustme.KeyType.RSA)
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    context = ossl.Context(ossl.TLS_METHOD)
    context.set_max_proto_version(ossl.TLS1_2_VERSION)  # later ones have no renegotiation
    context.use_certificate_chain_file(str(tmp_path / "server.pem"))
    context.use_privatekey_file(str(tmp_path / "server.pem"))

    def renegotiate(sock: socket.socket) -> None:
        sock.settimeout(None)
        connection = ossl.Connection(context, sock)
        connection.set_accept_state()
        try:
            connection.do_handshake()
            while True:
                connection.recv(65536)
                connection.renegotiate()
                connection.do_handshake()
        except ossl.Error:
            pass

    done = against(renegotiate, tmp_path, "--ca-file", str(ca_file))
    assert done.code == 2
    assert "Register failed" in done.first_line


def test_session_tickets_without_end_leave_the_deadline_in_force(tmp_path: Path) -> None:
    tls = Tls(tmp_path)
    done = against(tls.tickets, tmp_path, "--ca-file", str(tls.ca_file), timeout=SHORT)
    assert done.code == 2
    assert "Register failed" in done.first_line
    assert "No answer to REGISTER" in done.first_line


def test_requests_to_begin_the_handshake_anew_have_an_end(tmp_path: Path) -> None:
    hello_request = b"\x16\x03\x03\0\x04" + b"\0\0\0\0"
    ca_file = str(Tls(tmp_path).ca_file)
    flood = hello_request * 10_000
    done = against(lambda sock: endlessly(sock, b"", flood), tmp_path, "--ca-file", ca_file, timeout=SHORT)
    assert done.code == 2
    assert "TLS handshake" in done.first_line


# ------------------------------------------------------------------- sign-in


class Offering(TinyPool):
    """A front end that asks for something else than it should."""

    def __init__(self, *challenges: str) -> None:
        super().__init__()
        self.offers = challenges

    def on_first_register(self, session: Session, request: Request) -> None:
        first, *more = self.offers
        self.challenge(session, request, first, *(("WWW-Authenticate", value) for value in more))


def everything(pool: TinyPool) -> bytes:
    return b"".join(bytes(message) for message in pool.received)


@pytest.mark.parametrize(
    "offer",
    ['Basic realm="contoso.example"', 'Plain realm="x"', 'Bearer realm="x"', 'NTLMv1 realm="x", targetname="y"', ""],
)
def test_a_downgrade_to_a_scheme_that_shows_the_password_is_declined(tmp_path: Path, offer: str) -> None:
    with Offering(offer) as pool:
        done = attacked(tmp_path, pool.server.port)
    assert done.code == 2
    assert "does not offer NTLM" in done.stdout
    assert len(pool.requests("REGISTER")) <= 2  # one a user: nothing was tried
    for secret in (ANN_PASSWORD, BEN_PASSWORD):
        assert secret.encode() not in everything(pool)


def test_basic_beside_ntlm_is_passed_over(tmp_path: Path) -> None:
    with Offering(
        'Basic realm="x"', f'NTLM realm="SIP Communications Service", targetname="{POOL}", version=4'
    ) as pool:
        done = attacked(tmp_path, pool.server.port, timeout=20)
    assert done.code == 0
    assert b"Basic " not in everything(pool)


def test_a_digest_of_md5_alone_is_not_sent_where_lync_was_asked_for(tmp_path: Path) -> None:
    with Offering('Digest realm="x", nonce="y", algorithm=MD5') as pool:
        done = attacked(tmp_path, pool.server.port, "--protocol", "lync")
    assert done.code == 2
    assert b"response=" not in everything(pool)


class OtherNames(TinyPool):
    """Signs as somebody else than it introduced itself as."""

    def __init__(self, realm: str, target: str) -> None:
        super().__init__()
        self.names = realm, target

    def on_token(self, session: Session, request: Request, credentials: AuthHeader) -> None:
        super().on_token(session, request, credentials)

    def send(self, session: Session, message: object, sign: bool = True) -> None:
        if session.association is not None:
            session.association.realm, session.association.targetname = self.names
        super().send(session, message, sign)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [("another realm", POOL), ("SIP Communications Service", "dc01.evil.example")])
def test_a_challenge_of_one_and_a_signature_of_another_are_not_the_same_server(
    tmp_path: Path, names: Tuple[str, str]
) -> None:
    with OtherNames(*names) as pool:
        done = attacked(tmp_path, pool.server.port)
    assert done.code == 2
    assert "is not signed" in done.stdout


class Redirecting(TinyPool):
    """Sends users elsewhere before they have signed in."""

    def __init__(self, contact: str) -> None:
        super().__init__()
        self.contact = contact

    def on_first_register(self, session: Session, request: Request) -> None:
        self.reply(session, request, 301, (("Contact", self.contact),), sign=False)


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:pool.evil.example:5061;transport=tls>",
        f"<sip:{POOL}.evil.example>",
        "<sip:evilcontoso.example>",
        "<sip:contoso.example@evil.example>",
        "<sip:[2001:db8::1]>",
        "<sip:127.0.0.2>",
        "<tel:+1234>",
        "<http://evil.example/>",
        "garbage",
        "",
    ],
)
def test_a_redirect_does_not_carry_credentials_away(tmp_path: Path, contact: str) -> None:
    with Redirecting(contact) as pool:
        done = attacked(tmp_path, pool.server.port)
    assert done.code == 2
    assert "edirect" in done.stdout
    assert b"gssapi-data" not in everything(pool)


# ------------------------------------------------------------- notifications


class Telling(TinyPool):
    """What it tells the watcher of a publication is up to the test."""

    def __init__(self, tell: Callable[[TinyPool, Session, bytes], None]) -> None:
        super().__init__()
        self.tell = tell

    def published(self, session: Session, note: str) -> None:
        for watcher in self.watchers():
            self.tell(self, watcher, presence(session.uri, note))


def told(folder: Path, tell: Callable[[TinyPool, Session, bytes], None], *arguments: str) -> Attacked:
    with Telling(tell) as pool:
        return attacked(folder, pool.server.port, *arguments, timeout=20)


def in_another_dialog(pool: TinyPool, watcher: Session, body: bytes) -> None:
    assert watcher.subscription is not None
    headers = [(name, "no-such-call" if name == "Call-ID" else value) for name, value in watcher.subscription.headers]
    pool.notify(watcher, body, dialog=Request("SUBSCRIBE", watcher.uri, tuple(headers)))


def with_another_tag(pool: TinyPool, watcher: Session, body: bytes) -> None:
    assert watcher.subscription is not None
    headers = [
        (name, value.replace("tag=", "tag=x") if name == "From" else value)
        for name, value in watcher.subscription.headers
    ]
    pool.notify(watcher, body, dialog=Request("SUBSCRIBE", watcher.uri, tuple(headers)))


def in_the_dialog_of_the_registration(pool: TinyPool, watcher: Session, body: bytes) -> None:
    pool.notify(watcher, body, dialog=watcher.register)


def without_a_signature(pool: TinyPool, watcher: Session, body: bytes) -> None:
    pool.notify(watcher, body, sign=False)


def of_nobody(pool: TinyPool, watcher: Session, body: bytes) -> None:
    pool.notify(watcher, body.replace(b"sip:ann@", b"sip:ann%00@"))


def as_a_message(pool: TinyPool, watcher: Session, body: bytes) -> None:
    pool.notify(watcher, body, method="MESSAGE")


@pytest.mark.parametrize(
    "tell",
    [
        in_another_dialog,
        with_another_tag,
        in_the_dialog_of_the_registration,
        without_a_signature,
        of_nobody,
        as_a_message,
    ],
)
def test_a_notification_that_is_not_of_this_subscription_is_no_proof(
    tmp_path: Path, tell: Callable[[TinyPool, Session, bytes], None]
) -> None:
    done = told(tmp_path, tell, "--notify-timeout", "0.5")
    assert done.code == 2
    assert "notification is not received" in done.stdout


def test_a_notification_that_is_sent_twice_to_the_octet_ends_the_run(tmp_path: Path) -> None:
    sent: List[bytes] = []

    def replay(pool: TinyPool, watcher: Session, body: bytes) -> None:
        send = watcher.wire.send

        def keep(data: bytes) -> None:
            sent.append(data)
            send(data)

        watcher.wire.send = keep  # type: ignore[method-assign]
        pool.notify(watcher, presence("sip:ann@contoso.example", "something else"))
        send(sent[0])

    done = told(tmp_path, replay)
    assert done.code == 2
    assert "repeated sequence number" in done.stdout


def test_ten_thousand_notifications_do_not_hide_the_one_that_counts(tmp_path: Path) -> None:
    def flood(pool: TinyPool, watcher: Session, body: bytes) -> None:
        for _ in range(10_000):
            pool.notify(watcher, presence("sip:ann@contoso.example", "something else"))
        pool.notify(watcher, body)

    with Telling(flood) as pool:
        done = attacked(tmp_path, pool.server.port, timeout=40)
    assert done.code == 0


@pytest.mark.parametrize("method", ["NOTIFY", "OPTIONS", "FOO"])
def test_ten_thousand_requests_that_want_an_answer_do_not_keep_it_from_its_verdict(tmp_path: Path, method: str) -> None:
    def flood(pool: TinyPool, watcher: Session, body: bytes) -> None:
        for _ in range(10_000):
            pool.notify(watcher, b"", method=method, event="other")

    done = told(tmp_path, flood, "--notify-timeout", "1")
    assert done.code == 2
    assert re.search("notification is not received|half a message", done.stdout)  # whatever the deadline met


@pytest.mark.parametrize("when", ["before the answer", "behind it"])
def test_hundreds_of_the_largest_notifications_take_neither_time_nor_memory(tmp_path: Path, when: str) -> None:
    head, tail = tiny_simple.presence("something else").split(b"</presence>")
    # As long as a body may be, and whether the marker is in it can only be told from the whole.
    body = head + b"<b>&#65;</b>" + b"<a>" + b"x" * (MIB - 1000) + b"</a></presence>" + tail

    class Flooding(tiny_simple.TinyServer):
        def knows(self, request: Request) -> bool:
            return True

        def published(self, request: Request) -> None:
            pass

        def on_subscribe(self, session: tiny_simple.Session, request: Request) -> None:
            session.subscription = request
            if when == "behind it":
                self.accept(session, request)
            for _ in range(300 if request.get("Expires") != "0" else 0):
                self.notify(session, body)
            if when == "before the answer":
                self.accept(session, request)

    with Flooding() as server:
        done = attacked(tmp_path, server.server.port, "--protocol", "simple", "--notify-timeout", "1", timeout=20)
    assert done.code == 2
    assert "Presence notification is not received within 1 secs" in done.first_line


# ----------------------------------------------------------------- documents

BOMB = (
    '<!DOCTYPE b [<!ENTITY a "'
    + "x" * 1000
    + '">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 or str()};" * 10}">' for n in range(1, 9))
    + "]>"
)
DOCUMENTS: Dict[str, Callable[[bytes], bytes]] = {
    "entities that expand": lambda body: BOMB.encode() + body.replace(b"presence-check", b"&a8;presence-check"),
    "an external entity": lambda body: (
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        + body.replace(b"presence-check", b"&e;presence-check")
    ),
    "an external document type": lambda body: b'<!DOCTYPE categories SYSTEM "http://127.0.0.1:9/x.dtd">' + body,
    "deep nesting": lambda body: b"<a>" * 100_000 + body + b"</a>" * 100_000,
    "fifty thousand attributes": lambda body: (
        b"<categories " + b" ".join(b'a%d="x"' % n for n in range(50_000)) + b"/>"
    ),
    "an encoding of Python's": lambda body: b'<?xml version="1.0" encoding="uu_codec"?>' + body,
}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_document_that_attacks_its_reader_is_no_proof(tmp_path: Path, name: str) -> None:
    def tell(pool: TinyPool, watcher: Session, body: bytes) -> None:
        pool.notify(watcher, DOCUMENTS[name](body))

    done = told(tmp_path, tell, "--notify-timeout", "0.5")
    assert done.code == 2
    assert "notification is not received" in done.stdout
    assert "root:" not in done.stdout


def test_a_document_that_attacks_its_reader_where_the_own_presence_belongs(tmp_path: Path) -> None:
    class Pool(TinyPool):
        def on_self_subscribe(self, session: Session, request: Request) -> None:
            body = BOMB.encode() + ROAMING.replace("></roaming", ">&a8;</roaming").encode()
            self.reply(session, request, 200, (("ms-piggyback-cseq", "1"),), body)

    with Pool() as pool:
        done = attacked(tmp_path, pool.server.port)
    assert done.code == 2
    assert "not a readable XML document" in done.stdout


# -------------------------------------------------------------------- output

EVIL = (
    "x | latency=0.001;;;0 success=1 'y'=1",
    "x\x1b[2J\x1b[31mOK\x07",
    f"{BIDI}KO{BIDI}",
    "<script>alert(1)</script>",
    "LYNC PRESENCE OK - all is well",
    "\u2028TargetFqdn : forged\u0085Result : Success",
    "$USER1$ %s {0} `id` $(id)",
    "ü" * 3000,
)
PLACES = ("reason", "ms-diagnostics", "Server", "Retry-After", "scheme", "listed")


class Talking(TinyPool):
    """Says something evil in one place of its answers."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__()
        self.place, self.text = place, text

    def on_first_register(self, session: Session, request: Request) -> None:
        text = self.text.replace("\n", " ")
        if self.place == "reason":
            response = response_to(request, 403, "server")
            self.send(session, Response(403, text, response.headers), sign=False)
        elif self.place == "ms-diagnostics":
            value = f'4005;reason="{text}";source="{text}"'.replace("\\", "")
            self.reply(session, request, 404, (("ms-diagnostics", value),), sign=False)
        elif self.place == "Retry-After":
            self.reply(session, request, 503, (("Retry-After", text),), sign=False)
        elif self.place == "scheme":
            self.challenge(session, request, f"{text.replace(' ', '_')} realm=x")
        else:
            super().on_first_register(session, request)

    def registration(self, session: Session, request: Request) -> Tuple[Tuple[str, str], ...]:
        headers = super().registration(session, request)
        if self.place == "Server":
            headers = tuple((name, self.text if name == "Server" else value) for name, value in headers)
        return headers

    def on_subscribe(self, session: Session, request: Request) -> None:
        if self.place == "listed":
            response = response_to(request, 403, "server", (("Warning", self.text),))
            self.send(session, Response(403, self.text, response.headers))
        else:
            super().on_subscribe(session, request)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
def test_what_a_server_says_is_not_taken_for_what_we_say(tmp_path: Path, place: str, text: str) -> None:
    with Talking(place, text) as pool:
        done = attacked(tmp_path, pool.server.port, "-vvv", timeout=20)
    assert done.code == (0 if place == "Server" else 2)
    for character in BIDI + "\x1b\x07\u2028\u0085":
        assert character not in done.stdout
    assert "\nResult : Success" not in done.stdout
    assert not done.stdout.startswith("LYNC PRESENCE OK - all is well")
    assert "<script>" not in done.stdout


@pytest.mark.parametrize("place", PLACES)
def test_a_server_that_says_a_lot_does_not_make_the_output_long(tmp_path: Path, place: str) -> None:
    with Talking(place, "ü" * 3000) as pool:
        done = attacked(tmp_path, pool.server.port, timeout=20)
    assert len(done.stdout.encode()) < 2048
