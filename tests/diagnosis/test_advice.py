"""From failures to Error, Diagnosis and advice."""

from __future__ import annotations

import errno
import itertools
import os
from typing import List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.diagnosis import _KERBEROS, _SCHEMES, _STATUS, _TLS, diagnose
from check_lync_presence.diagnosis.ms_diagnostics import ADVICE
from check_lync_presence.outcome import NOTIFY, PUBLISH, REGISTER, SUBSCRIBE, Cause, Diagnosis, Failure
from check_lync_presence.settings import ClientCertificate, TlsSettings

from ..samples import ANN, BEN, failed, failure, settings, success
from ..strategies import any_text, many

USERS = ("", ANN.uri, BEN.uri)
DETAILS = ("", "{user}", "{0}", "{", "challenge", "Digest", "127.0.0.1:5061", "1 other notification(s) arrived")


def advice(*failures: Failure) -> Tuple[str, ...]:
    return diagnose(failed(*failures), settings()).advice


def only(*failures: Failure) -> str:
    (sentence,) = advice(*failures)
    return sentence


def refused(user: str) -> Failure:
    return failure(Cause.REFUSED_CREDENTIALS, "401, Unauthorized", REGISTER, user, 401)


def not_found(activity: str, user: str) -> Failure:
    diagnostics = ('4005;reason="Destination URI either not enabled for SIP or does not exist";source="pool01"',)
    return failure(Cause.STATUS, "404, Not Found", activity, user, 404, diagnostics)


def test_whoever_has_signed_the_users_in_is_no_stranger() -> None:
    address = "192.0.2.1:5061"
    assert "check -H" in only(failure(Cause.PROTOCOL, detail=address))
    assert "use --protocol simple" in only(failure(Cause.PROTOCOL, detail="OPEN"))
    for activity in (SUBSCRIBE, PUBLISH, NOTIFY):
        sentence = only(failure(Cause.PROTOCOL, activity=activity, detail=address))
        assert sentence.startswith(f"{address} signed the users in and then sent what cannot be read")
        assert "-H" not in sentence


def test_a_success_has_nothing_to_say() -> None:
    assert diagnose(success(), settings()) == Diagnosis("", "", ())


def test_the_error_is_that_of_the_first_failure() -> None:
    outcome = failed(refused(ANN.uri), failure(Cause.CLOSED, "Later.", user=BEN.uri))
    assert diagnose(outcome, settings()).error == "401, Unauthorized"


def test_the_diagnosis_is_the_first_header_that_can_be_read() -> None:
    found = failure(
        Cause.STATUS, "404, Not Found", status=404, diagnostics=("junk", '1003;reason="User does not exist"')
    )
    assert diagnose(failed(found), settings()).diagnosis == "ErrorCode=1003,Reason=User does not exist"


def test_without_such_a_header_the_code_of_a_fault_is_the_diagnosis() -> None:
    found = failure(Cause.STATUS, "403, Forbidden", PUBLISH, status=403, detail="Client.Delegate.NotAuthorized")
    assert diagnose(failed(found), settings()).diagnosis == "Faultcode=Client.Delegate.NotAuthorized"
    found = found._replace(diagnostics=("4268",))
    assert diagnose(failed(found), settings()).diagnosis == "ErrorCode=4268"


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("user", USERS)
def test_every_cause_has_advice(cause: Cause, user: str) -> None:
    for detail, status in itertools.product(DETAILS, (None, 401, 404, 503, 699)):
        sentence = only(failure(cause, "Text.", SUBSCRIBE, user, status, detail=detail))
        assert len(sentence) > 20
        assert "{" not in sentence.replace(detail or "\0", "")


def refused_at_once(number: int) -> str:
    return f"cannot connect to 192.0.2.1:5061: {os.strerror(number)}."


@pytest.mark.parametrize("dialect", ["lync", "simple"])
def test_where_no_way_leads_to_the_service_is_not_suspected(dialect: str) -> None:
    told = {
        number: diagnose(failed(failure(Cause.CONNECT, refused_at_once(number)), dialect=dialect), settings()).advice[0]
        for number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED)
    }
    assert told[errno.ENETUNREACH].startswith("No way leads there from this host: ")
    assert "a firewall rejects TCP port 5061: " in told[errno.EHOSTUNREACH]
    assert "runs" in told[errno.ECONNREFUSED]


@pytest.mark.parametrize("dialect", ["lync", "simple"])
def test_what_has_expired_may_be_the_issuer_or_this_hosts_clock(dialect: str) -> None:
    outcome = failed(failure(Cause.TLS, detail="VERIFY_10"), dialect=dialect)
    (sentence,) = diagnose(outcome, settings()).advice
    assert [word in sentence for word in ("server's certificate", "issuer's (--ca-file)", "date -u")] == [True] * 3
    assert len(sentence) < 240


