"""The state of a pool: users, their endpoints, subscriptions, publications and containers (MS-PRES 3.1, 2.2).

Owns the rules: versions, who sees what, aggregation, what ends with an endpoint. Time comes in as `now` (Unix
seconds). Must not know SIP messages, sockets or clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..lync.ntlm import split_logon_name
from .accounts import Person
from .documents import Item, MemberChange, State, aggregate_state

if TYPE_CHECKING:
    from .link import Link, Session

MAX_ENDPOINTS = 8  # MaxEndpointsPerUser, the default
MAX_SUBSCRIPTIONS = 100  # of one endpoint; a client needs four
MAX_PUBLICATIONS = 300  # of one user; a client makes about 30
MAX_CONTENT = 32 * 1024  # characters of one publication; a contact card has one or two thousand
MAX_MEMBERS = 1000  # of all containers of one user

OFFLINE = 18500  # MS-PRES: what a watcher is told of somebody without endpoints
AGGREGATE = 1  # the instance of the server's own state
READ_ONLY = (AGGREGATE, 0x10000000)  # state instances that only the server writes
# Where the states of an input container are aggregated for: 3 is what the work group may know.
AUDIENCES = {2: (2, 100, 200, 400), 3: (3, 300)}
BLOCKED, COLLEAGUES, FEDERATED, PUBLIC = 32000, 200, 100, 0
_SEARCH_ORDER = (BLOCKED, 400, 300, COLLEAGUES, FEDERATED)

Key = Tuple[str, int, int]  # category, instance, container
Place = Tuple[str, int]  # category, container: the unit that is told as a whole


class Conflict(NamedTuple):
    """A publication whose version is not the current one; `position` counts from 1."""

    position: int
    version: int
    current: int


class VersionConflict(Exception):
    """Nothing was applied: these items named an old version."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        super().__init__(f"{len(conflicts)} version conflicts")
        self.conflicts = tuple(conflicts)


class Refused(Exception):
    """The pool does not do that: the ms-diagnostics number and text."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass
class Publication:
    """One published item. `endpoint` is the epid of who published it, empty for the server's own.

    `only_at` is the front end that keeps it to itself, empty where all have it.
    """

    category: str
    instance: int
    container: int
    version: int
    expire_type: str
    publish_time: float
    content: str
    state: Optional[State] = None
    endpoint: str = ""
    expires_at: Optional[float] = None
    previous: str = ""
    only_at: str = ""


@dataclass
class Container:
    """An audience: its version, and its members as (type, value in lower case)."""

    version: int = 0
    members: Set[Tuple[str, str]] = field(default_factory=set)


@dataclass
class Subscription:
    """A dialog that an endpoint is told things in. `watched` are categories by the address of a presentity."""

    event: str
    call_id: str
    remote_tag: str
    local_tag: str
    remote_cseq: int
    local_cseq: int
    lifetime: int
    expires_at: float
    best_effort: bool
    extends: bool
    watched: Dict[str, FrozenSet[str]] = field(default_factory=dict)


@dataclass
class Endpoint:
    """One sign-in of a user. `contact` is where requests go; `link` and `session` are kept for the registrar."""

    user: User
    epid: str
    call_id: str
    remote_tag: str
    local_tag: str
    contact: str
    instance: str
    expires_at: float
    link: Link
    session: Session
    cseq: int = 0
    subscriptions: Dict[Tuple[str, str], Subscription] = field(default_factory=dict)


@dataclass
class User(Person):
    """A user of the pool, and everything that is known of him."""

    endpoints: Dict[str, Endpoint] = field(default_factory=dict)
    publications: Dict[Key, Publication] = field(default_factory=dict)
    containers: Dict[int, Container] = field(default_factory=dict)
    subscribers: Dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.containers = {number: Container() for number in reversed(_SEARCH_ORDER)}
        self.containers[FEDERATED] = Container(1, {("federated", "")})
        self.containers[COLLEAGUES] = Container(1, {("sameEnterprise", "")})

    def client_made(self) -> List[Publication]:
        """The publications that are not the server's own."""
        return [item for item in self.publications.values() if item.endpoint]

    def at(self, place: Place) -> List[Publication]:
        """What is published at a place, by instance."""
        found = [item for item in self.publications.values() if (item.category, item.container) == place]
        return sorted(found, key=lambda item: item.instance)

    def places(self) -> FrozenSet[Place]:
        return frozenset((item.category, item.container) for item in self.publications.values())


