"""The edge: an Outcome becomes a first line, long output, performance data and an exit code."""

from __future__ import annotations

import logging
import re
import signal
import time
from typing import Any, Callable, Dict, Iterator, List, Tuple, Union

import nagiosplugin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence import plugin
from check_lync_presence.diagnosis import _KERBEROS, _SCHEMES, _STATUS, _TLS, _TLS_DSK, accounts
from check_lync_presence.diagnosis.ms_diagnostics import ADVICE
from check_lync_presence.directory import Finding
from check_lync_presence.directory import Report as DirectoryReport
from check_lync_presence.outcome import (
    NOTIFY,
    PUBLISH,
    REGISTER,
    SELF_SUBSCRIBE,
    SUBSCRIBE,
    UNREGISTER,
    Activity,
    Cause,
    CertificateEnd,
    Failure,
    Outcome,
)
from check_lync_presence.plugin import PERFDATA, decimal, measured
from check_lync_presence.roundtrip import _NOBODYS, World
from check_lync_presence.settings import (
    Account,
    ClientCertificate,
    DirectorySettings,
    Secret,
    Settings,
    Thresholds,
    TlsSettings,
)
from check_lync_presence.stop import Stopped

from .commands import POOL, Finished
from .samples import ACTIVITIES, ANN, BEN, failed, failure, settings, success
from .strategies import many

Report = Callable[..., Finished]
SERVERS = "the server's certificate"
DAY = 86400


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Iterator[Report]:
    """What the plugin prints for an Outcome, and its exit code."""
    handlers = list(logging.getLogger("nagiosplugin").handlers)

    def run(outcome: Union[Outcome, Callable[..., Outcome]], told: Settings = settings()) -> Finished:  # noqa: B008
        monkeypatch.setattr(nagiosplugin.runtime.Runtime, "instance", None)
        monkeypatch.setattr(plugin, "attempt", outcome if callable(outcome) else lambda *_: outcome)
        with pytest.raises(SystemExit) as end:
            plugin.execute(told)
        output = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Finished(end.value.code, output.out, output.err)

    yield run
    logging.getLogger("nagiosplugin").handlers[:] = handlers


def limits(warning: Dict[str, str], critical: Dict[str, str]) -> Settings:
    return settings(thresholds=Thresholds(warning, critical))


# ------------------------------------------------------------------ measuring


def test_everything_that_was_measured_is_there() -> None:
    assert {label: round(value, 6) for label, value in measured(success()).items()} == {
        "latency": 0.214032,
        "notify": 0.0312,
        "register": 0.049,
        "self_subscribe": 0.01,
        "subscribe": 0.02,
        "publish": 0.03,
        "unregister": 0.02,
    }


@pytest.mark.parametrize("count", range(len(ACTIVITIES)))
def test_what_was_not_measured_is_left_out(count: int) -> None:
    found = measured(failed(activities=ACTIVITIES[:count]))
    labels = {REGISTER: "register", SELF_SUBSCRIBE: "self_subscribe", SUBSCRIBE: "subscribe", PUBLISH: "publish"}
    assert set(found) == {
        labels.get(activity.name, "unregister") for activity in ACTIVITIES[:count] if activity.name != NOTIFY
    }


def test_nothing_is_measured_when_nothing_was_done() -> None:
    assert measured(failed()) == {}


@pytest.mark.parametrize("broken", [{"ended": None}, {"error": "404, Not Found"}])
def test_an_activity_that_one_user_did_not_complete_is_left_out(broken: Dict[str, Any]) -> None:
    activities = (ACTIVITIES[0], ACTIVITIES[1]._replace(**broken), ACTIVITIES[2])
    assert set(measured(failed(activities=activities))) == {"self_subscribe"}


def test_a_failure_has_no_latency_even_if_the_notification_came() -> None:
    found = measured(failed(failure(Cause.CLOSED), latency=0.2, notified_after=0.1))
    assert set(found) == {"notify"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1, "1"),
        (-3, "-3"),
        (0.2140315, "0.214032"),
        (1e-7, "0"),
        (0.5, "0.5"),
        (100.0, "100"),
        (1e15, "1" + "0" * 15),
    ],
)
def test_numbers_are_plain_decimals(value: float, text: str) -> None:
    assert decimal(value) == text


