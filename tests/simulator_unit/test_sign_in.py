"""Signing in: the legs of REGISTER, who may, and what is verified of everything after it."""

from __future__ import annotations

import pytest

from check_lync_presence.lync.association import challenges
from check_lync_presence.sip.message import Request

from .client import ANN, BEN, PASSWORDS, POOL, Client, Silence, Stage, replaced


def registered(*faults: str) -> tuple[Stage, Client]:
    stage = Stage(*faults)
    ann = stage.client(ANN)
    assert ann.sign_in().status == 200
    return stage, ann


def test_the_menu_has_three_schemes_in_the_order_of_a_front_end() -> None:
    ann = Stage().client(ANN)
    response = ann.answer_of(ann.register())
    menu = challenges(response)
    assert list(menu) == ["ntlm", "kerberos", "tls-dsk"]
    assert menu["kerberos"].get("targetname") == f"sip/{POOL}"
    assert response.get("Date") == "Sat, 01 Jun 2013 12:00:00 GMT"
    assert "ms-received-cid=" in (response.get("Via") or "")


def test_the_200_tells_of_enhanced_presence_and_is_signed() -> None:
    stage = Stage()
    ann = stage.client(ANN)
    response = ann.sign_in()
    assert response.status == 200
    assert response.get("Authentication-Info")
    assert "msrtc-event-categories" in response.all("Supported")
    assert "vnd-microsoft-roaming-self" in (response.get("Allow-Events") or "").split(",")
    assert 'register-action="added"' in (response.get("presence-state") or "")
    assert "opaque=user:epid:I3d-L-SWTlSLmM9IK4zvuAAA;gruu" in (response.get("Contact") or "")


def test_a_token_with_a_mic_is_accepted_too() -> None:
    assert Stage("require-mic").client(ANN, mic=True).sign_in().status == 200


def test_a_token_without_mic_is_refused_where_one_is_required() -> None:
    assert Stage("require-mic").client(ANN).sign_in().status == 401


@pytest.mark.parametrize("version", ["2", "3"])
def test_older_protocol_versions_sign_in(version: str) -> None:
    _, ann = registered(f"sa-version={version}")
    assert ann.subscribe_self().status == 200
    assert ann.sign_out().status == 200


def test_a_wrong_password_is_told_after_the_last_leg() -> None:
    stage = Stage()
    ann = stage.client(ANN)
    impostor = Client(ann.wire, ANN, "not-the-password")
    response = impostor.sign_in()
    assert response.status == 401
    assert (response.get("ms-diagnostics") or "").startswith('1000;reason="Final handshake failed"')
    assert all(not header.get("gssapi-data") for header in challenges(response).values())
    assert stage.front_end.census()[ANN]["endpoints"] == 0


def test_an_unknown_account_is_refused_like_a_wrong_password() -> None:
    assert Stage().client(ANN, logon="CONTOSO\\nobody").sign_in().status == 401


def test_another_users_account_may_not_act_as_ann_even_with_the_same_password() -> None:
    stage = Stage(passwords={ANN: "shared", BEN: "shared"})
    response = stage.client(ANN, logon="CONTOSO\\ben").sign_in()
    assert response.status == 403
    assert (response.get("ms-diagnostics-public") or "").startswith("4004;")
    assert response.get("Authentication-Info")


def test_an_address_that_nobody_has_is_404_after_signing_in() -> None:
    stage = Stage()
    ann = stage.client(ANN)
    stranger = Client(ann.wire, "sip:nobody@contoso.example", PASSWORDS[ANN], logon="CONTOSO\\ann")
    response = stranger.sign_in()
    assert response.status == 404
    assert (response.get("ms-diagnostics") or "").startswith("4005;")


def test_the_last_leg_must_be_signed_in_version_4() -> None:
    def spoil(request: Request) -> Request:
        value = request.get("Authorization") or ""
        return replaced(request, "Authorization", value.replace('response="01', 'response="02'))

    assert Stage().client(ANN).sign_in(spoil=spoil).status == 401


def test_an_endpoint_needs_an_epid_or_an_instance() -> None:
    ann = Stage().client(ANN)
    nameless = replaced(ann.register(("Contact", "<sip:127.0.0.1:50000>")), "From", f"<{ANN}>;tag=1")
    response = ann.answer_of(nameless)
    assert response.status == 400
    assert (response.get("ms-diagnostics") or "").startswith("4010;")


@pytest.mark.parametrize(("epid", "code"), [("a b", "4010"), ("x" * 65, "4012")])
def test_an_epid_is_a_token_and_short(epid: str, code: str) -> None:
    ann = Stage().client(ANN)
    response = ann.answer_of(replaced(ann.register(), "From", f"<{ANN}>;tag=1;epid={epid}"))
    assert response.status == 400
    assert (response.get("ms-diagnostics") or "").startswith(code)


def test_octets_that_are_no_text_are_answered_like_others() -> None:
    ann = Stage().client(ANN)
    ann.register_call = "caf\udce9"
    assert ann.answer_of(ann.register()).status == 401


def test_the_instance_must_be_that_of_the_epid() -> None:
    contact = '<sip:127.0.0.1:50000>;+sip.instance="<urn:uuid:00000000-0000-5000-8000-000000000000>"'
    assert Stage().client(ANN).sign_in(("Contact", contact)).status == 400


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [(("Event", "presence"), 489, "4055"), (("Supported", "msrtc-event-categories"), 421, "2057")],
)
def test_a_registration_that_lacks_something_is_refused(header: tuple[str, str], status: int, code: str) -> None:
    response = Stage().client(ANN).sign_in(header)
    assert response.status == status
    assert (response.get("ms-diagnostics") or "").startswith(code)


