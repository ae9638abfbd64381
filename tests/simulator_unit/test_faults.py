"""Faults: each does what its line in the table says."""

from __future__ import annotations

import pytest

from check_lync_presence.lync.association import AssociationError, challenges
from check_lync_presence.lync.ntlm import NtlmError
from check_lync_presence.simulator.faults import DIALECTS, ROLES, TABLE, FaultError, Faults, listing
from check_lync_presence.sip.message import Request

from .client import ANN, BEN, Client, Silence, Stage, no_note, note, state


def registered(*faults: str) -> tuple[Stage, Client]:
    stage = Stage(*faults)
    ann = stage.client(ANN, verify=False)
    assert ann.sign_in().status == 200
    return stage, ann


def watching(*faults: str) -> tuple[Stage, Client, Client]:
    stage, ann = registered(*faults)
    ben = stage.client(BEN, verify=False)
    assert ben.sign_in().status == 200
    assert ben.watch(ANN).status == 200
    return stage, ann, ben


def left_over(client: Client) -> list[Request]:
    """What else comes."""
    found = []
    while True:
        try:
            found.append(client.next_request())
        except Silence:
            return found


# ------------------------------------------------------------------ the table


def test_every_fault_is_listed_with_what_the_check_should_say() -> None:
    text = listing()
    names = [fault.name for fault in TABLE]
    assert len(set(names)) == len(names)
    for fault in TABLE:
        assert fault.name in text
        assert f"check: {fault.check}" in text


@pytest.mark.parametrize("fault", TABLE, ids=lambda fault: fault.name)
def test_every_value_of_a_fault_can_be_asked_for(fault: object) -> None:
    assert isinstance(fault, type(TABLE[0]))
    for dialect in DIALECTS:
        if dialect not in fault.dialects:
            with pytest.raises(FaultError, match=f"does not exist in the {dialect} dialect"):
                Faults([fault.usage.partition("[")[0]], dialect)
            continue
        for value in ("2.5",) if fault.seconds else [item for item in fault.values if fault.takes(item, dialect)]:
            assert Faults([f"{fault.name}={value}"], dialect).value(fault.name) == value
        if not fault.seconds:
            assert Faults([fault.name], dialect).value(fault.name) == (fault.values[0] if fault.values else "")