@pytest.mark.parametrize("detail", ["", *_TLS, "SOME_NEW_REASON", "VERIFY_99"])
def test_every_fault_of_tls_has_advice(detail: str) -> None:
    assert "{" not in only(failure(Cause.TLS, "No TLS.", detail=detail))


@pytest.mark.parametrize("status", [*_STATUS, 0, 699])
def test_every_status_has_advice(status: int) -> None:
    assert "{" not in only(failure(Cause.STATUS, "Text.", user=ANN.uri, status=status))


@pytest.mark.parametrize("code", ADVICE)
def test_every_known_code_beats_the_status(code: int) -> None:
    for account in (ANN, BEN):
        found = failure(Cause.STATUS, "403, Forbidden", REGISTER, account.uri, 403, (f'{code};reason="x"',))
        assert only(found) == ADVICE[code].format(user=account.uri, logon=account.user, pool=settings().target)


def test_an_unknown_code_leaves_the_advice_to_the_status() -> None:
    found = failure(Cause.STATUS, "403, Forbidden", user=ANN.uri, status=403, diagnostics=('99999;reason="x"',))
    assert only(found) == _STATUS[403].format(user=ANN.uri)
    assert diagnose(failed(found), settings()).diagnosis == "ErrorCode=99999,Reason=x"


def test_404_for_the_subscriber_while_it_subscribes_is_about_the_publisher() -> None:
    sentence = only(not_found(SUBSCRIBE, BEN.uri))
    assert ANN.uri in sentence
    assert BEN.uri not in sentence


def test_404_for_the_subscriber_while_it_registers_is_about_the_subscriber() -> None:
    sentence = only(not_found(REGISTER, BEN.uri))
    assert BEN.uri in sentence
    assert ANN.uri not in sentence


def test_403_for_the_subscriber_while_it_subscribes_is_about_the_subscriber() -> None:
    assert BEN.uri in only(failure(Cause.STATUS, "403, Forbidden", SUBSCRIBE, BEN.uri, 403))


def test_one_refused_user_is_named_by_the_logon_name() -> None:
    sentence = only(refused(BEN.uri))
    assert BEN.user in sentence
    assert ANN.user not in sentence
    assert "lock" in sentence


def test_two_refused_users_are_seldom_two_wrong_passwords() -> None:
    sentence = only(refused(ANN.uri), refused(BEN.uri))
    assert ANN.user in sentence
    assert BEN.user in sentence
    assert "--ntlm-mic" in sentence


def test_the_same_fault_of_both_users_is_advised_once_and_names_both() -> None:
    sentence = only(not_found(REGISTER, ANN.uri), not_found(REGISTER, BEN.uri))
    assert f"{ANN.uri} and {BEN.uri}" in sentence


def test_two_different_faults_have_two_sentences() -> None:
    assert len(advice(refused(ANN.uri), not_found(REGISTER, BEN.uri))) == 2


def test_the_pool_of_the_advice_is_the_one_that_failed() -> None:
    told = settings(subscriber_target="pool02.contoso.example")
    found = {user: failure(Cause.STATUS, activity=REGISTER, user=user, status=503) for user in (ANN.uri, BEN.uri)}
    assert "on pool01.contoso.example" in diagnose(failed(found[ANN.uri]), told).advice[0]
    assert "on pool02.contoso.example" in diagnose(failed(found[BEN.uri]), told).advice[0]
    both = diagnose(failed(*found.values()), told).advice[0]
    assert "on pool01.contoso.example and pool02.contoso.example" in both


def test_the_port_of_the_advice_is_the_one_that_was_connected_to() -> None:
    outcome = failed(failure(Cause.CONNECT, "Refused."))
    assert "TCP port 45061" in diagnose(outcome, settings(connect=("127.0.0.1", 45061))).advice[0]
    assert "TCP port 5061" in diagnose(outcome, settings()).advice[0]


def test_what_came_instead_of_the_notification_is_told() -> None:
    sentence = only(failure(Cause.NO_NOTIFICATION, "None.", NOTIFY, BEN.uri, detail="3 other notification(s) arrived"))
    assert "3 other notification(s) arrived" in sentence


@pytest.mark.parametrize("offered", _SCHEMES)
def test_what_the_server_offers_instead_of_ntlm_is_advised(offered: str) -> None:
    assert only(failure(Cause.NO_SCHEME, "No NTLM.", detail=offered)) == _SCHEMES[offered].format(
        pool=settings().target
    )


def test_without_the_scheme_that_was_named_the_advice_is_to_allow_it() -> None:
    offered = failure(Cause.NO_SCHEME, "None.", detail="TLS-DSK")
    for auth, switch in (("auto", "UseNtlm"), ("ntlm", "UseNtlm"), ("kerberos", "UseKerberos")):
        (sentence,) = diagnose(failed(offered), settings(auth=auth)).advice
        assert f"-{switch}ForClientToProxyAuth $true" in sentence


