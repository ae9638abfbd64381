"""A Samba AD domain controller as the directory: states that it computes itself, its refusals, its global catalog."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Dict

import pytest

from check_lync_presence.directory import Finding, Report, ask
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.settings import Account, DirectorySettings, Secret

from ..commands import POOL, Finished
from ..simulator_unit.client import BEN
from .kerberos import configured, gssapi, kinit
from .people import (
    BASE,
    DOMAIN,
    MONITOR,
    MONITOR_PASSWORD,
    ODD,
    PASSWORD,
    PEOPLE,
    REFUSED_BY_THE_POOL,
    UNKNOWN_TO_THE_POOL,
    Row,
    address,
)
from .samba_ad.server import SambaAD, dn
from .servers import (
    BOTH_UNKNOWN,
    PYASN1,
    REFUSED,
    UNKNOWN,
    Certificates,
    Pools,
    age_refusals,
    not_found,
    options,
    refused,
    remembered,
    sentences,
    verdict,
    verify,
    waiting,
)
from .slapd.server import Slapd, entry

pytestmark = pytest.mark.filterwarnings(PYASN1)
ROWS = {row.name: row for row in (*REFUSED_BY_THE_POOL, *UNKNOWN_TO_THE_POOL)}
FINE = next(row for row in UNKNOWN_TO_THE_POOL if row.name == "fine")
SWITCHED_OFF = next(row for row in UNKNOWN_TO_THE_POOL if row.name == "switchedoff")
GUESSED = next(person for person in PEOPLE if person.name == "guessed")


def expected(row: Row, server: str) -> str:
    names = {person.name: dn(person.name) for person in PEOPLE}
    return row.sentence.format(server=server, dn=names, time="{time}")


def not_asked(done: Finished) -> str:
    """Why the directory could not be asked."""
    line = sentences(done)[-1]
    start = "Active Directory could not be asked: "
    assert line.startswith(start)
    return line[len(start) :]


# ------------------------------------------------------------------ the truth table


@pytest.mark.parametrize("row", UNKNOWN_TO_THE_POOL, ids=lambda row: row.name)
def test_a_user_that_the_pool_does_not_know_is_explained(
    row: Row, samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    done = pools.check(tmp_path, UNKNOWN, row.uri, row.logon, *options(samba.ldaps, certificates.ca, MONITOR))
    assert verdict(done) == not_found(row.uri, "WARNING" if row.proof else "CRITICAL")
    assert sentences(done) == [expected(row, samba.ldaps)]


@pytest.mark.parametrize("row", REFUSED_BY_THE_POOL, ids=lambda row: row.name)
def test_a_password_that_the_pool_refuses_is_explained(
    row: Row, samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    done = pools.check(tmp_path, REFUSED, row.uri, row.logon, *options(samba.ldaps, certificates.ca, MONITOR))
    assert verdict(done) == refused(row.uri, "WARNING" if row.proof else "CRITICAL")
    # A place in Lync is no reason to refuse a password: then the general advice stands beside it.
    general = [f"The pool refuses the logon name {row.logon} or its password: "] if row.name == "switchedoff" else []
    first, *others = sentences(done)
    assert first == expected(row, samba.ldaps)
    assert [text[: len(start)] for text, start in zip(others, general)] == general
    assert len(others) == len(general)


@pytest.mark.parametrize("name", ["locked", "mustchange"])
def test_the_global_catalog_knows_the_states_too(
    name: str, samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    row = ROWS[name]
    done = pools.check(tmp_path, REFUSED, row.uri, row.logon, *options(samba.catalog, certificates.ca, MONITOR))
    assert verdict(done) == refused(row.uri)
    assert sentences(done) == [expected(row, samba.catalog)]


def test_the_global_catalog_knows_where_a_user_is_homed(
    samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    row = ROWS["movedbyid"]
    done = pools.check(tmp_path, UNKNOWN, row.uri, row.logon, *options(samba.catalog, certificates.ca, MONITOR))
    assert verdict(done) == not_found(row.uri)
    assert sentences(done) == [row.sentence]


def test_both_users_are_looked_up(samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path) -> None:
    given = options(samba.ldaps, certificates.ca, MONITOR)
    done = pools.check(tmp_path, BOTH_UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == (2, "LYNC PRESENCE CRITICAL - Register failed for both users: 404, Not Found")
    of_ben = FINE.sentence.format(server=samba.ldaps).replace(FINE.uri, BEN)
    assert sentences(done) == [SWITCHED_OFF.sentence, of_ben]


def test_domain_controllers_that_disagree_prove_nothing(
    samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    # The other one is a slapd that has not replicated: it lets the same bind account in and knows no users.
    place = certificates.issue("other-dc", "localhost")
    with Slapd(tmp_path / "slapd", place, other_domain_controller()) as other:
        given = options(samba.ldaps, certificates.ca, dn("monitor"), "--ldap-uri", other.ldaps)
        done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == not_found(SWITCHED_OFF.uri, "CRITICAL")
    assert sentences(done) == [
        f"The domain controllers disagree about {SWITCHED_OFF.uri} ({samba.ldaps} says sip disabled, {other.ldaps} "
        "says absent): wait for the replication or mend it (repadmin /replsummary)."
    ]


def other_domain_controller() -> str:
    """LDIF of a domain with nobody but the bind account, at the place where Samba has it."""
    return (
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: contoso\no: Contoso\n\n"
        + entry(f"CN=Users,{BASE}", "container", [])
        + entry(dn("monitor"), "user", [("sn", "monitor"), ("userPassword", MONITOR_PASSWORD)])
    )


# ------------------------------------------------------------------ binds


def test_starttls_encrypts_the_bind(samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path) -> None:
    given = options(samba.ldap, certificates.ca, MONITOR, "--ldap-starttls")
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == not_found(SWITCHED_OFF.uri)
    assert sentences(done) == [SWITCHED_OFF.sentence]


@pytest.mark.parametrize("name", ["CONTOSO\\monitor", dn("monitor")])
def test_the_bind_account_can_be_named_in_every_way(
    name: str, samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(samba.ldaps, certificates.ca, name)
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given)
    assert verdict(done) == not_found(SWITCHED_OFF.uri)


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("monitor", "Not-This-One", "refuses the bind account or its password"),
        ("stranger", PASSWORD, "refuses the bind account or its password"),
        ("disabled", PASSWORD, "refuses the bind account: it is disabled"),
        ("expired", PASSWORD, "refuses the bind account: it has expired"),
        ("locked", PASSWORD, "refuses the bind account: it is locked out"),
        ("oldpassword", PASSWORD, "refuses the bind account: its password has expired"),
        ("mustchange", PASSWORD, "refuses the bind account: its password must be changed"),
    ],
)
def test_a_bind_account_that_is_refused_is_named_with_the_reason(
    name: str, password: str, said: str, samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(samba.ldaps, certificates.ca, f"{name}@{DOMAIN}")
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given, LDAP_PASSWORD=password)
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == f"{samba.ldaps} {said}."
    assert password not in done.stdout


def test_an_anonymous_search_is_refused_and_named(
    samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *options(samba.ldaps, certificates.ca, None))
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == (
        f"{samba.ldaps} refuses the search without a bind (operationsError); name a bind account with --ldap-bind."
    )


def test_a_server_that_demands_encryption_is_named(
    samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    # On the loopback interface the check sends a password unencrypted.
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *options(samba.ldap, None, MONITOR))
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == (
        f"{samba.ldap} demands LDAP signing or encryption (strongerAuthRequired); use ldaps:// or --ldap-starttls."
    )


def test_a_certificate_of_another_ca_is_named(
    samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(samba.ldaps, certificates.stranger, MONITOR)
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given)
    assert not_asked(done) == f"{samba.ldaps}: its certificate is not trusted; give its CA with --ldap-ca-file."


def test_a_certificate_for_another_name_is_named(
    samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    uri = samba.ldaps.replace("127.0.0.", "127.0.")  # the same host, as an address that its certificate does not have
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *options(uri, certificates.ca, MONITOR))
    assert not_asked(done) == f"{uri}: its certificate is for another name."


def test_a_wrong_base_is_named(samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path) -> None:
    given = options(samba.ldaps, certificates.ca, MONITOR, "--ldap-base", "OU=Gone," + BASE)
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given)
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == (
        f"{samba.ldaps} does not have the base, or does not show it to us (noSuchObject); check --ldap-base and "
        "--ldap-bind."
    )


def test_a_base_of_its_own_is_enough(samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path) -> None:
    given = options(samba.ldaps, certificates.ca, MONITOR, "--ldap-base", "CN=Users," + BASE)
    row = ROWS["movedbyid"]  # whose pool stands outside of the base
    done = pools.check(tmp_path, UNKNOWN, row.uri, row.logon, *given)
    assert verdict(done) == not_found(row.uri)
    assert sentences(done) == [row.sentence]


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_a_hung_server_ends_in_time_and_changes_nothing(
    scheme: str, samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    uri = getattr(samba, scheme)
    given = options(uri, certificates.ca, MONITOR, *(["--ldap-starttls"] if scheme == "ldap" else []))
    started = time.monotonic()
    with samba.hung():
        done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given, "-t", "2")
    assert time.monotonic() - started < 5.0
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done).startswith(("no answer within ", f"{uri}: no answer in time"))


# ------------------------------------------------------------------ Kerberos


@pytest.fixture
def kerberos(samba: SambaAD, tmp_path: Path) -> Dict[str, str]:
    """The environment of a check that has a ticket of monitor's."""
    environment = {**gssapi(tmp_path), **configured(tmp_path, f"{samba.host}:{samba.kerberos}")}
    kinit("monitor", MONITOR_PASSWORD, environment)
    return environment


