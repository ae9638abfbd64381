"""Who is asked about, and what a finding comes to: a sentence, a proof, or neither."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.diagnosis import accounts, diagnose
from check_lync_presence.diagnosis.accounts import Investigation, investigate, is_proof, sentence
from check_lync_presence.directory import Answer, DirectoryError, Finding, Report
from check_lync_presence.outcome import PUBLISH, REGISTER, SELF_SUBSCRIBE, SUBSCRIBE, Activity, Cause, Failure
from check_lync_presence.report.text import clean
from check_lync_presence.settings import Account, DirectorySettings, Secret, Settings

from ..loopback import soon
from ..samples import ANN, BEN, failed, failure, settings
from ..strategies import many

NOW = 1_700_000_000.0
DC = "ldaps://dc01.contoso.example"
WITH_DIRECTORY = settings(directory=DirectorySettings((DC,), None, None, Secret(""), "anonymous", None, False))
UNASKED = "Active Directory was not asked about the account: there is no ldap_uri."
OF_CREDENTIALS = (Cause.REFUSED_CREDENTIALS, Cause.HELD_BACK, Cause.ACCOUNT)
FAILURES = (
    None,
    failure(Cause.ACCOUNT),
    failure(Cause.REFUSED_CREDENTIALS, detail="REFUSED"),
    failure(Cause.REFUSED_CREDENTIALS),
    failure(Cause.HELD_BACK),
    failure(Cause.STATUS, status=404),
)


class Asked:
    """A directory that says what it is told to say, and remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: Dict[str, Answer] = {}
        self.questions: List[Tuple[Account, bool]] = []
        monkeypatch.setattr(accounts, "ask", self._ask)

    def _ask(
        self, _: Any, pool_of: Callable[[Account], str], questions: Sequence[Tuple[Account, bool]], *__: Any
    ) -> List[Answer]:
        assert {pool_of(account) for account, _ in questions} == {settings().target}
        self.questions += questions
        return [self.answers.get(account.uri, report(Finding.FINE)) for account, _ in questions]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def report(finding: Finding, detail: str = "somewhere", name: str = "") -> Report:
    return Report(finding, detail, DC, None, name)


def looked_into(*failures: Failure, told: Settings = WITH_DIRECTORY, dialect: str = "lync") -> Investigation:
    return investigate(failed(*failures, dialect=dialect), told, NOW, soon())


def refused(account: Account) -> Failure:
    return failure(Cause.REFUSED_CREDENTIALS, "401, Unauthorized", REGISTER, account.uri, 401)


def answered(status: int, activity: str, account: Account, *diagnostics: str) -> Failure:
    return failure(Cause.STATUS, f"{status}, No", activity, account.uri, status, diagnostics)


# ------------------------------------------------------------- who is asked about


@pytest.mark.parametrize(
    ("found", "account", "credentials"),
    [
        (refused(ANN), ANN, True),
        (refused(BEN), BEN, True),
        (failure(Cause.HELD_BACK, user=BEN.uri), BEN, True),
        (failure(Cause.ACCOUNT, user=BEN.uri), BEN, True),
        (answered(404, REGISTER, ANN), ANN, False),
        (answered(404, REGISTER, BEN), BEN, False),
        (answered(403, REGISTER, BEN), BEN, False),
        (answered(403, PUBLISH, ANN), ANN, False),
        (answered(403, REGISTER, BEN, '4004;reason="x"'), BEN, True),
        (failure(Cause.DEREGISTERED, user=BEN.uri, detail="rejected"), BEN, False),
    ],
)
def test_an_account_that_could_be_the_fault_is_asked_about(
    asked: Asked, found: Failure, account: Account, credentials: bool
) -> None:
    result = looked_into(found)
    assert asked.questions == [(account, credentials)]
    assert list(result.said) == [account]


@pytest.mark.parametrize(("status", "likelier"), [(404, ANN), (403, BEN)])
def test_both_are_asked_about_where_a_watcher_does_not_get_to_a_presentity(
    asked: Asked, status: int, likelier: Account
) -> None:
    found = answered(status, SUBSCRIBE, BEN)
    assert not looked_into(found).proven
    assert asked.questions[0] == (likelier, False)
    assert {account for account, _ in asked.questions} == {ANN, BEN}


