"""OpenLDAP as the directory: every row of the truth table, every way to bind, and what can go wrong with it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Iterator, List

import pytest

from check_lync_presence.directory import Answer, Finding, Report, ask
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.settings import Account, DirectorySettings, Secret

from ..commands import POOL, Finished, run_check, write_accounts
from ..simulator_unit.client import BEN
from .people import (
    BASE,
    MONITOR_PASSWORD,
    ODD,
    PASSWORD,
    PEOPLE,
    REFUSED_BY_THE_POOL,
    UNKNOWN_TO_THE_POOL,
    Row,
    address,
)
from .servers import (
    BOTH_UNKNOWN,
    FORBIDDEN,
    PYASN1,
    REFUSED,
    UNKNOWN,
    Certificates,
    Pools,
    accounts_of,
    age_refusals,
    failed,
    free_port,
    not_found,
    options,
    refused,
    remembered,
    sentences,
    verdict,
    verify,
    waiting,
)
from .slapd.server import EVERYBODY, MONITOR, Slapd, dn, ldif, person_entry

pytestmark = pytest.mark.filterwarnings(PYASN1)
BY_NAME = {person.name: person for person in PEOPLE}
SWITCHED_OFF = next(row for row in UNKNOWN_TO_THE_POOL if row.name == "switchedoff")
FINE = next(row for row in UNKNOWN_TO_THE_POOL if row.name == "fine")
ROWS_OF_401 = {row.name: row for row in REFUSED_BY_THE_POOL}
# What the check says without the directory's help.
ADVICE = (
    "sip:fine@contoso.example: not enabled for SIP, or no such user. Check Get-CsUser -Identity "
    "sip:fine@contoso.example, then Enable-CsUser; for a new user wait for the User Replicator."
)


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("slapd") / "one", certificates.issue("one", "localhost", "127.0.0.1")) as server:
        yield server


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Slapd]:
    """A second server that has not replicated: `switchedoff` is still enabled there, ben no longer."""
    people = [
        person_entry(BY_NAME["switchedoff"], **{"msRTCSIP_UserEnabled": "TRUE"}),
        person_entry(BY_NAME["ben"], **{"msRTCSIP_UserEnabled": "FALSE"}),
        person_entry(BY_NAME["fine"]),
        person_entry(BY_NAME["disabled"]),
    ]
    place = tmp_path_factory.mktemp("slapd") / "behind"
    with Slapd(place, certificates.issue("behind", "localhost"), ldif(*people)) as server:
        yield server


def expected(row: Row, server: str) -> str:
    names = {person.name: dn(person.name) for person in PEOPLE}
    return row.sentence.format(server=server, dn=names, time="{time}")


def not_asked(done: Finished) -> str:
    """The line that says why the directory could not be asked; the general advice stands above it."""
    advice, line = sentences(done)
    assert advice == ADVICE
    start = "Active Directory could not be asked: "
    assert line.startswith(start)
    return line[len(start) :]


# ------------------------------------------------------------------ the truth table


@pytest.mark.parametrize("row", UNKNOWN_TO_THE_POOL, ids=lambda row: row.name)
def test_a_user_that_the_pool_does_not_know_is_explained(
    row: Row, slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    done = pools.check(tmp_path, UNKNOWN, row.uri, row.logon, *options(slapd.ldaps, certificates.ca, MONITOR))
    assert verdict(done) == not_found(row.uri, "WARNING" if row.proof else "CRITICAL")
    assert sentences(done) == [expected(row, slapd.ldaps)]


@pytest.mark.parametrize("row", REFUSED_BY_THE_POOL, ids=lambda row: row.name)
def test_a_password_that_the_pool_refuses_is_explained(
    row: Row, slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    done = pools.check(tmp_path, REFUSED, row.uri, row.logon, *options(slapd.ldaps, certificates.ca, MONITOR))
    assert verdict(done) == refused(row.uri, "WARNING" if row.proof else "CRITICAL")
    # A place in Lync is no reason to refuse a password: then the general advice stands beside it.
    general = [f"The pool refuses the logon name {row.logon} or its password: "] if row.name == "switchedoff" else []
    first, *others = sentences(done)
    assert first == expected(row, slapd.ldaps)
    assert [text[: len(start)] for text, start in zip(others, general)] == general
    assert len(others) == len(general)


@pytest.mark.parametrize("row", [SWITCHED_OFF, FINE], ids=lambda row: row.name)
def test_a_user_that_the_pool_forbids_is_explained(
    row: Row, slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    done = pools.check(tmp_path, FORBIDDEN, row.uri, row.logon, *options(slapd.ldaps, certificates.ca, MONITOR))
    assert verdict(done) == failed(row.uri, "403, Forbidden", "WARNING" if row.proof else "CRITICAL")
    if row.proof:
        assert sentences(done) == [expected(row, slapd.ldaps)]
    else:  # then the server's own reason counts
        assert sentences(done) == [
            f"{slapd.ldaps} finds nothing wrong with {row.uri}: the pool is to blame, or a policy of it.",
            f"{row.uri}: not enabled for remote access. Test from inside, or allow it in the external access policy.",
        ]


@pytest.mark.parametrize("state", ["critical", "unknown"])
def test_what_is_proven_has_the_state_that_was_asked_for(
    state: str, slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--account-state", state)
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == not_found(SWITCHED_OFF.uri, state.upper())


def test_an_account_that_is_fine_leaves_the_blame_with_the_pool(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--account-state", "unknown")
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given)
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")


def test_both_users_at_fault_are_proven_both(
    behind: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    disabled = next(row for row in UNKNOWN_TO_THE_POOL if row.name == "disabled")
    given = options(behind.ldaps, certificates.ca, MONITOR)
    done = pools.check(tmp_path, BOTH_UNKNOWN, disabled.uri, disabled.logon, *given)
    text = "LYNC PRESENCE WARNING - Register failed for both users: 404, Not Found"
    assert verdict(done) == (1, text)
    assert sentences(done) == [
        disabled.sentence,
        f"{BEN} is switched off for SIP (msRTCSIP-UserEnabled FALSE): Set-CsUser -Identity {BEN} -Enabled $true.",
    ]


def test_one_user_at_fault_does_not_explain_why_the_other_is_not_known(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR)
    done = pools.check(tmp_path, BOTH_UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == (2, "LYNC PRESENCE CRITICAL - Register failed for both users: 404, Not Found")
    assert sentences(done) == [
        SWITCHED_OFF.sentence,
        FINE.sentence.format(server=slapd.ldaps).replace(FINE.uri, BEN),
    ]


@pytest.mark.parametrize("row", [SWITCHED_OFF, FINE], ids=lambda row: row.name)
def test_who_cannot_be_watched_is_looked_up_and_not_the_watcher(
    row: Row, slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR)
    done = pools.check(tmp_path, "presentity-unknown", row.uri, row.logon, *given)
    assert done.code == (1 if row.proof else 2)
    assert done.first_line.startswith(
        f"LYNC PRESENCE {'WARNING' if row.proof else 'CRITICAL'} - SubscribePresence failed"
    )
    assert sentences(done) == [expected(row, slapd.ldaps)]


# ------------------------------------------------------------------ several servers


def test_servers_that_disagree_prove_nothing(
    slapd: Slapd, behind: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--ldap-uri", behind.ldaps)
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == not_found(SWITCHED_OFF.uri, "CRITICAL")
    assert sentences(done) == [
        f"The domain controllers disagree about {SWITCHED_OFF.uri} ({slapd.ldaps} says sip disabled, {behind.ldaps} "
        "says fine): wait for the replication or mend it (repadmin /replsummary)."
    ]


def test_a_user_whom_the_second_server_does_not_have_yet_is_no_reason_to_blame_the_pool(
    slapd: Slapd, behind: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    row = next(row for row in UNKNOWN_TO_THE_POOL if row.name == "finecase")
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--ldap-uri", behind.ldaps)
    done = pools.check(tmp_path, UNKNOWN, row.uri, row.logon, *given)
    assert verdict(done) == not_found(row.uri, "CRITICAL")
    assert sentences(done) == [
        f"The domain controllers disagree about {row.uri} ({slapd.ldaps} says fine, {behind.ldaps} says absent): wait "
        "for the replication or mend it (repadmin /replsummary)."
    ]


def test_a_second_server_confirms_a_finding(
    slapd: Slapd, behind: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    disabled = next(row for row in REFUSED_BY_THE_POOL if row.name == "disabled")
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--ldap-uri", behind.ldaps)
    before = len(behind.operations())
    done = pools.check(tmp_path, REFUSED, disabled.uri, disabled.logon, *given)
    assert verdict(done) == refused(disabled.uri)
    assert sentences(done) == [disabled.sentence]
    assert len(behind.operations()) > before


def test_the_second_server_is_asked_where_the_first_is_down(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    down = f"ldaps://localhost:{free_port()}"
    given = options(down, certificates.ca, MONITOR, "--ldap-uri", slapd.ldaps)
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given)
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert sentences(done) == [FINE.sentence.format(server=slapd.ldaps)]


def test_a_finding_stands_where_no_second_server_can_be_asked(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    down = f"ldaps://localhost:{free_port()}"
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--ldap-uri", down)
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == not_found(SWITCHED_OFF.uri)
    assert sentences(done) == [SWITCHED_OFF.sentence]


def test_every_server_that_is_down_is_named_once_also_for_two_users(
    pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    one, two = f"ldaps://localhost:{free_port()}", f"ldaps://localhost:{free_port()}"
    given = options(one, certificates.ca, MONITOR, "--ldap-uri", two)
    done = pools.check(tmp_path, BOTH_UNKNOWN, FINE.uri, FINE.logon, *given)
    assert verdict(done) == (2, "LYNC PRESENCE CRITICAL - Register failed for both users: 404, Not Found")
    said = f"Active Directory could not be asked: {one}: connection refused; {two}: connection refused."
    assert sentences(done)[1:] == [said]


# ------------------------------------------------------------------ binds


def test_starttls_encrypts_the_bind(slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path) -> None:
    given = options(slapd.ldap, certificates.ca, MONITOR, "--ldap-starttls")
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == not_found(SWITCHED_OFF.uri)
    assert sentences(done) == [SWITCHED_OFF.sentence]


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_an_anonymous_bind_is_enough_where_everybody_may_read(
    scheme: str, slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(getattr(slapd, scheme), certificates.ca, None)
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == not_found(SWITCHED_OFF.uri)
    assert sentences(done) == [SWITCHED_OFF.sentence]


def test_an_address_in_the_certificate_counts(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(slapd.ldaps.replace("localhost", "127.0.0.1"), certificates.ca, MONITOR)
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert sentences(done) == [SWITCHED_OFF.sentence]


def test_a_password_is_not_sent_unencrypted(pools: Pools, tmp_path: Path) -> None:
    uri = "ldap://dc01.contoso.example"
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *options(uri, None, MONITOR))
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == f"{uri} is not encrypted and would see the password; use ldaps:// or --ldap-starttls."


def test_a_wrong_bind_password_is_named(slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR)
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given, LDAP_PASSWORD="Not-This-One")
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == f"{slapd.ldaps} refuses the bind account or its password."
    assert "Not-This-One" not in done.stdout


def test_a_refused_bind_account_is_not_tried_by_every_check(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = (FINE.uri, FINE.logon, *options(slapd.ldaps, certificates.ca, MONITOR))
    pools.check(tmp_path, UNKNOWN, *given, LDAP_PASSWORD="Not-This-One")
    before = slapd.operations()
    done = pools.check(tmp_path, UNKNOWN, *given, LDAP_PASSWORD="Not-This-One")
    assert slapd.operations() == before
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done).startswith("the directory refuses the bind account or its password since {time}; ")
    assert sentences(pools.check(tmp_path, UNKNOWN, *given)) == [FINE.sentence.format(server=slapd.ldaps)]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("security ssf=128", "demands encryption (confidentialityRequired); use ldaps:// or --ldap-starttls."),
        ("disallow bind_anon",
         "allows no anonymous bind (inappropriateAuthentication); name a bind account with --ldap-bind."),
        ("access to * by users read by * none",
         "does not have the base, or does not show it to us (noSuchObject); check --ldap-base and --ldap-bind."),
    ],
    ids=["confidentialityRequired", "anonymous refused", "anonymous sees nothing"],
)  # fmt: skip
def test_a_server_that_wants_more_than_an_anonymous_bind_is_named(
    extra: str, said: str, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    with Slapd(tmp_path / "strict", certificates.issue("strict", "localhost"), extra=extra) as strict:
        done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *options(strict.ldap, None, None))
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == f"{strict.ldap} {said}"


# ------------------------------------------------------------------ certificates


@pytest.mark.parametrize("starttls", [False, True], ids=["ldaps", "starttls"])
@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        ("stranger", "its certificate is not trusted; give its CA with --ldap-ca-file"),
        ("other", "its certificate is for another name"),
        ("expired", "its certificate has expired"),
    ],
)
def test_a_certificate_that_does_not_count_is_named(
    certificate: str, said: str, starttls: bool, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    names = ("dc09.contoso.example",) if certificate == "other" else ("localhost",)
    files = certificates.issue(certificate + "-dc", *names, expired=certificate == "expired")
    ca = certificates.stranger if certificate == "stranger" else certificates.ca
    with Slapd(tmp_path / "odd", files) as odd:
        uri = odd.ldap if starttls else odd.ldaps
        given = options(uri, ca, MONITOR, *(["--ldap-starttls"] if starttls else []))
        done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given)
        assert odd.operations() == []
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == f"{uri}: {said}."


def test_a_ca_file_that_cannot_be_used_is_named(slapd: Slapd, pools: Pools, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("no certificate")
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *options(slapd.ldaps, ca, MONITOR))
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == f"cannot use the CA file {ca}: it holds no certificate."


def test_a_ca_file_that_is_not_there_is_not_found_out_in_an_alarm(slapd: Slapd, pools: Pools, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *options(slapd.ldaps, ca, MONITOR))
    assert done.code == 3
    assert f"cannot read the CA file of the directory {ca}: No such file or directory" in done.stdout


def test_a_port_that_does_not_speak_tls_is_named(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    uri = slapd.ldap.replace("ldap://", "ldaps://")
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *options(uri, certificates.ca, MONITOR))
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done).startswith(f"{uri}: ")


# ------------------------------------------------------------------ bases, addresses


def test_a_wrong_base_is_named(slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--ldap-base", "DC=other,DC=example")
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given)
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == (
        f"{slapd.ldaps} does not have the base, or does not show it to us (noSuchObject); check --ldap-base and "
        "--ldap-bind."
    )


def test_a_base_that_is_no_dn_is_named(slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--ldap-base", "contoso.example")
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given)
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == (f"{slapd.ldaps}: the base is no distinguished name; check --ldap-base.")


def test_a_base_limits_where_users_are_searched(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--ldap-base", f"CN=Configuration,{BASE}")
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given)
    assert verdict(done) == not_found(FINE.uri)
    assert sentences(done) == [
        f"{slapd.ldaps} knows no account with {FINE.uri} or {FINE.logon}: check the address, or create the test user "
        "(New-ADUser, then Enable-CsUser)."
    ]


def directory_settings(slapd: Slapd, certificates: Certificates) -> DirectorySettings:
    return DirectorySettings(
        (slapd.ldaps,), None, MONITOR, Secret(MONITOR_PASSWORD), "simple", str(certificates.ca), False
    )


def test_addresses_with_characters_of_the_filter_language_find_exactly_their_accounts(
    slapd: Slapd, certificates: Certificates
) -> None:
    accounts = [Account(address(name), f"CONTOSO\\odd{number}", Secret("x")) for number, name in enumerate(ODD)]
    names = [f"odd{number}" for number in range(len(ODD))]
    assert answers(slapd, certificates, accounts) == [
        Report(Finding.FINE, dn(name), slapd.ldaps, None, name) for name in names
    ]


def test_addresses_do_not_find_what_they_would_mean_as_a_filter(slapd: Slapd, certificates: Certificates) -> None:
    names = ("an*", "*", "ann)(objectClass=*", "a\\6en", "anñ")
    accounts = [Account(address(name), f"CONTOSO\\{name}", Secret("x")) for name in names]
    assert answers(slapd, certificates, accounts) == [Report(Finding.ABSENT, "", slapd.ldaps)] * len(names)


def answers(slapd: Slapd, certificates: Certificates, accounts: List[Account]) -> List[Answer]:
    questions = [(account, False) for account in accounts]
    settings = directory_settings(slapd, certificates)
    return ask(settings, lambda _: POOL, questions, time.time(), Deadline(20.0, time.monotonic))


@pytest.mark.parametrize("number", range(0, len(ODD), 2))
def test_odd_addresses_can_be_typed(number: int, slapd: Slapd, certificates: Certificates, tmp_path: Path) -> None:
    given: List[str] = []
    for role, index in (("publisher", number), ("subscriber", (number + 1) % len(ODD))):
        given += [f"--{role}", address(ODD[index]), f"--{role}-user", f"CONTOSO\\odd{index}"]
    passwords = {"PUBLISHER_PASSWORD": PASSWORD, "SUBSCRIBER_PASSWORD": PASSWORD}
    done = verify(tmp_path, FINE.uri, FINE.logon, *options(slapd.ldaps, certificates.ca, MONITOR, *given), **passwords)
    assert (done.code, done.stdout.count("finds nothing wrong with")) == (0, 2), done.stdout


@pytest.mark.parametrize("name", ["an*", "ann)(objectClass=*", "%61nn"])
def test_an_address_does_not_find_what_it_would_mean_to_a_filter(
    name: str, slapd: Slapd, certificates: Certificates, tmp_path: Path
) -> None:
    uri, logon = address(name), f"CONTOSO\\{name}"
    done = verify(tmp_path, uri, logon, *options(slapd.ldaps, certificates.ca, MONITOR))
    assert verdict(done) == (1, f"LYNC PRESENCE WARNING - accounts of {POOL}: {uri} absent, {BEN} in order")


def test_an_address_with_a_nul_is_none(slapd: Slapd, certificates: Certificates, tmp_path: Path) -> None:
    done = verify(tmp_path, address("an\0n"), "CONTOSO\\ann", *options(slapd.ldaps, certificates.ca, MONITOR))
    assert done.code == 3
    assert done.first_line.endswith("accounts.ini is empty, or has a line break or a NUL in it")


# ------------------------------------------------------------------ --verify-accounts


def test_verify_accounts_is_ok_when_both_users_are_in_order(
    slapd: Slapd, certificates: Certificates, tmp_path: Path
) -> None:
    done = verify(tmp_path, FINE.uri, FINE.logon, *options(slapd.ldaps, certificates.ca, MONITOR))
    assert verdict(done) == (0, f"LYNC PRESENCE OK - accounts of {POOL}: {FINE.uri} in order, {BEN} in order")
    assert done.lines[1:3] == [
        f"{slapd.ldaps} finds nothing wrong with {user}: enabled for SIP, not homed elsewhere, able to sign in."
        for user in (FINE.uri, BEN)
    ]


# What --verify-accounts calls the findings, by row.
WORDS = {
    "switchedoff": "sip disabled",
    "renamed": "other address",
    "twin": "duplicate",
    "locked": "locked",
    "mustchange": "must change",
}
ROWS = {row.name: row for row in (*REFUSED_BY_THE_POOL, *UNKNOWN_TO_THE_POOL)}


@pytest.mark.parametrize("name", WORDS)
def test_verify_accounts_finds_what_is_wrong(
    name: str, slapd: Slapd, certificates: Certificates, tmp_path: Path
) -> None:
    row = ROWS[name]
    done = verify(tmp_path, row.uri, row.logon, *options(slapd.ldaps, certificates.ca, MONITOR))
    text = f"LYNC PRESENCE WARNING - accounts of {POOL}: {row.uri} {WORDS[name]}, {BEN} in order"
    assert verdict(done) == (1, text)
    assert expected(row, slapd.ldaps) in sentences_of_verify(done)


def sentences_of_verify(done: Finished) -> List[str]:
    return sentences(Finished(done.code, "\n" * 5 + done.stdout, ""))


def test_verify_accounts_is_critical_unless_another_state_is_asked_for(
    slapd: Slapd, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR, "--account-state", "critical")
    done = verify(tmp_path, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert done.code == 2


def test_verify_accounts_is_unknown_when_the_directory_cannot_be_asked(
    certificates: Certificates, tmp_path: Path
) -> None:
    down = f"ldaps://localhost:{free_port()}"
    done = verify(tmp_path, FINE.uri, FINE.logon, *options(down, certificates.ca, MONITOR))
    text = f"LYNC PRESENCE UNKNOWN - accounts of {POOL}: {FINE.uri} not verified, {BEN} not verified"
    assert verdict(done) == (3, text)
    assert done.lines[1:3] == [
        f"{user}: the directory could not be asked: {down}: connection refused." for user in (FINE.uri, BEN)
    ]


# ------------------------------------------------------------------ cost


def imported(pools: Pools, folder: Path, fault: str, *arguments: str) -> str:
    """What a run imports."""
    accounts = write_accounts(folder / "accounts.ini", accounts_of(FINE.uri, FINE.logon))
    where = ["--connect", f"127.0.0.1:{pools[tuple(fault.split())].tcp}", "--transport", "tcp"]
    given = ["-H", POOL, "--accounts", str(accounts), "--state-dir", str(folder / "state"), *where, *arguments]
    done = run_check(*given, PYTHONPROFILEIMPORTTIME="1", LDAP_PASSWORD=MONITOR_PASSWORD)
    assert done.code == (2 if fault else 0)
    return done.stderr


def test_only_a_failure_loads_ldap3(slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path) -> None:
    given = options(slapd.ldaps, certificates.ca, MONITOR)
    before = slapd.log.read_text()
    healthy = imported(pools, tmp_path, "", *given)
    assert "check_lync_presence.plugin" in healthy
    assert "ldap3" not in healthy
    assert "check_lync_presence.directory" not in healthy
    assert slapd.log.read_text() == before
    assert "ldap3" in imported(pools, tmp_path, UNKNOWN, *given)


BIND, ROOT, SEARCH = (
    'BIND dn="cn=monitor,ou=People,dc=contoso,dc=example" method',
    'SRCH base="" scope=0',
    'SRCH base="dc=contoso,dc=example" scope=2',
)


@pytest.mark.parametrize(
    ("fault", "base", "operations"),
    [
        (UNKNOWN, None, [BIND, ROOT, SEARCH]),
        (UNKNOWN, BASE.lower(), [BIND, SEARCH]),
        (BOTH_UNKNOWN, None, [BIND, ROOT, SEARCH, SEARCH]),
        (REFUSED, None, [BIND, ROOT, SEARCH]),
    ],
    ids=["one user", "one user, base given", "two users", "refused password"],
)
def test_a_failure_costs_one_bind_and_one_search_a_user(
    fault: str, base: str, operations: List[str], slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    before = len(slapd.operations())
    given = options(slapd.ldaps, certificates.ca, MONITOR, *(["--ldap-base", base] if base else []))
    row = ROWS["disabled"]  # a user of whom no pool has to be looked up
    done = pools.check(tmp_path, fault, row.uri, row.logon, *given)
    made = slapd.operations()[before:]
    assert [item for item in made if "CN=Pools" not in item and "cn=Pools" not in item] == operations
    assert done.code != 0


def test_a_hung_server_ends_in_time_and_changes_nothing(
    pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    with Slapd(tmp_path / "hung", certificates.issue("hung", "localhost"), ldif(*EVERYBODY)) as server, server.hung():
        given = options(server.ldaps, certificates.ca, MONITOR)
        started = time.monotonic()
        done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given, "-t", "3")
        assert time.monotonic() - started < 6.0
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done).startswith(("no answer within ", f"{server.ldaps}: no answer in time"))


def test_the_second_server_is_asked_where_the_first_hangs(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    with Slapd(tmp_path / "hung", certificates.issue("hung", "localhost"), ldif(*EVERYBODY)) as server, server.hung():
        given = options(server.ldap, certificates.ca, MONITOR, "--ldap-starttls", "--ldap-uri", slapd.ldap)
        done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given, "-t", "4")
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert sentences(done) == [FINE.sentence.format(server=slapd.ldap)]


# ------------------------------------------------------------------ the lockout guard


def test_a_refused_password_is_tried_once_more_after_the_back_off_if_the_directory_finds_nothing_wrong(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = (FINE.uri, FINE.logon, *options(slapd.ldaps, certificates.ca, MONITOR))
    assert verdict(pools.check(tmp_path, REFUSED, *given)) == refused(FINE.uri, "CRITICAL")
    held_back = pools.check(tmp_path, REFUSED, *given)
    assert verdict(held_back) == waiting(FINE.uri, held_back, "CRITICAL")
    said, hint = sentences(held_back)
    assert said == expected(ROWS_OF_401["fine"], slapd.ldaps)
    assert hint.startswith("The check does not try a refused password again")
    age_refusals(tmp_path, 1801)
    assert verdict(pools.check(tmp_path, REFUSED, *given)) == refused(FINE.uri, "CRITICAL")
    again = pools.check(tmp_path, REFUSED, *given)  # the back-off has begun anew
    assert verdict(again) == waiting(FINE.uri, again, "CRITICAL")
    (path,) = remembered(tmp_path)
    state = json.loads(path.read_text())
    assert state["tried"] - state["since"] > 1800
    assert PASSWORD not in path.read_text()


def test_a_refused_password_is_not_tried_while_the_directory_says_that_the_account_is_locked_out(
    slapd: Slapd, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    row = ROWS_OF_401["locked"]
    given = (row.uri, row.logon, *options(slapd.ldaps, certificates.ca, MONITOR))
    assert verdict(pools.check(tmp_path, REFUSED, *given)) == refused(row.uri)
    age_refusals(tmp_path, 1801)
    before = remembered(tmp_path)[0].read_text()
    done = pools.check(tmp_path, REFUSED, *given)
    # The reason is still told, and the state is what it was when the password was refused.
    assert verdict(done) == waiting(row.uri, done, "WARNING")
    assert sentences(done)[0] == expected(row, slapd.ldaps)
    assert remembered(tmp_path)[0].read_text() == before


def test_a_refused_password_is_not_tried_while_the_directory_cannot_be_asked(
    pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = (FINE.uri, FINE.logon, *options(f"ldaps://localhost:{free_port()}", certificates.ca, MONITOR))
    assert verdict(pools.check(tmp_path, REFUSED, *given)) == refused(FINE.uri, "CRITICAL")
    age_refusals(tmp_path, 1801)
    done = pools.check(tmp_path, REFUSED, *given)
    assert verdict(done) == waiting(FINE.uri, done, "CRITICAL")
    assert sentences(done)[-1].startswith("Active Directory could not be asked: ")
