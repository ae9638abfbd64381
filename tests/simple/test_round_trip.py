"""Which dialect a server is spoken to in, and what of Lync a SIMPLE server gets to see."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import Any, Sequence, Tuple

import pytest

from check_lync_presence.net.resolve import Address
from check_lync_presence.outcome import NOTIFY, PUBLISH, REGISTER, SUBSCRIBE, UNREGISTER, Cause, Outcome
from check_lync_presence.roundtrip import World, presence_round_trip
from check_lync_presence.settings import Account, Secret
from check_lync_presence.sip.message import Request

from ..samples import settings
from .tiny_server import ANN, BEN, PHONE, LaxServer, TinyServer, challenge, passwords


def trip(server: TinyServer, **changes: Any) -> Outcome:
    """Run the whole transaction against a server."""
    numbers = itertools.count(1)
    world = World(time.monotonic, time.time, lambda digits: f"{next(numbers):0{digits}x}"[-digits:], "HOST")
    told = {"publisher": ANN, "subscriber": BEN, "transport": "tcp", "timeout": 10.0, "notify_timeout": 2.0, **changes}
    with server:
        return presence_round_trip(settings(connect=("127.0.0.1", server.server.port), **told), None, world)


@pytest.mark.parametrize("protocol", ["auto", "simple"])
def test_a_presence_arrives_and_nothing_is_left_behind(protocol: str) -> None:
    server = TinyServer()
    outcome = trip(server, protocol=protocol)
    assert outcome.failures == ()
    assert outcome.success
    names = [REGISTER, REGISTER, SUBSCRIBE, PUBLISH, NOTIFY, UNREGISTER, UNREGISTER]
    assert [activity.name for activity in outcome.activities] == names
    assert (server.bindings, server.documents) == ([PHONE], {})


def test_a_server_that_is_known_gets_nothing_of_lync() -> None:
    server = TinyServer()
    trip(server, protocol="simple")
    assert "microsoft" not in " ".join(str(message.headers) for message in server.received).lower()
    assert len(server.requests("REGISTER")) == 6  # of each user: open, signed, and the last one


def test_a_server_is_told_from_lync_without_a_password() -> None:
    server = TinyServer()
    trip(server)
    first = {request.get("From"): request for request in reversed(server.requests("REGISTER"))}
    assert len(server.requests("REGISTER")) == 8
    assert passwords(list(first.values())) == 0


@pytest.mark.parametrize("scheme", ["Digest", "DIGEST", "digest"])
def test_the_scheme_is_recognised_in_any_case(scheme: str) -> None:
    class Loud(TinyServer):
        def reply(self, session: Any, request: Request, status: int = 200, headers: Any = ()) -> None:
            written = tuple((name, value.replace("Digest ", f"{scheme} ")) for name, value in headers)
            super().reply(session, request, status, written)

    assert trip(Loud()).success


def test_several_algorithms_are_one_scheme() -> None:
    class Modern(TinyServer):
        def reply(self, session: Any, request: Request, status: int = 200, headers: Any = ()) -> None:
            if status in (401, 407):
                headers = (challenge(status, "x", ", algorithm=SHA3")[1][0], *headers)
            super().reply(session, request, status, headers)

    assert trip(Modern()).success


def test_who_asks_for_lync_gets_lync_or_an_error() -> None:
    server = TinyServer()
    outcome = trip(server, protocol="lync")
    assert {failure.cause for failure in outcome.failures} == {Cause.NO_SCHEME}
    assert passwords(server.requests("REGISTER")) == 0


def test_a_refused_password_is_the_failure_of_its_user_and_the_other_is_signed_off() -> None:
    server = TinyServer()
    outcome = trip(server, publisher=ANN._replace(password=Secret("wrong")))
    (failure,) = outcome.failures
    assert (failure.activity, failure.user, failure.cause) == (REGISTER, ANN.uri, Cause.REFUSED_CREDENTIALS)
    assert server.bindings == [PHONE]


def trip_to_all(monkeypatch: pytest.MonkeyPatch, servers: Sequence[TinyServer], **changes: Any) -> Outcome:
    """The whole transaction against each of these servers, which are the front ends of one pool."""

    async def resolve(*_: Any) -> Tuple[Address, ...]:
        return tuple(server.server.address for server in servers)

    monkeypatch.setattr("check_lync_presence.locate.resolve", resolve)
    with contextlib.ExitStack() as running:
        for server in servers[1:]:
            running.enter_context(server)
        return trip(servers[0], protocol="simple", all_front_ends=True, **changes)


@pytest.mark.parametrize(("role", "account", "activity"), [("publisher", ANN, PUBLISH), ("subscriber", BEN, SUBSCRIBE)])
def test_a_password_that_is_wanted_only_after_the_registration_is_tried_once_and_at_one_front_end(
    monkeypatch: pytest.MonkeyPatch, role: str, account: Account, activity: str
) -> None:
    servers = [LaxServer() for _ in range(3)]
    outcome = trip_to_all(monkeypatch, servers, **{role: account._replace(password=Secret("wrong"))})
    (failure,) = outcome.failures
    assert (failure.activity, failure.user, failure.cause) == (activity, account.uri, Cause.REFUSED_CREDENTIALS)
    assert "The other 2 front ends were not tried, so as not to lock an account out." in outcome.remarks
    received = [message for server in servers for message in server.received if isinstance(message, Request)]
    assert passwords([request for request in received if account.uri in (request.get("From") or "")]) == 1
    assert [server.bindings for server in servers] == [[PHONE]] * 3


def test_front_ends_that_never_ask_for_a_password_are_all_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    class Open(TinyServer):
        def knows(self, request: Request) -> bool:
            return True

    servers = [Open() for _ in range(3)]
    outcome = trip_to_all(monkeypatch, servers)
    assert [front_end.failures for front_end in outcome.front_ends] == [()] * 3
    assert [bool(server.requests("PUBLISH")) for server in servers] == [True] * 3