@pytest.mark.parametrize("code", [1003, 2005, 4005, 4006])
@pytest.mark.parametrize("finding", Finding)
def test_the_watcher_is_not_the_fault_where_the_server_does_not_know_the_presentity(
    asked: Asked, code: int, finding: Finding
) -> None:
    asked.answers[BEN.uri] = report(finding)
    result = looked_into(answered(404, SUBSCRIBE, BEN, f'{code};reason="x"'))
    assert (list(result.said), result.proven, asked.questions) == ([ANN], False, [(ANN, False)])
    assert "the pool is to blame" in result.said[ANN]


@pytest.mark.parametrize("culprit", [ANN, BEN])
def test_one_of_two_is_enough_to_explain_why_they_do_not_get_together(asked: Asked, culprit: Account) -> None:
    asked.answers[culprit.uri] = report(Finding.SIP_DISABLED)
    result = looked_into(answered(404, SUBSCRIBE, BEN))
    assert (list(result.said), result.proven) == ([culprit], True)  # and the pool is not blamed beside


@pytest.mark.parametrize(
    "found",
    [
        *(answered(403, REGISTER, ANN, f'{code};reason="x"') for code in (17000, 17001, 17002, 17003)),
        *(failure(cause, user=ANN.uri) for cause in Cause if cause not in OF_CREDENTIALS),
        failure(Cause.NOT_TRUSTED, user=ANN.uri, status=403),
        *(answered(status, REGISTER, ANN) for status in (400, 401, 407, 480, 500, 503)),
        failure(Cause.DEREGISTERED, user=ANN.uri, detail="deactivated"),
    ],
    ids=str,
)
def test_what_no_account_explains_is_not_asked_about(asked: Asked, found: Failure) -> None:
    assert looked_into(found) == Investigation({}, False, "")
    assert looked_into(found, told=settings()) == Investigation({}, False, "")
    assert asked.questions == []


def test_two_failures_of_one_account_are_one_question(asked: Asked) -> None:
    looked_into(answered(404, REGISTER, ANN), answered(403, SELF_SUBSCRIBE, ANN))
    assert asked.questions == [(ANN, False)]


def test_both_accounts_are_asked_about_at_once(asked: Asked) -> None:
    looked_into(refused(ANN), answered(404, REGISTER, BEN))
    assert asked.questions == [(ANN, True), (BEN, False)]


def test_without_a_directory_it_is_said_that_nobody_was_asked() -> None:
    assert looked_into(refused(ANN), told=settings()) == Investigation({}, False, UNASKED)


def test_without_a_directory_nobody_is_missed_when_nothing_was_tried() -> None:
    assert looked_into(failure(Cause.HELD_BACK, user=ANN.uri), told=settings()).remark == ""


@pytest.mark.parametrize("found", [refused(ANN), answered(403, REGISTER, ANN), answered(404, SUBSCRIBE, BEN)])
def test_the_accounts_of_a_simple_server_are_not_looked_for_in_active_directory(asked: Asked, found: Failure) -> None:
    asked.answers[ANN.uri] = report(Finding.ABSENT)
    remark = "Active Directory was not asked: a SIMPLE server has accounts of its own."
    assert looked_into(found, dialect="simple") == Investigation({}, False, remark)
    assert looked_into(found, dialect="simple", told=settings()) == Investigation({}, False, "")
    assert asked.questions == []


# ------------------------------------------------------------- what it comes to


@pytest.mark.parametrize("finding", Finding)
def test_what_speaks_against_the_account_is_a_proof(asked: Asked, finding: Finding) -> None:
    asked.answers[ANN.uri] = report(finding)
    assert is_proof(report(finding)) == (finding not in (Finding.FINE, Finding.CONTRADICTION))
    assert looked_into(answered(404, REGISTER, ANN)).proven == is_proof(report(finding))


