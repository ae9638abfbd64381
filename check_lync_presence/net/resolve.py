"""Names to addresses, within the deadline.

Owns the look-up: getaddrinfo blocks for as long as the system's resolver likes, so it runs in a thread that nobody
waits for beyond the deadline. Must not know connections.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any, Callable, List, Optional, Tuple, TypeVar

from ..value import NamedTuple
from .deadline import Deadline
from .tasks import READ, ready

MAX_ADDRESSES = 64  # more than any pool has; to leave some out would be to call well what nobody has looked at

_Result = TypeVar("_Result")


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
        if ":" not in self.host:
            return f"{self.host}:{self.port}"
        scope = self.sockaddr[3] if len(self.sockaddr) == 4 else 0  # of a link-local address: which link
        return f"[{self.host}{f'%{_link(scope)}' if scope else ''}]:{self.port}"


def _link(scope: int) -> str:
    try:
        return socket.if_indextoname(scope)
    except OSError:  # a link that has gone
        return str(scope)


_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


def is_ip_literal(host: str) -> bool:
    """Whether `host` is an IPv4 or IPv6 address rather than a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host.partition("%")[0])
            return True
    return False


async def resolve(host: str, port: int, family: Optional[int], deadline: Deadline) -> Tuple[Address, ...]:
    """The TCP addresses of `host` in the resolver's order. `family` is 4, 6 or None. Raises ResolveError."""

    def look_up(flags: int = 0) -> Any:
        # As octets: for text, getaddrinfo loads the whole of internationalised domain names.
        return socket.getaddrinfo(
            host.encode("ascii"), port, _FAMILIES[family], socket.SOCK_STREAM, socket.IPPROTO_TCP, flags
        )

    try:
        if is_ip_literal(host):
            answer = look_up(socket.AI_NUMERICHOST)
        else:
            answer = await in_thread(look_up, deadline)
    except TimeoutError:
        raise ResolveError(f"no answer about {host} from the name servers within {deadline.span} s") from None
    except OSError as error:
        raise ResolveError(f"cannot resolve {host}: {error.strerror}") from None
    except UnicodeError:
        raise ResolveError(f"cannot resolve {host}: not a host name") from None
    found = {Address(family, sockaddr): None for family, _, _, _, sockaddr in answer}
    if len(found) > MAX_ADDRESSES:
        raise ResolveError(f"{host} has {len(found)} addresses; more than {MAX_ADDRESSES} are not tried")
    return tuple(found)


async def in_thread(work: Callable[[], _Result], deadline: Deadline) -> _Result:
    """What `work`, which blocks, returns or raises. Raises TimeoutError at the deadline.

    From then on nobody waits for the thread, not even the end of the process.
    """
    results: List[_Result] = []
    errors: List[Exception] = []
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)
        with contextlib.suppress(OSError), theirs:
            theirs.send(b"\0")

    with ours:
        threading.Thread(target=run, daemon=True).start()
        await ready(ours, READ, deadline)
    if errors:
        raise errors[0]
    return results[0]
