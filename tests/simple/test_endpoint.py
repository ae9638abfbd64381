"""One user's login on a SIMPLE server, activity by activity, against a server of a few octets."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import Any, Callable, Iterator, List, Optional

import pytest

from check_lync_presence.net.transport import open_connection
from check_lync_presence.outcome import Cause, PresenceError, Seen
from check_lync_presence.settings import Account, Secret
from check_lync_presence.simple.endpoint import SimpleEndpoint
from check_lync_presence.sip.message import Request, Response
from check_lync_presence.sip.uri import parse_name_addr
from check_lync_presence.useragent import UserAgent

from ..loopback import finish, soon
from .tiny_server import (
    ANN,
    BEN,
    PHONE,
    PIDF,
    Answer,
    LaxServer,
    Session,
    TinyServer,
    challenge,
    nonces,
    passwords,
    presence,
)

MARKER = "presence-check 0123456789abcdef"
OTHER = "presence-check fedcba9876543210"
SHORT = 0.2  # seconds that a test waits for what must not come
WRONG = ANN._replace(password=Secret("wrong"))

_numbers = itertools.count(1)  # two users of one test must not share a Call-ID


def counting(digits: int) -> str:
    return f"{next(_numbers):0{digits}x}"[-digits:]


@contextlib.contextmanager
def endpoint(server: TinyServer, account: Account = ANN) -> Iterator[SimpleEndpoint]:
    """An endpoint that is connected and has said nothing yet."""
    connection = finish(open_connection((server.server.address,), None, "contoso.example", soon()))
    agent = UserAgent(account.uri, connection, counting, time.monotonic, None)
    try:
        yield SimpleEndpoint(agent, account, "test")
    finally:
        agent.close()


def error_of(server: TinyServer, activity: Callable[[SimpleEndpoint], Any], account: Account = ANN) -> PresenceError:
    with server, endpoint(server, account) as user, pytest.raises(PresenceError) as error:
        finish(activity(user))
    return error.value


def register(user: SimpleEndpoint) -> Any:
    return user.register(soon())


def subscribe(user: SimpleEndpoint) -> Any:
    return user.subscribe(ANN.uri, soon())


def publish(user: SimpleEndpoint) -> Any:
    return user.publish(MARKER, BEN, lambda: None, soon())


def ok() -> Answer:
    return 200, ()


# -------------------------------------------------------------- whole activities


def test_a_user_registers_publishes_withdraws_and_leaves() -> None:
    sent: List[float] = []
    with TinyServer() as server, endpoint(server) as user:
        lines = finish(user.register(soon()))
        assert lines == ("Authentication: Digest", f"Registered with tiny at {server.server.address}")
        finish(user.publish(MARKER, BEN, lambda: sent.append(0.0), soon()))
        assert MARKER in server.documents["tag-0"].decode()
        finish(user.withdraw(soon()))
        assert server.documents == {}
        finish(user.unregister(soon()))
        assert user.remarks == []
    assert len(sent) == 2  # the one that was challenged, and the one that counted
    assert [len(server.requests(method)) for method in ("REGISTER", "PUBLISH")] == [3, 3]


def test_what_one_user_publishes_the_other_is_told_and_answers() -> None:
    with TinyServer() as server, endpoint(server) as ann, endpoint(server, BEN) as ben:
        finish(ben.subscribe(ANN.uri, soon()))
        finish(ann.publish(MARKER, BEN, lambda: None, soon()))
        finish(ben.notified(ANN.uri, MARKER, soon()))
        assert ben.unread == 0
    assert [answer.status for answer in server.answers()] == [200, 200]


def test_a_request_repeats_its_call_id_and_tag_with_the_next_number_when_it_is_challenged() -> None:
    with TinyServer() as server, endpoint(server) as user:
        finish(user.register(soon()))
    first, second = server.requests("REGISTER")
    assert (first.call_id, first.get("From"), first.uri) == (second.call_id, second.get("From"), "sip:contoso.example")
    assert [first.cseq.number, second.cseq.number] == [1, 2]
    assert first.get("Via") != second.get("Via")
    assert "rport" in (first.get("Via") or "")


def test_the_contact_is_where_the_server_finds_our_connection() -> None:
    with TinyServer() as server, endpoint(server) as user:
        finish(user.register(soon()))
        local = user.agent.connection.local
    assert server.requests("REGISTER")[0].get("Contact") == f"<sip:ann@{local};transport=tcp>"


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ("received=192.0.2.9;rport=4000", "192.0.2.9:4000"),
        ("received=2001:db8::9;rport=4000", "[2001:db8::9]:4000"),
        ("rport=4000", "127.0.0.1:4000"),
        ("received=evil.example;rport=4000", "127.0.0.1:4000"),
        *((f"received=192.0.2.9;rport={wrong}", None) for wrong in ("", "0", "65536", "0655350000", "-1", "٣")),
    ],
)
def test_the_contact_is_where_the_server_says_that_it_sees_us(told: str, seen: Optional[str]) -> None:
    with TinyServer() as server, endpoint(server) as user:
        user._learn_address(Response(200, "OK", (("Via", f"SIP/2.0/TCP 127.0.0.1:5070;{told}"),)))
        finish(user.register(soon()))
        here = seen or user.agent.connection.local
    assert server.requests("REGISTER")[-1].get("Contact") == f"<sip:ann@{here};transport=tcp>"


def test_unregistering_removes_our_contact_and_leaves_a_persons_phone_alone() -> None:
    with TinyServer() as server, endpoint(server) as user:
        finish(user.register(soon()))
        assert len(server.bindings) == 2
        finish(user.unregister(soon()))
        assert server.bindings == [PHONE]
    last = server.requests("REGISTER")[-1]
    assert last.get("Expires") == "0"
    assert last.get("Contact") == server.requests("REGISTER")[0].get("Contact")


def test_who_has_done_nothing_takes_nothing_back() -> None:
    with TinyServer() as server, endpoint(server) as user:
        finish(user.withdraw(soon()))
        finish(user.unsubscribe(soon()))
        finish(user.unregister(soon()))
    assert server.received == []


def test_the_subscription_is_ended_in_its_dialog() -> None:
    with TinyServer() as server, endpoint(server, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
        finish(user.unsubscribe(soon()))
    first, *_, last = server.requests("SUBSCRIBE")
    assert last.uri == f"sip:presence@127.0.0.1:{server.server.port};transport=tcp"
    assert (last.call_id, last.get("Expires")) == (first.call_id, "0")
    assert parse_name_addr(last.get("To") or "").tag == "server"


# ---------------------------------------------------------------------- digest


@pytest.mark.parametrize("status", [401, 407])
def test_each_of_the_two_challenges_is_answered_in_its_own_header(status: int) -> None:
    with TinyServer(REGISTER=[challenge(status, "n1"), ok()]) as server, endpoint(server) as user:
        finish(user.register(soon()))
    first, second = server.requests("REGISTER")
    names = ["Authorization", "Proxy-Authorization"]
    assert [first.get(name) for name in names] == [None, None]
    assert [second.get(name) is not None for name in names] == [status == 401, status == 407]


def test_a_proxy_and_the_server_behind_it_both_get_their_answer() -> None:
    script = [challenge(407, "p1"), challenge(401, "n1"), ok()]
    with TinyServer(REGISTER=script) as server, endpoint(server) as user:
        finish(user.register(soon()))
    last = server.requests("REGISTER")[-1]
    assert (nonces(last, "Proxy-Authorization"), nonces(last)) == (["p1"], ["n1"])


def test_a_proxy_a_server_and_a_nonce_that_grew_old_are_not_too_much() -> None:
    script = [challenge(407, "p1"), challenge(401, "n1"), challenge(401, "n2", ", stale=true"), ok()]
    with TinyServer(REGISTER=script) as server, endpoint(server) as user:
        finish(user.register(soon()))
    assert nonces(server.requests("REGISTER")[-1]) == ["n2"]


def test_a_nonce_is_used_again_and_its_uses_are_counted() -> None:
    with TinyServer(REGISTER=[challenge(401, "n1"), ok(), ok()]) as server, endpoint(server) as user:
        finish(user.register(soon()))
        finish(user.unregister(soon()))
    _, second, third = server.requests("REGISTER")
    assert [nonces(second), nonces(third)] == [["n1"], ["n1"]]
    assert ["nc=00000001" in str(second.headers), "nc=00000002" in str(third.headers)] == [True, True]


def test_a_wrong_password_is_tried_once_and_never_twice() -> None:
    server = TinyServer()
    error = error_of(server, register, WRONG)
    assert (error.cause, str(error), error.status) == (Cause.REFUSED_CREDENTIALS, "401, Unauthorized", 401)
    assert passwords(server.requests("REGISTER")) == 1


@pytest.mark.parametrize("status", [401, 407])
def test_a_new_nonce_that_is_not_called_stale_is_a_refusal(status: int) -> None:
    server = TinyServer(REGISTER=[challenge(status, f"n{number}") for number in range(10)])
    error = error_of(server, register)
    assert (error.cause, error.status) == (Cause.REFUSED_CREDENTIALS, status)
    assert passwords(server.requests("REGISTER")) == 1


@pytest.mark.parametrize("statuses", [(401, 407), (407, 401)])
def test_challenges_in_turn_do_not_draw_out_more_than_two_passwords(statuses: tuple[int, int]) -> None:
    turns = [challenge(statuses[number % 2], f"n{number}") for number in range(10)]
    server = TinyServer(REGISTER=turns)
    assert error_of(server, register).cause is Cause.REFUSED_CREDENTIALS
    assert passwords(server.requests("REGISTER")) == 2


def test_a_stale_nonce_is_exchanged_and_the_password_counts_as_right() -> None:
    script = [challenge(401, "n1"), challenge(401, "n2", ', qop="auth", stale=true'), ok()]
    with TinyServer(REGISTER=script) as server, endpoint(server) as user:
        finish(user.register(soon()))
    assert [nonces(request) for request in server.requests("REGISTER")] == [[], ["n1"], ["n2"]]


def test_a_server_whose_nonces_are_always_stale_is_left_and_has_not_refused_the_password() -> None:
    server = TinyServer(REGISTER=[challenge(401, f"n{number}", ", stale=true") for number in range(10)])
    error = error_of(server, register)
    assert (error.cause, error.status) == (Cause.STATUS, 401)
    assert passwords(server.requests("REGISTER")) == 2


def test_a_password_that_a_proxy_has_refused_is_not_shown_to_it_when_the_user_leaves() -> None:
    turns = [ok(), *(challenge(407, f"n{number}") for number in range(10))]
    with TinyServer(REGISTER=turns) as server, endpoint(server, WRONG) as user:
        finish(user.register(soon()))
        for activity in (subscribe(user), user.unregister(soon())):
            with pytest.raises(PresenceError) as error:
                finish(activity)
            assert error.value.cause is Cause.REFUSED_CREDENTIALS
    assert passwords(server.requests("SUBSCRIBE")) == 1
    assert passwords(server.requests("REGISTER")) == 0


@pytest.mark.parametrize("status", [403, 408, 500, 503])
def test_an_error_does_not_say_that_the_password_was_right(status: int) -> None:
    script = [challenge(401, "n1"), (status, ())]
    with TinyServer(REGISTER=script) as server, endpoint(server) as user:
        with pytest.raises(PresenceError) as error:
            finish(user.register(soon()))
        assert not user.took_password
    assert error.value.detail == ("PASSWORD" if status == 403 else "")


def test_a_403_before_anybody_has_asked_for_the_password_says_nothing_of_it() -> None:
    assert error_of(TinyServer(REGISTER=[(403, ())]), register).detail == ""


@pytest.mark.parametrize("first", [challenge(407, "n1"), challenge(401, "n1")])
def test_a_refusal_elsewhere_counts_although_the_password_was_taken_before(first: Answer) -> None:
    publications = [challenge(401, f"m{number}") for number in range(3)]
    other = (first[0], tuple((name, value.replace("contoso.example", "registrar", 1)) for name, value in first[1]))
    with TinyServer(REGISTER=[other, ok()], PUBLISH=publications) as server, endpoint(server) as user:
        finish(user.register(soon()))
        assert user.took_password
        with pytest.raises(PresenceError) as error:
            finish(publish(user))
        assert not user.took_password
    assert error.value.cause is Cause.REFUSED_CREDENTIALS


def test_a_password_is_judged_when_the_server_has_taken_it() -> None:
    with LaxServer() as server, endpoint(server) as user:
        finish(user.register(soon()))
        assert not user.judged
        finish(publish(user))
        assert user.judged


def test_a_nonce_that_the_server_has_forgotten_since_is_exchanged_without_being_called_stale() -> None:
    script = [challenge(401, "n1"), ok(), challenge(401, "n2"), ok()]
    with TinyServer(REGISTER=script) as server, endpoint(server) as user:
        finish(user.register(soon()))
        finish(user.unregister(soon()))
    assert [nonces(request) for request in server.requests("REGISTER")] == [[], ["n1"], ["n1"], ["n2"]]


def test_a_password_that_was_taken_is_not_what_is_wrong_later_and_is_tried_twice_at_most() -> None:
    turns = [challenge(407, "n1"), ok(), *(challenge(407, f"m{number}") for number in range(10))]
    server = TinyServer(PUBLISH=turns)
    with server, endpoint(server) as user:
        finish(user.publish(MARKER, BEN, lambda: None, soon()))
        with pytest.raises(PresenceError) as error:
            finish(user.publish(MARKER, BEN, lambda: None, soon()))
    assert error.value.cause is Cause.STATUS
    assert passwords(server.requests("PUBLISH")[2:]) == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [(', qop="auth-int"', "qop auth-int only"), (", algorithm=SHA3", "algorithm SHA3")],
)
def test_a_sign_in_that_is_not_possible_says_why_and_sends_no_password(more: str, words: str) -> None:
    server = TinyServer(REGISTER=[challenge(401, "n1", more)])
    error = error_of(server, register)
    assert error.cause is Cause.NO_SCHEME
    assert words in str(error)
    assert len(server.requests("REGISTER")) == 1


def test_a_refusal_without_a_challenge_is_not_answered() -> None:
    server = TinyServer(REGISTER=[(401, ())])
    assert error_of(server, register).cause is Cause.NO_SCHEME
    assert passwords(server.requests("REGISTER")) == 0


def test_a_logon_name_of_ones_own_is_used_as_it_is() -> None:
    server = TinyServer(REGISTER=[challenge(401, "n1"), ok()])
    with server, endpoint(server, ANN._replace(user="probe-1")) as user:
        finish(user.register(soon()))
    assert 'username="probe-1"' in (server.requests("REGISTER")[1].get("Authorization") or "")


# ------------------------------------------------------------------- refusals


@pytest.mark.parametrize("activity", [register, subscribe, publish])
@pytest.mark.parametrize("status", [400, 403, 404, 480, 489, 500, 503, 603])
def test_a_refusal_is_its_status(activity: Callable[[SimpleEndpoint], Any], status: int) -> None:
    method = activity.__name__.upper()
    answer: Answer = (status, (("Retry-After", "7"),))
    error = error_of(TinyServer(**{method: [answer]}), activity)
    assert (error.cause, error.status, error.retry_after) == (Cause.STATUS, status, "7")
    assert str(error).startswith(f"{status}, ")


@pytest.mark.parametrize("activity", [register, subscribe, publish])
def test_a_server_that_wants_a_longer_life_gets_it(activity: Callable[[SimpleEndpoint], Any]) -> None:
    method = activity.__name__.upper()
    answer: Answer = (423, (("Min-Expires", "3600"),))
    with TinyServer(**{method: [answer]}) as server, endpoint(server) as user:
        finish(activity(user))
    lives = [request.get("Expires") for request in server.requests(method)]
    assert lives == ["120", "3600", "3600"]  # the last one answers a challenge


@pytest.mark.parametrize("least", ["", "x", "86401", "99999999999", "-1", "٣"])
def test_a_life_that_nobody_wants_is_refused_as_423(least: str) -> None:
    server = TinyServer(REGISTER=[(423, (("Min-Expires", least),) if least else ())])
    assert error_of(server, register).status == 423
    assert len(server.requests("REGISTER")) == 1


def test_a_server_that_wants_more_each_time_is_followed_once() -> None:
    server = TinyServer(REGISTER=[(423, (("Min-Expires", str(life)),)) for life in (200, 300, 400)])
    assert error_of(server, register).status == 423
    assert [request.get("Expires") for request in server.requests("REGISTER")] == ["120", "200"]


def test_a_publication_that_has_ended_by_itself_counts_as_withdrawn() -> None:
    with TinyServer() as server, endpoint(server) as user:
        finish(user.publish(MARKER, BEN, lambda: None, soon()))
        server.documents.clear()
        finish(user.withdraw(soon()))
    assert server.requests("PUBLISH")[-1].get("SIP-If-Match") == "tag-0"


def test_what_has_ended_by_itself_is_published_anew() -> None:
    with TinyServer() as server, endpoint(server) as user:
        finish(user.publish(OTHER, BEN, lambda: None, soon()))
        server.documents.clear()
        finish(user.publish(MARKER, BEN, lambda: None, soon()))
        assert [MARKER in body.decode() for body in server.documents.values()] == [True]
    *_, refused, again = server.requests("PUBLISH")
    assert (refused.get("SIP-If-Match"), again.get("SIP-If-Match")) == ("tag-0", None)


def test_a_contact_is_removed_as_it_was_given_wherever_the_server_sees_us() -> None:
    class BehindNat(TinyServer):
        def reply(self, session: Session, request: Request, status: int = 200, headers: Any = ()) -> None:
            seen = [
                (name, value.replace(";rport", ";rport=4711;received=192.0.2.7")) for name, value in request.headers
            ]
            super().reply(session, Request(request.method, request.uri, seen), status, headers)

    with BehindNat(REGISTER=[ok()]) as server, endpoint(server) as user:
        finish(user.register(soon()))
        finish(user.unregister(soon()))
    first, *_, last = [request.get("Contact") for request in server.requests("REGISTER")]
    assert first == last


def test_a_withdrawal_that_is_refused_is_an_error() -> None:
    with TinyServer() as server, endpoint(server) as user:
        finish(user.publish(MARKER, BEN, lambda: None, soon()))
        server.script["PUBLISH"] = [(500, ())]
        with pytest.raises(PresenceError, match=r"500, "):
            finish(user.withdraw(soon()))


def test_a_withdrawal_names_its_publication_and_has_no_body() -> None:
    with TinyServer() as server, endpoint(server) as user:
        finish(user.publish(MARKER, BEN, lambda: None, soon()))
        finish(user.withdraw(soon()))
    request = server.requests("PUBLISH")[-1]
    assert (request.get("SIP-If-Match"), request.get("Expires"), request.body) == ("tag-0", "0", b"")
    assert request.get("Content-Type") is None


def test_a_publication_without_an_entity_tag_is_remarked_and_not_withdrawn() -> None:
    with TinyServer(PUBLISH=[ok()]) as server, endpoint(server) as user:
        finish(user.publish(MARKER, BEN, lambda: None, soon()))
        assert ["entity tag" in remark for remark in user.remarks] == [True]
        finish(user.withdraw(soon()))
    assert len(server.requests("PUBLISH")) == 1


def test_a_refused_unregistration_is_an_error() -> None:
    with TinyServer() as server, endpoint(server) as user:
        finish(user.register(soon()))
        server.script["REGISTER"] = [(503, ())]
        with pytest.raises(PresenceError, match=r"503, "):
            finish(user.unregister(soon()))


# --------------------------------------------------------------- notifications


class Notifying(TinyServer):
    """Tells a new watcher what a test wants it to hear."""

    def __init__(self, tell: Callable[[TinyServer, Session], None]) -> None:
        super().__init__()
        self.tell = tell

    def on_subscribe(self, session: Session, request: Request) -> None:
        session.subscription = request
        self.accept(session, request)
        self.tell(self, session)


def notified(server: TinyServer, limit: float = 10.0) -> SimpleEndpoint:
    """Subscribe to ann as ben and wait for the marker."""
    with server, endpoint(server, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
        finish(user.notified(ANN.uri, MARKER, soon(limit)))
    return user


def not_notified(server: TinyServer) -> SimpleEndpoint:
    """The same where the marker must not be seen."""
    with server, endpoint(server, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
        with pytest.raises(TimeoutError):
            finish(user.notified(ANN.uri, MARKER, soon(SHORT)))
    return user


def test_202_is_as_good_as_200() -> None:
    class Old(TinyServer):
        def on_subscribe(self, session: Session, request: Request) -> None:
            session.subscription = request
            self.accept(session, request, 202)
            self.notify(session, presence(MARKER))

    notified(Old())


def test_a_notification_may_come_before_the_answer_to_the_subscription() -> None:
    class Hasty(TinyServer):
        def on_subscribe(self, session: Session, request: Request) -> None:
            session.subscription = request
            self.notify(session, presence(MARKER))
            self.accept(session, request)

    server = Hasty()
    notified(server)
    assert [answer.status for answer in server.answers()] == [200]


def test_a_first_notification_without_a_document_is_normal() -> None:
    def tell(server: TinyServer, session: Session) -> None:
        server.notify(session)
        server.notify(session, presence(MARKER))

    server = Notifying(tell)
    user = notified(server)
    assert (user.unread, user.remarks) == (0, [])
    assert [answer.status for answer in server.answers()] == [200, 200]


def test_a_notification_that_comes_twice_is_answered_twice() -> None:
    def tell(server: TinyServer, session: Session) -> None:
        for _ in range(2):
            server.notify(session, presence(OTHER), number=7)
        server.notify(session, presence(MARKER), number=8)

    server = Notifying(tell)
    notified(server)
    assert [answer.status for answer in server.answers()] == [200, 200, 200]


def test_a_notification_that_comes_late_does_not_count() -> None:
    def tell(server: TinyServer, session: Session) -> None:
        server.notify(session, presence(OTHER), number=8)
        server.notify(session, presence(MARKER), number=7)

    server = Notifying(tell)
    not_notified(server)
    assert [answer.status for answer in server.answers()] == [200, 500]  # a 481 would end the subscription


def test_a_notification_of_another_dialog_is_refused() -> None:
    server = Notifying(lambda server, session: server.notify(session, presence(MARKER), call_id="another"))
    not_notified(server)
    assert [answer.status for answer in server.answers()] == [481]


@pytest.mark.parametrize(
    "wrong",
    [
        {"body": presence(OTHER)},
        {"body": presence(MARKER, BEN.uri)},
        {"body": presence(MARKER)[:-4]},
        {"body": presence(MARKER), "content_type": "text/plain"},
        {"body": presence(MARKER), "content_type": "application/xpidf+xml"},
        {"body": presence(MARKER), "event": "dialog"},
    ],
    ids=["older marker", "another user", "half a document", "text", "another format", "another event"],
)
def test_a_notification_that_is_not_the_one_is_answered_and_counted(wrong: Any) -> None:
    server = Notifying(lambda server, session: server.notify(session, **wrong))
    assert not_notified(server).unread == 1
    assert [answer.status for answer in server.answers()] == [200]


@pytest.mark.parametrize("content_type", [f"{PIDF};charset=UTF-8", "Application/PIDF+XML"])
def test_the_content_type_may_have_parameters_and_any_case(content_type: str) -> None:
    notified(Notifying(lambda server, session: server.notify(session, presence(MARKER), content_type=content_type)))


def test_a_subscription_that_waits_for_permission_is_remarked_once() -> None:
    def tell(server: TinyServer, session: Session) -> None:
        for _ in range(3):
            server.notify(session, state="Pending;expires=119")

    user = not_notified(Notifying(tell))
    assert user.remarks == [f"The subscription of {BEN.uri} waits for the publisher's permission (pending)."]
    assert user.unread == 0


@pytest.mark.parametrize(
    ("state", "reason", "status"),
    [
        ("terminated;reason=rejected", "rejected", 403),
        ("Terminated; expires=0;reason=Rejected;retry-after=5", "rejected", 403),
        ("terminated;reason=noresource", "noresource", 404),
        ("terminated;reason=deactivated", "deactivated", 481),
        ("terminated", "no reason given", 481),
    ],
)
def test_a_subscription_that_the_server_ends_is_a_failure_with_its_reason(state: str, reason: str, status: int) -> None:
    server = Notifying(lambda server, session: server.notify(session, state=state))
    with server, endpoint(server, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
        with pytest.raises(PresenceError) as error:
            finish(user.notified(ANN.uri, MARKER, soon()))
    assert str(error.value) == f"The subscription was ended ({reason})."
    assert (error.value.cause, error.value.status, error.value.detail) == (Cause.STATUS, status, reason)


def test_the_marker_counts_even_in_the_last_notification() -> None:
    notified(Notifying(lambda server, session: server.notify(session, presence(MARKER), state="terminated")))


def test_the_last_notification_is_waited_for_and_answered() -> None:
    class Leisurely(TinyServer):
        def on_subscribe(self, session: Session, request: Request) -> None:
            self.accept(session, request)
            if request.get("Expires") != "0":
                session.subscription = request
                self.notify(session, presence(MARKER))

        def on_register(self, session: Session, request: Request) -> None:
            super().on_register(session, request)
            if session.subscription is not None:
                self.notify(session, state="terminated;reason=timeout")

    with Leisurely() as server, endpoint(server, BEN) as user:
        finish(user.register(soon()))
        finish(user.subscribe(ANN.uri, soon()))
        finish(user.notified(ANN.uri, MARKER, soon()))
        finish(user.unsubscribe(soon()))
        finish(user.unregister(soon()))
    assert [answer.status for answer in server.answers()] == [200, 200]


def test_a_last_notification_that_never_comes_is_not_waited_for_long() -> None:
    class Forgetful(TinyServer):
        def on_subscribe(self, session: Session, request: Request) -> None:
            session.subscription = request
            self.accept(session, request)
            if request.get("Expires") != "0":
                self.notify(session, presence(MARKER))

    with Forgetful() as server, endpoint(server, BEN) as user:
        finish(user.register(soon()))
        finish(user.subscribe(ANN.uri, soon()))
        finish(user.notified(ANN.uri, MARKER, soon()))
        finish(user.unsubscribe(soon()))
        started = time.monotonic()
        finish(user.unregister(soon()))
        assert time.monotonic() - started < 5


# --------------------------------------------------------------- a fresh look


@pytest.mark.parametrize(
    ("body", "seen"),
    [(presence(MARKER), Seen.PUBLICATION), (presence(OTHER), Seen.OTHER), (b"", Seen.NOTHING)],
)
def test_a_fresh_look_tells_what_is_stored(body: bytes, seen: Seen) -> None:
    server = Notifying(lambda server, session: server.notify(session, body, state="terminated;reason=timeout"))
    with server, endpoint(server, BEN) as user:
        assert finish(user.look(ANN.uri, MARKER, soon())) is seen
    assert server.requests("SUBSCRIBE")[-1].get("Expires") == "0"


def test_a_fresh_look_at_what_cannot_be_read_says_nothing_of_what_is_stored() -> None:
    server = Notifying(lambda server, session: server.notify(session, presence(OTHER)[:-4]))
    error = error_of(server, lambda user: user.look(ANN.uri, MARKER, soon()), BEN)
    assert (error.cause, "not a readable XML document" in str(error)) == (Cause.PROTOCOL, True)


def test_a_fresh_look_that_is_refused_is_that_status() -> None:
    error = error_of(TinyServer(SUBSCRIBE=[(403, ())]), lambda user: user.look(ANN.uri, MARKER, soon()), BEN)
    assert (error.cause, error.status) == (Cause.STATUS, 403)
