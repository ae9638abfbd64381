"""The synthetic transaction of Test-CsPresence: Register, SelfSubscribe, SubscribePresence, PublishPresence, the
notification, Unregister.

Owns the order of the activities, what runs side by side, and the time each may take. Knows activities, not messages.
"""

from __future__ import annotations

import ssl
from functools import partial
from typing import Awaitable, Callable, Dict, List, Optional, Protocol, Sequence, Set, Tuple

from .locate import Located, Pick, Server, few, locate
from .lync.association import AuthHeader
from .lync.endpoint import LyncEndpoint
from .lync.mechanism import GetCertificate, SignInOptions
from .net.deadline import Clock, Deadline
from .net.resolve import Address, ResolveError, is_ip_literal, resolve
from .net.tasks import Cancelled, Gate, Job, run, together
from .net.transport import Connection, TcpError, TlsError, open_connection, open_datagrams
from .outcome import (
    NOTIFY,
    PUBLISH,
    REGISTER,
    SELF_SUBSCRIBE,
    SUBSCRIBE,
    UNREGISTER,
    Activity,
    Cause,
    CertificateEnd,
    Failure,
    Outcome,
    Path,
    PresenceError,
    Seen,
    WireMessage,
)
from .refusal import Redirected
from .settings import Account, Settings, UserCertificate
from .sip.uri import SipUri
from .useragent import MessageLog, Token, UserAgent
from .value import NamedTuple

MAX_REDIRECTS = 3
# Once a step has failed for one user the other one's has this long, so that it can be signed off, and so that two
# faults are reported as two.
GRACE = 2.0
# A server that has not said anything for so long will hardly ask for a password.
MUTE_AFTER = 1.5 * GRACE
# Once the watcher's side has failed, the answer to the publication may still be on its way, and the other way round.
ANSWER_GRACE = 0.05
# How long the look at the publisher's presence may take that tells why a notification is missing.
LOOK_LIMIT = 5.0
# What log-off gets of the run's time; a server that does not answer it must not hold up a verdict that stands.
LOG_OFF_SHARE = 0.1
LOG_OFF_LIMIT = 5.0


class Endpoint(Protocol):
    """A user's end of a dialect: one method an activity. All raise PresenceError; `remarks` concern any verdict.

    `judged`: whether the server has seen what proves who the user is, and found it right; `took_password`: whether that
    was the password.
    """

    agent: UserAgent
    remarks: List[str]
    unread: int
    subscribes_to_itself: bool

    @property
    def judged(self) -> bool: ...
    @property
    def took_password(self) -> bool: ...
    @property
    def mute(self) -> bool: ...
    @property
    def unreadable(self) -> str: ...
    @property
    def registered(self) -> bool: ...
    @property
    def discarded(self) -> int: ...
    async def register(self, deadline: Deadline) -> Tuple[str, ...]: ...
    async def self_subscribe(self, deadline: Deadline) -> None: ...
    async def subscribe(self, presentity: str, deadline: Deadline) -> None: ...
    async def publish(self, marker: str, watcher: Account, sent: Callable[[], None], deadline: Deadline) -> None: ...
    async def notified(self, presentity: str, marker: str, deadline: Deadline) -> None: ...
    async def look(self, presentity: str, marker: str, deadline: Deadline) -> Seen: ...
    async def withdraw(self, deadline: Deadline) -> None: ...
    async def unsubscribe(self, deadline: Deadline) -> None: ...
    async def unregister(self, deadline: Deadline) -> None: ...


def _nobody_watches(*_: object) -> None:
    pass


class Network:
    """The way to the servers. A recorder stands around it; who plays a recorded run takes its place."""

    def run(self, job: Job, clock: Clock) -> Outcome:
        """The result of the run `job`."""
        outcome: Outcome = run(job, clock)
        return outcome

    async def locate(
        self, settings: Settings, target: str, connect: Optional[Tuple[str, int]], pick: Pick, deadline: Deadline
    ) -> Located:
        """The servers of a pool. Raises PresenceError."""
        return await locate(settings, target, connect, pick, deadline)

    async def resolve(self, host: str, port: int, family: Optional[int], deadline: Deadline) -> Tuple[Address, ...]:
        """The addresses of a host. Raises ResolveError."""
        return await resolve(host, port, family, deadline)

    async def connect(
        self, user: str, server: Server, transport: str, context: Optional[ssl.SSLContext], deadline: Deadline
    ) -> Connection:
        """A connection of `user` to a server. Raises TcpError, TlsError."""
        if transport == "udp":
            return open_datagrams(server.addresses)
        return await open_connection(server.addresses, context, server.name, deadline)


