"""HTTPS to hosts of the organisation: where it goes, where it does not, and what it takes for an answer."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
import trustme

from check_lync_presence.net.deadline import Deadline
from check_lync_presence.net.https import MAX_BODY, Https, HttpsError, Reply

from ..loopback import finish, soon

POOL = "pool01.contoso.example"
CA = trustme.CA()


def client(ca: Optional[trustme.CA] = CA) -> Https:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        ca.configure_trust(context)
    return Https(context, POOL, 4, lambda host: host.endswith("contoso.example"))


Behave = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(behave: Behave, name: str = POOL) -> Iterator[Tuple[str, List[Tuple[str, str, int]]]]:
    """A web server; what it was asked: method, path, port of the client."""
    asked: List[Tuple[str, str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def do_GET(self) -> None:
            asked.append((self.command, self.path, self.client_address[1]))
            behave(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def get_request(self) -> Tuple[Any, Any]:
            sock, address = super().get_request()
            return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert(name).configure_cert(context)
    running = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{running.server_address[1]}", asked
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def answer(status: int, body: bytes, *headers: Tuple[str, str]) -> Behave:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for key, value in headers:
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def get(web: Https, url: str, deadline: Optional[Deadline] = None, headers: Optional[Dict[str, str]] = None) -> Reply:
    reply: Reply = finish(web.request("GET", web.origin(url), headers or {}, None, deadline or soon()))
    return reply


def test_two_requests_share_a_connection_that_is_verified_for_the_pool() -> None:
    web = client()
    with server(answer(401, b"who?", ("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "NTLM"))) as (url, asked):
        try:
            assert get(web, f"{url}/a?b=1") == Reply(401, ("Negotiate", "NTLM"), b"who?")
            assert web.certificate(web.origin(url))
            get(web, f"{url}/c")
        finally:
            web.close()
    assert [item[:2] for item in asked] == [("GET", "/a?b=1"), ("GET", "/c")]
    assert asked[0][2] == asked[1][2]
    assert web.certificate(web.origin(url)) == b""


def test_a_redirect_is_not_followed() -> None:
    web = client()
    with server(answer(302, b"", ("Location", "https://elsewhere.example/"))) as (url, asked):
        assert get(web, url).status == 302
        web.close()
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://pool01.contoso.example/", "is not encrypted"),
        ("https://pool01.fabrikam.example/", "pool01.fabrikam.example, which is none of its hosts"),
        ("https://pool01.contoso.example@fabrikam.example/", "is no address"),
        ("https://contoso.example:99999/", "is no address"),
        ("https://contoso.example/a b", "is no address"),
        ("https://contoso.example/\r\nHost: x", "is no address"),
        ("https://[contoso.example/", "is no address"),
        ("https://contoso.example/" + "a" * 1024, "is no address"),
        ("file:///etc/passwd", "is no address"),
        ("", "is no address"),
    ],
)
def test_nobody_goes_where_nobody_should(url: str, words: str) -> None:
    with pytest.raises(HttpsError, match=words):
        client().origin(url)


def test_a_host_of_ours_is_asked_by_its_own_name_and_an_address_by_that_of_the_pool() -> None:
    web = client()
    assert [
        web.server_name(web.origin(f"https://{host}/")) for host in ("web.contoso.example", "127.0.0.1", "[::1]")
    ] == [
        "web.contoso.example",
        POOL,
        POOL,
    ]
    assert web.origin("https://web.contoso.example").port == 443


def test_a_certificate_of_another_host_or_ca_ends_it() -> None:
    for web, name, code in (
        (client(), "web.fabrikam.example", "VERIFY_62"),
        (client(None), POOL, "VERIFY_"),
    ):
        with server(answer(200, b""), name) as (url, asked):
            with pytest.raises(HttpsError, match=r"the certificate of 127\.0\.0\.1") as caught:
                get(web, url)
            assert caught.value.code.startswith(code)
        assert asked == []


def test_silence_and_drops_end_at_the_deadline() -> None:
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        while not over.wait(0.05):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n" if not over.is_set() else b"")

    def silence(handler: BaseHTTPRequestHandler) -> None:
        over.wait(20)

    for behave in (silence, drip):
        over.clear()
        web = client()
        with server(behave) as (url, _):
            with pytest.raises(HttpsError, match=r"no answer from 127.0.0.1:\d+ within 0.5 s|as HTTP has it"):
                get(web, url, soon(0.5))
            over.set()
            web.close()


def test_nobody_listens() -> None:
    with server(answer(200, b"")) as (url, _):
        pass
    with pytest.raises(HttpsError, match=r"cannot connect to 127\.0\.0\.1"):
        get(client(), url)


@pytest.mark.parametrize(
    "octets",
    [
        b"SIP/2.0 200 OK\r\n\r\n",
        b"\0\1\2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000 + b"\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_answer_is_refused(octets: bytes) -> None:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(octets)
        handler.close_connection = True

    web = client()
    with server(behave) as (url, _), pytest.raises(HttpsError, match=r"127.0.0.1:\d+ does not answer as HTTP has it"):
        get(web, url)
    web.close()


def test_a_long_answer_is_not_read_to_its_end() -> None:
    web = client()
    with server(answer(200, b"x" * (MAX_BODY + 1))) as (url, _), pytest.raises(HttpsError, match="longer than 256 KiB"):
        get(web, url)
    web.close()
