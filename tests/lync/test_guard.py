"""What a signature is worth: which messages may be used, which end the run, which are thrown away."""

from __future__ import annotations

from typing import Callable, Dict, List, Tuple

import pytest

from check_lync_presence.lync.association import (
    Association,
    AuthHeader,
    credentials_header,
    parse_auth_header,
)
from check_lync_presence.lync.guard import AssociationGuard
from check_lync_presence.outcome import Cause, PresenceError
from check_lync_presence.refusal import status_error
from check_lync_presence.sip.message import Message, Request, Response

from ..transcripts import ANN, BEN, POOL, REALM, client_end, recorded, server_end

CALL_ID = "c1"
HANDSHAKE = {
    "qop": "auth",
    "opaque": ANN.opaque,
    "realm": REALM,
    "targetname": POOL,
    "gssapi-data": "TlRM",
    "version": "4",
}
ADDRESSES = (("From", "<sip:ann@contoso.example>;tag=a"), ("To", "<sip:ann@contoso.example>;tag=b"))


def guard(version: int = 4, status: int = 401) -> AssociationGuard:
    made = AssociationGuard(client_end(ANN, version), status, dict(HANDSHAKE), CALL_ID, lambda digits: "c" * digits)
    made.sign(request("REGISTER", 1))
    return made


def request(method: str, number: int = 2, call_id: str = CALL_ID, body: bytes = b"") -> Request:
    headers = (*ADDRESSES, ("Call-ID", call_id), ("CSeq", f"{number} {method}"))
    return Request(method, "sip:ann@contoso.example", headers, body)


def response(status: int = 200, number: int = 2) -> Response:
    return Response(status, "X", (*ADDRESSES, ("Call-ID", CALL_ID), ("CSeq", f"{number} SUBSCRIBE")))


def signed(message: Message, by: Association) -> Message:
    return message.with_headers(("Authentication-Info", by.info(message, "0a0b0c0d")))


def forged(message: Message) -> Message:
    """Signed with a key that is not the server's, under the server's names."""
    theirs = server_end(BEN)
    theirs.opaque = ANN.opaque
    return signed(message, theirs)


def credentials(message: Message) -> AuthHeader:
    found = credentials_header(message)
    assert found is not None
    return found


def error_of(act: Callable[[], object]) -> PresenceError:
    with pytest.raises(PresenceError) as error:
        act()
    return error.value


# -------------------------------------------------------------------- signing


def test_the_last_request_of_the_sign_in_has_the_token_and_is_signed_from_version_4_on() -> None:
    made = AssociationGuard(client_end(ANN), 401, dict(HANDSHAKE), CALL_ID, lambda digits: "c" * digits)
    message = made.sign(request("REGISTER"))
    found = credentials(message)
    assert {name: found.get(name) for name in HANDSHAKE} == HANDSHAKE
    server_end(ANN).verify_client(message, found)


@pytest.mark.parametrize("version", [2, 3])
def test_the_last_request_of_the_sign_in_is_not_signed_before_version_4(version: int) -> None:
    made = AssociationGuard(client_end(ANN, version), 401, dict(HANDSHAKE), CALL_ID, lambda digits: "c" * digits)
    found = credentials(made.sign(request("REGISTER")))
    assert set(found.params) == set(HANDSHAKE)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_every_later_message_is_signed_without_the_token(version: int) -> None:
    made, server = guard(version), server_end(ANN, version)
    messages: List[Message] = [request("SUBSCRIBE", 2), request("SERVICE", 3), response(200)]
    for message in messages:
        sent = made.sign(message)
        found = credentials(sent)
        assert found.get("gssapi-data") == ""
        server.verify_client(sent, found)


@pytest.mark.parametrize(("status", "name"), [(401, "Authorization"), (407, "Proxy-Authorization")])
def test_the_header_answers_the_status_of_the_challenge(status: int, name: str) -> None:
    assert guard(status=status).sign(request("SUBSCRIBE")).get(name) is not None


def test_signing_leaves_the_message_itself_alone() -> None:
    message = request("SERVICE", body=b"body")
    sent = guard().sign(message)
    assert (sent.headers[:-1], sent.body) == (message.headers, b"body")


# ------------------------------------------------------------------ verifying


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize(
    "message", [response(200), response(404), request("NOTIFY"), request("BENOTIFY"), request("OPTIONS")]
)
def test_what_is_signed_may_be_used(version: int, message: Message) -> None:
    assert guard(version).accept(signed(message, server_end(ANN, version)))


@pytest.mark.parametrize("name", ["06-ann-200-registered.sip", "08-ann-200-self-presence.sip"])
def test_what_was_recorded_may_be_used(name: str) -> None:
    assert guard().accept(recorded(name))


def test_a_request_that_is_not_signed_is_thrown_away_and_counted() -> None:
    made = guard()
    assert [made.accept(request(method)) for method in ("NOTIFY", "BENOTIFY", "OPTIONS")] == [False, False, False]
    assert made.unsigned == 3


def test_what_may_be_used_is_not_counted() -> None:
    made = guard()
    made.accept(signed(request("NOTIFY"), server_end(ANN)))
    made.accept(response(503))
    assert made.unsigned == 0