@many
@given(st.floats(0, 1e9) | st.integers(-(10**6), 10**6))
def test_no_number_has_an_exponent_or_a_trailing_zero(value: float) -> None:
    text = decimal(value)
    assert re.fullmatch(r"-?\d+(\.\d*[1-9])?", text)
    assert abs(float(text) - value) <= max(1e-6, value * 1e-9)


# --------------------------------------------------------------------- states


def test_a_success_is_ok(report: Report) -> None:
    result = report(success())
    assert (result.code, result.stderr) == (0, "")
    assert result.first_line.partition(" | ")[0] == (
        "LYNC PRESENCE OK - sip:ann@contoso.example reached sip:ben@contoso.example on pool01.contoso.example "
        "in 0.214 s"
    )
    assert result.lines[1:] == [
        "TargetFqdn : pool01.contoso.example",
        "Result     : Success",
        "Latency    : 00:00:00.2140315",
        "Error      :",
        "Diagnosis  :",
    ]


def test_every_label_is_documented(report: Report) -> None:
    result = report(success(certificate_expires=CertificateEnd(time.time() + 90.5 * DAY, SERVERS)))
    assert set(result.perfdata) == set(PERFDATA)


def test_the_performance_data_have_a_minimum_and_no_unit(report: Report) -> None:
    perfdata = report(success()).perfdata
    assert perfdata["latency"] == "0.214032;;;0"
    assert perfdata["success"] == "1"


@pytest.mark.parametrize(
    ("label", "warning", "critical", "code"),
    [
        ("latency", "0.3", "", 0),
        ("latency", "0.2", "", 1),
        ("latency", "0.2", "0.3", 1),
        ("latency", "0.1", "0.2", 2),
        ("latency", "", "0.2", 2),
        ("latency", "@0.2:0.3", "", 1),
        ("latency", "~:0.3", "", 0),
        ("latency", "1:", "", 1),
        ("register", "0.01", "", 1),
        ("self_subscribe", "", "0.001", 2),
        ("subscribe", "0.001", "", 1),
        ("publish", "0.001", "0.002", 2),
        ("notify", "0.03", "", 1),
        ("notify", "0.04", "", 0),
        ("unregister", "0.001", "", 1),
    ],
)
def test_a_threshold_makes_the_state_and_stands_on_its_label(
    report: Report, label: str, warning: str, critical: str, code: int
) -> None:
    result = report(success(), limits({label: warning} if warning else {}, {label: critical} if critical else {}))
    assert result.code == code
    assert result.first_line.startswith(
        f"LYNC PRESENCE {('OK', 'WARNING', 'CRITICAL')[code]} - sip:ann@contoso.example reached"
    )
    assert result.perfdata[label].split(";", 1)[1] == f"{warning};{critical};0"
    assert (f", {label} " in result.first_line.partition(" | ")[0]) == bool(code)
    assert [value.count(";;;") for name, value in result.perfdata.items() if name not in (label, "success")].count(
        0
    ) == 0


@pytest.mark.parametrize(
    ("days", "warning", "critical", "code", "shown"),
    [
        (90.5, "30:", "7:", 0, "90"),
        (20.5, "30:", "7:", 1, "20"),
        (3.5, "30:", "7:", 2, "3"),
        (30.01, "30:", "7:", 0, "30"),
        (0.5, "30:", "", 1, "0"),
        (-0.5, "", "0:", 2, "-1"),
    ],
)
def test_the_certificate_has_thresholds_of_its_own(
    report: Report, days: float, warning: str, critical: str, code: int, shown: str
) -> None:
    told = limits({"certificate_days": warning} if warning else {}, {"certificate_days": critical} if critical else {})
    result = report(success(certificate_expires=CertificateEnd(time.time() + days * DAY, SERVERS)), told)
    assert result.code == code
    assert result.perfdata["certificate_days"] == f"{shown};{warning};{critical}".rstrip(";")