OF_SIGNING_IN = (
    *(Finding.DISABLED, Finding.LOCKED, Finding.EXPIRED, Finding.PASSWORD_EXPIRED, Finding.MUST_CHANGE),
    *(Finding.OTHER_LOGON, Finding.ABSENT, Finding.DUPLICATE),
)
OF_LYNC = (
    *(Finding.OTHER_ADDRESS, Finding.NOT_ENABLED, Finding.SIP_DISABLED),
    *(Finding.OTHER_POOL, Finding.HOMED_ONLINE),
)


@pytest.mark.parametrize("cause", OF_CREDENTIALS)
@pytest.mark.parametrize("finding", [*OF_SIGNING_IN, *OF_LYNC])
def test_a_place_in_lync_does_not_explain_why_a_password_is_refused(
    asked: Asked, cause: Cause, finding: Finding
) -> None:
    found = failure(cause, user=ANN.uri, status=401)
    asked.answers[ANN.uri] = report(finding)
    result = looked_into(found)
    assert result.said == {ANN: sentence(report(finding), ANN, WITH_DIRECTORY, found)}
    assert (result.proven, result.explained) == ((True, (found,)) if finding in OF_SIGNING_IN else (False, ()))


@pytest.mark.parametrize("finding", [*OF_SIGNING_IN[:5], Finding.OTHER_POOL, Finding.HOMED_ONLINE])
def test_who_has_signed_in_can_sign_in_here(asked: Asked, finding: Finding) -> None:
    asked.answers[BEN.uri] = report(finding)
    found = answered(403, SUBSCRIBE, BEN)
    registered = [Activity(REGISTER, account.uri, 0.0, 0.1) for account in (ANN, BEN)]
    result = investigate(failed(found, activities=tuple(registered)), WITH_DIRECTORY, NOW, soon())
    assert (list(result.said), result.proven) == ([ANN], False)
    # Who has not got so far, or was thrown out afterwards, may well be disabled or homed elsewhere.
    cases: List[Tuple[Failure, List[Activity]]] = [
        (found, registered[:1]),
        (found, [registered[0], Activity(REGISTER, BEN.uri, 0.0, None)]),
        (found, [registered[0], Activity(REGISTER, BEN.uri, 0.0, 0.1, error="403, Forbidden")]),
        (failure(Cause.DEREGISTERED, user=BEN.uri, detail="rejected"), registered),
    ]
    for other, activities in cases:
        assert investigate(failed(other, activities=tuple(activities)), WITH_DIRECTORY, NOW, soon()).proven


@pytest.mark.parametrize(
    ("ann", "ben", "proven"),
    [
        (report(Finding.LOCKED), report(Finding.ABSENT), True),
        (report(Finding.LOCKED), report(Finding.FINE), False),
        (report(Finding.CONTRADICTION), report(Finding.ABSENT), False),
        (report(Finding.LOCKED), DirectoryError("no answer in time"), False),
    ],
)
def test_only_when_every_account_is_proven_the_accounts_are_the_fault(
    asked: Asked, ann: Answer, ben: Answer, proven: bool
) -> None:
    asked.answers = {ANN.uri: ann, BEN.uri: ben}
    assert looked_into(refused(ANN), answered(404, REGISTER, BEN)).proven is proven


@pytest.mark.parametrize(
    "other",
    [
        failure(Cause.CLOSED, user=BEN.uri),
        failure(Cause.NO_ANSWER, "No answer.", SELF_SUBSCRIBE, ANN.uri),
        failure(Cause.CONNECT),
        answered(503, REGISTER, BEN),
    ],
)
def test_a_failure_that_no_account_explains_is_not_the_account_s(asked: Asked, other: Failure) -> None:
    asked.answers[ANN.uri] = report(Finding.OTHER_POOL)
    assert looked_into(answered(404, SUBSCRIBE, BEN)).proven
    assert not looked_into(answered(404, SUBSCRIBE, BEN), other).proven
    assert not looked_into(other, answered(404, SUBSCRIBE, BEN)).proven


def test_why_the_directory_could_not_be_asked_is_said_once(asked: Asked) -> None:
    asked.answers = dict.fromkeys((ANN.uri, BEN.uri), DirectoryError(f"{DC}: connection refused"))
    result = looked_into(refused(ANN), refused(BEN))
    assert result == Investigation({}, False, f"Active Directory could not be asked: {DC}: connection refused.")


