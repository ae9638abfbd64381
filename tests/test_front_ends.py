"""Which addresses become front ends, and what they are called."""

from __future__ import annotations

import socket

from check_lync_presence.front_ends import _one_by_one
from check_lync_presence.locate import Server
from check_lync_presence.net.resolve import Address


def address(host: str, port: int = 5061) -> Address:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return Address(family, (host, port))


def test_every_address_is_a_front_end_once() -> None:
    one, two, three = address("192.0.2.1"), address("192.0.2.2"), address("2001:db8::1")
    servers = (Server("a.contoso.example", (one, two)), Server("b.contoso.example", (two, three)))
    found = _one_by_one(servers)
    assert list(found) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert [server.addresses for server in found.values()] == [(one,), (two,), (three,)]


def test_front_ends_that_share_an_address_are_told_apart_by_their_ports() -> None:
    servers = (Server("a.contoso.example", (address("192.0.2.1"), address("192.0.2.1", 5062), address("192.0.2.2"))),)
    assert list(_one_by_one(servers)) == ["192.0.2.1:5061", "192.0.2.1:5062", "192.0.2.2"]