def test_two_broken_thresholds_are_both_named(report: Report) -> None:
    result = report(success(), limits({"latency": "0.1", "publish": "0.01"}, {}))
    text = result.first_line.partition(" | ")[0]
    assert "latency 0.214032 is outside range 0:0.1" in text
    assert "publish 0.03 is outside range 0:0.01" in text


def test_a_threshold_does_not_soften_a_failure(report: Report) -> None:
    found = failed(failure(Cause.CLOSED, "The server closed the connection."), activities=ACTIVITIES[:2])
    result = report(found, limits({"register": "0.001"}, {}))
    assert result.code == 2
    assert result.first_line.startswith("LYNC PRESENCE CRITICAL - Register failed: The server closed the connection |")
    assert result.perfdata["success"] == "0"


def test_a_success_that_is_stopped_meets_the_thresholds_of_all_that_was_measured(
    report: Report,
) -> None:
    def stopped(told: Settings, _: Any, world: World, __: Any) -> Outcome:
        for activity in ACTIVITIES[:-1]:
            world.watch(activity._replace(ended=None, details=()))
            world.watch(activity)
        world.watch(ACTIVITIES[-1]._replace(ended=None))
        world.ends(CertificateEnd(time.time() + 90.5 * DAY, SERVERS))
        world.ends(CertificateEnd(time.time() + 3.5 * DAY, SERVERS))
        world.notified(0.2140315, 0.0312)
        raise Stopped

    for warning in ({"certificate_days": "7:"}, {"notify": "0.03"}, {"latency": "0.2"}):
        result = report(stopped, limits(warning, {}))
        assert result.code == 1, result.stdout
        whole = {label: value.split(";")[0] for label, value in result.perfdata.items()}
        assert "unregister" not in whole  # one user's is not that of both
        assert (whole["certificate_days"], whole["latency"], whole["notify"]) == ("3", "0.214032", "0.0312")
        assert "The log-off was cut short (SIGTERM)." in result.lines


# -------------------------------------------------------------- what it says


def test_a_failure_names_activity_user_and_reason(report: Report) -> None:
    found = failure(Cause.STATUS, "404, Not Found", SUBSCRIBE, BEN.uri, 404)
    text = report(failed(found)).first_line.partition(" | ")[0]
    assert text == "LYNC PRESENCE CRITICAL - SubscribePresence failed for sip:ben@contoso.example: 404, Not Found"


def test_a_missing_notification_is_a_failure_of_the_publication(report: Report) -> None:
    text = "Presence notification is not received within 25 secs."
    result = report(failed(failure(Cause.NO_NOTIFICATION, text, NOTIFY, BEN.uri)))
    assert result.first_line.partition(" | ")[0] == f"LYNC PRESENCE CRITICAL - PublishPresence failed: {text[:-1]}"
    assert f"Error      : {text}" in result.lines


def test_more_failures_are_counted(report: Report) -> None:
    found = (failure(Cause.CLOSED, "One.", user=ANN.uri), failure(Cause.TLS, "Two.", user=BEN.uri))
    assert "Register failed for sip:ann@contoso.example: One (and 1 more) |" in report(failed(*found)).first_line


def test_the_same_failure_of_both_users_is_said_once(report: Report) -> None:
    found = [failure(Cause.REFUSED_CREDENTIALS, "401, Unauthorized", user=user.uri) for user in (ANN, BEN)]
    assert "Register failed for both users: 401, Unauthorized |" in report(failed(*found)).first_line


def test_the_same_failure_is_the_same_whatever_time_each_user_had(report: Report) -> None:
    found = [
        failure(Cause.NO_ANSWER, f"No answer to REGISTER in {time} secs.", user=user.uri)
        for user, time in ((ANN, "3.6"), (BEN, "3.5"))
    ]
    assert "Register failed for both users: No answer to REGISTER in 3.6 secs |" in report(failed(*found)).first_line


def test_different_failures_of_both_users_are_not_called_the_same(report: Report) -> None:
    found = [failure(Cause.STATUS, str(code), user=user.uri, status=code) for user, code in ((ANN, 403), (BEN, 404))]
    assert "both users" not in report(failed(*found)).first_line