def test_a_ticket_is_enough_for_the_bind(
    samba: SambaAD, kerberos: Dict[str, str], pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(samba.ldaps, certificates.ca, None, "--ldap-auth", "kerberos", "--auth", "ntlm")
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given, LDAP_PASSWORD="", **kerberos)
    assert verdict(done) == not_found(SWITCHED_OFF.uri)
    assert sentences(done) == [SWITCHED_OFF.sentence]


def test_a_keytab_is_enough_for_the_bind(
    samba: SambaAD, kerberos: Dict[str, str], pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    keytab = tmp_path / "monitor.keytab"
    samba.export_keytab("monitor", keytab)
    own = {**kerberos, "KRB5CCNAME": f"FILE:{tmp_path / 'none'}", "KRB5_CLIENT_KTNAME": str(keytab)}
    given = options(samba.ldaps, certificates.ca, None, "--ldap-auth", "kerberos", "--auth", "ntlm")
    done = pools.check(tmp_path, UNKNOWN, SWITCHED_OFF.uri, SWITCHED_OFF.logon, *given, LDAP_PASSWORD="", **own)
    assert verdict(done) == not_found(SWITCHED_OFF.uri)
    assert sentences(done) == [SWITCHED_OFF.sentence]


def test_a_server_that_demands_signing_is_named(
    samba: SambaAD, kerberos: Dict[str, str], pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(samba.ldap, certificates.ca, None, "--ldap-auth", "kerberos", "--auth", "ntlm")
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given, LDAP_PASSWORD="", **kerberos)
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done) == (
        f"{samba.ldap} demands LDAP signing or encryption (strongerAuthRequired); use ldaps:// or --ldap-starttls."
    )