class World(NamedTuple):
    """What a run takes from outside: a monotonic clock, the time of day, random hexadecimal digits, the host's name.

    `watch` is told of every activity when it begins and when it is over, `failed` of every failure at once, `accepted`
    of every user whose password was found right, `notified` of a latency and of how long the notification took
    (outcome.Outcome), `ends` of the certificate of every server, `credentials` of everything that is sent in the place
    of a password. `log`, if not None, collects the messages.
    """

    clock: Clock
    now: Callable[[], float]
    token: Token
    hostname: str
    watch: Callable[[Activity], None] = _nobody_watches
    failed: Callable[[Failure], None] = _nobody_watches
    accepted: Callable[[str], None] = _nobody_watches
    notified: Callable[[float, float], None] = _nobody_watches
    ends: Callable[[CertificateEnd], None] = _nobody_watches
    credentials: Callable[[str], None] = _nobody_watches
    network: Network = Network()
    log: Optional[MessageLog] = None


def presence_round_trip(settings: Settings, context: Optional[ssl.SSLContext], world: World) -> Outcome:
    """Run the whole transaction. Whatever the peer does, the result is an Outcome, within ``settings.timeout``."""
    return world.network.run(_run(settings, context, world), world.clock)


class Run:
    """What the round trips of one run share: what they were told, the time they have, the messages they log."""

    def __init__(self, settings: Settings, context: Optional[ssl.SSLContext], world: World) -> None:
        self.settings = settings
        self.context = context
        self.world = world
        self.whole = Deadline(settings.timeout, world.clock)
        self.messages = world.log if world.log is not None or settings.verbose < 2 else MessageLog()
        self._started = world.clock()

    def since_start(self) -> float:
        return self.world.clock() - self._started

    def log(self) -> Tuple[WireMessage, ...]:
        """The messages so far, by their time; in one moment, as they came."""
        return tuple(sorted(self.messages or (), key=lambda message: message.at))

    @property
    def left_out(self) -> int:
        """How many messages came after those in the log."""
        return self.messages.left_out if self.messages is not None else 0

    def pick(self, count: int) -> int:
        """A random number from 0 on, less than `count`."""
        return int(self.world.token(8), 16) % count


async def _run(settings: Settings, context: Optional[ssl.SSLContext], world: World) -> Outcome:
    run = Run(settings, context, world)
    locate = world.network.locate
    work = _without_log_off(run.whole)
    try:
        located = await locate(settings, settings.target, settings.connect, run.pick, work)
        elsewhere = located
        if settings.subscriber_target is not None:
            elsewhere = await locate(settings, settings.subscriber_target, settings.subscriber_connect, run.pick, work)
    except PresenceError as error:
        failure = _failure(REGISTER, "", error)
        return Outcome(settings.target, (failure,), (), None, None, None, dialect=settings.spoken)
    if settings.all_front_ends:
        from .front_ends import round_trips

        return await round_trips(run, located)
    return await RoundTrip(run, located, elsewhere).run(run.whole)


def _without_log_off(whole: Deadline) -> Deadline:
    """What a log-off leaves of `whole`."""
    return whole.within(whole.remaining - min(LOG_OFF_LIMIT, whole.remaining * LOG_OFF_SHARE))


async def _nothing() -> None:
    pass