@pytest.mark.parametrize(
    "other",
    [
        failure(Cause.TLS, "It has expired.", detail="VERIFY_10")._replace(server="pool02"),
        failure(Cause.TLS, "It is for other names.", detail="VERIFY_62"),
    ],
)
def test_another_fault_or_that_of_another_pool_is_not_called_the_same(report: Report, other: Failure) -> None:
    one = failure(Cause.TLS, "It has expired.", detail="VERIFY_10")
    assert "Register failed: It has expired (and 1 more) |" in report(failed(one, other)).first_line
    assert one.key != other.key


def test_the_same_failure_is_the_same_whichever_front_end_each_user_is_at(report: Report) -> None:
    found = [
        failure(Cause.CLOSED, "The server closed the connection.", user=user.uri, detail=place)
        for user, place in ((ANN, "10.0.0.4:5061"), (BEN, "10.0.0.5:5061"))
    ]
    assert "Register failed for both users: The server closed the connection |" in report(failed(*found)).first_line


def test_of_one_front_end_it_is_not_said_that_all_fail(report: Report) -> None:
    alone = failed(failure(Cause.CLOSED, "Gone.", user=ANN.uri), server="10.0.0.4")
    result = report(alone._replace(front_ends=(alone,)), settings(all_front_ends=True))
    assert f"- the only front end of {POOL} fails |" in result.first_line


@pytest.mark.parametrize(
    ("told", "remark"),
    [
        (settings(tls=TlsSettings(insecure=True)), "The server's certificate was not verified (--insecure)."),
        (settings(transport="tcp"), "The connection is not encrypted (--transport tcp)."),
    ],
)
def test_what_weakens_the_check_is_said_whatever_the_verdict(report: Report, told: Settings, remark: str) -> None:
    assert remark in report(success(), told).lines
    assert remark in report(failed(failure(Cause.CLOSED)), told).lines


def test_remarks_of_the_run_stand_below_the_five_lines(report: Report) -> None:
    assert report(success(remarks=("The clocks are 7 minutes apart.",))).lines[6:] == [
        "The clocks are 7 minutes apart."
    ]


def test_server_text_is_cleaned_wherever_it_is_shown(report: Report) -> None:
    evil = "404, \x1b[31mNot|Found\r\nLYNC PRESENCE OK <b>\u202e"
    result = report(
        failed(failure(Cause.STATUS, evil, status=404, diagnostics=(f'4;reason="{evil}"',)), remarks=(evil,))
    )
    assert result.stdout.count("|") == 1
    assert len([line for line in result.lines if line.startswith("LYNC PRESENCE")]) == 1
    assert all(line.isprintable() for line in result.lines)
    assert "warning: removed" not in result.stdout


def test_messages_that_were_not_kept_are_counted_below(report: Report) -> None:
    result = report(success(left_out=12), settings(verbose=2))
    assert result.lines[-1] == "12 more messages are not shown."