def test_a_missing_ticket_is_named(
    samba: SambaAD, kerberos: Dict[str, str], pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(samba.ldaps, certificates.ca, None, "--ldap-auth", "kerberos", "--auth", "ntlm")
    none = {**kerberos, "KRB5CCNAME": f"FILE:{tmp_path / 'none'}"}
    done = pools.check(tmp_path, UNKNOWN, FINE.uri, FINE.logon, *given, LDAP_PASSWORD="", **none)
    assert verdict(done) == not_found(FINE.uri, "CRITICAL")
    assert not_asked(done).startswith(f"{samba.ldaps}: Kerberos fails: No Kerberos credentials available")
    assert not_asked(done).endswith("; check klist, and that the URI has the server's own name.")


# ------------------------------------------------------------------ addresses, --verify-accounts


def test_addresses_with_characters_of_the_filter_language_find_exactly_their_accounts(
    samba: SambaAD, certificates: Certificates
) -> None:
    settings = DirectorySettings(
        (samba.ldaps,), None, MONITOR, Secret(MONITOR_PASSWORD), "simple", str(certificates.ca), False
    )
    accounts = [Account(address(name), f"CONTOSO\\odd{number}", Secret("x")) for number, name in enumerate(ODD)]
    questions = [(account, False) for account in accounts]
    answers = ask(settings, lambda _: POOL, questions, time.time(), Deadline(20.0, time.monotonic))
    names = [f"odd{number}" for number in range(len(ODD))]
    assert answers == [Report(Finding.FINE, dn(name), samba.ldaps, None, name) for name in names]
    star = Account(address("an*"), "CONTOSO\\an*", Secret("x"))
    assert ask(settings, lambda _: POOL, [(star, False)], time.time(), Deadline(20.0, time.monotonic)) == [
        Report(Finding.ABSENT, "", samba.ldaps)
    ]


def test_verify_accounts_is_ok_when_both_users_are_in_order(
    samba: SambaAD, certificates: Certificates, tmp_path: Path
) -> None:
    done = verify(tmp_path, FINE.uri, FINE.logon, *options(samba.ldaps, certificates.ca, MONITOR))
    assert verdict(done) == (0, f"LYNC PRESENCE OK - accounts of {POOL}: {FINE.uri} in order, {BEN} in order")


@pytest.mark.parametrize(
    ("name", "word"),
    [("locked", "locked"), ("mustchange", "must change"), ("twin", "duplicate"), ("removed", "not enabled")],
)
def test_verify_accounts_finds_what_is_wrong(
    name: str, word: str, samba: SambaAD, certificates: Certificates, tmp_path: Path
) -> None:
    row = ROWS[name]
    done = verify(tmp_path, row.uri, row.logon, *options(samba.ldaps, certificates.ca, MONITOR))
    text = f"LYNC PRESENCE WARNING - accounts of {POOL}: {row.uri} {word}, {BEN} in order"
    assert verdict(done) == (1, text)


def test_verify_accounts_is_unknown_when_the_bind_account_is_refused(
    samba: SambaAD, certificates: Certificates, tmp_path: Path
) -> None:
    given = options(samba.ldaps, certificates.ca, f"disabled@{DOMAIN}")
    done = verify(tmp_path, FINE.uri, FINE.logon, *given, LDAP_PASSWORD=PASSWORD)
    text = f"LYNC PRESENCE UNKNOWN - accounts of {POOL}: {FINE.uri} not verified, {BEN} not verified"
    assert verdict(done) == (3, text)
    assert f"{samba.ldaps} refuses the bind account: it is disabled" in done.stdout


# ------------------------------------------------------------------ the lockout guard


def test_an_account_that_is_locked_out_is_left_alone_until_it_is_unlocked(
    samba: SambaAD, pools: Pools, certificates: Certificates, tmp_path: Path
) -> None:
    uri, logon = address(GUESSED.name), f"CONTOSO\\{GUESSED.name}"
    given = (uri, logon, *options(samba.ldaps, certificates.ca, MONITOR))
    assert verdict(pools.check(tmp_path, REFUSED, *given)) == refused(uri, "CRITICAL")  # nothing speaks against it yet
    for _ in range(4):
        samba.try_wrong_password(GUESSED.name)
    age_refusals(tmp_path, 1801)
    before = remembered(tmp_path)[0].read_text()
    done = pools.check(tmp_path, REFUSED, *given)
    assert verdict(done) == waiting(uri, done, "WARNING")
    assert sentences(done)[0].startswith(f"The AD account {logon} has been locked out since {{time}}: Unlock-ADAccount")
    assert remembered(tmp_path)[0].read_text() == before
    samba.unlock(GUESSED.name)
    assert verdict(pools.check(tmp_path, REFUSED, *given)) == refused(uri, "CRITICAL")
    assert remembered(tmp_path)[0].read_text() != before
