"""Where to sign in: from what the administrator named to servers with addresses.

Owns the order of the sources: ``--connect``, the SIP domain's DNS records (``--discover``), the target's own name. Must
not know what is said to a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, List, Optional, Sequence, Tuple, Union

from .net.deadline import Deadline
from .net.resolve import Address, ResolveError, resolve
from .net.tasks import together
from .outcome import Cause, PresenceError
from .settings import Settings
from .value import NamedTuple

if TYPE_CHECKING:
    from .net.discover import Service

Pick = Callable[[int], int]  # a random number from 0 on, less than the argument

LOOK_UP_LIMIT = 10.0  # seconds: a name among several that nobody answers for must not take the time of the others
MAX_TOLD = 3  # servers that are of no use, with the reason of each


class Server(NamedTuple):
    """A server to sign in at: the name that TLS checks, its addresses in the order to try them in.

    `found` says for a reader how it was found, ``""`` where it was named.
    """

    name: str
    addresses: Tuple[Address, ...]
    found: str = ""


class Located(NamedTuple):
    """Servers in the order to try them in, and sentences about what was wrong on the way."""

    servers: Tuple[Server, ...]
    remarks: Tuple[str, ...] = ()


async def locate(
    settings: Settings, target: str, connect: Optional[Tuple[str, int]], pick: Pick, deadline: Deadline
) -> Located:
    """The servers of the pool `target`, of which at least one has an address. Raises PresenceError."""
    try:
        if settings.discover and target == settings.target:
            return await _discovered(settings, target, pick, deadline)
    except ResolveError as error:
        raise PresenceError(Cause.RESOLVE, f"{error}.") from None
    host, port = connect or (target, settings.port)
    try:
        return Located((Server(target, await resolve(host, port, settings.family, deadline)),))
    except ResolveError as error:
        raise PresenceError(Cause.RESOLVE, f"{error}.", detail=host) from None


async def _discovered(settings: Settings, target: str, pick: Pick, deadline: Deadline) -> Located:
    from .net.discover import PATIENCE, discover

    discovery = await discover(settings.publisher.domain, target, settings.transport, pick, deadline)
    # Shortened by the first server that has an address: one whose name nobody answers for leaves time for it.
    limit = deadline.within(LOOK_UP_LIMIT)
    patience = min(PATIENCE, deadline.remaining / 2)

    async def addresses(service: Service) -> Union[Tuple[Address, ...], ResolveError]:
        try:
            found = await resolve(service.host, service.port, settings.family, limit)
        except ResolveError as error:
            return error  # raised, it would cancel the others
        limit.shorten(patience)
        return found

    answers = await together(*(addresses(service) for service in discovery.services), grace=limit.limit)
    servers: List[Server] = []
    without: List[str] = []
    failed: Optional[ResolveError] = None
    for service, answer in zip(discovery.services, answers):
        if isinstance(answer, ResolveError):
            failed = answer
            without.append(f"{service.record} names {service.host}: {answer}.")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            servers.append(Server(service.host, answer, f"{service.host} by {service.record}"))
    if not servers and failed is not None:
        raise failed
    return Located(tuple(servers), (*discovery.remarks, *few(without, "servers have no address")))


def few(sentences: Sequence[str], others: str) -> List[str]:
    """The first of many sentences, and how many `others` there are: a reader wants no more, nor has NRPE the room."""
    more = len(sentences) - MAX_TOLD
    return [*sentences[:MAX_TOLD], *([f"{more} more {others}."] if more > 0 else [])]