def test_a_refresh_keeps_the_endpoint_and_its_subscriptions() -> None:
    stage, ann = registered()
    assert ann.subscribe_self().status == 200
    response = ann.answer_of(ann.register(sign=True))
    assert 'register-action="refreshed"' in (response.get("presence-state") or "")
    assert stage.front_end.census()[ANN]["subscriptions"] == 1


def test_an_old_cseq_does_not_register() -> None:
    _, ann = registered()
    ann.register_cseq -= 1
    assert ann.answer_of(ann.register(sign=True)).status == 500


def test_after_signing_out_the_association_is_over() -> None:
    stage, ann = registered()
    response = ann.sign_out()
    assert (response.status, response.get("Expires")) == (200, "0")
    assert stage.front_end.census()[ANN] == {"endpoints": 0, "publications": 0, "subscriptions": 0, "answers": {}}
    assert ann.subscribe_self().status == 401


def test_a_registration_that_is_not_refreshed_ends() -> None:
    stage, ann = registered()
    stage.tick(599)
    assert stage.front_end.census()[ANN]["endpoints"] == 1
    stage.tick(2)
    assert stage.front_end.census()[ANN]["endpoints"] == 0
    assert ann.subscribe_self().status == 401


def test_the_ninth_endpoint_throws_out_the_oldest() -> None:
    stage = Stage()
    clients = [stage.client(ANN, epid=f"0000000{number}aa") for number in range(9)]
    for client in clients:
        assert client.sign_in().status == 200
    farewell = clients[0].next_request()
    assert farewell.method == "NOTIFY"
    assert (farewell.get("Event"), farewell.get("subscription-state")) == (
        "registration-notify",
        "terminated;expires=0",
    )
    assert farewell.body == b"deregistered;event=unregistered"
    assert stage.front_end.census()[ANN]["endpoints"] == 8
    assert clients[0].subscribe_self().status == 401
    assert clients[1].subscribe_self().status == 200


def test_the_same_endpoint_on_a_new_connection_takes_the_place_of_the_old_one() -> None:
    stage, old = registered()
    old.subscribe_self()
    new = stage.client(ANN)
    assert new.sign_in().status == 200
    assert stage.front_end.census()[ANN] == {"endpoints": 1, "publications": 0, "subscriptions": 0, "answers": {}}
    assert old.subscribe_self().status == 401
    old.wire.close()  # type: ignore[attr-defined]
    assert stage.front_end.census()[ANN]["endpoints"] == 1


@pytest.mark.parametrize(
    ("part", "other"),
    [('response="01', 'response="02'), ('opaque="', 'opaque="X'), ('cnum="', 'cnum="9'), ('crand="', 'crand="0')],
)
def test_a_request_whose_signature_does_not_fit_is_challenged(part: str, other: str) -> None:
    _, ann = registered()
    request = ann.sign(ann.build("SUBSCRIBE", [("Event", "presence")]))
    assert isinstance(request, Request)
    spoiled = replaced(request, "Authorization", (request.get("Authorization") or "").replace(part, other))
    response = ann.answer_of(spoiled)
    assert response.status == 401
    assert "ntlm" in challenges(response)


def test_an_unsigned_request_is_challenged() -> None:
    _, ann = registered()
    assert ann.answer_of(ann.build("SERVICE")).status == 401


def test_the_same_request_twice_is_challenged_the_second_time() -> None:
    _, ann = registered()
    request = ann.sign(ann.build("OPTIONS"))
    assert ann.answer_of(request).status == 200
    assert ann.answer_of(request).status == 401


def test_ann_may_not_send_as_ben() -> None:
    _, ann = registered()
    request = replaced(ann.build("OPTIONS"), "From", f"<{BEN}>;tag=1;epid={ann.epid}")
    assert ann.answer_of(ann.sign(request)).status == 403


def test_an_association_lives_eight_hours() -> None:
    stage, ann = registered()
    for _ in range(60):
        stage.now += 480
        assert ann.answer_of(ann.register(sign=True)).status == 200
    stage.now += 480
    assert ann.answer_of(ann.register(sign=True)).status == 401


def test_an_association_is_known_on_its_own_connection_only() -> None:
    stage, ann = registered()
    elsewhere = stage.client(ANN)
    elsewhere.association = ann.association
    assert elsewhere.subscribe_self().status == 401


def test_ack_is_not_answered() -> None:
    _, ann = registered()
    ann.wire.send(ann.build("ACK"))
    with pytest.raises(Silence):
        ann.wire.receive()


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("INVITE", 404), ("MESSAGE", 501), ("FOO", 501)])
def test_other_methods_are_answered(method: str, status: int) -> None:
    _, ann = registered()
    assert ann.signed(method).status == status


def test_handshakes_without_end_do_not_fill_the_memory() -> None:
    stage = Stage()
    ann = stage.client(ANN)
    for _ in range(100):
        ann.register_call = ann.token(32)
        ann.register_cseq = 0
        ann.sign_in(spoil=lambda request: replaced(request, "Authorization", "NTLM qop"))
    (link,) = stage.wires
    assert len(link.handshakes) <= 32
    assert len(link.register_cseqs) <= 32
