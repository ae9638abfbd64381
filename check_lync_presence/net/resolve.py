"""Names to addresses, within the deadline.

Owns the look-up: getaddrinfo blocks for as long as the system's resolver likes, so it runs in a thread that nobody
waits for beyond the deadline. Must not know connections.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any, List, NamedTuple, Optional, Tuple

from .deadline import Deadline
from .tasks import READ, ready


class ResolveError(Exception):
    """The name has no usable address; the text says what the resolver said."""


class Address(NamedTuple):
    """A socket address. `sockaddr` is what connect() takes."""

    family: socket.AddressFamily
    sockaddr: Tuple[Any, ...]

    @property
    def host(self) -> str:
        return str(self.sockaddr[0])

    @property
    def port(self) -> int:
        return int(self.sockaddr[1])

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


def is_ip_literal(host: str) -> bool:
    """Whether `host` is an IPv4 or IPv6 address rather than a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host.partition("%")[0])
            return True
    return False


async def resolve(host: str, port: int, family: Optional[int], deadline: Deadline) -> Tuple[Address, ...]:
    """Every TCP address of `host` in the resolver's order. `family` is 4, 6 or None. Raises ResolveError."""
    wanted = _FAMILIES[family]
    if is_ip_literal(host):
        return _addresses(host, _look_up(host, port, wanted, socket.AI_NUMERICHOST))
    answers: List[Any] = []
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def work() -> None:
        answers.append(_look_up(host, port, wanted, 0))
        with contextlib.suppress(OSError), theirs:
            theirs.send(b"\0")

    with ours:
        threading.Thread(target=work, daemon=True).start()
        try:
            await ready(ours, READ, deadline)
        except TimeoutError:
            raise ResolveError(f"no answer about {host} from the name servers within {deadline.span} s") from None
    return _addresses(host, answers[0])


def _look_up(host: str, port: int, family: int, flags: int) -> Any:
    try:
        return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, socket.IPPROTO_TCP, flags)
    except (OSError, UnicodeError) as error:
        return error


def _addresses(host: str, answer: Any) -> Tuple[Address, ...]:
    if isinstance(answer, Exception):
        reason = answer.strerror if isinstance(answer, OSError) and answer.strerror else "not a host name"
        raise ResolveError(f"cannot resolve {host}: {reason}")
    found = {Address(family, sockaddr): None for family, _, _, _, sockaddr in answer}
    return tuple(found)
