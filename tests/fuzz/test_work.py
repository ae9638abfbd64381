"""Twice the input is twice the work: counted in calls of functions, not in seconds."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Callable

import pytest

from .targets import TARGETS

SIZE = 8 * 1024

HEAD = b"NOTIFY sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 NOTIFY\r\n"
PIECES = {
    "stream": (
        *(b"\r\n", b"\n", b"x", b"\r\n\r\n", HEAD + b"\r\n", HEAD + b"c: x\r\nl: 1\r\n\r\nx"),
        *(b"SIP/2.0 ", b"A: b\r\n ", HEAD + b"v: a\r\nm: <sip:b>,<sip:c>\r\nRecord-Route: <sip:p>, <sip:q>\r\n\r\n"),
    ),
    "datagram": (b"\r\n", b"x", b": ", HEAD, HEAD + b"\r\n"),
    "address": (b"sip:a@b", b";a=b", b"<", b">", b'"', b'\\"', b",", b"<sip:a>,", b" ", b"[::1]", b"@", b'";a="'),
    "challenge": (
        *(b"NTLM a=b\n", b'a="b",', b"a=", b'"', b"\\", b"a ", b",", b'Digest nonce="1", qop="a,b"\n', b'nonce="'),
        *(b"Digest nonce=1,algorithm=MD5,realm=", b"\n", b"a,a=", b"-"),
    ),
    "diagnostics": (b"4005;", b';a="b"', b";a=", b';a="', b" ;", b'"', b"1"),
    "date": (b"Sat, ", b" ", b"1", b"Sat, 01 Jun 2013 12:00:00 GMT"),
    "printed": (b"nonce=", b'response="', b"|", b"\x1b", b" ", b'nonce="\\', b"Pa55", b"rspauth= "),
    "tokens": (b"NTLMSSP\0\2\0\0\0", b"\1\0\0\0", b"\0", b"\xff", b"\7\0\0\0"),
    "document": (
        *(b"multipart/related;boundary=b\n", b"\r\n--b", b"a/b;c=d", b'a="b";', b"<a>", b"<a/>", b"<!--", b"&#1;"),
        *(b"--b\r\n\r\n", b'<category name="note"/>', b"application/pidf+xml\n", b"x: y\r\n"),
    ),
    "provisioning": (b"<definitions>", b"<Envelope><Body>", b"<Assertion >", b"</Assertion>", b"<a:", b"&lt;"),
    "handshake": (b"\x16\x03\x03\0\4\2\0\0\0", b"\0\0\x15", b"\xff", b"\0\6\x15\x03\x03\0\2\1\0"),
    "services": (b"\xc0\x0c", b"\0", b"\1a", b"\xff"),
    "accounts": (b"[a]\n", b"a = b\n", b";", b" ;", b"[", b"=", b"\n ", b"[pool01.contoso.example]\npublisher = x\n"),
    "ranges": (b"9", b":", b"@", b"5:", b"-"),
}


def calls(work: Callable[[bytes], None], data: bytes) -> int:
    """How many functions are called, Python's and the library's."""
    count = 0

    def seen(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    former = sys.getprofile()
    sys.setprofile(seen)
    try:
        work(data)
    finally:
        sys.setprofile(former)
    return count


@pytest.mark.parametrize("name", PIECES)
def test_twice_the_input_is_at_most_twice_the_work(name: str) -> None:
    for piece in PIECES[name]:
        TARGETS[name](piece)  # what is done once in a process is done
        once, twice = (calls(TARGETS[name], piece * (size // len(piece))) for size in (SIZE, 2 * SIZE))
        assert twice <= 2.1 * once + 1000, piece


def test_work_that_grows_with_the_square_is_seen() -> None:
    def square(data: bytes) -> None:
        for end in range(len(data)):
            for _ in range(end):
                len(data)

    assert calls(square, b"x" * 400) > 3 * calls(square, b"x" * 200)


def test_every_reader_is_measured() -> None:
    assert set(PIECES) == set(TARGETS) - {"client"}