def test_two_reasons_are_both_said(asked: Asked) -> None:
    asked.answers = {ANN.uri: DirectoryError("one"), BEN.uri: DirectoryError("two")}
    assert looked_into(refused(ANN), refused(BEN)).remark == "Active Directory could not be asked: one; two."


def test_what_is_known_of_one_user_is_said_though_not_of_the_other(asked: Asked) -> None:
    asked.answers = {ANN.uri: report(Finding.LOCKED), BEN.uri: DirectoryError("no answer in time")}
    result = looked_into(refused(ANN), refused(BEN))
    assert list(result.said) == [ANN]
    assert result.remark == "Active Directory could not be asked: no answer in time."


def test_what_the_directory_says_stands_in_the_place_of_the_general_advice(asked: Asked) -> None:
    outcome = failed(answered(404, REGISTER, ANN), failure(Cause.CLOSED, "Closed.", user=BEN.uri))
    asked.answers[ANN.uri] = report(Finding.SIP_DISABLED)
    found = investigate(outcome, WITH_DIRECTORY, NOW, soon())
    general = diagnose(outcome, WITH_DIRECTORY).advice
    advice = diagnose(outcome, WITH_DIRECTORY, found.said, found.explained).advice
    assert advice == (found.said[ANN], general[1])


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (answered(404, REGISTER, ANN), False),
        (answered(404, REGISTER, ANN, '4005;reason="x"'), False),
        (answered(404, REGISTER, ANN, '1005;reason="x"'), True),
        (answered(403, REGISTER, ANN), True),
        (answered(403, REGISTER, ANN, '4003;reason="x"'), True),
        (answered(403, REGISTER, ANN, '4004;reason="x"'), True),
        (failure(Cause.DEREGISTERED, user=ANN.uri, detail="rejected", diagnostics=("4141",)), True),
        (refused(ANN), False),
    ],
)
def test_an_account_in_order_does_not_hide_what_the_server_has_said(asked: Asked, found: Failure, kept: bool) -> None:
    outcome = failed(found)
    (general,) = diagnose(outcome, WITH_DIRECTORY).advice
    result = investigate(outcome, WITH_DIRECTORY, NOW, soon())
    advice = diagnose(outcome, WITH_DIRECTORY, result.said, result.explained).advice
    assert advice == ((result.said[ANN], general) if kept else (result.said[ANN],))
    assert ("User Replicator" in result.said[ANN]) == (not kept and found.status == 404)


def test_both_files_are_named_when_both_users_are_held_back() -> None:
    found = [failure(Cause.HELD_BACK, user=one.uri, detail=f"/state/{one.address}.json") for one in (ANN, BEN)]
    (said,) = diagnose(failed(*found), settings()).advice
    assert "/state/ann@contoso.example.json and ben@contoso.example.json" in said


def test_how_to_try_again_is_said_beside_what_the_directory_says() -> None:
    outcome = failed(failure(Cause.HELD_BACK, user=ANN.uri, detail="/state/refused.json"))
    first, second = diagnose(outcome, WITH_DIRECTORY, {ANN: "Locked."}).advice
    assert first == "Locked."
    assert "/state/refused.json" in second


# -------------------------------------------------------------- the sentences


@pytest.mark.parametrize("finding", Finding)
@pytest.mark.parametrize(
    "found", FAILURES, ids=["verified", "account", "refused by the KDC", "refused", "held back", "404"]
)
def test_every_finding_has_a_sentence(finding: Finding, found: Optional[Failure]) -> None:
    untold = (Finding.LOCKED, Finding.PASSWORD_EXPIRED, Finding.MUST_CHANGE, Finding.ABSENT)
    for detail in ("", "somewhere") if finding in untold else ("somewhere",):
        said = sentence(report(finding, detail), ANN, settings(), found)
        assert said.endswith(".")
        assert len(said) > 30
        assert not set("{}") & set(said)
        assert any(name in said for name in (ANN.uri, ANN.user))
        assert "  " not in said


