"""A name server that a test scripts: for every question, over UDP or TCP, the octets that go back.

What it says well it says with dnspython; what it says badly it says in octets.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from functools import partial
from typing import Callable, Dict, List, Mapping, Tuple

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from .loopback import GUARD

PAYLOAD = 512  # octets of an answer over UDP (RFC 1035 4.2.1)

Script = Callable[[dns.message.Message, str], List[bytes]]


def records(kind: str, *data: str) -> Script:
    """The records that were asked for, when they were of this kind; what is too long for UDP is truncated."""

    def script(question: dns.message.Message, transport: str) -> List[bytes]:
        answer = dns.message.make_response(question, recursion_available=True)
        (asked,) = question.question
        if asked.rdtype == dns.rdatatype.from_text(kind):
            answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", kind, *data))
        octets = answer.to_wire(max_size=65535)
        return truncated(question, transport) if transport == "udp" and len(octets) > PAYLOAD else [octets]

    return script


def aliases(*chain: str) -> Script:
    """CNAMEs, each to the next; nothing of what was asked for."""

    def script(question: dns.message.Message, transport: str) -> List[bytes]:
        answer = dns.message.make_response(question, recursion_available=True)
        for name, other in zip(chain, chain[1:]):
            answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{other}."))
        return [answer.to_wire()]

    return script


def code(text: str) -> Script:
    """Nothing but a response code."""

    def script(question: dns.message.Message, transport: str) -> List[bytes]:
        answer = dns.message.make_response(question, recursion_available=True)
        answer.set_rcode(dns.rcode.from_text(text))
        return [answer.to_wire()]

    return script


def truncated(question: dns.message.Message, transport: str) -> List[bytes]:
    """An answer that says of itself that it was cut short."""
    answer = dns.message.make_response(question, recursion_available=True)
    answer.flags |= dns.flags.TC
    return [answer.to_wire()]


def silence(question: dns.message.Message, transport: str) -> List[bytes]:
    return []


def garbage(question: dns.message.Message, transport: str) -> List[bytes]:
    """The id of the question, and octets that are no message."""
    return [struct.pack("!H", question.id) + b"\x81\x80\xff\xff\xc0\x0c SIP/2.0 200 OK\r\n"]


def with_other_id(script: Script) -> Script:
    """What the script says, as if it were the answer to another question."""

    def altered(question: dns.message.Message, transport: str) -> List[bytes]:
        return [struct.pack("!H", question.id ^ 1) + octets[2:] for octets in script(question, transport)]

    return altered


def by_transport(**scripts: Script) -> Script:
    """One script for ``udp``, another for ``tcp``."""
    return lambda question, transport: scripts[transport](question, transport)


class NameServer:
    """Answers by script while the ``with`` lasts; then it must have had nothing to complain of.

    `scripts`: by name in lower case; a name that is not among them does not exist. A script is given the question and
    ``udp`` or ``tcp``, and returns messages. `asked`: name, type and transport of every question.
    """

    def __init__(self, scripts: Mapping[str, Script], host: str = "127.0.0.1", port: int = 0, tcp: bool = True) -> None:
        self.scripts: Dict[str, Script] = dict(scripts)
        self.asked: List[Tuple[str, str, str]] = []
        self._complaints: List[BaseException] = []
        self._connections: List[socket.socket] = []
        self._talks: List[threading.Thread] = []
        self._over = False
        while True:
            self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._datagrams.bind((host, port))
            self.address: Tuple[str, int] = self._datagrams.getsockname()
            try:
                self._listener = socket.create_server(self.address)
                break
            except OSError:  # somebody has this port over TCP: another one then
                self._datagrams.close()
                if port:
                    raise
        loops = [self._serve_datagrams]
        if tcp:
            loops.append(self._serve_connections)
        else:
            self._listener.close()
        self._threads = [threading.Thread(target=self._run, args=(loop,)) for loop in loops]

    def __enter__(self) -> NameServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.address)
        with contextlib.suppress(OSError):
            socket.create_connection(self.address, GUARD).close()
        for thread in self._threads:
            thread.join(GUARD)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._talks:
            thread.join(GUARD)
        for sock in (self._datagrams, self._listener, *self._connections):
            sock.close()
        if self._complaints:
            raise self._complaints[0]

    def _run(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as complaint:
            self._complaints.append(complaint)

    def _serve_datagrams(self) -> None:
        while True:
            data, client = self._datagrams.recvfrom(65536)
            if self._over:
                return
            for octets in self._answer(data, "udp"):
                self._datagrams.sendto(octets, client)

    def _serve_connections(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._over:
                connection.close()
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._run, args=(partial(self._serve, connection),))
            self._talks.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(GUARD)
        with contextlib.suppress(ConnectionError), connection.makefile("rwb", 0) as stream:
            while True:
                head = stream.read(2)
                if not head:
                    return
                for octets in self._answer(stream.read(*struct.unpack("!H", head)), "tcp"):
                    stream.write(struct.pack("!H", len(octets)) + octets)

    def _answer(self, data: bytes, transport: str) -> List[bytes]:
        question = dns.message.from_wire(data)
        (asked,) = question.question
        name = asked.name.to_text(omit_final_dot=True).lower()
        self.asked.append((name, dns.rdatatype.to_text(asked.rdtype), transport))
        return self.scripts.get(name, code("NXDOMAIN"))(question, transport)
