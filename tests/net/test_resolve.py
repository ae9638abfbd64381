"""Names to addresses: literals, errors of the resolver, and a resolver that never answers."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, Iterator, List, Tuple

import pytest

from check_lync_presence.net.resolve import MAX_ADDRESSES, Address, ResolveError, in_thread, is_ip_literal, resolve

from ..loopback import finish, soon


class NameServer:
    """Stands where getaddrinfo stands; what it says is up to the test."""

    def __init__(self) -> None:
        self.answer: Any = []
        self.asked: List[Tuple[Any, ...]] = []
        self.speaks = threading.Event()
        self.speaks.set()

    def __call__(self, *question: Any) -> Any:
        self.asked.append(question)
        self.speaks.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    before = set(threading.enumerate())
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.speaks.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)


def found(host: str, family: socket.AddressFamily = socket.AF_INET) -> Tuple[Any, ...]:
    sockaddr: Tuple[Any, ...] = (host, 5061) if family == socket.AF_INET else (host, 5061, 0, 0)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr)


@pytest.mark.parametrize("literal", ["127.0.0.1", "::1", "fe80::1%lo", "2001:db8::5061"])
def test_an_address_is_a_literal(literal: str) -> None:
    assert is_ip_literal(literal)


@pytest.mark.parametrize("name", ["pool01.contoso.example", "127.0.0", "1", "", "::g", "[::1]", "10.0.0.256", "a\0b"])
def test_a_name_is_no_literal(name: str) -> None:
    assert not is_ip_literal(name)


@pytest.mark.parametrize(
    ("literal", "family", "text"), [("127.0.0.1", None, "127.0.0.1:5061"), ("127.0.0.1", 4, "127.0.0.1:5061"),
                                    ("::1", None, "[::1]:5061"), ("::1", 6, "[::1]:5061")],
)  # fmt: skip
def test_a_literal_needs_no_thread(monkeypatch: pytest.MonkeyPatch, literal: str, family: Any, text: str) -> None:
    monkeypatch.setattr(threading, "Thread", None)
    assert [str(address) for address in finish(resolve(literal, 5061, family, soon()))] == [text]


@pytest.mark.parametrize(("literal", "family"), [("127.0.0.1", 6), ("::1", 4)])
def test_a_literal_of_the_other_family_has_no_address(literal: str, family: int) -> None:
    with pytest.raises(ResolveError, match=literal):
        finish(resolve(literal, 5061, family, soon()))


def test_an_address_of_one_link_is_shown_with_its_link() -> None:
    (address,) = finish(resolve("fe80::1%lo", 5061, None, soon()))
    assert str(address) == "[fe80::1%lo]:5061"
    assert str(Address(socket.AF_INET6, ("fe80::1", 5061, 0, 2**31 - 1))) == "[fe80::1%2147483647]:5061"
    assert str(Address(socket.AF_INET6, ("::1", 5061, 0, 0))) == "[::1]:5061"


def test_every_address_comes_once_in_the_order_of_the_resolver(name_server: NameServer) -> None:
    name_server.answer = [
        found("2001:db8::5", socket.AF_INET6),
        found("192.0.2.5"),
        found("2001:db8::5", socket.AF_INET6),
    ]
    addresses = finish(resolve("pool01.contoso.example", 5061, None, soon()))
    assert [(address.host, address.port) for address in addresses] == [("2001:db8::5", 5061), ("192.0.2.5", 5061)]


def test_more_addresses_than_any_pool_has_are_refused_not_left_out(name_server: NameServer) -> None:
    name_server.answer = [found(f"192.0.2.{number}") for number in range(MAX_ADDRESSES)]
    assert len(finish(resolve("pool01.contoso.example", 5061, None, soon()))) == MAX_ADDRESSES
    name_server.answer.append(found("192.0.2.200"))
    with pytest.raises(ResolveError, match=r"pool01\.contoso\.example has 65 addresses; more than 64 are not tried"):
        finish(resolve("pool01.contoso.example", 5061, None, soon()))


@pytest.mark.parametrize(("family", "wanted"), [(None, socket.AF_UNSPEC), (4, socket.AF_INET), (6, socket.AF_INET6)])
def test_the_resolver_is_asked_for_the_family_that_was_chosen(
    name_server: NameServer, family: Any, wanted: socket.AddressFamily
) -> None:
    name_server.answer = [found("192.0.2.5")]
    finish(resolve("pool01.contoso.example", 5061, family, soon()))
    assert name_server.asked[0][:3] == (b"pool01.contoso.example", 5061, wanted)


def test_a_name_that_does_not_exist_is_said_with_the_words_of_the_resolver(name_server: NameServer) -> None:
    name_server.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    with pytest.raises(ResolveError) as failure:
        finish(resolve("pool09.contoso.example", 5061, None, soon()))
    assert str(failure.value) == "cannot resolve pool09.contoso.example: Name or service not known"


def test_what_cannot_be_a_name_is_no_bug() -> None:
    with pytest.raises(ResolveError, match="Name or service not known"):
        finish(resolve("a" * 64 + ".contoso.example", 5061, None, soon()))
    with pytest.raises(ResolveError, match="not a host name"):
        finish(resolve("pöol.contoso.example", 5061, None, soon()))


def test_a_resolver_that_never_answers_ends_at_the_deadline(name_server: NameServer) -> None:
    name_server.speaks.clear()
    started = time.monotonic()
    with pytest.raises(ResolveError, match=r"no answer about pool01\.contoso\.example .* within 0\.05 s"):
        finish(resolve("pool01.contoso.example", 5061, None, soon(0.05)))
    assert 0.05 <= time.monotonic() - started < 1


def test_a_resolver_that_answers_too_late_disturbs_nobody(name_server: NameServer) -> None:
    complaints: List[Any] = []
    hook, threading.excepthook = threading.excepthook, complaints.append
    try:
        name_server.speaks.clear()
        before = set(threading.enumerate())
        with pytest.raises(ResolveError):
            finish(resolve("pool01.contoso.example", 5061, None, soon(0.01)))
        name_server.speaks.set()
        for thread in set(threading.enumerate()) - before:
            thread.join(10)
    finally:
        threading.excepthook = hook
    assert complaints == []


def test_what_goes_wrong_in_a_thread_is_raised_where_it_is_waited_for() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finish(in_thread(work, soon()))


def test_addresses_are_written_as_people_write_them() -> None:
    assert str(Address(socket.AF_INET, ("192.0.2.5", 5061))) == "192.0.2.5:5061"
    assert str(Address(socket.AF_INET6, ("2001:db8::5", 5061, 0, 0))) == "[2001:db8::5]:5061"
