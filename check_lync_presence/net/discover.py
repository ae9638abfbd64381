"""A SIP domain to its servers: the SRV records of its service, in the order in which they are to be tried.

Owns the look-ups (RFC 3263 4.2, and the names that Lync clients ask for), the order (RFC 2782), and which hosts a
domain may send us to: credentials do not follow a DNS answer out of it. Must not know addresses and connections.
"""

from __future__ import annotations

import re
from itertools import groupby, islice
from typing import TYPE_CHECKING, Callable, Dict, Iterable, Iterator, List, Set, Tuple

from ..value import NamedTuple
from .deadline import Deadline
from .resolve import ResolveError, in_thread
from .tasks import together

if TYPE_CHECKING:
    import dns.exception
    import dns.name
    import dns.resolver

# What is asked for, the best first: all at once, but used in this order, as Lync clients do.
RECORDS = {
    "tls": ("_sipinternaltls._tcp", "_sip._tls", "_sips._tcp"),
    "tcp": ("_sipinternal._tcp", "_sip._tcp"),
    "udp": ("_sip._udp",),
}
MAX_SERVICES = 32  # more than any run has the time to try
# Once one record has an answer the others have this long: a lost question is repeated after 2 s (dnspython).
PATIENCE = 3.0

# Active Directory lets hosts have an underscore in their name.
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\Z")
_NOT_OFFERED = "."  # as a target: "the service is decidedly not available at this domain" (RFC 2782)
_NONE = "no SRV records"

Pick = Callable[[int], int]


class Service(NamedTuple):
    """One server of a SIP domain: the SRV record that names it, its host name in lower case, its port."""

    record: str
    host: str
    port: int


class Discovery(NamedTuple):
    """The servers in the order in which they are to be tried, at least one; sentences about what could not be used."""

    services: Tuple[Service, ...]
    remarks: Tuple[str, ...]


class _Target(NamedTuple):
    """What an SRV record says."""

    priority: int
    weight: int
    host: str
    port: int


class _Answer(NamedTuple):
    """What a look-up gave: targets, or why there are none."""

    targets: Tuple[_Target, ...] = ()
    fault: str = ""


async def discover(domain: str, target: str, transport: str, pick: Pick, deadline: Deadline) -> Discovery:
    """The servers of a SIP domain for `transport` (``tls``, ``tcp``, ``udp``). Raises ResolveError when there is none.

    Hosts outside of the domain are left out, except `target`. `pick(n)` is a random integer with 0 <= pick(n) < n.
    """
    import dns.exception
    import dns.name
    import dns.resolver

    failed = f"no SIP service of {domain}"
    records = RECORDS[transport]
    try:
        zone = dns.name.from_text(domain)
        owners = [dns.name.from_text(record, zone) for record in records]
    except dns.exception.DNSException:
        raise ResolveError(f"{failed}: not a domain name") from None
    try:
        resolver = dns.resolver.Resolver()
    except (dns.exception.DNSException, ValueError):
        raise ResolveError(f"{failed}: /etc/resolv.conf names no name server that can be used") from None

    # Shortened by the first answer, so that a name server which keeps silent on one record leaves time for the rest.
    limit = deadline.within(deadline.remaining)
    patience = min(PATIENCE, deadline.remaining / 2)
    answers = await together(*(_look_up(resolver, owner, limit, patience) for owner in owners), grace=deadline.limit)

    services: Dict[Tuple[str, int], Service] = {}
    offered: Set[Tuple[str, int]] = set()
    remarks: List[str] = []
    faults: Dict[str, List[str]] = {}
    for record, answer in zip(records, answers):
        if isinstance(answer, BaseException):
            raise answer
        name = f"{record}.{domain}"
        usable, refused = _sift(answer.targets, _host(zone), target.rstrip(".").lower())
        remarks += [f"{name} names {text}: not used." for text in refused]
        if answer.fault not in ("", _NONE):
            remarks.append(f"{name} cannot be looked up: {answer.fault}.")
        offered.update((each.host, each.port) for each in usable)
        for chosen in islice(_in_order(usable, pick), MAX_SERVICES):
            services.setdefault((chosen.host, chosen.port), Service(name, chosen.host, chosen.port))
        if not usable:
            only = "only " + " and ".join(refused) if refused else "the service is declared not available"
            faults.setdefault(answer.fault or only, []).append(record)
    if not services:
        # What can be mended first: few domains have all of the records.
        reasons = sorted(faults.items(), key=lambda item: item[0] == _NONE)
        raise ResolveError(f"{failed}: " + "; ".join(f"{why} ({', '.join(where)})" for why, where in reasons))
    if len(offered) > MAX_SERVICES:
        remarks.append(f"Of the {len(offered)} servers of {domain} only the best {MAX_SERVICES} are tried.")
    return Discovery(tuple(services.values())[:MAX_SERVICES], tuple(remarks))