def test_what_is_told_has_a_time_of_its_own(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    left: List[float] = []

    def told(*_: Any) -> List[str]:
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        return []

    monkeypatch.setattr(plugin, "cmdlet_lines", told)
    report(success(), settings(timeout=1.0))
    assert left[0] > 1.0 + plugin.FENCE


def test_a_server_that_says_our_credentials_again_is_not_quoted(report: Report) -> None:
    token = "TlRMTVNTUAADAAAAGAAYAGAAAABGAEYAeAAAAA4ADgBIAAAABgAGAFYA"

    def refused(told: Settings, _: Any, world: World, __: Any) -> Outcome:
        world.credentials(f'NTLM qop="auth", gssapi-data="{token}", version=4')
        return failed(failure(Cause.STATUS, f"403, {token}", user=ANN.uri, status=403), remarks=(token[:40],))

    def stopped(told: Settings, _: Any, world: World, __: Any) -> Outcome:
        world.credentials(f'Digest username="ann", response="{token}"')
        world.failed(failure(Cause.STATUS, f"403, {token}", user=ANN.uri, status=403))
        raise Stopped

    for run in (refused, stopped):
        result = report(run, settings(verbose=1))
        assert token[:24] not in result.stdout
        assert "Error      : 403, ***" in result.lines


def test_verbosity_adds_the_log_below(report: Report) -> None:
    assert "'Register' activity started." in report(success(), settings(verbose=1)).lines
    assert "'Register' activity started." not in report(success()).lines


def every_kind() -> Iterator[Tuple[str, Tuple[Failure, ...]]]:
    """Failures of every kind with texts as they come."""
    place = "127.0.0.1:5061"
    texts = {
        Cause.RESOLVE: "cannot resolve pool01.contoso.example: Name or service not known.",
        Cause.CONNECT: f"cannot connect to {place}: Connection refused.",
        Cause.TLS: f"the certificate of {place} is not for pool01.contoso.example.",
        Cause.CLOSED: "The server closed the connection in the middle of a message.",
        Cause.NO_ANSWER: "No answer to SUBSCRIBE in 32 secs.",
        Cause.PROTOCOL: "The answer is not SIP: a line of the message head is not a header field.",
        Cause.STATUS: "480, Temporarily Unavailable",
        Cause.REFUSED_CREDENTIALS: "401, Unauthorized",
        Cause.REFUSED_HERE: "401, Unauthorized",
        Cause.ACCOUNT: "Kerberos: account disabled, locked or expired.",
        Cause.KERBEROS: "Kerberos: no such user as ann@CONTOSO.EXAMPLE.",
        Cause.NOT_TRUSTED: "401, Unauthorized",
        Cause.CERTIFICATE: "Certificate refused: unsupported certificate.",
        Cause.PROVISIONING: "No certificate: no answer from pool01.contoso.example:443 within 15 s.",
        Cause.HELD_BACK: "No attempt, refused since 2026-01-31 12:59 UTC.",
        Cause.NO_SCHEME: "The server does not offer NTLM; it offers Kerberos, TLS-DSK.",
        Cause.SIGNATURE: "The answer to SUBSCRIBE has a repeated sequence number.",
        Cause.REDIRECT: "Redirected to a connection without TLS.",
        Cause.DEREGISTERED: "Signed off by the server (deactivated).",
        Cause.NOT_ENABLED: "Registered without enhanced presence.",
        Cause.NO_NOTIFICATION: "Presence notification is not received within 25 secs.",
        Cause.STOPPED: "Not over after 38.1 s, then SIGTERM.",
        Cause.NO_TIME: "Not tried: the other front ends took all the time.",
    }
    remembered = "/home/nagios/.local/state/check_lync_presence/refused-0123456789ab.json"
    details = {Cause.CLOSED: place, Cause.PROTOCOL: place, Cause.HELD_BACK: remembered}
    for cause in Cause:
        for user in [""] if cause in _NOBODYS else [ANN.uri, BEN.uri]:
            detail = details.get(cause, "")
            yield f"{cause.name} {user}", (failure(cause, texts[cause], REGISTER, user, 401, detail=detail),)
    for cause in (Cause.CLOSED, Cause.NO_ANSWER, Cause.STATUS):
        yield f"{cause.name} itself", (failure(cause, texts[cause], SELF_SUBSCRIBE, ANN.uri, 480),)
    for fault in _TLS:
        yield fault, (failure(Cause.TLS, texts[Cause.TLS], detail=fault),)
    for scheme in _SCHEMES:
        yield scheme, (failure(Cause.NO_SCHEME, texts[Cause.NO_SCHEME], detail=scheme),)
    for trouble in _KERBEROS:
        cause = Cause.ACCOUNT if trouble == "PASSWORD" else Cause.KERBEROS
        yield trouble, (failure(cause, texts[cause], REGISTER, ANN.uri, detail=trouble),)
    for trouble in _TLS_DSK:
        cause = Cause.CERTIFICATE if trouble == "OTHER" else Cause.PROVISIONING
        yield trouble, (failure(cause, texts[cause], REGISTER, ANN.uri, detail=trouble),)
    for status in _STATUS:
        yield (
            str(status),
            (failure(Cause.STATUS, f"{status}, Service Unavailable", PUBLISH, ANN.uri, status, retry_after="30"),),
        )
    for code in ADVICE:
        reason = "Destination URI either not enabled for SIP or does not exist"
        header = f'{code};reason="{reason}";source="pool01.contoso.example"'
        yield f"code {code}", (failure(Cause.STATUS, "403, Forbidden", SUBSCRIBE, BEN.uri, 403, (header,)),)
    refused = [failure(Cause.REFUSED_CREDENTIALS, "401, Unauthorized", REGISTER, user.uri, 401) for user in (ANN, BEN)]
    yield "both refused", tuple(refused)
    yield (
        "two faults",
        (refused[0], failure(Cause.STATUS, "404, Not Found", REGISTER, BEN.uri, 404, ('4005;reason="x"',))),
    )
    detail = "12 other notification(s) arrived, 3 unsigned message(s) were discarded"
    yield (
        "others arrived",
        (failure(Cause.NO_NOTIFICATION, texts[Cause.NO_NOTIFICATION], NOTIFY, BEN.uri, detail=detail),),
    )


KINDS = dict(every_kind())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_failure_fits_the_monitoring_system(report: Report, kind: str) -> None:
    done = tuple(activity for activity in ACTIVITIES if activity.name != NOTIFY)
    outcome = failed(
        *KINDS[kind],
        activities=done,
        notified_after=0.1234567,
        certificate_expires=CertificateEnd(time.time() + 600 * DAY, SERVERS),
    )
    ranges = dict.fromkeys(("latency", "notify", "register", "certificate_days"), "@10.5:20.5")
    result = report(outcome, limits(ranges, ranges))
    assert (result.code, result.stderr) == (2, "")
    text, bar, _ = result.first_line.partition("|")
    assert bar
    assert len(text) <= 120
    assert len(result.stdout.encode()) < 1024
    assert result.stdout.count("|") == 1
    assert not set(result.stdout) & set("<>\t\r")


DC = "ldaps://dc01.contoso.example"


@pytest.mark.parametrize("finding", Finding)
@pytest.mark.parametrize("cause", [Cause.REFUSED_CREDENTIALS, Cause.HELD_BACK, Cause.STATUS])
@pytest.mark.parametrize("users", [(ANN,), (ANN, BEN)], ids=["one", "both"])
def test_what_the_directory_says_fits_too(
    report: Report, monkeypatch: pytest.MonkeyPatch, finding: Finding, cause: Cause, users: Tuple[Account, ...]
) -> None:
    details = {
        Finding.DUPLICATE: "CN=ann,OU=Test users,DC=contoso,DC=example and CN=ann 2,OU=Old,DC=contoso,DC=example",
        Finding.OTHER_ADDRESS: "sip:anna@contoso.example",
        Finding.OTHER_POOL: "pool02.contoso.example",
        Finding.CONTRADICTION: f"{DC} says password expired, {DC} says must change",
    }
    found = DirectoryReport(finding, details.get(finding, "2026-01-31 12:59 UTC"), DC, None, "ann")
    monkeypatch.setattr(accounts, "ask", lambda *arguments: [found] * len(arguments[2]))
    text = {Cause.HELD_BACK: "No attempt, refused since 2026-01-31 12:59 UTC.", Cause.STATUS: "404, Not Found"}
    file = "/var/lib/check_lync_presence/refused-01234567890{}.json"
    diagnostics = ('4005;reason="Destination URI either not enabled for SIP or does not exist";source="pool01"',)
    failures = [
        failure(cause, text.get(cause, "401, Unauthorized"), REGISTER, one.uri, 404 if cause is Cause.STATUS else None,
                diagnostics if cause is Cause.STATUS else (), file.format(one.uri[4]) if cause is Cause.HELD_BACK else "")  # noqa: E501
        for one in users
    ]  # fmt: skip
    told = settings(directory=DirectorySettings((DC,), None, None, Secret(""), "anonymous", None, False))
    result = report(failed(*failures), told)
    assert result.code == 2
    assert len(result.first_line.partition(" | ")[0]) < 120
    assert len(result.stdout.encode()) < 1024


@pytest.mark.parametrize(("state", "code"), [("warning", 1), ("unknown", 3), ("critical", 2)])
def test_no_threshold_overrules_the_state_of_a_proven_fault_of_the_account(
    report: Report, monkeypatch: pytest.MonkeyPatch, state: str, code: int
) -> None:
    found = DirectoryReport(Finding.DISABLED, "", DC, None, "ann")
    monkeypatch.setattr(accounts, "ask", lambda *arguments: [found] * len(arguments[2]))
    told = limits({}, {"certificate_days": "400:", "unregister": "0:0"})._replace(
        directory=DirectorySettings((DC,), None, None, Secret(""), "anonymous", None, False), account_state=state
    )
    refused = failure(Cause.REFUSED_CREDENTIALS, "401, Unauthorized", user=ANN.uri, status=401)
    end = CertificateEnd(time.time() + 90.5 * DAY, SERVERS)
    result = report(failed(refused, activities=ACTIVITIES[-1:], certificate_expires=end), told)
    assert result.code == code
    assert (result.perfdata["certificate_days"], result.perfdata["unregister"]) == ("90;;400:", "0.01;;0:0;0")


def client_certificate(days: float) -> TlsSettings:
    return TlsSettings(shown=ClientCertificate("/etc/c.pem", ("x",), 0.0, time.time() + days * DAY))


@pytest.mark.parametrize(
    ("server", "client", "days", "whose"),
    [
        (90.5, 5.5, 5, "the client certificate /etc/c.pem"),
        (5.5, 90.5, 5, "the server's certificate"),
    ],
)
def test_of_two_certificates_the_one_that_ends_first_counts_and_is_named(
    report: Report, server: float, client: float, days: int, whose: str
) -> None:
    told = limits({"certificate_days": "30:"}, {})._replace(tls=client_certificate(client))
    result = report(success(certificate_expires=CertificateEnd(time.time() + server * DAY, SERVERS)), told)
    assert result.code == 1
    assert result.perfdata["certificate_days"] == f"{days};30:"
    assert f"certificate_days of {whose} {days} is outside range 30:" in result.first_line


def test_a_client_certificate_alone_is_not_measured(report: Report) -> None:
    result = report(success(certificate_expires=None), settings(tls=client_certificate(5.5)))
    assert "certificate_days" not in result.perfdata


def test_the_longest_success_fits_too(report: Report) -> None:
    ranges = {label: "@10.5:20.5" for label in PERFDATA if label != "success"}
    told = limits(ranges, ranges)._replace(tls=TlsSettings(insecure=True))
    result = report(success(certificate_expires=CertificateEnd(time.time() + 600 * DAY, SERVERS)), told)
    assert len(result.stdout.encode()) < 1024
    assert result.code == 0


WIDE = "€" * 600
PLACE = "p" * 47 + ".contoso.example"


def remarks(count: int) -> Tuple[str, ...]:
    return tuple(f"Remark {number}: {'nothing that matters ' * 6}." for number in range(count))


@pytest.mark.parametrize("told", [settings(), settings(tls=TlsSettings(insecure=True))], ids=["verified", "insecure"])
@pytest.mark.parametrize(
    "outcome",
    [
        success(remarks=remarks(8)),
        success(remarks=(WIDE,)),
        failed(failure(Cause.STATUS, f"403, {WIDE}", user=ANN.uri, status=403, diagnostics=(f'1;reason="{WIDE}"',))),
        failed(failure(Cause.STATUS, "503, Unavailable", user=ANN.uri, status=503), remarks=(*remarks(4), WIDE)),
        failed(
            failure(Cause.NO_ANSWER, "No answer to REGISTER in 1 secs.", user=ANN.uri),
            failure(Cause.CLOSED, "Closed.", user=BEN.uri, detail=PLACE),
            failure(Cause.REDIRECT, "Redirected in a circle.", user=BEN.uri),
            failure(Cause.NO_TIME, "Not tried.", SUBSCRIBE, BEN.uri),
            target=PLACE,
            remarks=remarks(3),
        ),
    ],
    ids=["remarks", "a wide remark", "a wide reason", "advice and remarks", "four failures"],
)
def test_however_much_there_is_to_say_the_default_output_fits(report: Report, outcome: Outcome, told: Settings) -> None:
    whole = report(outcome, told._replace(verbose=1))
    result = report(outcome, told)
    assert len(whole.stdout.encode()) > 1023 >= len(result.stdout.encode())
    assert result.perfdata == whole.perfdata
    assert [line.partition(" ")[0] for line in result.lines[1:6]] == [
        "TargetFqdn", "Result", "Latency", "Error", "Diagnosis"
    ]  # fmt: skip
    advice = next(
        (line for line in whole.lines if re.match("The (server forbids|pool is not ready|conn.*hangs)", line)), ""
    )
    assert not advice or advice in result.lines
    assert bool(advice) == bool(outcome.failures)
    assert (told.tls.insecure) == ("The server's certificate was not verified (--insecure)." in result.lines)
    assert result.lines[-1] == "-v tells all of it." or WIDE in outcome.failures[0].text


@pytest.mark.parametrize("count", [2, 40])
def test_the_front_ends_are_told_and_what_no_limit_holds_is_told_whole(report: Report, count: int) -> None:
    broken = failure(Cause.STATUS, "503, Unavailable", user=ANN.uri, status=503)
    each = [failed(broken, server=f"10.0.0.{number}") for number in range(count)]
    whole = failed(broken, front_ends=tuple(each), remarks=remarks(6))
    result = report(whole, settings(all_front_ends=True))
    assert [line for line in result.lines if " : Failure, " in line] == [
        f"10.0.0.{number} : Failure, Register failed for {ANN.uri}: 503, Unavailable" for number in range(count)
    ]
    assert any(line.startswith("The pool is not ready") for line in result.lines)
    assert (len(result.stdout.encode()) < 1024) == (count == 2) == (result.lines[-1] == "-v tells all of it.")


def test_what_fits_is_not_cut(report: Report) -> None:
    reason = "x" * 180
    result = report(failed(failure(Cause.STATUS, "403, Forbidden", diagnostics=(f'1;reason="{reason}"',))))
    assert f"Diagnosis  : ErrorCode=1,Reason={reason}" in result.lines
    assert "-v tells all of it." not in result.lines


@pytest.mark.parametrize("ranges", [("0:0",), ("0.000001:0.000002", "@0:10000")], ids=["short", "long"])
@pytest.mark.parametrize("count", range(1, 7))
def test_the_first_line_names_what_is_out_of_range_and_is_short(
    report: Report, ranges: Tuple[str, ...], count: int
) -> None:
    labels = ("latency", "notify", "register", "self_subscribe", "subscribe", "publish")[:count]
    worst = labels[-1]
    told = limits(dict.fromkeys(labels, ranges[0]), {worst: ranges[-1]})
    text, _, _ = report(success(), told).first_line.partition(" | ")
    assert len(text) < 120
    assert f" {worst} 0." in text
    named = len(re.findall(r"\d is ", text))
    assert f"(and {count - named} more)" in text or named == count
    assert "reached" in text or count > 1


@pytest.mark.parametrize("others", [0, 1])
def test_a_long_reason_is_cut_to_what_the_first_line_has_room_for(report: Report, others: int) -> None:
    words = "403, " + "because of this and that " * 20
    found = [failure(Cause.STATUS, words, user=ANN.uri, status=403)]
    found += [failure(Cause.STATUS, "404, Not Found", user=BEN.uri, status=404)] * others
    text, _, _ = report(failed(*found)).first_line.partition(" | ")
    assert text.endswith("… (and 1 more)" if others else "…")
    assert 110 < len(text) < 120
    assert words[:25] in text


def test_a_reason_that_has_just_the_room_is_not_cut_for_a_number(report: Report) -> None:
    found = [
        failure(Cause.STOPPED, "Not over after 38.1 s, then SIGTERM.", name, user.uri)
        for name, user in ((SELF_SUBSCRIBE, ANN), (SUBSCRIBE, BEN))
    ]
    text, _, _ = report(failed(*found)).first_line.partition(" | ")
    assert text.endswith(f"SelfSubscribeActivity failed for {ANN.uri}: Not over after 38.1 s, then SIGTERM")
    assert len(text) < 120


def test_an_activity_of_no_known_name_is_not_measured() -> None:
    assert measured(failed(activities=(Activity("Other", ANN.uri, 0, 1),))) == {}
    assert UNREGISTER in plugin.LABELS