@pytest.mark.parametrize(
    ("logon", "named", "name"),
    [
        ("CONTOSO\\ann", "", "ann"),
        ("ann@contoso.example", "", "ann"),
        ("ann", "", "ann"),
        ("CONTOSO\\ann@b", "", "ann"),
        ("anything@contoso.example", "ann.of.ad", "ann.of.ad"),
    ],
)
def test_the_command_names_the_account_as_active_directory_does(logon: str, named: str, name: str) -> None:
    said = sentence(report(Finding.DISABLED, name=named), ANN._replace(user=logon), settings())
    assert said == f"The AD account {logon} is disabled: Enable-ADAccount -Identity {name}."


def test_another_account_than_that_of_the_logon_name_is_called_by_its_own() -> None:
    found = report(Finding.DISABLED, name="svc.ann")._replace(owner="svc.ann")
    assert sentence(found, ANN, settings()) == "The AD account svc.ann is disabled: Enable-ADAccount -Identity svc.ann."
    found = report(Finding.OTHER_LOGON, "svc.ann")._replace(owner="svc.ann")
    assert sentence(found, ANN, settings()).startswith(f"{ANN.uri} is the SIP address of svc.ann, not of {ANN.user}: ")


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("ann", "ann"),
        ("ann_b.c@d", "ann_b.c@d"),
        ("ünal-2", "ünal-2"),
        ("svc test", "'svc test'"),
        ("o(ne", "'o(ne'"),
        ("a;Remove-Item", "'a;Remove-Item'"),
        ("$home", "'$home'"),
        ("-Confirm", "'-Confirm'"),
        ("o'neil", "'o''neil'"),
        ("o’neil", "'o’’neil'"),
    ],
)
def test_a_name_is_one_word_of_the_command(name: str, quoted: str) -> None:
    said = sentence(report(Finding.DISABLED, name=name), ANN, settings())
    assert said.endswith(f": Enable-ADAccount -Identity {quoted}.")


def test_the_command_names_the_pool_that_the_user_signs_in_at() -> None:
    told = settings(subscriber_target="pool02.contoso.example")
    assert "-RegistrarPool pool02.contoso.example" in sentence(report(Finding.NOT_ENABLED), BEN, told)
    assert "-RegistrarPool pool01.contoso.example" in sentence(report(Finding.NOT_ENABLED), ANN, told)


def test_what_is_not_shown_is_not_called_in_order() -> None:
    said = sentence(report(Finding.FINE)._replace(told=False), ANN, settings(), refused(ANN))
    assert said.startswith(f"{DC} does not show whether {ANN.user} is disabled, locked out or expired")
    assert "password is wrong" not in said


def test_a_directory_without_measure_leaves_room_for_the_rest() -> None:
    assert len(sentence(report(Finding.OTHER_ADDRESS, "x" * 5000), ANN, settings())) < 800


def test_a_lock_out_is_told_with_its_time_where_it_is_known() -> None:
    assert "has been locked out since 2023-11-14 22:13 UTC: Unlock-ADAccount" in sentence(
        report(Finding.LOCKED, "2023-11-14 22:13 UTC"), ANN, settings()
    )
    assert "has been locked out: Unlock-ADAccount" in sentence(report(Finding.LOCKED, ""), ANN, settings())


def test_an_account_in_order_leaves_five_explanations() -> None:
    told = [sentence(report(Finding.FINE), ANN, settings(), one) for one in FAILURES]
    verified, not_for_the_kdc, by_the_kdc, refused, held_back, unknown = told
    assert "and the KDC does not" in not_for_the_kdc
    assert by_the_kdc.endswith("the stored password or keytab is wrong.")
    assert "nothing wrong" in verified
    assert "the stored password is wrong" in refused
    assert held_back == refused
    assert "User Replicator" in unknown


odd = st.text(max_size=20) | st.sampled_from(
    ["{", "{0}", "{user}", "{detail!r}", "\\", "@", "%s", "a\\b\\c@d@e", "\x1b[31m"]
)


@many
@given(st.sampled_from(list(Finding)), odd, odd, odd, st.sampled_from(FAILURES))
def test_any_name_makes_a_sentence_that_can_be_printed(
    finding: Finding, uri: str, logon: str, detail: str, found: Optional[Failure]
) -> None:
    account = Account(uri, logon, Secret("x"))
    assert clean(sentence(report(finding, detail, logon), account, settings(), found)).isprintable()
