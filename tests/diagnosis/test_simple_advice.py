"""What is advised about a SIMPLE server, and that neither dialect gets the words of the other."""

from __future__ import annotations

import re
from typing import Any, Iterator, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.diagnosis import _SCHEMES, _TLS, diagnose
from check_lync_presence.diagnosis.ms_diagnostics import ADVICE as CODES
from check_lync_presence.diagnosis.simple import ADVICE
from check_lync_presence.outcome import NOTIFY, PUBLISH, REGISTER, SUBSCRIBE, Cause, Failure, Seen
from check_lync_presence.settings import Account, Secret, Settings

from ..samples import failed, failure, settings
from ..strategies import any_text, many

SERVER = "sip01.contoso.example"
ANN = Account("sip:ann@contoso.example", "ann@contoso.example", Secret("secret-ann"))
BEN = Account("sip:ben@contoso.example", "probe-ben", Secret("secret-ben"))

OF_LYNC = re.compile(
    r"Lync|Skype|Front.?End|RtcSrv|\bLS\b|\bpool\b|homed|NTLM|Kerberos|-Cs[A-Z]|-AD[A-Z]|Active Directory|SQL|"
    r"Replicator|privacy relationship|msRTC|vnd-microsoft|--ntlm",
    re.IGNORECASE,
)
OF_SIMPLE = re.compile(
    r"SIMPLE|Kamailio|OpenSIPS|Asterisk|Openfire|Digest user|realm|nonce|presence rules|PUBLISH\b", re.IGNORECASE
)
# What only a Lync endpoint can find out (lync/association.py, lync/guard.py, lync/sign_in.py, lync/tls_dsk.py).
ONLY_LYNC = {
    Cause.SIGNATURE,
    Cause.DEREGISTERED,
    Cause.NOT_ENABLED,
    Cause.ACCOUNT,
    Cause.KERBEROS,
    Cause.NOT_TRUSTED,
    Cause.CERTIFICATE,
    Cause.PROVISIONING,
}
STATUSES = (*range(300, 306), *range(400, 424), 480, 481, 482, 483, 489, *range(500, 506), 600, 603, 699, None)


def told(**changes: Any) -> Settings:
    return settings(target=SERVER, publisher=ANN, subscriber=BEN, **changes)


def advice(*failures: Failure, dialect: str = "simple", **changes: Any) -> Tuple[str, ...]:
    return diagnose(failed(*failures, dialect=dialect), told(**changes)).advice


def only(found: Failure, **changes: Any) -> str:
    (sentence,) = advice(found, **changes)
    return sentence


def every_kind() -> Iterator[Failure]:
    """Every cause with every particular that there is advice for."""
    details = [*_TLS, *_SCHEMES, *(key[1] for key in ADVICE if isinstance(key, tuple) and isinstance(key[1], str)), ""]
    for cause in Cause:
        for detail in details:
            for status in STATUSES:
                yield failure(cause, "Text.", PUBLISH, ANN.uri, status, detail=detail)
    for seen in (*Seen, None):
        for detail in ("", "2 other notification(s) arrived"):
            yield failure(Cause.NO_NOTIFICATION, "None.", NOTIFY, BEN.uri, detail=detail)._replace(seen=seen)
    for code in CODES:
        yield failure(Cause.STATUS, "403, Forbidden", REGISTER, ANN.uri, 403, (f'{code};reason="x"',), retry_after="5")


def test_nothing_that_is_advised_of_a_simple_server_is_about_lync() -> None:
    for found in every_kind():
        if found.cause not in ONLY_LYNC:
            sentence = only(found)
            assert not OF_LYNC.search(sentence), sentence
            assert "{" not in sentence
            assert 20 < len(sentence) < 300, sentence


def test_nothing_that_is_advised_of_two_users_is_about_lync() -> None:
    for found in every_kind():
        if found.cause not in ONLY_LYNC:
            assert not OF_LYNC.search(" ".join(advice(found, found._replace(user=BEN.uri))))


def test_nothing_that_is_advised_of_lync_is_about_simple_servers() -> None:
    for found in every_kind():
        (sentence,) = advice(found, dialect="lync")
        assert not OF_SIMPLE.search(sentence), sentence