def test_kerberos_is_advised_where_it_is_offered_and_was_not_excluded() -> None:
    offered = failure(Cause.NO_SCHEME, "None.", detail="Kerberos, TLS-DSK")
    found = {auth: diagnose(failed(offered), settings(auth=auth)).advice[0] for auth in ("auto", "ntlm")}
    assert found["auto"].startswith("Allow NTLM on the pool: ")
    assert "or let the check use Kerberos: install python3-gssapi, or pip install gssapi with" in found["auto"]
    assert "Kerberos" not in found["ntlm"]


@pytest.mark.parametrize("trouble", _KERBEROS)
def test_what_libkrb5_complains_of_is_advised(trouble: str) -> None:
    sentence = only(failure(Cause.KERBEROS, "No ticket.", REGISTER, ANN.uri, detail=trouble))
    assert sentence == _KERBEROS[trouble].format(logon=ANN.user)


def test_a_ticket_that_the_pool_refuses_is_explained_by_its_diagnostics_first() -> None:
    skewed = failure(Cause.KERBEROS, "401, Unauthorized", REGISTER, ANN.uri, 401, ('1013;reason="x"',))
    assert only(skewed) == ADVICE[1013]
    for others in ((), ('1000;reason="Final handshake failed"',)):  # nobody has looked at a password
        assert "setspn -X" in only(skewed._replace(diagnostics=others))


def test_a_pool_that_does_not_trust_us_is_told_the_name_of_our_certificate() -> None:
    refusal = failure(Cause.NOT_TRUSTED, "401, Unauthorized", REGISTER, ANN.uri, 401)
    shown = ClientCertificate("/etc/app.pem", ("app01.contoso.example", "other"), 0.0, 1.0)
    tls = TlsSettings(client_cert="/etc/app.pem", shown=shown)
    (sentence,) = diagnose(failed(refusal), settings(tls=tls)).advice
    assert "New-CsTrustedApplicationPool -Identity app01.contoso.example -Registrar pool01.contoso.example" in sentence
    (sentence,) = diagnose(failed(refusal), settings(tls=tls._replace(shown=None))).advice
    assert "does not know /etc/app.pem as a trusted server" in sentence


@pytest.mark.parametrize("value", ["30", "30;duration=3600", "30 (busy)", " 30 "])
def test_the_wish_to_be_left_alone_is_passed_on(value: str) -> None:
    found = failure(Cause.STATUS, "503, Service Unavailable", PUBLISH, ANN.uri, 503, retry_after=value)
    assert only(found).endswith(" The server asks to be left alone for 30 s.")


@pytest.mark.parametrize("value", ["", "soon", "-1", "3.5", "9" * 30, "{user}", "²", "٣٠"])
def test_a_wish_that_is_no_number_is_not(value: str) -> None:
    found = failure(Cause.STATUS, "503, Service Unavailable", PUBLISH, ANN.uri, 503, retry_after=value)
    assert "left alone" not in only(found)


causes = st.sampled_from(list(Cause))
failures = st.builds(
    failure,
    causes,
    any_text,
    st.sampled_from([REGISTER, SUBSCRIBE, PUBLISH, NOTIFY]),
    st.sampled_from(USERS),
    st.none() | st.integers(100, 699),
    st.lists(any_text | st.sampled_from([f"{code};x" for code in ADVICE]), max_size=2).map(tuple),
    any_text | st.sampled_from([*_TLS, *_SCHEMES, *_KERBEROS, "{x}"]),
    any_text,
)


@many
@given(st.lists(failures, min_size=1, max_size=3))
def test_any_failures_make_some_advice_and_never_an_error(several: List[Failure]) -> None:
    assert 1 <= len(advice(*several)) <= len(several)


# ------------------------------------------------------------------ whose fault


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("", "Check the SRV records of contoso.example"),
        (settings().target, "Check the name given with -H"),
        ("fe01.contoso.example", "Check the name given with --connect"),
        ("pool02.contoso.example", "Check the name given with --subscriber-target"),
        ("fe02.contoso.example", "Check connect of the subscriber's pool in the accounts file"),
        ("pool03.contoso.example", "The server redirects to pool03.contoso.example: check that name"),
    ],
)
def test_a_name_that_is_not_found_is_blamed_on_who_gave_it(host: str, words: str) -> None:
    told = settings(
        connect=("fe01.contoso.example", 5061),
        subscriber_target="pool02.contoso.example",
        subscriber_connect=("fe02.contoso.example", 5062),
    )
    (sentence,) = diagnose(failed(failure(Cause.RESOLVE, detail=host)), told).advice
    assert sentence.startswith(words)


def test_of_two_pools_the_one_is_named_that_fails() -> None:
    told = settings(
        connect=("192.0.2.1", 5061), subscriber_target="pool02.contoso.example", subscriber_connect=("192.0.2.2", 5062)
    )
    there = failure(Cause.CONNECT)._replace(server="pool02.contoso.example")
    (sentence,) = diagnose(failed(there), told).advice
    assert "runs on pool02.contoso.example" in sentence
    assert "TCP port 5062" in sentence