@pytest.mark.parametrize(
    "text",
    [
        "earthquake",
        "cut=lunch",
        "notification-late",
        "notification-late=soon",
        "clock-skew=nan",
        "no-ntlm=1",
        "",
        "cut=publish@",
        "fresh-account@127.0.0.2",
    ],
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(FaultError):
        Faults([text])


def test_one_fault_can_be_meant_for_both_roles() -> None:
    faults = Faults(["wrong-password=publisher", "wrong-password=subscriber"])
    assert all(faults.strikes("wrong-password", (role,)) for role in ROLES)


def test_a_fault_can_be_limited_to_one_front_end() -> None:
    faults = Faults(["cut=publish@127.0.0.2", "cut=notify", "clock-skew=5@[::1]", "clock-skew=9"])
    assert faults.places == {"127.0.0.2", "::1"}
    assert faults.at("127.0.0.2").has("cut", "publish")
    assert not faults.at("127.0.0.1").has("cut", "publish")
    assert faults.at("127.0.0.1").has("cut", "notify")
    assert (faults.at("::1").seconds("clock-skew"), faults.at("127.0.0.1").seconds("clock-skew")) == (9.0, 9.0)


def test_what_strikes_once_strikes_at_one_front_end_only() -> None:
    faults = Faults(["resign"])
    assert faults.at("127.0.0.1").once("resign", ANN)
    assert not faults.at("127.0.0.2").once("resign", ANN)


# ---------------------------------------------------------------- the account


@pytest.mark.parametrize(
    ("fault", "status", "header", "code"),
    [
        ("account-unknown", 404, "ms-diagnostics", "4005"),
        ("account-not-allowed", 403, "ms-diagnostics-public", "4003"),
        ("wrong-password", 401, "ms-diagnostics", "1000"),
        ("not-authorized-from", 403, "ms-diagnostics-public", "4004"),
    ],
)
@pytest.mark.parametrize("role", ROLES)
def test_an_account_is_refused_in_its_role_only(fault: str, status: int, header: str, code: str, role: str) -> None:
    stage = Stage(f"{fault}={role}")
    struck, spared = (ANN, BEN) if role == "publisher" else (BEN, ANN)
    response = stage.client(struck).sign_in()
    assert response.status == status
    assert (response.get(header) or "").startswith(code)
    assert bool(response.get("Authentication-Info")) == (status != 401)
    assert stage.client(spared).sign_in().status == 200


def test_a_deregistered_endpoint_is_told_so_and_is_a_stranger_then() -> None:
    stage, ann = registered("deregistered")
    farewell = ann.next_request()
    assert farewell.body == b"deregistered;event=rejected"
    assert farewell.get("ms-diagnostics-public") == '4141;reason="User disabled"'
    assert stage.front_end.census()[ANN]["endpoints"] == 0
    assert ann.subscribe_self().status == 401


# ------------------------------------------------------------------- the pool


def test_an_unavailable_service_says_when_to_come_back() -> None:
    response = Stage("service-unavailable").client(ANN).answer_of(Stage().client(ANN).register())
    assert (response.status, response.get("Retry-After")) == (503, "30")


def test_a_server_that_cannot_route_answers_504() -> None:
    response = Stage("server-timeout").client(ANN).answer_of(Stage().client(ANN).register())
    assert response.status == 504
    assert (response.get("ms-diagnostics") or "").startswith("1007;")


@pytest.mark.parametrize(
    ("fault", "target"), [("redirect-loop", "127.0.0.1:5061"), ("redirect-foreign", "evil.attacker.example:5061")]
)
def test_a_redirection_comes_after_signing_in(fault: str, target: str) -> None:
    response = Stage(fault).client(ANN).sign_in()
    assert (response.status, response.get("Contact")) == (301, f"<sip:{target};transport=tls>")
    assert response.get("Authentication-Info")


def test_in_survivable_mode_nothing_is_published() -> None:
    stage = Stage("survivable-mode")
    ann = stage.client(ANN)
    assert 'is-connected-to-primary="no"' in (ann.sign_in().get("presence-state") or "")
    assert ann.publish(note("probe")).status == 503


def test_without_enhanced_presence_nothing_of_it_is_announced() -> None:
    ann = Stage("no-enhanced-presence").client(ANN)
    response = ann.sign_in()
    assert "roaming-self" not in (response.get("Allow-Events") or "")
    assert "msrtc-event-categories" not in response.all("Supported")
    assert ann.subscribe_self().status == 489


def test_a_clock_that_is_off_shows_in_the_date() -> None:
    ann = Stage("clock-skew=3600").client(ANN)
    assert ann.answer_of(ann.register()).get("Date") == "Sat, 01 Jun 2013 13:00:00 GMT"


# ------------------------------------------------------------------ signing in


@pytest.mark.parametrize(("fault", "schemes"), [("no-ntlm", ["kerberos", "tls-dsk"]), ("digest-only", ["digest"])])
def test_the_menu_lacks_ntlm(fault: str, schemes: list[str]) -> None:
    ann = Stage(fault).client(ANN)
    assert list(challenges(ann.answer_of(ann.register()))) == schemes


def test_a_weak_challenge_is_not_taken() -> None:
    with pytest.raises(NtlmError, match="128"):
        Stage("weak-ntlm").client(ANN).sign_in()


def test_the_first_signed_request_has_to_be_signed_again() -> None:
    _, ann = registered("resign")
    assert [ann.subscribe_self().status, ann.subscribe_self().status, ann.publish(note("probe")).status] == [
        401,
        200,
        200,
    ]


# ------------------------------------------------------------------ signatures


def test_signatures_are_wrong_from_the_200_on() -> None:
    stage = Stage("signature-wrong")
    ann = stage.client(ANN, verify=False)
    response = ann.sign_in()
    assert ann.association is not None
    with pytest.raises(AssociationError):
        ann.association.verify_server(response)


def test_signatures_are_wrong_in_notifications_only() -> None:
    _, ann, ben = watching("signature-wrong=notification")
    accepted = ann.publish(note("probe"))
    assert ann.association is not None
    assert ben.association is not None
    assert ann.association.verify_server(accepted)
    with pytest.raises(AssociationError):
        ben.association.verify_server(ben.next_request())


def test_nothing_is_signed() -> None:
    ann = Stage("signature-missing").client(ANN)
    assert ann.sign_in().get("Authentication-Info") is None


def test_notifications_are_not_signed() -> None:
    _, ann, ben = watching("notification-unsigned")
    assert ann.publish(note("probe")).get("Authentication-Info")
    assert ben.next_request().get("Authentication-Info") is None


# -------------------------------------------------------------------- presence


def test_the_publisher_is_nobody_to_watch() -> None:
    stage, _ = registered("presentity-unknown")
    ben = stage.client(BEN)
    ben.sign_in()
    assert b'state="resubscribe"' in ben.watch(ANN).body
    assert ben.watch(ANN, batch=False).status == 404


def test_publications_are_refused() -> None:
    _, ann = registered("publication-refused")
    response = ann.publish(note("probe"))
    assert (response.status, (response.get("ms-diagnostics") or "")[:4]) == (403, "2003")


def test_only_the_usual_note_is_accepted() -> None:
    _, ann = registered("note-instance-refused")
    assert ann.publish(note("probe", instance=7)).status == 403
    assert ann.publish(note("probe")).status == 200


def test_somebody_writes_in_between_once() -> None:
    _, ann, ben = watching("version-conflict")
    refused = ann.publish(note("probe"))
    assert refused.status == 409
    assert b'<operation index="1" version="0" curVersion="1"/>' in refused.body
    assert b"written by somebody else" in ben.next_request().body
    assert ann.publish(note("probe", version=1)).status == 200
    assert b"probe" in ben.next_request().body


def test_somebody_always_writes_in_between() -> None:
    _, ann = registered("version-conflict=always")
    assert [ann.publish(note("probe", version=version)).status for version in range(3)] == [409, 409, 409]


def test_batches_are_neither_announced_nor_taken() -> None:
    stage = Stage("no-adhoclist")
    ben = stage.client(BEN)
    assert "adhoclist" not in ben.sign_in().all("Supported")
    assert ben.watch(ANN).status == 400
    assert ben.watch(ANN, batch=False).status == 200


# --------------------------------------------------------------- notifications


def test_watchers_are_told_nothing() -> None:
    _, ann, ben = watching("notification-never")
    assert ann.publish(note("probe")).status == 200
    assert left_over(ben) == []


def test_the_notification_is_about_somebody_else() -> None:
    _, ann, ben = watching("notification-other-user")
    ann.publish(note("probe"))
    body = ben.next_request().body
    assert b"probe" in body
    assert ANN.encode() not in body


def test_the_notification_has_the_note_before() -> None:
    _, ann, ben = watching("notification-older")
    ann.publish(note("one"))
    assert b"an older note" in ben.next_request().body
    ann.publish(note("two", version=1))
    body = ben.next_request().body
    assert b"one" in body
    assert b"two" not in body


def test_the_notification_comes_twice() -> None:
    _, ann, ben = watching("notification-duplicate")
    ann.publish(note("probe"))
    first, second = left_over(ben)
    assert first.body == second.body
    assert first.cseq.number < second.cseq.number


def test_the_notification_comes_before_the_answer() -> None:
    stage, ann, _ = watching("notification-first")
    request = ann.sign(ann.build("SERVICE", [("Content-Type", "application/msrtc-category-publish+xml")], b""))
    body = f'<publish><publications uri="{ANN}">{note("probe")}</publications></publish>'.encode()
    (link, *_) = stage.wires
    service = Request("SERVICE", ANN, request.headers, body)
    told, accepted = stage.front_end.receive(link, service, stage.now)
    assert (told.activity, accepted.activity) == ("notify", "publish")
    assert accepted.late > told.late


def test_late_notifications_do_not_hold_up_the_answer() -> None:
    stage, ann, _ = watching("notification-late=3")
    request = ann.sign(ann.build("SERVICE", [("Content-Type", "application/msrtc-category-publish+xml")], b""))
    body = f'<publish><publications uri="{ANN}">{note("probe")}</publications></publish>'.encode()
    (link, *_) = stage.wires
    sent = stage.front_end.receive(link, Request("SERVICE", ANN, request.headers, body), stage.now)
    assert {item.activity: item.late for item in sent} == {"publish": 0.0, "notify": 3.0}


def test_withdrawing_is_another_activity_than_publishing() -> None:
    stage, ann = registered()
    ann.publish(note("probe"), state(3500))
    request = ann.sign(ann.build("SERVICE", [("Content-Type", "application/msrtc-category-publish+xml")], b""))
    body = f'<publish><publications uri="{ANN}">{no_note(1)}</publications></publish>'.encode()
    (link,) = stage.wires
    (sent,) = stage.front_end.receive(link, Request("SERVICE", ANN, request.headers, body), stage.now)
    assert sent.activity == "withdraw"


def test_probes_are_sent_after_the_registration_and_their_answers_counted() -> None:
    stage, ann = registered("options-probe")
    for status in (200, 405):
        ann.reply(ann.next_request(), status)
    assert stage.front_end.census()[ANN]["answers"] == {"OPTIONS 200": 1, "FOO 405": 1}
