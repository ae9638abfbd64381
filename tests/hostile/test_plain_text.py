"""What proves who a user is travels over TLS, unless --transport tcp or udp was asked for by name; Basic never travels.

A wire-tap hears every octet that comes without TLS.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
from base64 import b64encode
from pathlib import Path
from typing import Iterator, List

import pytest

from check_lync_presence.sip.message import Request
from check_lync_presence.sip.transaction import response_to

from ..commands import ANN_PASSWORD, BEN_PASSWORD, POOL, Finished, run_check
from ..lab.resolving import Host, free_address
from ..loopback import Server, Wire
from ..simple.tiny_server import PASSWORDS as SIMPLE_PASSWORDS
from ..simple.tiny_server import Session as SimpleSession
from ..simple.tiny_server import TinyServer, challenge
from ..tiny_nameserver import NameServer, records
from ..tiny_pool import REALM, Session, TinyPool
from .attack import accounts
from .tls import Tls

HANDSHAKE = 0x16  # how a TLS client begins (RFC 8446 5.1)


class WireTap:
    """A port for TCP and UDP that offers NTLM and Digest in plain text; `heard` is what each client has said."""

    def __init__(self) -> None:
        self.heard: List[bytes] = []
        self._server = Server(self._serve)
        self.port = self._server.port
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> WireTap:
        self._server.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.__exit__(*exception)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._datagrams.close()

    def _listen(self) -> None:
        while True:
            data = self._datagrams.recv(65536)
            if not data:
                return
            self.heard.append(data)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.heard.append(sock.recv(65536))
            # To whoever speaks TLS as well: he might take it for a reason to do without.
            sock.sendall(
                b"SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=x, nonce=y\r\n"
                b'WWW-Authenticate: NTLM realm="x", targetname="y", version=4\r\nContent-Length: 0\r\n\r\n'
            )
            while True:
                data = sock.recv(65536)
                if not data:
                    return
                self.heard[-1] += data

    def heard_nothing_but_handshakes(self) -> bool:
        return all(said[0] == HANDSHAKE and b"SIP/2.0" not in said for said in self.heard)


@pytest.fixture
def tap() -> Iterator[WireTap]:
    with WireTap() as wire_tap:
        yield wire_tap


def check(folder: Path, *arguments: str) -> Finished:
    """The check with a file of accounts, and what must hold of any."""
    path = folder / "accounts.ini"
    if not path.exists():
        accounts(folder)
    result = run_check("-H", POOL, "--accounts", str(path), "--timeout", "5", *arguments)
    assert result.stderr == ""
    for password in (ANN_PASSWORD, BEN_PASSWORD):
        assert password not in result.stdout
    return result


# ----------------------------------------------------------------- redirects


class Redirecting(TinyPool):
    """Over TLS, sends users elsewhere before they have signed in."""

    def __init__(self, tls: Tls, contact: str) -> None:
        super().__init__()
        self._tls, self._contact = tls, contact

    def _serve(self, sock: socket.socket) -> None:
        with self._tls.wrap(sock) as secure:
            super()._serve(secure)

    def on_first_register(self, session: Session, request: Request) -> None:
        self.reply(session, request, 301, (("Contact", self._contact),), sign=False)


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:127.0.0.1:{};transport=tcp>",
        "<sip:127.0.0.1:{};transport=TCP>",
        "<sip:127.0.0.1:{};transport=udp>",
        "<sip:127.0.0.1:{};transport=tls;transport=tcp>",
        "<sip:127.0.0.1:{};maddr=127.0.0.1;transport=ws>",
        "<sip:127.0.0.1:{}>",
        "<sips:127.0.0.1:{};transport=tcp>",
        "sip:127.0.0.1:{};transport=tcp",
    ],
)
@pytest.mark.parametrize("protocol", ["lync", "simple"])
def test_a_redirect_out_of_tls_takes_nothing_with_it(tmp_path: Path, tap: WireTap, contact: str, protocol: str) -> None:
    tls = Tls(tmp_path)
    with Redirecting(tls, contact.format(tap.port)) as pool:
        where = ["--connect", f"127.0.0.1:{pool.server.port}", "--ca-file", str(tls.ca_file)]
        result = check(tmp_path, *where, "--protocol", protocol)
    assert result.code == 2, result.stdout
    assert "edirected" in result.stdout
    assert tap.heard_nothing_but_handshakes()
    assert len(pool.requests("REGISTER")) == 2


# ---------------------------------------------------------------- directories of names


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, free_address())


def test_records_of_services_without_tls_are_not_asked_for_under_tls(host: Host, tmp_path: Path, tap: WireTap) -> None:
    plain = [f"{name}.contoso.example" for name in ("_sip._tcp", "_sip._udp", "_sipinternal._tcp", "_sip._ws")]
    offer = records("SRV", f"0 0 {tap.port} sip.contoso.example.")
    scripts = {**dict.fromkeys(plain, offer), "sip.contoso.example": records("A", "127.0.0.1")}
    path = str(accounts(tmp_path))
    with NameServer(scripts, host.address, 53) as server:
        result = host.check("-H", POOL, "--accounts", path, "--discover", "--timeout", "5")
    assert result.code == 2, result.stdout
    assert "no SIP service of contoso.example" in result.first_line
    assert not {name for name, _, _ in server.asked} & set(plain)
    assert tap.heard == []


def test_a_record_of_tls_that_leads_to_a_port_without_it_is_no_reason_to_do_without(
    host: Host, tmp_path: Path, tap: WireTap
) -> None:
    scripts = {
        "_sip._tls.contoso.example": records("SRV", f"0 0 {tap.port} sip.contoso.example."),
        "sip.contoso.example": records("A", "127.0.0.1"),
    }
    path = str(accounts(tmp_path))
    with NameServer(scripts, host.address, 53):
        result = host.check("-H", POOL, "--accounts", path, "--discover", "--timeout", "5")
    assert result.code == 2, result.stdout
    assert "TLS" in result.first_line
    assert tap.heard
    assert tap.heard_nothing_but_handshakes()


# ---------------------------------------------------------------- by name only


@pytest.mark.parametrize("options", [(), ("--transport", "tls"), ("--insecure",), ("--protocol", "simple")])
def test_a_port_without_tls_hears_the_beginning_of_a_handshake_and_no_more(
    tmp_path: Path, tap: WireTap, options: List[str]
) -> None:
    result = check(tmp_path, "--connect", f"127.0.0.1:{tap.port}", *options)
    assert result.code == 2, result.stdout
    assert "TLS" in result.first_line
    assert tap.heard
    assert tap.heard_nothing_but_handshakes()


@pytest.mark.parametrize("where", ["on the command line", "in the accounts file"])
def test_who_asks_for_tcp_by_name_has_it_and_is_told_so(tmp_path: Path, where: str) -> None:
    options = ["--transport", "tcp"]
    if where == "in the accounts file":
        path = accounts(tmp_path)
        path.write_text(path.read_text(encoding="utf-8") + "transport = tcp\n", encoding="utf-8")
        options = []
    with TinyPool() as pool:
        result = check(tmp_path, "--connect", f"127.0.0.1:{pool.server.port}", *options)
    assert result.code == 0, result.stdout
    assert "The connection is not encrypted (--transport tcp)." in result.lines


def test_tls_that_ends_in_the_middle_of_a_sign_in_is_not_gone_on_without(tmp_path: Path) -> None:
    tls = Tls(tmp_path)
    after: List[bytes] = []

    def serve(sock: socket.socket) -> None:
        asked = f'NTLM realm="{REALM}", targetname="{POOL}", version=4'
        with contextlib.suppress(OSError), tls.wrap(sock) as secure:
            request = Wire(secure).receive()
            assert isinstance(request, Request)
            challenge = bytes(response_to(request, 401, "server", (("WWW-Authenticate", asked),)))
            secure.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError):
                secure.unwrap()  # close_notify; what follows goes without TLS
            os.write(secure.fileno(), challenge)
            while select.select([secure], [], [], 10)[0]:
                after.append(os.read(secure.fileno(), 65536))
                if not after[-1]:
                    break

    with Server(serve) as server:
        where = ["--connect", f"127.0.0.1:{server.port}", "--ca-file", str(tls.ca_file)]
        result = check(tmp_path, *where)
    assert result.code == 2, result.stdout
    assert "The server closed the connection." in result.stdout
    assert b"SIP/2.0" not in b"".join(after)


# -------------------------------------------------------------------- Basic


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("more", ["", ', Digest realm="x", nonce="y"'])
@pytest.mark.parametrize("protocol", ["auto", "simple", "lync"])
def test_basic_is_never_answered(tmp_path: Path, protocol: str, status: int, more: str) -> None:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    basic = (status, ((name, f'Basic realm="contoso.example"{more}'),))
    with TinyServer(REGISTER=[basic] * 4) as server:
        options = ["--transport", "tcp", "--protocol", protocol, "--publisher-user", "ann", "--subscriber-user", "ben"]
        result = check(tmp_path, "--connect", f"127.0.0.1:{server.server.port}", *options)
    assert result.code == 2, result.stdout
    said = b"".join(map(bytes, server.received)).lower()
    assert b"basic" not in said
    for password in (ANN_PASSWORD, BEN_PASSWORD):
        assert b64encode(f"ann:{password}".encode()).lower() not in said
        assert password.lower().encode() not in said


def test_of_basic_and_digest_digest_is_taken(tmp_path: Path) -> None:
    path = accounts(tmp_path)
    text = path.read_text(encoding="utf-8").replace(ANN_PASSWORD, SIMPLE_PASSWORDS["ann"])
    path.write_text(text.replace(BEN_PASSWORD, SIMPLE_PASSWORDS["ben"]), encoding="utf-8")
    status, headers = challenge(401, "n1")

    class Both(TinyServer):
        """Offers both to whoever has not shown who he is."""

        def handle(self, session: SimpleSession, request: Request) -> None:
            if request.method == "REGISTER" and request.get("Authorization") is None:
                self.reply(session, request, status, (("WWW-Authenticate", 'Basic realm="contoso.example"'), *headers))
            else:
                super().handle(session, request)

    with Both() as server:
        options = ["--transport", "tcp", "--protocol", "simple"]
        options += ["--publisher-user", "ann", "--subscriber-user", "ben"]
        result = check(tmp_path, "--connect", f"127.0.0.1:{server.server.port}", *options)
    assert result.code == 0, result.stdout
    assert b"Basic" not in b"".join(map(bytes, server.received))