class Pool:
    """The users of a pool. Every front end sees the same: MAX_ENDPOINTS counts those at all of them."""

    def __init__(self, users: Iterable[User], now: float) -> None:
        self.users: Dict[str, User] = {}
        for user in users:
            self.users.setdefault(user.key, user)
            self._aggregate(user, now)

    def find(self, address: str) -> Optional[User]:
        return self.users.get(address.lower())

    def by_logon(self, name: str, domain: str) -> List[User]:
        """The users with this NTLM account, whatever their SIP address."""
        wanted = (name.lower(), domain.lower())
        return [user for user in self.users.values() if split_logon_name(user.logon.lower()) == wanted]

    def by_principal(self, name: str, realm: str) -> List[User]:
        """The users with this Kerberos account: of ``CONTOSO\\ann`` the realm is one that begins with CONTOSO."""
        domain = realm.partition(".")[0]
        wanted = {f"{name}@{realm}".lower(), f"{domain}\\{name}".lower(), f"{realm}\\{name}".lower()}
        return [user for user in self.users.values() if user.logon.lower() in wanted]

    def endpoints(self) -> Iterator[Endpoint]:
        for user in self.users.values():
            yield from user.endpoints.values()

    def watchers(self, user: User) -> Iterator[Tuple[Endpoint, Subscription]]:
        """Who watches `user`, and in which dialog."""
        for endpoint in self.endpoints():
            for subscription in endpoint.subscriptions.values():
                if user.key in subscription.watched:
                    yield endpoint, subscription

    def container_of(self, watcher: User, user: User) -> int:
        """The one audience of `user` that `watcher` belongs to."""
        same = watcher.domain == user.domain
        wanted = [
            ("user", watcher.key.partition(":")[2]),
            ("domain", watcher.domain),
            ("sameEnterprise" if same else "federated", ""),
            ("everyone", ""),
        ]
        for member in wanted:
            for number in _SEARCH_ORDER:
                container = user.containers.get(number)
                if container is not None and member in container.members:
                    return number
        return PUBLIC

    # -------------------------------------------------------------- endpoints

    def enrol(self, endpoint: Endpoint, now: float) -> Tuple[FrozenSet[Place], Optional[Endpoint]]:
        """Add an endpoint: what changed in the user's presence, and the oldest endpoint if there were too many."""
        user = endpoint.user
        changed: FrozenSet[Place] = frozenset()
        former = user.endpoints.get(endpoint.epid)
        if former is not None:
            changed |= self.remove(former, now)
        oldest = None
        if len(user.endpoints) >= MAX_ENDPOINTS:
            oldest = next(iter(user.endpoints.values()))
            changed |= self.remove(oldest, now)
        user.endpoints[endpoint.epid] = endpoint
        return changed | self._aggregate(user, now), oldest

    def remove(self, endpoint: Endpoint, now: float) -> FrozenSet[Place]:
        """End an endpoint, its subscriptions and what it published for its own life time."""
        user = endpoint.user
        if user.endpoints.get(endpoint.epid) is not endpoint:
            return frozenset()
        del user.endpoints[endpoint.epid]
        endpoint.subscriptions.clear()
        gone = [
            key
            for key, item in user.publications.items()
            if (item.expire_type == "endpoint" and item.endpoint == endpoint.epid)
            or (item.expire_type == "user" and item.endpoint and not user.endpoints)
        ]
        return self._delete(user, gone) | self._aggregate(user, now)

    def expired_endpoints(self, now: float) -> List[Endpoint]:
        return [endpoint for endpoint in self.endpoints() if endpoint.expires_at <= now]

    def expire(self, user: User, now: float) -> FrozenSet[Place]:
        """Drop the user's timed publications that are over, and dead subscriptions; what changed in his presence."""
        for endpoint in user.endpoints.values():
            for key in [key for key, item in endpoint.subscriptions.items() if item.expires_at <= now]:
                del endpoint.subscriptions[key]
        over = [
            key for key, item in user.publications.items() if item.expires_at is not None and item.expires_at <= now
        ]
        return self._delete(user, over) | self._aggregate(user, now) if over else frozenset()

    # ----------------------------------------------------------- publications

    def publish(self, user: User, epid: str, items: Sequence[Item], now: float, only_at: str = "") -> FrozenSet[Place]:
        """Apply all items or none; what changed. Raises VersionConflict and Refused."""
        if any(item.category == "state" and item.instance in READ_ONLY for item in items):
            raise Refused(2003, "Publication is read-only")
        conflicts = []
        for index, item in enumerate(items, 1):
            current = self.version(user, item)
            if item.version != current and not item.unconditional:
                conflicts.append(Conflict(index, item.version, current))
        if conflicts:
            raise VersionConflict(conflicts)
        many = len(user.client_made()) + len(items) > MAX_PUBLICATIONS
        if many or any(len(item.content) > MAX_CONTENT for item in items):
            raise Refused(2010, "Category size limit exceeded")
        touched: Set[Place] = set()
        for item in items:
            touched.add((item.category, item.container))
            if item.deletes:
                user.publications.pop(item.key, None)
            else:
                self._store(user, epid, item, now, only_at)
        return frozenset(touched) | self._aggregate(user, now)

    def version(self, user: User, item: Item) -> int:
        """The current version of what `item` names, 0 if there is none."""
        current = user.publications.get(item.key)
        return current.version if current is not None else 0

    def set_members(self, user: User, changes: Sequence[MemberChange]) -> None:
        """Change who belongs to the user's containers, all or nothing. Raises VersionConflict."""
        conflicts = []
        for index, change in enumerate(changes, 1):
            current = user.containers.get(change.container, Container()).version
            if change.version != current:
                conflicts.append(Conflict(index, change.version, current))
        if conflicts:
            raise VersionConflict(conflicts)
        members = sum(len(container.members) for container in user.containers.values())
        if members + len(user.containers) + sum(len(change.added) + 1 for change in changes) > MAX_MEMBERS:
            raise Refused(2006, "Container member limit exceeded")
        for change in changes:
            container = user.containers.setdefault(change.container, Container())
            container.version += 1
            container.members |= set(change.added)
            container.members -= set(change.removed)

    def _store(self, user: User, epid: str, item: Item, now: float, only_at: str) -> None:
        former = user.publications.get(item.key)
        user.publications[item.key] = Publication(
            item.category,
            item.instance,
            item.container,
            (former.version if former else 0) + 1,
            item.expire_type,
            now,
            item.content,
            item.state,
            epid,
            now + item.expires if item.expire_type == "time" and item.expires is not None else None,
            former.content if former else "",
            only_at,
        )

    def _delete(self, user: User, keys: Iterable[Key]) -> FrozenSet[Place]:
        touched = set()
        for key in keys:
            del user.publications[key]
            touched.add((key[0], key[2]))
        return frozenset(touched)

    def _aggregate(self, user: User, now: float) -> FrozenSet[Place]:
        """Bring the server's own state up to date; where it changed."""
        changed = set()
        availability = OFFLINE
        for source, audiences in AUDIENCES.items():
            states = [item for item in user.at(("state", source)) if item.instance != AGGREGATE]
            # Somebody who publishes for one input only means both.
            availability = aggregate(states, bool(user.endpoints)) if states or source == 2 else availability
            for audience in audiences:
                key = ("state", AGGREGATE, audience)
                former = user.publications.get(key)
                state = State("aggregateState", availability)
                if former is None or former.state != state:
                    version = former.version + 1 if former else 1
                    content = aggregate_state(availability)
                    user.publications[key] = Publication(*key, version, "user", now, content, state)
                    changed.add(("state", audience))
        return frozenset(changed)


def aggregate(states: Sequence[Publication], signed_in: bool) -> int:
    """The availability that watchers are told, in the place of the real server's script, which is not public.

    The person's own choice counts before all machines, being busy before being there, and then who is there most.
    """
    if not signed_in:
        return OFFLINE
    known = [(item, item.state) for item in states if item.state is not None and item.state.availability]
    manual = [(item.publish_time, state.availability) for item, state in known if state.kind == "userState"]
    if manual:
        return max(manual)[1]
    others = [state.availability for _, state in known]
    busy = [availability for availability in others if 6000 <= availability < 12000]
    return min(busy or others, default=OFFLINE)