class RoundTrip:
    """One round trip, once: the publisher signs in at one place, the subscriber there or elsewhere.

    `signed_in` opens when the passwords of both are known to be right: when they have signed in, or, where the server
    asked for none, at the end; `over` when the notification has come or never will. Either opens when the round trip
    has failed, too. `refused` are the users whose password was, at once, while the other user may still sign in.
    """

    def __init__(self, run: Run, publisher_at: Located, subscriber_at: Located) -> None:
        self._run = run
        self._settings = settings = run.settings
        self._world = run.world
        self._places: Dict[Account, Located] = {settings.publisher: publisher_at, settings.subscriber: subscriber_at}
        self._whole = run.whole
        self._work = run.whole
        self._activities: List[Activity] = []
        self._failures: Dict[Tuple[str, str, str], Failure] = {}
        self._endpoints: Dict[Account, Endpoint] = {}
        self._remarks: Dict[Account, List[str]] = {account: [] for account in self._places}
        self._passed: Dict[Server, str] = {}
        self._first_connection: Optional[float] = None
        self._subscribed: Optional[float] = None
        self._published: Optional[float] = None
        self._marker = ""
        self._latency: Optional[float] = None
        self._notified_after: Optional[float] = None
        self._expires: Optional[CertificateEnd] = None
        self._dialect = settings.spoken
        self.refused: Set[str] = set()
        self.signed_in = Gate()
        self.over = Gate()

    @property
    def target(self) -> str:
        return self._settings.target

    @property
    def failures(self) -> Sequence[Failure]:
        """What has failed so far."""
        return tuple(self._failures.values())

    @property
    def unjudged(self) -> bool:
        """Whether a server has a password, or is about to ask for it, and has not yet said whether it is right."""
        if self._first_connection is None or self.signed_in.is_open:
            return False
        asked = any(endpoint.agent.heard for endpoint in self._endpoints.values())
        return asked or self._world.clock() - self._first_connection < MUTE_AFTER

    @property
    def accepted(self) -> Set[str]:
        """The users whose passwords have been found right here."""
        return {account.uri for account, endpoint in self._endpoints.items() if endpoint.took_password}

    @property
    def proven(self) -> bool:
        """Whether both have shown here who they are."""
        return len(self._endpoints) == len(self._places) and all(each.judged for each in self._endpoints.values())

    @property
    def succeeded(self) -> bool:
        """Whether the notification has come."""
        return self._latency is not None and not self._failures

    async def run(self, whole: Deadline, afterwards: Callable[[], Awaitable[None]] = _nothing) -> Outcome:
        """Sign in, make the round trip, do what is wanted `afterwards`, log off: all of it within `whole`."""
        self._whole, self._work = whole, _without_log_off(whole)
        try:
            try:
                try:
                    await self._transaction()
                finally:
                    for user in self.accepted:
                        self._world.accepted(user)
                    self.signed_in.open()
                    self.over.open()
                await afterwards()
            except Exception:  # a mistake of ours is no reason to stay signed in
                await self._log_off()
                raise
            await self._log_off()
        finally:  # an interruption comes here at once: a coroutine that is thrown away must not wait for anything
            for endpoint in self._endpoints.values():
                endpoint.agent.close()
        # Each user's in the order of events, the publisher's first: which of them was faster must not show.
        remarks = [text for located in self._places.values() for text in located.remarks]
        remarks += few(list(self._passed.values()), "servers were passed over")
        remarks += [text for told in self._remarks.values() for text in told]
        repeated = sum(endpoint.agent.retransmissions for endpoint in self._endpoints.values())
        if repeated:
            remarks.append(f"{repeated} retransmission(s) were needed over UDP.")
        remarks += [text for _, endpoint in self._in_order() for text in endpoint.remarks]
        return Outcome(
            target=self._settings.target,
            failures=tuple(self._failures.values()),
            activities=tuple(self._activities),
            latency=self._latency,
            notified_after=self._notified_after,
            certificate_expires=self._expires,
            remarks=tuple(dict.fromkeys(remarks)),
            messages=self._run.log(),
            dialect=self._dialect,
            left_out=self._run.left_out,
        )

    async def reaches(self, other: RoundTrip) -> Path:
        """Whether the publisher here reaches the subscriber of `other`, once both round trips are over.

        Raises TimeoutError where one of them is about to log off.
        """
        ann, ben = self._endpoints[self._settings.publisher], other._endpoints[self._settings.subscriber]
        limit = self._whole.within(min(self._work.remaining, other._work.remaining))
        if not limit.remaining:
            raise TimeoutError
        try:
            if other._subscribed is None or self._published is None or other._subscribed > self._published:
                # What was there before somebody subscribed is not what he is notified of.
                marker = self._new_marker()
                publication, notification = await together(
                    self._publish(ann, marker, limit), other._told(ben, marker, limit), grace=ANSWER_GRACE
                )
                for result in (publication, notification):
                    if isinstance(result, BaseException) and not isinstance(result, Cancelled):
                        raise result
            else:
                limit.shorten(self._settings.notify_timeout)
                await other._told(ben, self._marker, limit)
        except PresenceError as error:
            return Path(None, _failure(NOTIFY, "", error))
        return Path(self._world.clock() - (self._published or 0.0), None)

    async def _transaction(self) -> None:
        settings = self._settings
        publisher, subscriber = settings.publisher, settings.subscriber
        self._first_connection = self._world.clock()
        if not await self._side_by_side(
            self._activity(REGISTER, publisher, lambda: self._register(publisher)),
            self._activity(REGISTER, subscriber, lambda: self._register(subscriber)),
        ):
            return
        ann, ben = self._endpoints[publisher], self._endpoints[subscriber]
        if self.proven:
            self.signed_in.open()
        steps = [self._activity(SUBSCRIBE, subscriber, lambda: ben.subscribe(publisher.uri, self._work))]
        if ann.subscribes_to_itself:
            steps.insert(0, self._activity(SELF_SUBSCRIBE, publisher, lambda: ann.self_subscribe(self._work)))
        if not await self._side_by_side(*steps):
            return
        self._subscribed = self._world.clock()

        marker = self._new_marker()
        # Until the publication is answered the notification has all the time there is: a server that does not answer
        # the publication must not be reported as one that does not notify.
        limit = self._whole.within(self._whole.remaining)
        await self._side_by_side(
            self._activity(PUBLISH, publisher, lambda: self._publish(ann, marker, limit)),
            self._activity(NOTIFY, subscriber, lambda: self._notification(ben, marker, limit)),
            grace=ANSWER_GRACE,
        )
        if [failure.cause for failure in self._failures.values()] == [Cause.NO_NOTIFICATION]:
            await self._overhear(publisher, ann)

    async def _overhear(self, account: Account, endpoint: Endpoint) -> None:
        """Whether the server has meanwhile signed this user off: then no notification is to be expected."""
        try:
            await endpoint.agent.overhear(self._work.within(ANSWER_GRACE))
        except PresenceError as error:
            self._failures.clear()
            self._fail(PUBLISH, account.uri, error)

    def _new_marker(self) -> str:
        self._marker = f"presence-check {self._world.token(16)}"
        return self._marker

    # ------------------------------------------------------------ activities

    async def _register(self, account: Account) -> Tuple[str, ...]:
        """Sign in at the first server that lets itself be signed in at (RFC 3263 4.3)."""
        servers: Sequence[Server] = self._places[account].servers
        if self._settings.transport == "udp":  # who is there shows only in who answers
            servers = [server._replace(addresses=(place,)) for server in servers for place in server.addresses]
        for left, server in zip(range(len(servers), 0, -1), servers):
            try:
                details = await self._register_at(server, account, self._work.remaining / left)
            except PresenceError as error:
                if left == 1 or not self._may_go_elsewhere(account, error):
                    if server.found and error.cause not in _ELSEWHERE:
                        self._remarks[account].append(f"Found {server.found}.")
                    raise
                self._passed.setdefault(server, f"{server.name} was passed over: {str(error).rstrip('.')}.")
                refusing = self._endpoints.pop(account, None)
                if refusing is not None:
                    refusing.agent.close()
            else:
                if server.found:
                    self._remarks[account].append(f"Found {server.found}.")
                return details
        raise AssertionError("there is no server")

    def _may_go_elsewhere(self, account: Account, error: PresenceError) -> bool:
        """Whether another server may do better; one that stops in the middle of a sign-in may have seen a password."""
        endpoint = self._endpoints.get(account)
        heard = endpoint is not None and endpoint.agent.heard
        return error.cause in _ELSEWHERE or error.status == 503 or (error.cause in _MUTE and not heard)

    async def _register_at(self, server: Server, account: Account, limit: float) -> Tuple[str, ...]:
        """Connect within `limit` seconds and register; follow redirects to the home pool.

        A server that has said nothing in that time is mute.
        """
        settings = self._settings
        chain = [str(server.addresses[0])]
        while True:
            share = self._work.within(limit)
            agent = await self._connect(account, server, share)
            agent.patience = min(agent.patience, share.remaining)
            endpoint = self._endpoints[account] = self._endpoint(agent, account, settings.protocol)
            try:
                try:
                    return await endpoint.register(self._work)
                except PresenceError as error:
                    # A challenge of Digest and nothing else is how a SIMPLE server answers a Lync client.
                    only_digest = error.cause is Cause.NO_SCHEME and error.detail.lower() == "digest"
                    if settings.protocol != "auto" or not only_digest:
                        raise
                agent.dialogs.clear()
                endpoint = self._endpoints[account] = self._endpoint(agent, account, "simple")
                return await endpoint.register(self._work)
            except Redirected as redirect:
                del self._endpoints[account]
                agent.close()
                server = await self._follow(redirect.target, account, chain)

    def _endpoint(self, agent: UserAgent, account: Account, protocol: str) -> Endpoint:
        settings, world = self._settings, self._world
        if protocol == "simple":
            from .simple.endpoint import SimpleEndpoint

            self._dialect = "simple"
            return SimpleEndpoint(agent, account, settings.user_agent)
        options = SignInOptions(
            auth=settings.auth,
            ntlm_mic=settings.ntlm_mic,
            workstation=world.hostname,
            now=world.now,
            is_ours=lambda host: _same_organisation(host, settings.target, account.domain),
            realm_of=self._realm_of,
        )
        options = options._replace(certificates=lambda: self._certificates(account, options))
        return LyncEndpoint(agent, account, world.token(12), settings.user_agent, options)

    def _realm_of(self, user: str) -> str:
        from .realms import realm_of

        return realm_of(user, self._settings.krb5_config)

    def _certificates(self, account: Account, options: SignInOptions) -> List[GetCertificate]:
        """Of a user: the one given, else the one that is kept, else (where that is refused) a new one."""
        from .user_certificates import CertificateStore

        settings = self._settings

        async def given(_: AuthHeader, __: Deadline) -> UserCertificate:
            assert known is not None
            return known

        async def new(offer: AuthHeader, deadline: Deadline) -> UserCertificate:
            from .certificate_service import Server, fetch
            from .lockout import why_not_kept

            assert self._run.context is not None  # cli: TLS-DSK without verified TLS would prove nothing
            server = Server(self._run.context, settings.target, settings.family)
            found = await fetch(account, options, server, offer.get("sts-uri"), deadline)
            if not store.keep(account, found):
                self._remarks[account].append(
                    f"The certificate of {account.uri} could not be kept ({why_not_kept(settings.state_folders)}): the "
                    "next run will fetch another one."
                )
            return found

        if account.certificate is not None:
            known: Optional[UserCertificate] = account.certificate
            return [given]
        store = CertificateStore(settings.state_folders, f"{settings.target} {settings.connect}")
        known = store.stored(account, self._world.now())
        return [new] if known is None else [given, new]

    async def _follow(self, target: SipUri, account: Account, chain: List[str]) -> Server:
        """Where a redirect leads."""
        settings = self._settings
        port = target.port or settings.port
        place = f"{target.host}:{port}"
        trail = " → ".join([*chain, place])
        if place in chain:
            raise PresenceError(Cause.REDIRECT, f"Redirected in a circle: {trail}.", 301, detail="loop")
        if len(chain) > MAX_REDIRECTS:
            raise PresenceError(
                Cause.REDIRECT, f"Redirected more than {MAX_REDIRECTS} times: {trail}.", 301, detail="loop"
            )
        if settings.transport == "tls" and target.params.get("transport", "tls").lower() != "tls":
            raise PresenceError(
                Cause.REDIRECT, f"Redirected to a connection without TLS: {trail}.", 301, detail="no TLS"
            )
        # An address cannot be checked against a name of its own: the certificate there must be good for the pool that
        # we were told to test. A name must belong to the organisation: credentials do not follow a redirect out of it.
        literal = is_ip_literal(target.host)
        if not literal and not _same_organisation(target.host, settings.pool_of(account), account.domain):
            text = f"Redirected out of {account.domain} to {target.host}."
            raise PresenceError(Cause.REDIRECT, text, 301, detail="foreign")
        chain.append(place)
        home = "server" if self._dialect == "simple" else "pool"
        self._remarks[account].append(f"{account.uri} was redirected to its home {home}: {trail}.")
        try:
            addresses = await self._world.network.resolve(target.host, port, settings.family, self._work)
        except ResolveError as error:
            raise PresenceError(Cause.RESOLVE, f"{error}.", detail=target.host) from None
        return Server(settings.pool_of(account) if literal else target.host, addresses)

    async def _publish(self, endpoint: Endpoint, marker: str, notification: Deadline) -> None:
        def sent() -> None:
            self._published = self._world.clock()

        await endpoint.publish(marker, self._settings.subscriber, sent, self._work)
        notification.shorten(min(self._settings.notify_timeout, self._work.remaining))

    async def _notification(self, endpoint: Endpoint, marker: str, limit: Deadline) -> None:
        await self._told(endpoint, marker, limit)
        now = self._world.clock()
        self._latency = now - (self._first_connection or now)
        self._notified_after = now - (self._published or now)
        self._world.notified(self._latency, self._notified_after)

    async def _told(self, endpoint: Endpoint, marker: str, limit: Deadline) -> None:
        try:
            await endpoint.notified(self._settings.publisher.uri, marker, limit)
        except TimeoutError:
            # The cmdlet's own words.
            text = f"Presence notification is not received within {limit.span} secs."
            detail = []
            if endpoint.unreadable:
                detail.append(f"a notification could not be read ({endpoint.unreadable})")
            elif endpoint.agent.garbled is not None:
                detail.append(f"a datagram could not be read ({endpoint.agent.garbled})")
            elif endpoint.unread:
                detail.append(f"{endpoint.unread} other notification(s) arrived")
            elif endpoint.mute:
                detail.append("no notification arrived, not even the first one")
            if endpoint.discarded:
                detail.append(f"{endpoint.discarded} unsigned message(s) were discarded")
            seen = await self._look(endpoint, marker)
            raise PresenceError(Cause.NO_NOTIFICATION, text, detail=", ".join(detail), seen=seen) from None

    async def _look(self, endpoint: Endpoint, marker: str) -> Optional[Seen]:
        """Look at the publisher's presence anew, while time is left: it tells whose fault a missing notification is."""
        limit = self._work.within(LOOK_LIMIT)
        if not limit.remaining:
            return None
        try:
            return await endpoint.look(self._settings.publisher.uri, marker, limit)
        except (PresenceError, TimeoutError):
            return None

    async def _log_off(self) -> None:
        """Withdraw, unsubscribe, unregister: always tried, and never a reason for another verdict."""
        limit = self._whole.within(LOG_OFF_LIMIT)
        jobs = [
            self._activity(UNREGISTER, account, partial(self._sign_off, account, endpoint, limit))
            for account, endpoint in self._in_order()
            if endpoint.registered
        ]
        for result in await together(*jobs, grace=limit.limit):
            if isinstance(result, BaseException) and not isinstance(result, (PresenceError, Cancelled)):
                raise result

    async def _sign_off(self, account: Account, endpoint: Endpoint, limit: Deadline) -> None:
        try:
            if account is self._settings.publisher:
                await endpoint.withdraw(limit)
            else:
                await endpoint.unsubscribe(limit)
        except PresenceError:
            await endpoint.unregister(limit)
            raise
        await endpoint.unregister(limit)

    # --------------------------------------------------------------- helpers

    def _in_order(self) -> List[Tuple[Account, Endpoint]]:
        """The endpoints, the publisher's first, whichever connected first: the same output for the same faults."""
        return [(account, self._endpoints[account]) for account in self._places if account in self._endpoints]

    async def _connect(self, account: Account, server: Server, deadline: Deadline) -> UserAgent:
        run = self._run
        try:
            transport = self._settings.transport
            connection = await self._world.network.connect(account.uri, server, transport, run.context, deadline)
        except TcpError as error:
            raise PresenceError(Cause.CONNECT, f"{error}.") from None
        except TlsError as error:
            raise PresenceError(Cause.TLS, f"{error}.", detail=error.code) from None
        if connection.tls is not None and connection.tls.expires is not None:
            end = CertificateEnd(connection.tls.expires, "the server's certificate")
            self._expires = min(self._expires or end, end)
            self._world.ends(end)
        return UserAgent(
            account.uri, connection, self._world.token, run.since_start, run.messages, self._world.credentials
        )

    async def _activity(
        self, name: str, account: Account, work: Callable[[], Awaitable[Optional[Tuple[str, ...]]]]
    ) -> None:
        index = len(self._activities)
        started = Activity(name, account.uri, self._run.since_start(), None)
        self._activities.append(started)
        self._world.watch(started)
        try:
            details = await work()
        except (PresenceError, Cancelled) as error:
            over = started._replace(ended=self._run.since_start(), error=str(error) or "given up")
            self._world.watch(over)
            if not isinstance(error, Cancelled):
                self._activities[index] = over
                if name != UNREGISTER:
                    if error.cause is Cause.REFUSED_CREDENTIALS or error.detail == "PASSWORD":
                        self.refused.add(account.uri)
                    self._world.failed(self._of(name, account.uri, error))
            raise
        self._activities[index] = started._replace(ended=self._run.since_start(), details=details or ())
        self._world.watch(self._activities[index])

    async def _side_by_side(self, *jobs: Job, grace: float = GRACE) -> bool:
        """Run activities of the publisher and the subscriber together; False once one has failed."""
        first = len(self._activities)
        results = await together(*jobs, grace=grace)
        for activity, result in zip(self._activities[first:], results):
            if isinstance(result, PresenceError):
                self._fail(activity.name, activity.user, result)
            elif isinstance(result, BaseException) and not isinstance(result, Cancelled):
                raise result
        return not self._failures

    def _fail(self, activity: str, user: str, error: PresenceError) -> None:
        failure = self._of(activity, user, error)
        self._failures.setdefault(failure.key, failure)

    def _of(self, activity: str, user: str, error: PresenceError) -> Failure:
        failure = _failure(activity, user, error)
        if self._settings.subscriber_target is not None:
            of_the_subscriber = user == self._settings.subscriber.uri
            failure = failure._replace(
                server=self._settings.subscriber_target if of_the_subscriber else self._settings.target
            )
        return failure


def _failure(activity: str, user: str, error: PresenceError) -> Failure:
    # What is wrong with the way to the server is wrong for both users: said once, of nobody in particular.
    return Failure(
        activity,
        "" if error.cause in _NOBODYS else user,
        error.cause,
        str(error),
        error.status,
        error.diagnostics,
        error.detail,
        error.retry_after,
        error.seen,
    )


_NOBODYS = (Cause.RESOLVE, Cause.CONNECT, Cause.TLS, Cause.PROTOCOL, Cause.NO_SCHEME)
# What another server may do better.
_ELSEWHERE = (Cause.CONNECT, Cause.TLS)
_MUTE = (Cause.CLOSED, Cause.NO_ANSWER)


def _same_organisation(host: str, target: str, sip_domain: str) -> bool:
    """Whether `host` is the target, lies in its domain, or in the user's SIP domain."""
    host, target = host.rstrip(".").lower(), target.rstrip(".").lower()
    parent = target.partition(".")[2]
    domains = [sip_domain.lower()] + ([parent] if "." in parent else [])
    return host == target or any(host == domain or host.endswith(f".{domain}") for domain in domains)
