"""One user's login on Lync, activity by activity, against a front end of a few octets."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any, Iterator, List, Optional, Tuple

import pytest

from check_lync_presence.lync.association import AuthHeader
from check_lync_presence.lync.endpoint import LyncEndpoint
from check_lync_presence.lync.mechanism import SignInOptions
from check_lync_presence.net.transport import open_connection
from check_lync_presence.outcome import Cause, PresenceError
from check_lync_presence.refusal import Redirected
from check_lync_presence.settings import Account, Secret
from check_lync_presence.sip.message import Header, Request
from check_lync_presence.useragent import UserAgent

from ..loopback import finish, soon
from ..samples import ANN, BEN
from ..tiny_pool import CHALLENGE, REALM, SIP_NS, Session, TinyPool, presence
from ..transcripts import POOL

MARKER = "presence-check 0123456789abcdef"
EPID = "0f1e2d3c4b5a"
NOW = 1370174405.0  # Sun, 02 Jun 2013 12:00:05 GMT
OWN_INSTANCE = "821158611"  # 0x0f1e2d3c >> 4 | 0x30000000


def counting() -> Any:
    """Tokens that are all different and the same in every run."""
    numbers = iter(range(1, 10_000))
    return lambda digits: f"{next(numbers):0{digits}x}"[-digits:]


@contextlib.contextmanager
def endpoint(pool: TinyPool, account: Account = ANN, mic: bool = False) -> Iterator[LyncEndpoint]:
    """An endpoint that is connected and has said nothing yet."""
    connection = finish(open_connection((pool.server.address,), None, POOL, soon()))
    agent = UserAgent(account.uri, connection, counting(), time.monotonic, None)
    try:
        options = SignInOptions("auto", mic, "HOST", lambda: NOW, is_ours=lambda _: True, realm_of=lambda _: "")
        yield LyncEndpoint(agent, account, EPID, "UCCAPI/15.0.0 test", options)
    finally:
        agent.close()


@contextlib.contextmanager
def registered(pool: TinyPool, account: Account = ANN) -> Iterator[LyncEndpoint]:
    with endpoint(pool, account) as user:
        finish(user.register(soon()))
        yield user


def register_error(pool: TinyPool, account: Account = ANN) -> PresenceError:
    with pool, endpoint(pool, account) as user, pytest.raises(PresenceError) as error:
        finish(user.register(soon()))
    return error.value


def body_of(request: Request) -> str:
    return request.body.decode()


# ------------------------------------------------------------------- register


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("status", [401, 407])
def test_a_user_signs_in_and_registers(version: int, status: int) -> None:
    pool = TinyPool()
    pool.version, pool.status = version, status
    with pool, endpoint(pool) as user:
        lines = finish(user.register(soon()))
        assert lines == ("Authentication: NTLM", f"Registered with RTC/5.0 at {pool.server.address}")
        assert user.registration is not None
        assert user.registration.contact == "sip:ann@contoso.example;opaque=user:epid:x;gruu"
        assert user.registration.batches
        assert user.remarks == []
    assert len(pool.requests("REGISTER")) == 3
    assert pool.tokens == {ANN.uri: 1}


def test_a_later_version_of_the_protocol_than_ours_is_answered_with_ours() -> None:
    pool = TinyPool()
    pool.version = 9
    with pool, endpoint(pool) as user, contextlib.suppress(PresenceError):
        finish(user.register(soon()))
    assert "version=4" in (pool.requests("REGISTER")[1].get("Authorization") or "")


def test_the_password_is_tried_once_and_never_twice() -> None:
    pool = TinyPool()
    error = register_error(pool, ANN._replace(password=Secret("wrong")))
    assert (error.cause, str(error), error.status) == (Cause.REFUSED_CREDENTIALS, "401, Unauthorized", 401)
    assert pool.tokens == {ANN.uri: 1}


def test_clocks_that_differ_are_no_refused_password() -> None:
    error = register_error(Refusing(3, 401, ("ms-diagnostics", '1013 ;reason="Significant time skew"')))
    assert (error.cause, error.status) == (Cause.STATUS, 401)
    error = register_error(Refusing(3, 401, ("ms-diagnostics", '1000;reason="Final handshake failed"')))
    assert error.cause is Cause.REFUSED_CREDENTIALS


def test_a_user_name_of_either_form_signs_in() -> None:
    with TinyPool() as pool, registered(pool, BEN):
        pass
    assert pool.tokens == {BEN.uri: 1}


class Refusing(TinyPool):
    """Gives one answer to one step of the sign-in."""

    def __init__(self, step: int, status: int, *headers: Header) -> None:
        super().__init__()
        self.step, self.answer = step, (status, headers)

    def on_first_register(self, session: Session, request: Request) -> None:
        if self.step == 1:
            self.reply(session, request, *self.answer)
        else:
            super().on_first_register(session, request)

    def on_empty_token(self, session: Session, request: Request, token: bytes = CHALLENGE.raw) -> None:
        if self.step == 2:
            self.reply(session, request, *self.answer)
        else:
            super().on_empty_token(session, request, token)

    def on_token(self, session: Session, request: Request, credentials: AuthHeader) -> None:
        self.reply(session, request, *self.answer)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("status", [403, 404, 503])
def test_an_error_at_any_step_is_that_status_with_its_diagnostics(step: int, status: int) -> None:
    error = register_error(Refusing(step, status, ("ms-diagnostics", '4005;reason="x"'), ("Retry-After", "5")))
    assert (error.cause, error.status, error.diagnostics) == (Cause.STATUS, status, ('4005;reason="x"',))
    assert error.retry_after == "5"


@pytest.mark.parametrize(
    ("step", "words"), [(1, "without asking who they are"), (2, "without checking their password")]
)
def test_a_server_that_lets_everybody_in_is_no_front_end(step: int, words: str) -> None:
    with Refusing(step, 200) as pool, endpoint(pool) as user:
        with pytest.raises(PresenceError) as error:
            finish(user.register(soon()))
        assert (error.value.cause, error.value.detail) == (Cause.PROTOCOL, "OPEN")
        assert words in str(error.value)
        pool.step = 1  # to whoever leaves, too
        assert user.registered
        finish(user.unregister(soon()))
    *_, let_in, last = pool.requests("REGISTER")
    assert (last.get("Expires"), last.get("Contact")) == ("0", let_in.get("Contact"))


@pytest.mark.parametrize("step", [1, 2, 3])
def test_who_was_not_let_in_does_not_leave(step: int) -> None:
    with Refusing(step, 403) as pool, endpoint(pool) as user:
        with pytest.raises(PresenceError):
            finish(user.register(soon()))
        assert not user.registered


def test_a_server_that_does_not_sign_its_welcome_is_not_believed() -> None:
    error = register_error(Refusing(3, 200))
    assert (error.cause, str(error)) == (Cause.SIGNATURE, "The answer to REGISTER (200) is not signed.")


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_says_where_to(step: int, status: int) -> None:
    pool = Refusing(step, status, ("Contact", "<sip:pool02.contoso.example:5061;transport=TLS>, <sip:other>"))
    if step == 3:
        assert register_error(pool).cause is Cause.SIGNATURE  # nobody but the server may send us elsewhere by then
        return
    with pool, endpoint(pool) as user, pytest.raises(Redirected) as redirect:
        finish(user.register(soon()))
    target = redirect.value.target
    assert (target.host, target.port, target.params) == ("pool02.contoso.example", 5061, {"transport": "TLS"})


@pytest.mark.parametrize("contact", [(), (("Contact", "<tel:1>"),), (("Contact", "<sip:"),), (("Contact", "*"),)])
def test_a_redirect_to_nowhere_is_an_error(contact: Tuple[Header, ...]) -> None:
    error = register_error(Refusing(1, 301, *contact))
    assert (error.cause, error.status) == (Cause.REDIRECT, 301)


@pytest.mark.parametrize(
    ("offers", "detail"),
    [
        ((("WWW-Authenticate", 'Digest realm="x", nonce="y"'),), "Digest"),
        ((("WWW-Authenticate", "Kerberos"), ("WWW-Authenticate", "TLS-DSK")), "Kerberos, TLS-DSK"),
        ((("Proxy-Authenticate", "NTLM"),), "nothing"),
        ((), "nothing"),
    ],
)
def test_a_server_that_does_not_offer_ntlm_is_asked_what_it_offers(offers: Tuple[Header, ...], detail: str) -> None:
    error = register_error(Refusing(1, 401, *offers))
    assert (error.cause, error.detail) == (Cause.NO_SCHEME, detail)


def test_ntlm_is_chosen_whatever_stands_before_it() -> None:
    class Menu(TinyPool):
        def on_first_register(self, session: Session, request: Request) -> None:
            value = f'ntlm realm="{REALM}", targetname="{POOL}", version=4'
            self.reply(session, request, 401, (("WWW-Authenticate", "Kerberos"), ("WWW-Authenticate", value)))

    with Menu() as pool, registered(pool):
        pass


@pytest.mark.parametrize(
    "token", [b"NTLMSSP", b"\0" * 100, CHALLENGE.raw[:30], CHALLENGE.raw[:20] + b"\0\0\0\0" + CHALLENGE.raw[24:]]
)
def test_a_challenge_that_cannot_be_answered_is_said(token: bytes) -> None:
    class Broken(TinyPool):
        def on_empty_token(self, session: Session, request: Request, _: bytes = b"") -> None:
            super().on_empty_token(session, request, token)

    error = register_error(Broken())
    assert (error.cause, error.detail) == (Cause.NO_SCHEME, "challenge")
    assert str(error).startswith("NTLM is not possible: ")


def test_a_second_menu_instead_of_the_challenge_is_no_refused_password() -> None:
    error = register_error(
        Refusing(2, 401, ("WWW-Authenticate", f'NTLM realm="{REALM}", targetname="{POOL}", version=4'))
    )
    assert (error.cause, error.status) == (Cause.PROTOCOL, 401)


class Registering(TinyPool):
    """Adds to, or replaces, what the 200 to REGISTER says; `date` stands in the challenge."""

    def __init__(self, *headers: Header, date: Optional[str] = None) -> None:
        super().__init__()
        self.headers, self.date = headers, date

    def challenge(self, session: Session, request: Request, value: str, *more: Header) -> None:
        super().challenge(session, request, value, *more, *((("Date", self.date),) if self.date is not None else ()))

    def registration(self, session: Session, request: Request) -> Tuple[Header, ...]:
        replaced = {name for name, _ in self.headers}
        told = super().registration(session, request)
        return (*(header for header in told if header[0] not in replaced), *self.headers)


@pytest.mark.parametrize(
    ("headers", "works"),
    [
        ((), True),
        ((("Allow-Events", "VND-Microsoft-Roaming-Self"),), True),
        ((("Allow-Events", "presence"), ("Allow-Events", "vnd-microsoft-roaming-self")), True),
        ((("Allow-Events", "presence"),), False),
        ((("Supported", "adhoclist"),), False),
        ((("Supported", "MSRTC-Event-Categories"),), True),
        ((("Supported", ""),), False),
    ],
)
def test_a_user_must_be_enabled_for_enhanced_presence(headers: Tuple[Header, ...], works: bool) -> None:
    with Registering(*headers) as pool, endpoint(pool) as user:
        try:
            finish(user.register(soon()))
            cause = None
        except PresenceError as error:
            cause = error.cause
    assert cause is (None if works else Cause.NOT_ENABLED)


@pytest.mark.parametrize(
    ("date", "minutes"),
    [
        ("Sun, 02 Jun 2013 12:00:05 GMT", None),
        ("Sun, 02 Jun 2013 12:05:05 GMT", None),
        ("Sun, 02 Jun 2013 12:05:35 GMT", 6),
        ("Sun, 02 Jun 2013 10:00:05 GMT", 120),
        ("nonsense", None),
    ],
)
def test_clocks_that_are_apart_are_remarked(date: str, minutes: Optional[int]) -> None:
    with Registering(date=date) as pool, registered(pool) as user:
        assert len(user.remarks) == (minutes is not None)
        assert not minutes or f" {minutes} minutes apart" in user.remarks[0]


def test_the_survivable_mode_is_remarked() -> None:
    with (
        Registering(("presence-state", 'register-action="added";is-connected-to-primary="NO"')) as pool,
        registered(pool) as user,
    ):
        assert "survivable mode" in user.remarks[0]


@pytest.mark.parametrize(
    "contact", ['<sip:x>;gruu="sip:other;gruu"', "<sip:x", "", '<sip:x>;+sip.instance="<urn:uuid:1>";gruu="y"']
)
def test_without_a_gruu_for_this_endpoint_the_contact_is_the_plain_address(contact: str) -> None:
    with Registering(("Contact", contact)) as pool, registered(pool) as user:
        assert user.registration is not None
        assert user.registration.contact == ANN.uri


def test_a_registration_that_is_ended_by_the_server_ends_the_next_activity() -> None:
    class Ending(TinyPool):
        def on_self_subscribe(self, session: Session, request: Request) -> None:
            self.notify(session, b"deregistered;event=rejected", event="registration-notify", dialog=session.register)

    with Ending() as pool, registered(pool) as user, pytest.raises(PresenceError) as error:
        finish(user.self_subscribe(soon()))
    assert (error.value.cause, error.value.detail) == (Cause.DEREGISTERED, "rejected")


# ------------------------------------------------------------- self subscribe


def containers(*listed: str) -> bytes:
    return (
        f'<roamingData xmlns="{SIP_NS}/roaming-self"><containers xmlns="{SIP_NS}/container-management">'
        f"{''.join(listed)}</containers></roamingData>"
    ).encode()


ENTERPRISE = '<container id="200" version="7"><member type="sameEnterprise"/></container>'


class Roaming(TinyPool):
    """Answers the self subscription with this body, and a publication with a 200."""

    def __init__(self, body: bytes, piggyback: bool = True) -> None:
        super().__init__()
        self.body, self.piggyback = body, piggyback

    def on_self_subscribe(self, session: Session, request: Request) -> None:
        if self.piggyback:
            self.reply(session, request, 200, (("ms-piggyback-cseq", "1"),), self.body)
            return
        self.reply(session, request)
        if self.body:
            content_type = "application/vnd-microsoft-roaming-self+xml"
            self.notify(
                session, self.body, event="vnd-microsoft-roaming-self", content_type=content_type, dialog=request
            )


@pytest.mark.parametrize("piggyback", [True, False])
def test_the_own_presence_comes_with_the_answer_or_behind_it(piggyback: bool) -> None:
    with Roaming(containers(ENTERPRISE), piggyback) as pool, registered(pool) as user:
        finish(user.self_subscribe(soon()))
        assert user._self.containers is not None


def test_own_presence_that_never_comes_is_said() -> None:
    with Roaming(b"", piggyback=False) as pool, registered(pool) as user, pytest.raises(PresenceError) as error:
        finish(user.self_subscribe(soon(0.1)))
    assert error.value.cause is Cause.NO_ANSWER


@pytest.mark.parametrize("body", [b"<", b"<x/>", b"\xff", b'<!DOCTYPE x [<!ENTITY a "b">]><roamingData/>'])
def test_own_presence_that_cannot_be_read_is_said(body: bytes) -> None:
    with Roaming(body) as pool, registered(pool) as user, pytest.raises(PresenceError) as error:
        finish(user.self_subscribe(soon()))
    assert error.value.cause is Cause.PROTOCOL


# ------------------------------------------------------------------ subscribe


def listing(state: str, reason: str = "", pool: str = "") -> Tuple[Tuple[Header, ...], bytes]:
    home = f' poolFqdn="{pool}"' if pool else ""
    body = (
        f'<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="{BEN.uri}"><resource uri="{ANN.uri}">'
        f'<instance id="0" state="{state}" reason="{reason}"{home}/></resource></list>'
    )
    return (("ms-piggyback-cseq", "1"), ("Content-Type", "application/rlmi+xml")), body.encode()


class Listing(TinyPool):
    """Answers the first subscription with this state of the publisher."""

    def __init__(self, *told: str) -> None:
        super().__init__()
        self.told = told

    def on_subscribe(self, session: Session, request: Request) -> None:
        headers, body = listing(*self.told) if len(self.requests("SUBSCRIBE")) == 1 else ((), b"")
        self.reply(session, request, 200, headers, body)


def subscriptions(pool: TinyPool) -> List[str]:
    return [request.uri for request in pool.requests("SUBSCRIBE")]


def test_a_watcher_asks_its_own_pool_for_a_batch() -> None:
    with Listing("active") as pool, registered(pool, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
    assert subscriptions(pool) == [BEN.uri]
    assert ANN.uri in body_of(pool.requests("SUBSCRIBE")[0])


def test_an_answer_without_a_list_is_enough() -> None:
    with TinyPool() as pool, registered(pool, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
    assert subscriptions(pool) == [BEN.uri]


@pytest.mark.parametrize(("home", "then"), [("pool02.contoso.example", "sip:pool02.contoso.example"), ("", ANN.uri)])
def test_a_publisher_who_is_homed_elsewhere_is_asked_for_there(home: str, then: str) -> None:
    with Listing("resubscribe", "", home) as pool, registered(pool, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
    assert subscriptions(pool) == [BEN.uri, then]


def test_a_server_without_batches_is_asked_for_the_user() -> None:
    with Registering(("Supported", "msrtc-event-categories")) as pool, registered(pool, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
    assert subscriptions(pool) == [ANN.uri]


@pytest.mark.parametrize("state", ["terminated", "pending", ""])
def test_a_watcher_who_is_not_let_in_is_told(state: str) -> None:
    with Listing(state, "rejected") as pool, registered(pool, BEN) as user, pytest.raises(PresenceError) as error:
        finish(user.subscribe(ANN.uri, soon()))
    assert "rejected" in str(error.value)
    assert error.value.cause is Cause.STATUS


def test_an_error_is_raised_with_its_diagnostics() -> None:
    class NotFound(TinyPool):
        def on_subscribe(self, session: Session, request: Request) -> None:
            self.reply(session, request, 404, (("ms-diagnostics", '4005;reason="x"'),))

    with NotFound() as pool, registered(pool, BEN) as user, pytest.raises(PresenceError) as error:
        finish(user.subscribe(ANN.uri, soon()))
    assert (error.value.status, error.value.diagnostics) == (404, ('4005;reason="x"',))


def test_a_challenge_in_the_middle_is_answered_once_by_signing_anew() -> None:
    class Challenging(TinyPool):
        def on_subscribe(self, session: Session, request: Request) -> None:
            self.challenge(session, request, f'NTLM realm="{REALM}", targetname="{POOL}", version=4')

    with Challenging() as pool, registered(pool, BEN) as user, pytest.raises(PresenceError) as error:
        finish(user.subscribe(ANN.uri, soon()))
    assert error.value.status == 401
    assert [request.cseq.number for request in pool.requests("SUBSCRIBE")] == [1, 2]


# -------------------------------------------------------------------- publish


class Publishing(Roaming):
    """Answers each publication with the next of these statuses and bodies; then with 200."""

    def __init__(self, *answers: Tuple[int, bytes], body: bytes = containers(ENTERPRISE)) -> None:
        super().__init__(body)
        self.answers = list(answers)

    def on_service(self, session: Session, request: Request) -> None:
        status, body = self.answers.pop(0) if self.answers else (200, b"")
        self.reply(session, request, status, (), body)


def fault(*operations: Tuple[int, int]) -> bytes:
    listed = "".join(f'<operation index="{index}" version="0" curVersion="{known}"/>' for index, known in operations)
    return (
        f'<Fault xmlns="{SIP_NS}/rich-presence"><Faultcode>Client.BadCall.WrongDelta</Faultcode>'
        f"<details>{listed}</details></Fault>"
    ).encode()


def published(request: Request) -> List[Tuple[str, str, str, str]]:
    pattern = r'categoryName="(\w+)" instance="(\d+)" container="(\d+)" version="(\d+)"'
    return re.findall(pattern, body_of(request))


def publish(pool: TinyPool, *, withdraw: bool = False) -> Tuple[LyncEndpoint, int]:
    times: List[float] = []
    with pool, registered(pool) as user:
        finish(user.self_subscribe(soon()))
        finish(user.publish(MARKER, BEN, lambda: times.append(time.monotonic()), soon()))
        if withdraw:
            finish(user.withdraw(soon()))
        return user, len(times)


def test_a_note_and_a_state_are_published_under_numbers_of_this_endpoint() -> None:
    pool = Publishing()
    _, times = publish(pool)
    (service,) = pool.requests("SERVICE")
    items = published(service)
    assert {(category, instance) for category, instance, _, _ in items} == {
        ("note", OWN_INSTANCE),
        ("state", OWN_INSTANCE),
    }
    assert [container for category, _, container, _ in items if category == "note"] == ["200", "300", "400"]
    assert {version for _, _, _, version in items} == {"0"}
    assert body_of(service).count(MARKER) == 3
    assert times == 1


def test_a_conflict_is_repaired_once_with_the_versions_that_the_server_names() -> None:
    pool = Publishing((409, fault((1, 5), (3, 9), (99, 1), (0, 1))))
    _, times = publish(pool)
    first, second = pool.requests("SERVICE")
    assert [version for _, _, _, version in published(second)] == ["5", "0", "9", "0", "0"]
    assert [item[:3] for item in published(first)] == [item[:3] for item in published(second)]
    assert times == 2


@pytest.mark.parametrize("answer", [(409, b""), (409, b"<"), (409, b"<x/>"), (403, b""), (400, b""), (500, b"")])
def test_a_publication_that_stays_refused_is_an_error_of_that_status(answer: Tuple[int, bytes]) -> None:
    pool = Publishing(*[answer] * 9)
    with pytest.raises(PresenceError) as error:
        publish(pool)
    assert error.value.status == answer[0]
    assert len(pool.requests("SERVICE")) <= 3


def test_the_code_of_a_fault_is_told() -> None:
    pool = Publishing(*[(403, fault((1, 5)))] * 2)
    with pytest.raises(PresenceError) as error:
        publish(pool)
    assert (str(error.value), error.value.detail) == ("403, Forbidden", "Client.BadCall.WrongDelta")


USUAL = (
    f'<roamingData xmlns="{SIP_NS}/roaming-self"><categories>'
    '<category name="note" instance="0" container="200" version="4">'
    f'<note xmlns="{SIP_NS}/note"><body type="personal" uri="">Out to lunch &amp; back</body></note>'
    "</category></categories></roamingData>"
).encode()


def test_where_no_note_of_an_endpoint_is_taken_the_usual_note_is_replaced_and_put_back() -> None:
    pool = Publishing((403, b""), body=USUAL)
    user, times = publish(pool, withdraw=True)
    _, second, withdrawal = pool.requests("SERVICE")
    notes = [item for item in published(second) if item[0] == "note"]
    assert notes == [("note", "0", "200", "4"), ("note", "0", "300", "0"), ("note", "0", "400", "0")]
    assert ("note", "0", "200", "5") in published(withdrawal)
    assert "Out to lunch &amp; back" in body_of(withdrawal)
    assert MARKER not in body_of(withdrawal)
    assert "was replaced" in user.remarks[0]
    assert times == 2


def test_what_was_published_is_deleted_in_the_version_that_it_has() -> None:
    pool = Publishing((409, fault((1, 5))))
    publish(pool, withdraw=True)
    withdrawal = pool.requests("SERVICE")[-1]
    assert [version for _, _, _, version in published(withdrawal)] == ["6", "1", "1", "1", "1"]
    assert body_of(withdrawal).count('expires="0"') == 5


def test_where_another_version_is_there_that_one_is_deleted() -> None:
    pool = Publishing((200, b""), (409, fault((4, 12))))
    publish(pool, withdraw=True)
    first, second = pool.requests("SERVICE")[1:]
    assert [version for _, _, _, version in published(first)] == ["1", "1", "1", "1", "1"]
    assert [version for _, _, _, version in published(second)] == ["1", "1", "1", "12", "1"]
    assert body_of(second).count('expires="0"') == 5


def test_the_usual_note_is_put_back_over_the_version_that_the_answer_tells() -> None:
    told = (
        f'<roamingData xmlns="{SIP_NS}/roaming-self"><categories><category name="note" instance="0" container="300" '
        'version="12"/></categories></roamingData>'
    ).encode()
    pool = Publishing((403, b""), (200, told), body=USUAL)
    publish(pool, withdraw=True)
    versions = {item[:3]: item[3] for item in published(pool.requests("SERVICE")[-1])}
    assert versions["note", "0", "300"] == "12"
    assert versions["note", "0", "200"] == "5"


def test_the_usual_note_is_put_back_where_it_is_not_known_whether_it_was_replaced() -> None:
    class Mute(Publishing):
        def on_service(self, session: Session, request: Request) -> None:
            if len(self.requests("SERVICE")) != 2:
                super().on_service(session, request)

    with Mute((403, b""), body=USUAL) as pool, registered(pool) as user:
        finish(user.self_subscribe(soon()))
        with pytest.raises(PresenceError, match="No answer to SERVICE"):
            finish(user.publish(MARKER, BEN, lambda: None, soon(1.0)))
        finish(user.withdraw(soon()))
    withdrawal = pool.requests("SERVICE")[2]
    assert ("note", "0", "200", "5") in published(withdrawal)
    assert "Out to lunch &amp; back" in body_of(withdrawal)


def test_a_usual_note_that_somebody_has_changed_since_is_left_to_him() -> None:
    pool = Publishing((403, b""), (200, b""), (409, fault((3, 9))), body=USUAL)
    publish(pool, withdraw=True)
    left = published(pool.requests("SERVICE")[-1])
    assert {category for category, _, _, _ in left} == {"state"}


def test_nothing_is_withdrawn_that_was_refused() -> None:
    pool = Publishing(*[(500, b"")] * 3)
    with pool, registered(pool) as user:
        finish(user.self_subscribe(soon()))
        with pytest.raises(PresenceError):
            finish(user.publish(MARKER, BEN, lambda: None, soon()))
        before = len(pool.requests("SERVICE"))
        finish(user.withdraw(soon()))
        assert len(pool.requests("SERVICE")) == before


def test_a_publication_without_an_answer_is_withdrawn_all_the_same() -> None:
    class Mute(Publishing):
        def on_service(self, session: Session, request: Request) -> None:
            if len(self.requests("SERVICE")) > 1:
                self.reply(session, request)

    with Mute() as pool, registered(pool) as user:
        finish(user.self_subscribe(soon()))
        with pytest.raises(PresenceError):
            finish(user.publish(MARKER, BEN, lambda: None, soon(0.1)))
        finish(user.withdraw(soon()))
        assert 'expires="0"' in body_of(pool.requests("SERVICE")[-1])


def test_a_fresh_account_lets_its_colleagues_see_it_first() -> None:
    pool = Publishing(body=containers('<container id="200" version="3"></container>'))
    publish(pool)
    members, _ = pool.requests("SERVICE")
    assert '<container id="200" version="3"><member action="add" type="sameEnterprise"/>' in body_of(members)


def test_a_server_that_refuses_the_default_member_is_remarked_and_published_to_all_the_same() -> None:
    pool = Publishing((403, b""), body=containers())
    user, _ = publish(pool)
    assert user.remarks == [
        "sip:ben@contoso.example cannot be added to who sees sip:ann@contoso.example: 403, Forbidden."
    ]
    assert [item[0] for item in published(pool.requests("SERVICE")[1])] == ["state"] * 2 + ["note"] * 3


def test_a_watcher_of_another_company_is_not_let_in_by_us() -> None:
    pool = Publishing(body=containers())
    with pool, registered(pool) as user:
        finish(user.self_subscribe(soon()))
        finish(user.publish(MARKER, BEN._replace(uri="sip:ben@fabrikam.example"), lambda: None, soon()))
    assert len(pool.requests("SERVICE")) == 1


def test_a_watcher_who_is_blocked_is_remarked() -> None:
    blocked = '<container id="32000" version="1"><member type="user" value="ben@contoso.example"/></container>'
    user, _ = publish(Publishing(body=containers(blocked, ENTERPRISE)))
    assert user.remarks == [
        "sip:ann@contoso.example has blocked sip:ben@contoso.example: it stands in container 32000."
    ]


def test_a_watcher_in_a_container_of_its_own_gets_a_note_there() -> None:
    own = '<container id="100" version="1"><member type="user" value="Ben@contoso.example"/></container>'
    pool = Publishing(body=containers(own))
    publish(pool)
    assert [item[2] for item in published(pool.requests("SERVICE")[0]) if item[0] == "note"] == [
        "200",
        "300",
        "400",
        "100",
    ]


# --------------------------------------------------------------- notification


class Notifying(TinyPool):
    """Sends these notifications behind the answer to the subscription: (keywords of notify, body)."""

    def __init__(self, *told: Tuple[dict[str, Any], bytes]) -> None:
        super().__init__()
        self.told = told

    def on_subscribe(self, session: Session, request: Request) -> None:
        self.reply(session, request)
        for keywords, body in self.told:
            self.notify(session, body, **keywords)


RIGHT: Tuple[dict[str, Any], bytes] = ({}, presence(ANN.uri, MARKER))
WRONG: List[Tuple[dict[str, Any], bytes]] = [
    ({}, presence(ANN.uri, "presence-check ffffffffffffffff")),
    ({}, presence(ANN.uri, MARKER + "0")),
    ({}, presence(ANN.uri, MARKER.upper())),
    ({}, presence(BEN.uri, MARKER)),
    ({}, presence("sip:ann@fabrikam.example", MARKER)),
    ({}, presence(ANN.uri, "").replace(b'name="note"', f'name="{MARKER}"'.encode())),
    ({}, MARKER.encode()),
    ({}, b""),
    ({}, b"<categories"),
    ({"content_type": "text/plain"}, presence(ANN.uri, MARKER)),
    ({"content_type": ""}, presence(ANN.uri, MARKER)),
    ({"event": "vnd-microsoft-roaming-self"}, presence(ANN.uri, MARKER)),
    ({"event": ""}, presence(ANN.uri, MARKER)),
]


def watch(pool: TinyPool, seconds: float = 10) -> LyncEndpoint:
    with pool, registered(pool, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
        finish(user.notified(ANN.uri, MARKER, soon(seconds)))
        return user


@pytest.mark.parametrize("method", ["NOTIFY", "BENOTIFY"])
def test_the_notification_with_the_marker_is_it(method: str) -> None:
    user = watch(Notifying(({"method": method}, presence(ANN.uri, MARKER))))
    assert (user.unread, user.discarded) == (0, 0)


def test_the_user_of_the_notification_is_compared_without_case() -> None:
    watch(Notifying(({"event": "Presence;id=1"}, presence("SIP:Ann@Contoso.Example", MARKER))))


@pytest.mark.parametrize("wrong", WRONG)
def test_another_notification_does_not_count(wrong: Tuple[dict[str, Any], bytes]) -> None:
    with Notifying(wrong) as pool, registered(pool, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
        with pytest.raises(TimeoutError):
            finish(user.notified(ANN.uri, MARKER, soon(0.1)))
        assert user.unread == 1


def test_the_right_one_is_found_behind_all_the_wrong_ones() -> None:
    assert watch(Notifying(*WRONG, RIGHT)).unread == len(WRONG)


def test_an_unsigned_notification_does_not_count_and_is_counted() -> None:
    with Notifying(({"sign": False}, presence(ANN.uri, MARKER))) as pool, registered(pool, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
        with pytest.raises(TimeoutError):
            finish(user.notified(ANN.uri, MARKER, soon(0.1)))
        assert (user.unread, user.discarded) == (0, 1)


def test_a_wrongly_signed_notification_ends_the_run() -> None:
    class Forging(Notifying):
        def send(self, session: Session, message: Any, sign: bool = True) -> None:
            if isinstance(message, Request) and session.association is not None:
                info = session.association.info(message, "01020304")
                spoilt = re.sub(r'rspauth="(.)', lambda found: f'rspauth="{int(found.group(1), 16) ^ 1:x}', info)
                session.wire.send(bytes(message.with_headers(("Authentication-Info", spoilt))))
            else:
                super().send(session, message, sign)

    with pytest.raises(PresenceError) as error:
        watch(Forging(RIGHT))
    assert (error.value.cause, str(error.value)) == (Cause.SIGNATURE, "The BENOTIFY has a wrong signature.")


def test_a_notification_of_another_dialog_does_not_count() -> None:
    class Foreign(TinyPool):
        def on_subscribe(self, session: Session, request: Request) -> None:
            self.reply(session, request)
            self.notify(session, presence(ANN.uri, MARKER), method="NOTIFY", dialog=session.register)

    with Foreign() as pool, registered(pool, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
        with pytest.raises(TimeoutError):
            finish(user.notified(ANN.uri, MARKER, soon(0.1)))


# -------------------------------------------------------------------- log-off


def test_the_end_is_the_end_of_subscription_and_registration() -> None:
    with TinyPool() as pool, registered(pool, BEN) as user:
        finish(user.subscribe(ANN.uri, soon()))
        finish(user.unsubscribe(soon()))
        finish(user.unregister(soon()))
    assert [request.get("Expires") for request in pool.requests("SUBSCRIBE")] == [None, "0"]
    assert pool.requests("REGISTER")[-1].get("Expires") == "0"
    numbers = [request.cseq.number for request in pool.requests("REGISTER")]
    assert numbers == [1, 2, 3, 4]


def test_who_never_came_in_has_nothing_to_end() -> None:
    with TinyPool() as pool, endpoint(pool) as user:
        finish(user.withdraw(soon()))
        finish(user.unsubscribe(soon()))
        finish(user.unregister(soon()))
    assert pool.received == []


def test_every_request_says_who_we_are() -> None:
    with TinyPool() as pool, registered(pool, BEN) as user:
        finish(user.self_subscribe(soon()))
        finish(user.subscribe(ANN.uri, soon()))
        finish(user.publish(MARKER, ANN, lambda: None, soon()))
    for request in pool.received:
        assert request.get("User-Agent") == "UCCAPI/15.0.0 test"
        assert f";epid={EPID}" in (request.get("From") or "")
        assert request.get("Max-Forwards") == "70"