def test_the_words_of_each_dialect_are_found_where_they_belong() -> None:
    for cause in (Cause.CONNECT, Cause.NO_ANSWER, Cause.REFUSED_CREDENTIALS, Cause.NO_NOTIFICATION, Cause.STATUS):
        assert OF_LYNC.search(advice(failure(cause, status=503), dialect="lync")[0])
    for cause, status in ((Cause.REFUSED_CREDENTIALS, 401), (Cause.STATUS, 401), (Cause.STATUS, 489)):
        assert OF_SIMPLE.search(advice(failure(cause, status=status))[0])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (failure(Cause.CONNECT), f"SIP server on {SERVER} runs and listens on TCP port 5061"),
        (failure(Cause.NO_ANSWER, detail="REGISTER"), f"TCP port 5061 of {SERVER}"),
        (failure(Cause.CLOSED, detail="192.0.2.1:5061"), "192.0.2.1:5061 or a device in between hung up"),
        (failure(Cause.PROTOCOL, detail="192.0.2.1:5061"), "192.0.2.1:5061 does not behave like a SIP server"),
        (failure(Cause.NO_SCHEME, detail="digest"), "qop=auth"),
        (failure(Cause.REDIRECT, user=ANN.uri, detail="loop"), f"routes {ANN.uri}"),
        (failure(Cause.STATUS, user=ANN.uri, status=403), f"forbids it to {ANN.uri}"),
        (failure(Cause.STATUS, status=407), "nonces"),
        (failure(Cause.STATUS, status=489), "presence service on"),
        (failure(Cause.STATUS, status=423), "least Expires"),
        (failure(Cause.STATUS, status=699), "log of the SIP server"),
        (failure(Cause.TLS, detail="VERIFY_10"), "Renew the server's certificate on"),
        (failure(Cause.TLS, detail="VERIFY_20"), "--ca-file"),
        (failure(Cause.TLS, detail="SOMETHING_NEW"), "TLS settings of the SIP server"),
        (failure(Cause.RESOLVE), "name servers"),
        (failure(Cause.HELD_BACK, user=ANN.uri, detail="/state/refused-1.json"), "remove /state/refused-1.json"),
    ],
    ids=str,
)
def test_the_advice_names_what_such_a_server_has(found: Failure, words: str) -> None:
    assert words in only(found)


def test_the_transport_is_named_that_the_firewall_must_let_through() -> None:
    for cause in (Cause.CONNECT, Cause.NO_ANSWER):
        assert "UDP port 5060" in only(failure(cause), transport="udp", port=5060)
        assert "TCP port 5060" in only(failure(cause), transport="tcp", port=5060)


@pytest.mark.parametrize("cause", [Cause.REFUSED_CREDENTIALS, Cause.HELD_BACK])
def test_who_is_refused_is_called_by_the_name_that_was_sent(cause: Cause) -> None:
    assert " ann " in only(failure(cause, user=ANN.uri, status=401))
    assert " probe-ben " in only(failure(cause, user=BEN.uri, status=401))
    assert ANN.address in advice(failure(cause, user=ANN.uri, status=401), dialect="lync")[0]


def test_two_refused_users_are_seldom_two_wrong_passwords() -> None:
    refused = [failure(Cause.REFUSED_CREDENTIALS, user=user.uri, status=401) for user in (ANN, BEN)]
    (sentence,) = advice(*refused)
    assert sentence.startswith("The server refuses both ann and probe-ben: ")
    assert "realm" in sentence
    assert only(refused[0]) != sentence


@pytest.mark.parametrize("seen", [*Seen, None])
def test_what_a_fresh_look_showed_is_told_in_the_words_of_such_a_server(seen: Seen) -> None:
    sentence = only(failure(Cause.NO_NOTIFICATION, user=BEN.uri)._replace(seen=seen))
    assert sentence.startswith("The server took the publication and did not pass it on. ")
    assert ADVICE[(Cause.NO_NOTIFICATION, seen) if seen else Cause.NO_NOTIFICATION].format(pool=SERVER) in sentence


@pytest.mark.parametrize("reason", ["deactivated", "probation", "rejected", "timeout", "giveup", "noresource"])
def test_each_end_of_a_subscription_has_its_own_advice(reason: str) -> None:
    plain = only(failure(Cause.STATUS, activity=NOTIFY, user=BEN.uri, status=481))
    assert only(failure(Cause.STATUS, activity=NOTIFY, user=BEN.uri, status=481, detail=reason)) != plain


def test_who_is_no_more_when_a_subscription_ends_is_the_publisher() -> None:
    found = failure(Cause.STATUS, activity=NOTIFY, user=BEN.uri, status=404, detail="noresource")
    assert ANN.uri in only(found)


@pytest.mark.parametrize("status", [401, 403, 503, 699])
def test_the_wish_to_be_left_alone_is_passed_on(status: int) -> None:
    found = failure(Cause.STATUS, status=status, retry_after="30")
    assert only(found).endswith(" The server asks to be left alone for 30 s.")


def test_codes_of_microsoft_mean_nothing_here() -> None:
    plain = failure(Cause.STATUS, user=ANN.uri, status=403)
    for code in CODES:
        assert only(plain._replace(diagnostics=(f'{code};reason="x"',))) == only(plain)


failures = st.builds(
    failure,
    st.sampled_from(list(Cause)),
    any_text,
    st.sampled_from([REGISTER, SUBSCRIBE, PUBLISH, NOTIFY]),
    st.sampled_from(["", ANN.uri, BEN.uri]),
    st.none() | st.integers(100, 699),
    st.lists(any_text, max_size=2).map(tuple),
    any_text | st.sampled_from(["{x}", "{pool}", "probation"]),
    any_text,
)


@many
@given(st.lists(failures, min_size=1, max_size=3))
def test_any_failures_make_some_advice_and_never_an_error(several: list[Failure]) -> None:
    assert 1 <= len(advice(*several)) <= len(several)