@pytest.mark.parametrize("status", [200, 202, 301])
def test_an_answer_that_is_not_signed_and_not_an_error_ends_the_run(status: int) -> None:
    error = error_of(lambda: guard().accept(response(status)))
    assert error.cause is Cause.SIGNATURE
    assert str(error) == f"The answer to SUBSCRIBE ({status}) is not signed."


@pytest.mark.parametrize("status", [400, 401, 404, 407, 503, 603])
def test_an_error_may_come_from_a_proxy_that_does_not_know_our_keys(status: int) -> None:
    assert guard().accept(response(status))


@pytest.mark.parametrize(
    ("message", "what"),
    [(response(200), "answer to SUBSCRIBE"), (response(404), "answer to SUBSCRIBE"), (request("NOTIFY"), "NOTIFY")],
)
def test_a_wrong_signature_ends_the_run(message: Message, what: str) -> None:
    error = error_of(lambda: guard().accept(forged(message)))
    assert error.cause is Cause.SIGNATURE
    assert str(error) == f"The {what} has a wrong signature."


@pytest.mark.parametrize(
    "change", [("status", 202), ("cseq", "3 SUBSCRIBE"), ("call-id", "c2"), ("to", "<sip:eve@contoso.example>;tag=b")]
)
def test_a_signature_under_an_altered_message_is_wrong(change: Tuple[str, str]) -> None:
    name, value = change
    good = signed(response(200), server_end(ANN))
    assert isinstance(good, Response)
    headers = [(key, value if key.lower() == name else old) for key, old in good.headers]
    altered = Response(202 if name == "status" else 200, "X", headers)
    assert error_of(lambda: guard().accept(altered)).cause is Cause.SIGNATURE


def test_a_message_that_is_played_back_ends_the_run() -> None:
    made, message = guard(), signed(request("NOTIFY"), server_end(ANN))
    assert made.accept(message)
    error = error_of(lambda: made.accept(message))
    assert (error.cause, str(error)) == (Cause.SIGNATURE, "The NOTIFY has a repeated sequence number.")


def test_our_own_signature_played_back_is_no_signature_of_the_server() -> None:
    made = guard()
    ours = parse_auth_header(client_end(ANN).credentials(request("NOTIFY"), "cccccccc"))
    params: Dict[str, str] = {**ours.params, "srand": ours.get("crand"), "snum": "9", "rspauth": ours.get("response")}
    value = "NTLM " + ", ".join(f'{name}="{text}"' for name, text in params.items())
    mirrored = request("NOTIFY").with_headers(("Authentication-Info", value))
    assert error_of(lambda: made.accept(mirrored)).cause is Cause.SIGNATURE


@pytest.mark.parametrize("field", ['realm="Other"', 'targetname="other"', 'opaque="FFFFFFFF"'])
def test_a_signature_of_another_association_is_none(field: str) -> None:
    message = signed(request("NOTIFY"), server_end(ANN))
    name = field.partition("=")[0]
    value = message.get("Authentication-Info") or ""
    old = f'{name}="{parse_auth_header(value).get(name)}"'
    assert old in value
    other = request("NOTIFY").with_headers(("Authentication-Info", value.replace(old, field)))
    assert not guard().accept(other)


# -------------------------------------------------------- end of registration


@pytest.mark.parametrize(
    ("body", "event"),
    [
        (b"deregistered;event=rejected", "rejected"),
        (b"Deregistered; event=deactivated; x\r\n", "deactivated"),
        (b"deregistered", ""),
    ],
)
def test_the_end_of_the_registration_ends_the_run(body: bytes, event: str) -> None:
    message = request("BENOTIFY", body=body).with_headers(
        ("ms-diagnostics", '1;reason="a"'), ("ms-diagnostics-public", '4141;reason="User disabled"')
    )
    error = error_of(lambda: guard().accept(signed(message, server_end(ANN))))
    assert (error.cause, error.detail) == (Cause.DEREGISTERED, event)
    assert error.diagnostics == ('4141;reason="User disabled"', '1;reason="a"')


@pytest.mark.parametrize(
    "message",
    [
        request("NOTIFY", call_id="c2", body=b"deregistered;event=rejected"),
        request("NOTIFY", body=b"registered;event=x"),
        request("NOTIFY", body=b"\xff"),
    ],
)
def test_other_notifications_do_not_end_it(message: Request) -> None:
    assert guard().accept(signed(message, server_end(ANN)))


def test_nobody_else_can_end_it() -> None:
    assert not guard().accept(request("BENOTIFY", body=b"deregistered;event=rejected"))


# --------------------------------------------------------------------- errors


def test_the_error_of_an_answer_has_its_status_reason_and_diagnostics() -> None:
    answer = Response(
        503,
        "Service Unavailable",
        (("ms-diagnostics", '4000;reason="x"'), ("Retry-After", "30"), ("ms-diagnostics-public", '1;reason="y"')),
    )
    error = status_error(answer)
    assert (str(error), error.cause, error.status) == ("503, Service Unavailable", Cause.STATUS, 503)
    assert error.diagnostics == ('4000;reason="x"', '1;reason="y"')
    assert error.retry_after == "30"


def test_the_error_of_an_answer_without_a_reason_is_its_number() -> None:
    assert str(status_error(Response(699, "", ()))) == "699"
