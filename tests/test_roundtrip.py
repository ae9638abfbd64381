"""The whole transaction against a front end of a few octets: what is an Outcome of what."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
import time
from typing import Any, List, Optional, Tuple

import pytest

from check_lync_presence.diagnosis import diagnose
from check_lync_presence.lync.association import AuthHeader
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.net.discover import Discovery, Service
from check_lync_presence.net.resolve import Address, ResolveError
from check_lync_presence.outcome import (
    NOTIFY,
    PUBLISH,
    REGISTER,
    SELF_SUBSCRIBE,
    SUBSCRIBE,
    UNREGISTER,
    Cause,
    Failure,
    Outcome,
)
from check_lync_presence.plugin import _token
from check_lync_presence.roundtrip import LOOK_LIMIT, World, _same_organisation, presence_round_trip
from check_lync_presence.settings import Secret
from check_lync_presence.sip.message import Request

from .loopback import Server, until_closed
from .samples import ANN, BEN, settings
from .tiny_pool import MARKER, Session, TinyPool, presence
from .transcripts import POOL


def world() -> World:
    numbers = itertools.count(1)
    return World(time.monotonic, time.time, lambda digits: f"{next(numbers):0{digits}x}"[-digits:], "HOST")


WORLD = world()


def trip_to(server: Server, world: World = WORLD, **changes: Any) -> Outcome:
    place = (server.address.host, server.port)
    defaults = {"transport": "tcp", "connect": place, "timeout": 5.0, "notify_timeout": 2.0}
    return presence_round_trip(settings(**{**defaults, **changes}), None, world)


def trip(pool: TinyPool, **changes: Any) -> Outcome:
    with pool:
        return trip_to(pool.server, **changes)


def only(outcome: Outcome) -> Failure:
    assert not outcome.success
    (failure,) = outcome.failures
    return failure


def expires(pool: TinyPool, method: str) -> List[Optional[str]]:
    return [request.get("Expires") for request in pool.requests(method)]


# -------------------------------------------------------------------- success


def test_a_healthy_pool_is_a_success() -> None:
    outcome = trip(TinyPool())
    assert outcome.success
    assert outcome.failures == ()
    assert sorted((activity.name, activity.user) for activity in outcome.activities) == sorted(
        [(REGISTER, ANN.uri), (REGISTER, BEN.uri), (SELF_SUBSCRIBE, ANN.uri), (SUBSCRIBE, BEN.uri), (PUBLISH, ANN.uri),
         (NOTIFY, BEN.uri), (UNREGISTER, ANN.uri), (UNREGISTER, BEN.uri)]
    )  # fmt: skip
    assert all(activity.seconds is not None for activity in outcome.activities)


def test_the_times_fit_into_each_other() -> None:
    outcome = trip(TinyPool())
    assert outcome.latency is not None
    assert outcome.notified_after is not None
    assert 0 < outcome.notified_after < outcome.latency < 2
    for activity in outcome.activities:
        assert activity.ended is not None
        assert 0 <= activity.started <= activity.ended


def test_everything_is_taken_back_and_both_users_sign_off() -> None:
    pool = TinyPool()
    trip(pool)
    assert expires(pool, "REGISTER").count("0") == 2
    assert expires(pool, "SUBSCRIBE").count("0") == 1
    publication, withdrawal = pool.requests("SERVICE")
    assert b'expires="0"' not in publication.body
    assert b'expires="0"' in withdrawal.body


def test_every_run_has_a_marker_of_its_own() -> None:
    with TinyPool() as pool:
        for _ in range(2):
            assert trip_to(pool.server, world=world()._replace(token=_token)).success
    markers = [
        found.group() for request in pool.requests("SERVICE") for found in [MARKER.search(request.body)] if found
    ]
    assert len(set(markers)) == 2


def test_a_notification_before_the_answer_to_the_publication_counts() -> None:
    class Hasty(TinyPool):
        def on_service(self, session: Session, request: Request) -> None:
            if b'expires="0"' not in request.body:
                note = request.body.split(b"presence-check ")[1][:16].decode()
                self.published(session, f"presence-check {note}")
            self.reply(session, request)

    assert trip(Hasty()).success


def test_messages_are_collected_only_where_somebody_reads_them() -> None:
    assert trip(TinyPool(), verbose=1).messages == ()
    messages = trip(TinyPool(), verbose=2).messages
    assert len(messages) > 20
    assert [message.at for message in messages] == sorted(message.at for message in messages)


def test_a_name_in_connect_is_resolved() -> None:
    with TinyPool() as pool:
        assert trip_to(pool.server, connect=("localhost", pool.server.port), family=4).success


# -------------------------------------------------------------- no connection


def test_a_name_without_an_address_is_a_failure_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    outcome = presence_round_trip(settings(), None, world())
    failure = only(outcome)
    assert (failure.activity, failure.user, failure.cause) == (REGISTER, "", Cause.RESOLVE)
    assert failure.text == "cannot resolve pool01.contoso.example: Name or service not known."
    assert outcome.activities == ()


def test_name_servers_that_never_answer_are_a_failure_within_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    before = set(threading.enumerate())
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: released.wait(10) and [])
    started = time.monotonic()
    failure = only(presence_round_trip(settings(timeout=0.2), None, world()))
    assert time.monotonic() - started < 1
    released.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert failure.cause is Cause.RESOLVE


def test_a_refused_connection_of_both_users_is_said_once() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        outcome = presence_round_trip(settings(connect=held.getsockname()), None, world())
    failure = only(outcome)
    assert (failure.activity, failure.user, failure.cause) == (REGISTER, "", Cause.CONNECT)
    assert all(activity.error for activity in outcome.activities if activity.name == REGISTER)


@pytest.mark.parametrize("speaks", [b"", b"SIP/2.0 100 Trying\r\n", b"\r\n\r\n"])
def test_a_server_that_does_not_answer_is_a_failure_within_the_timeout(speaks: bytes) -> None:
    def silent(sock: socket.socket) -> None:
        sock.sendall(speaks)
        until_closed(sock)

    started = time.monotonic()
    with Server(silent) as server:
        outcome = trip_to(server, timeout=0.5)
        assert time.monotonic() - started < 1.5
    assert {failure.cause for failure in outcome.failures} == {Cause.NO_ANSWER}


def test_a_server_that_mirrors_our_own_messages_is_never_a_success() -> None:
    def mirror(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                data = sock.recv(65536)
                if not data:
                    return
                sock.sendall(data)

    with Server(mirror) as server:
        outcome = trip_to(server, timeout=1.0)
    assert not outcome.success
    assert {failure.activity for failure in outcome.failures} == {REGISTER}


# ------------------------------------------------------------------- sign-in


def test_two_wrong_passwords_are_two_failures_and_each_was_tried_once() -> None:
    pool = TinyPool()
    wrong = Secret("wrong")
    outcome = trip(pool, publisher=ANN._replace(password=wrong), subscriber=BEN._replace(password=wrong))
    assert [(failure.user, failure.cause) for failure in outcome.failures] == [
        (ANN.uri, Cause.REFUSED_CREDENTIALS),
        (BEN.uri, Cause.REFUSED_CREDENTIALS),
    ]
    assert pool.tokens == {ANN.uri: 1, BEN.uri: 1}


def test_one_wrong_password_is_one_failure_and_the_other_user_signs_off() -> None:
    pool = TinyPool()
    failure = only(trip(pool, subscriber=BEN._replace(password=Secret("wrong"))))
    assert (failure.activity, failure.user, failure.status) == (REGISTER, BEN.uri, 401)
    assert expires(pool, "REGISTER").count("0") == 1
    assert pool.requests("SUBSCRIBE") == []


def test_a_user_who_hangs_when_the_other_has_failed_holds_nobody_up() -> None:
    class Halved(TinyPool):
        def on_token(self, session: Session, request: Request, credentials: AuthHeader) -> None:
            if "ann@" in (request.get("From") or ""):
                self.reply(session, request, 403)

    started = time.monotonic()
    outcome = trip(Halved(), timeout=30.0)
    assert time.monotonic() - started < 4
    assert [failure.status for failure in outcome.failures] == [403]


# ------------------------------------------------------------------- redirects


class Redirecting(TinyPool):
    """Sends each user on until this many connections have been made."""

    def __init__(self, contact: str, times: int = 2) -> None:
        super().__init__()
        self.contact, self.times = contact, times

    def on_first_register(self, session: Session, request: Request) -> None:
        if len(self.sessions) <= self.times:
            contact = self.contact.replace("PORT", str(self.server.port))
            self.reply(session, request, 301, (("Contact", f"<{contact}>"),))
        else:
            super().on_first_register(session, request)


def test_a_redirect_to_the_home_pool_is_followed_and_remarked() -> None:
    with TinyPool() as home:
        outcome = trip(Redirecting(f"sip:127.0.0.1:{home.server.port};transport=tcp", times=99))
    assert outcome.success
    assert len(outcome.remarks) == 2
    assert "was redirected to its home pool: 127.0.0.1:" in outcome.remarks[0]
    assert outcome.remarks[0].endswith(f" → 127.0.0.1:{home.server.port}.")


def test_pools_that_send_us_in_a_circle_are_a_failure() -> None:
    outcome = trip(Redirecting("sip:127.0.0.1:PORT", times=99))
    assert {(failure.cause, failure.detail) for failure in outcome.failures} == {(Cause.REDIRECT, "loop")}


def test_a_long_chain_of_pools_is_a_failure() -> None:
    with contextlib.ExitStack() as stack:
        last = stack.enter_context(TinyPool())
        for _ in range(4):
            last = stack.enter_context(Redirecting(f"sip:127.0.0.1:{last.server.port}", times=99))
        outcome = trip_to(last.server)
    assert {(failure.cause, failure.detail) for failure in outcome.failures} == {(Cause.REDIRECT, "loop")}
    assert all(failure.text.startswith("Redirected more than 3 times: 127.0.0.1:") for failure in outcome.failures)


def test_a_home_pool_whose_name_is_unknown_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolver(host: Any, *rest: Any) -> Any:
        if host in (b"pool02.contoso.example", "pool02.contoso.example"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *rest)

    with Redirecting("sip:pool02.contoso.example", times=99) as pool:
        told = settings(transport="tcp", connect=("127.0.0.1", pool.server.port), timeout=5.0)
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        failure = only(presence_round_trip(told, None, world()))
    assert (failure.cause, failure.detail) == (Cause.RESOLVE, "pool02.contoso.example")


@pytest.mark.parametrize("host", ["evil.example", "contoso.example.evil.example", "evilcontoso.example"])
def test_a_redirect_out_of_the_organisation_is_not_followed(host: str) -> None:
    pool = Redirecting(f"sip:{host}:PORT", times=99)
    outcome = trip(pool)
    assert {(failure.cause, failure.detail) for failure in outcome.failures} == {(Cause.REDIRECT, "foreign")}
    assert pool.tokens == {}


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("pool01.contoso.example", True),
        ("POOL01.Contoso.Example.", True),
        ("pool02.contoso.example", True),
        ("fe01.pool01.contoso.example", True),
        ("sip.fabrikam.example", True),
        ("fabrikam.example", True),
        ("notfabrikam.example", False),
        ("evil.example", False),
        ("example", False),
        ("contoso.example.evil", False),
        ("", False),
    ],
)
def test_what_belongs_to_the_organisation(host: str, ours: bool) -> None:
    assert _same_organisation(host, "pool01.contoso.example", "Fabrikam.example") is ours


def test_the_parent_of_a_short_name_is_not_half_the_internet() -> None:
    assert not _same_organisation("evil.example", "pool01.example", "contoso.test")
    assert not _same_organisation("evil", "pool01", "contoso.test")


# --------------------------------------------------------------- notification


class Telling(TinyPool):
    """Tells the watcher something other than what was published."""

    def __init__(self, uri: str = ANN.uri, note: Optional[str] = None, sign: bool = True) -> None:
        super().__init__()
        self.uri, self.note, self.sign = uri, note, sign

    def published(self, session: Session, note: str) -> None:
        for watcher in self.watchers():
            self.notify(watcher, presence(self.uri, self.note or note), sign=self.sign)


class Silent(TinyPool):
    def published(self, session: Session, note: str) -> None:
        pass


@pytest.mark.parametrize(
    ("pool", "detail"),
    [
        (Silent, ""),
        (lambda: Telling(note="presence-check ffffffffffffffff"), "1 other notification(s) arrived"),
        (lambda: Telling(uri=BEN.uri), "1 other notification(s) arrived"),
        (lambda: Telling(sign=False), "1 unsigned message(s) were discarded"),
    ],
)
def test_without_the_right_notification_there_is_no_success(pool: Any, detail: str) -> None:
    failure = only(trip(pool(), notify_timeout=0.2))
    assert (failure.activity, failure.user, failure.cause) == (NOTIFY, BEN.uri, Cause.NO_NOTIFICATION)
    assert failure.text == "Presence notification is not received within 0.2 secs."
    assert failure.detail == detail


def test_the_wait_for_the_notification_begins_when_the_publication_is_accepted() -> None:
    started = time.monotonic()
    outcome = trip(Silent(), timeout=20.0, notify_timeout=0.3)
    # The fresh look that follows is not answered either.
    assert 0.3 <= time.monotonic() - started < 3 + LOOK_LIMIT
    (waited,) = [activity for activity in outcome.activities if activity.name == NOTIFY]
    assert waited.error
    assert outcome.latency is None


def test_a_publication_without_an_answer_is_not_called_a_missing_notification() -> None:
    class Mute(TinyPool):
        def on_service(self, session: Session, request: Request) -> None:
            pass

    failure = only(trip(Mute(), timeout=1.0, notify_timeout=0.1))
    assert (failure.activity, failure.user, failure.cause) == (PUBLISH, ANN.uri, Cause.NO_ANSWER)


def test_after_a_failure_both_users_sign_off() -> None:
    pool = Silent()
    trip(pool, notify_timeout=0.1)
    assert expires(pool, "REGISTER").count("0") == 2
    assert b'expires="0"' in pool.requests("SERVICE")[-1].body


# -------------------------------------------------------------------- log-off


class Stubborn(TinyPool):
    """Misbehaves at log-off: refuses it, or does not answer it."""

    def __init__(self, status: Optional[int]) -> None:
        super().__init__()
        self.answer = status

    def handle(self, session: Session, request: Request) -> None:
        if request.get("Expires") == "0" or b'expires="0"' in request.body:
            if self.answer is not None:
                self.reply(session, request, self.answer)
            return
        super().handle(session, request)


@pytest.mark.parametrize("status", [500, None])
def test_a_log_off_that_fails_is_no_reason_for_another_verdict(status: Optional[int]) -> None:
    started = time.monotonic()
    outcome = trip(Stubborn(status), timeout=1.0)
    assert time.monotonic() - started < 2
    assert outcome.success
    ends = [activity for activity in outcome.activities if activity.name == UNREGISTER]
    assert [activity.seconds for activity in ends] == [None, None]


def test_a_withdrawal_that_is_refused_does_not_keep_the_user_signed_in() -> None:
    pool = Stubborn(500)
    trip(pool)
    assert expires(pool, "REGISTER").count("0") == 2


@pytest.mark.parametrize("place", [UNREGISTER, SUBSCRIBE, PUBLISH, REGISTER])
def test_a_connection_that_is_cut_anywhere_is_an_outcome(place: str) -> None:
    methods = {UNREGISTER: "0", SUBSCRIBE: "SUBSCRIBE", PUBLISH: "SERVICE", REGISTER: "REGISTER"}

    class Cutting(TinyPool):
        def handle(self, session: Session, request: Request) -> None:
            if methods[place] in (request.method, request.get("Expires")):
                session.wire.sock.shutdown(socket.SHUT_RDWR)
                return
            super().handle(session, request)

    outcome = trip(Cutting())
    assert outcome.success == (place == UNREGISTER)
    assert {failure.cause for failure in outcome.failures} <= {Cause.CLOSED}


def test_a_mistake_of_ours_is_raised_after_the_users_have_signed_off() -> None:
    pool, healthy = TinyPool(), world()
    mistakes = iter([RuntimeError("a mistake of ours")])

    def token(digits: int) -> str:
        if len(pool.requests("SUBSCRIBE")) == 2:  # what is asked for next is the marker
            for mistake in mistakes:
                raise mistake
        return healthy.token(digits)

    with pool, pytest.raises(RuntimeError, match="a mistake of ours"):
        trip_to(pool.server, world=healthy._replace(token=token))
    assert expires(pool, "REGISTER").count("0") == 2


def test_a_handshake_without_an_answer_is_one_failure_however_long_each_user_waited() -> None:
    def silent(sock: socket.socket) -> None:
        until_closed(sock)

    context = ssl.create_default_context()
    with Server(silent) as server:
        place = (server.address.host, server.port)
        outcome = presence_round_trip(settings(connect=place, timeout=0.3), context, WORLD)
    failure = only(outcome)
    assert (failure.user, failure.cause, failure.detail) == ("", Cause.TLS, "TIMEOUT")


# ------------------------------------------------------- more than one server


def places(monkeypatch: pytest.MonkeyPatch, *servers: Server, host: str = "127.0.0.1") -> None:
    """What the DNS says: these servers, in this order."""
    services = tuple(
        Service("_sip._tcp.contoso.example", f"sip{number}.contoso.example", server.port)
        for number, server in enumerate(servers, 1)
    )

    async def discover(domain: str, target: str, transport: str, pick: Any, deadline: Deadline) -> Discovery:
        assert (domain, target, transport) == ("contoso.example", POOL, "tcp")
        return Discovery(services, ("A remark of the look-up.",))

    async def resolve(name: str, port: int, family: Optional[int], deadline: Deadline) -> Tuple[Address, ...]:
        if name.startswith("lost"):
            raise ResolveError(f"cannot resolve {name}: Name or service not known")
        return (Address(socket.AF_INET, (host, port)),)

    monkeypatch.setattr("check_lync_presence.net.discover.discover", discover)
    monkeypatch.setattr("check_lync_presence.locate.resolve", resolve)


def hangs_up(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.close()


def discovered(server: Server, **changes: Any) -> Outcome:
    return trip_to(server, discover=True, connect=None, **changes)


def test_the_server_that_the_dns_names_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with TinyPool() as first, TinyPool() as second:
        places(monkeypatch, first.server, second.server)
        outcome = discovered(first.server)
        assert outcome.success
        assert second.requests("REGISTER") == []
        found = "Found sip1.contoso.example by _sip._tcp.contoso.example."
        assert outcome.remarks == ("A remark of the look-up.", found)


def test_the_next_server_is_taken_where_one_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Server(hangs_up)
    with gone:
        pass
    with TinyPool() as pool:
        places(monkeypatch, gone, pool.server)
        outcome = discovered(pool.server)
        assert outcome.success
        passed = f"sip1.contoso.example was passed over: cannot connect to {gone.address}: Connection refused."
        assert passed in outcome.remarks


def test_the_next_server_is_taken_where_one_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(hangs_up) as rude, TinyPool() as pool:
        places(monkeypatch, rude, pool.server)
        outcome = discovered(pool.server)
        assert outcome.success
        assert "sip1.contoso.example was passed over: The server closed the connection." in outcome.remarks


def test_the_next_server_is_taken_where_one_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def listens(sock: socket.socket) -> None:
        until_closed(sock)

    with Server(listens) as mute, TinyPool() as pool:
        places(monkeypatch, mute, pool.server)
        outcome = discovered(pool.server, timeout=3.0)
        assert outcome.success
        assert any("sip1.contoso.example was passed over: No answer to REGISTER in" in told for told in outcome.remarks)


@pytest.mark.parametrize("cause", [Cause.NO_ANSWER, Cause.CLOSED])
def test_a_server_that_stops_after_it_has_seen_a_password_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, cause: Cause
) -> None:
    class Stops(TinyPool):
        def on_token(self, session: Session, request: Request, credentials: AuthHeader) -> None:
            if cause is Cause.CLOSED:
                session.wire.sock.shutdown(socket.SHUT_RDWR)

    with Stops() as stops, TinyPool() as pool:
        places(monkeypatch, stops.server, pool.server)
        outcome = discovered(stops.server, timeout=2.0)
        assert {failure.cause for failure in outcome.failures} == {cause}
        assert pool.requests("REGISTER") == []


class Busy(TinyPool):
    def on_first_register(self, session: Session, request: Request) -> None:
        self.reply(session, request, 503, sign=False)


def test_the_next_server_is_taken_where_one_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Busy() as busy, TinyPool() as pool:
        places(monkeypatch, busy.server, pool.server)
        outcome = discovered(pool.server)
        assert outcome.success
        assert "sip1.contoso.example was passed over: 503, Service Unavailable." in outcome.remarks


def test_when_no_server_takes_us_the_last_one_is_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Server(hangs_up)
    with gone:
        pass
    with Server(hangs_up) as rude:
        places(monkeypatch, rude, gone)
        failure = only(discovered(rude))
        assert (failure.activity, failure.cause) == (REGISTER, Cause.CONNECT)
        assert str(gone.address) in failure.text


def test_a_refused_password_is_not_tried_at_the_next_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with TinyPool() as first, TinyPool() as second:
        places(monkeypatch, first.server, second.server)
        wrong = ANN._replace(password=Secret("wrong"))
        outcome = discovered(first.server, publisher=wrong)
        assert [failure.cause for failure in outcome.failures] == [Cause.REFUSED_CREDENTIALS]
        assert second.requests("REGISTER") == []


def test_the_advice_recognises_what_the_system_says_of_a_network_without_a_way() -> None:
    # Linux opens no TCP connection to a multicast address, and says of it what it says where there is no route.
    told = settings(transport="tcp", connect=("224.0.0.1", 5060))
    outcome = presence_round_trip(told, None, WORLD)
    assert (only(outcome).cause, only(outcome).text.rpartition(": ")[2]) == (Cause.CONNECT, "Network is unreachable.")
    assert diagnose(outcome, told).advice[0].startswith("No way leads there from this host: ")