async def _look_up(resolver: dns.resolver.Resolver, owner: dns.name.Name, limit: Deadline, patience: float) -> _Answer:
    """The SRV records of `owner`. Where there are some, `limit` is shortened to `patience` for all who wait for it."""
    import dns.exception
    import dns.resolver

    lifetime = limit.remaining

    def ask() -> Tuple[_Target, ...]:
        return tuple(
            _Target(found.priority, found.weight, _host(found.target), found.port)
            for found in resolver.resolve(owner, "SRV", lifetime=lifetime)
        )

    try:
        targets = await in_thread(ask, limit)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return _Answer(fault=_NONE)
    except (dns.exception.Timeout, TimeoutError):
        return _Answer(fault=f"no answer from the name servers within {limit.span} s")
    except dns.exception.DNSException as error:
        return _Answer(fault=_fault(error))
    limit.shorten(patience)
    return _Answer(targets)


def _host(name: dns.name.Name) -> str:
    """A name to compare and to show; what is unprintable in it is escaped."""
    return name.to_text(omit_final_dot=True).lower()


def _fault(error: dns.exception.DNSException) -> str:
    """Why no name server gave a usable answer, from what became of the last attempt."""
    import dns.message

    # (name server, whether over TCP, port, exception or name of the response code, response) for each attempt
    attempts = error.kwargs.get("errors")
    over_tcp, cause = (attempts[-1][1], attempts[-1][3]) if attempts else (False, error)
    if isinstance(cause, str):
        return f"the name server answered {cause}"
    if isinstance(cause, dns.message.ChainTooLong):
        return "a chain of CNAMEs without end"
    if isinstance(cause, OSError):
        how = " over TCP, which a long answer needs" if over_tcp else ""
        return f"cannot reach the name server{how}: {cause.strerror}"
    return f"the name server's answer cannot be used ({type(cause).__name__})"


def _sift(targets: Iterable[_Target], domain: str, trusted: str) -> Tuple[List[_Target], List[str]]:
    """The targets that can be used, each host and port once; texts about the others."""
    usable: Dict[Tuple[str, int], _Target] = {}
    refused: Dict[str, List[str]] = {}
    for target in sorted(targets):
        if target.host == _NOT_OFFERED:
            continue
        if not _HOST.match(target.host):
            refused.setdefault("no host name", []).append(target.host)
        elif target.host != trusted and target.host != domain and not target.host.endswith(f".{domain}"):
            refused.setdefault(f"outside of {domain}", []).append(target.host)
        elif not target.port:
            refused.setdefault("without a port", []).append(target.host)
        else:
            usable.setdefault((target.host, target.port), target)
    texts = []
    for why, hosts in refused.items():
        more = f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""
        texts.append(f"{hosts[0]}{more}, {why}")
    return list(usable.values()), texts


def _in_order(targets: Iterable[_Target], pick: Pick) -> Iterator[_Target]:
    """RFC 2782: the lowest priority first; within one the next is drawn by weight from those that are left."""
    for _, group in groupby(sorted(targets), key=lambda target: target.priority):
        left = list(group)  # sorted, so that weight 0 comes first: it has a small chance, not none
        while left:
            chance = pick(sum(target.weight for target in left) + 1)
            for target in left:
                chance -= target.weight
                if chance <= 0:
                    break
            left.remove(target)
            yield target
