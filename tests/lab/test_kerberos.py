"""Signing in with Kerberos against a real KDC (Samba AD), the simulator holding the key of the service.

Tickets, tokens, signatures and every refusal are the real ones; what no KDC can be made to do is in tests/lync.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import pytest

from check_lync_presence.lync.association import format_auth_header
from check_lync_presence.sip.message import Response

from ..commands import POOL, Finished, Simulator, run_check, write_accounts
from ..simulator_unit.client import ANN, BEN
from ..simulator_unit.client import REALM as REALM_OF_SIP
from .kerberos import REALM, configured, gssapi, kinit
from .people import DOMAIN, PASSWORD, address
from .required import without_lab
from .samba_ad.server import SambaAD
from .servers import PYASN1, Certificates, assert_discreet, remembered, verdict

pytestmark = pytest.mark.filterwarnings(PYASN1)
SERVICE = f"sip/{POOL}"
OTHERS = ("disabled", "locked", "expired", "oldpassword", "mustchange", "guessed")
OK = f"LYNC PRESENCE OK - {ANN} reached {BEN} on {POOL} in "


class Lab:
    """A KDC, the keytabs of its users and of the service, and simulators that have the service's."""

    def __init__(self, folder: Path, samba: SambaAD, running: ExitStack) -> None:
        self.folder = folder
        self.samba = samba
        self.kdc = f"{samba.host}:{samba.kerberos}"
        self.environment = {**gssapi(folder), **configured(folder, self.kdc)}
        self._running = running
        self._simulators: Dict[Tuple[str, ...], Simulator] = {}
        for name in (SERVICE, "ann", "ben"):
            samba.export_keytab(name, self.keytab(name))

    def keytab(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '-')}.keytab"

    def simulator(self, *options: str) -> Simulator:
        """The simulator with these options, with the key of the service unless they name another one."""
        if options not in self._simulators:
            accounts = write_accounts(self.folder / f"pool{len(self._simulators)}.ini", everybody())
            key = [] if "--keytab" in options else ["--keytab", str(self.keytab(SERVICE))]
            simulator = Simulator(accounts, "--tls", "0", *key, *options, **self.environment)
            self._running.enter_context(simulator)
            self._simulators[options] = simulator
        return self._simulators[options]

    def check(self, folder: Path, *arguments: str, pool: Sequence[str] = (), **keywords: Any) -> Finished:
        """Run the check at the simulator with the options `pool`; the other keywords are keys of its accounts file, in
        capitals its environment.
        """
        keys = {
            "publisher": ANN,
            "publisher_user": "CONTOSO\\ann",
            "subscriber": BEN,
            "subscriber_user": f"ben@{DOMAIN}",
        }
        keys.update({"publisher_password": PASSWORD, "subscriber_password": PASSWORD})
        keys.update({key: value for key, value in keywords.items() if key.islower()})
        lines = [f"{key} = {value}" for key, value in keys.items() if value]
        accounts = write_accounts(folder / "accounts.ini", "\n".join((f"[{POOL}]", *lines, "")))
        simulator = self.simulator(*pool)
        environment = {**self.environment, **{key: value for key, value in keywords.items() if key.isupper()}}
        done = run_check(
            "-H", POOL, "--accounts", str(accounts), "--connect", f"127.0.0.1:{simulator.tls}",
            "--ca-file", simulator.ready["ca_file"], "--state-dir", str(folder / "state"), *arguments, **environment,
        )  # fmt: skip
        assert_discreet(done)
        return done


def everybody() -> str:
    """An accounts file with all users: ann and ben of the pool, everybody else of one of his own."""
    sections = [pair(POOL, "ann", "CONTOSO\\ann"), f"subscriber = {BEN}\nsubscriber_user = ben@{DOMAIN}\n"]
    sections.append(f"subscriber_password = {PASSWORD}\n")
    sections += [pair(f"{name}.{DOMAIN}", name, f"CONTOSO\\{name}") for name in OTHERS]
    return "".join(sections)


def pair(pool: str, name: str, logon: str) -> str:
    lines = (
        f"[{pool}]",
        f"publisher = {address(name)}",
        f"publisher_user = {logon}",
        f"publisher_password = {PASSWORD}",
        "",
    )
    return "\n".join(lines)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, samba: SambaAD) -> Iterator[Lab]:
    with ExitStack() as running:
        yield Lab(tmp_path_factory.mktemp("kerberos"), samba, running)


def schemes(done: Finished) -> List[str]:
    return re.findall(r"Authentication: (\S+)", done.stdout)


def no_ticket(lab: Lab, folder: Path) -> Dict[str, str]:
    return {"KRB5CCNAME": f"FILE:{folder / 'none'}"}


# ------------------------------------------------------------------ signing in


def test_kerberos_is_chosen_where_the_realm_is_configured(lab: Lab, tmp_path: Path) -> None:
    done = lab.check(tmp_path, "-v")
    assert done.code == 0
    assert done.first_line.startswith(OK)
    assert schemes(done) == ["Kerberos", "Kerberos"]
    assert "passed over" not in done.stdout
    assert lab.simulator().census()["users"][ANN]["endpoints"] == 0


def test_a_healthy_run_says_nothing_of_it_without_v(lab: Lab, tmp_path: Path) -> None:
    assert len(lab.check(tmp_path).lines) == 6


def test_keytabs_take_the_place_of_passwords(lab: Lab, tmp_path: Path) -> None:
    given = {f"{role}_keytab": str(lab.keytab(name)) for role, name in (("publisher", "ann"), ("subscriber", "ben"))}
    nothing = {"publisher_password": "", "subscriber_password": ""}
    for way in ("auto", "kerberos"):
        done = lab.check(tmp_path, "-v", "--auth", way, **given, **nothing, **no_ticket(lab, tmp_path))
        assert (done.code, schemes(done)) == (0, ["Kerberos", "Kerberos"])


def test_tickets_in_the_cache_take_the_place_of_both(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "tickets").mkdir()
    cache = {"KRB5CCNAME": f"DIR:{tmp_path / 'tickets'}"}
    for name in ("ann", "ben"):
        kinit(name, PASSWORD, {**lab.environment, **cache})
    done = lab.check(tmp_path, "-v", "--auth", "kerberos", publisher_password="", subscriber_password="", **cache)
    assert (done.code, schemes(done)) == (0, ["Kerberos", "Kerberos"])


def test_each_user_may_prove_himself_in_another_way(lab: Lab, tmp_path: Path) -> None:
    kinit("ben", PASSWORD, {**lab.environment, "KRB5CCNAME": f"FILE:{tmp_path / 'ben'}"})
    done = lab.check(
        tmp_path, "--auth", "kerberos", subscriber_password="", KRB5CCNAME=f"FILE:{tmp_path / 'ben'}",
        publisher_keytab=str(lab.keytab("ann")), publisher_password="",
    )  # fmt: skip
    assert done.code == 0


def test_the_ticket_of_one_user_is_never_used_for_the_other(lab: Lab, tmp_path: Path) -> None:
    kinit("ann", PASSWORD, {**lab.environment, "KRB5CCNAME": f"FILE:{tmp_path / 'ann'}"})
    given = {"publisher_password": "", "subscriber_password": "", "KRB5CCNAME": f"FILE:{tmp_path / 'ann'}"}
    done = lab.check(tmp_path, "--auth", "kerberos", **given)
    assert verdict(done) == (
        2,
        f"LYNC PRESENCE CRITICAL - Register failed for {BEN}: Kerberos: no ticket of ben@{REALM}",
    )


def test_a_ticket_does_not_make_up_for_a_wrong_password(lab: Lab, tmp_path: Path) -> None:
    kinit("ann", PASSWORD, {**lab.environment, "KRB5CCNAME": f"FILE:{tmp_path / 'ann'}"})
    done = lab.check(tmp_path, publisher_password="wrong", KRB5CCNAME=f"FILE:{tmp_path / 'ann'}")
    assert verdict(done) == refused(ANN)


def test_no_secret_is_shown_at_any_verbosity(lab: Lab, tmp_path: Path) -> None:
    done = lab.check(tmp_path, "-vvv")
    assert (
        'Authorization: Kerberos qop="auth", realm="SIP Communications Service", targetname="sip/pool01' in done.stdout
    )
    assert re.findall(r"(?:gssapi-data|response|rspauth)=\"(?!\*\*\*\")[^\"]*\"", done.stdout) == []


def test_ntlm_by_name_loads_nothing_of_kerberos(lab: Lab, tmp_path: Path) -> None:
    def imported(*arguments: str, **environment: str) -> str:
        simulator = lab.simulator()
        accounts = write_accounts(tmp_path / "accounts.ini", everybody())
        given: Dict[str, Any] = {**lab.environment, **environment, "PYTHONPROFILEIMPORTTIME": "1"}
        done = run_check(
            "-H", POOL, "--accounts", str(accounts), "--connect", f"127.0.0.1:{simulator.tls}",
            "--ca-file", simulator.ready["ca_file"], "--state-dir", str(tmp_path / "state"), *arguments, **given,
        )  # fmt: skip
        assert done.code == 0
        return done.stderr

    assert "gssapi" in imported()
    for named, by_configuration in ((("--auth", "ntlm"), {}), ((), {"KRB5_CONFIG": "/nowhere/krb5.conf"})):
        loaded = imported(*named, **by_configuration)
        assert "check_lync_presence.lync.ntlm" in loaded
        for module in ("gssapi", "lync.kerberos", "client_certificate", "cryptography", "OpenSSL", "spnego"):
            assert module not in loaded


# ------------------------------------------------------------------ what proves the server


def test_a_server_without_the_key_of_the_service_gets_no_ok(lab: Lab, tmp_path: Path) -> None:
    # It can make nothing of the ticket, and so has no key to sign with.
    done = lab.check(tmp_path, "--auth", "kerberos", pool=("--keytab", str(lab.keytab("ann"))))
    assert verdict(done) == (2, "LYNC PRESENCE CRITICAL - Register failed for both users: 401, Unauthorized")
    assert "The pool does not take the ticket" in done.stdout
    assert remembered(tmp_path) == []  # no password was refused


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("signature-missing", "The answer to REGISTER (200) is not signed"),
        ("signature-wrong", "The answer to REGISTER has a wrong signature"),
    ],
)
def test_a_server_that_believes_everybody_gets_no_ok(lab: Lab, tmp_path: Path, fault: str, reason: str) -> None:
    done = lab.check(tmp_path, "--auth", "kerberos", pool=("--fault", fault))
    assert verdict(done) == (2, f"LYNC PRESENCE CRITICAL - Register failed for both users: {reason}")


def test_a_notification_counts_only_when_it_is_signed(lab: Lab, tmp_path: Path) -> None:
    done = lab.check(tmp_path, "--notify-timeout", "1", pool=("--fault", "notification-unsigned"))
    assert done.code == 2
    assert "1 unsigned message(s) were discarded" in done.stdout


@pytest.mark.parametrize("version", ["2", "3"])
def test_older_protocol_versions_work_too(lab: Lab, tmp_path: Path, version: str) -> None:
    done = lab.check(tmp_path, "-v", pool=("--fault", f"sa-version={version}"))
    assert (done.code, schemes(done)) == (0, ["Kerberos", "Kerberos"])


# ------------------------------------------------------------------ falling back


def test_a_pool_that_refuses_the_ticket_is_signed_in_at_with_ntlm(lab: Lab, tmp_path: Path) -> None:
    pool = ("--keytab", str(lab.keytab("ann")))
    done = lab.check(tmp_path, "-v", pool=pool)
    assert (done.code, schemes(done)) == (0, ["NTLM", "NTLM"])
    assert done.stdout.count("Kerberos was passed over: 401, Unauthorized.") == 2
    assert "passed over" not in lab.check(tmp_path, pool=pool).stdout


@pytest.mark.parametrize("way", ["closed", "silent"])
def test_without_a_kdc_there_is_ntlm_in_good_time(lab: Lab, tmp_path: Path, way: str) -> None:
    with Unanswered(way) as kdc:
        started = time.monotonic()
        done = lab.check(tmp_path, "-v", "-t", "6", **configured(tmp_path, kdc))
    assert time.monotonic() - started < 6.0
    assert (done.code, schemes(done)) == (0, ["NTLM", "NTLM"])
    assert done.stdout.count(f"Kerberos was passed over: no KDC of {REALM} answers") == 2


@pytest.mark.parametrize("way", ["closed", "silent"])
def test_without_a_kdc_kerberos_by_name_fails_in_good_time(lab: Lab, tmp_path: Path, way: str) -> None:
    with Unanswered(way) as kdc:
        started = time.monotonic()
        done = lab.check(tmp_path, "--auth", "kerberos", "-t", "6", **configured(tmp_path, kdc))
    assert time.monotonic() - started < 6.0
    code, line = verdict(done)
    assert code == 2
    assert line.startswith(
        f"LYNC PRESENCE CRITICAL - Register failed for both users: Kerberos: no KDC of {REALM} answers"
    )
    assert "Check krb5.conf, and that the domain controllers answer on port 88" in done.stdout
    assert remembered(tmp_path) == []


def test_when_ntlm_fails_too_both_are_told(lab: Lab, tmp_path: Path) -> None:
    with Unanswered("closed") as kdc:
        done = lab.check(tmp_path, publisher_password="wrong", **configured(tmp_path, kdc))
    assert verdict(done) == (2, f"LYNC PRESENCE CRITICAL - Register failed for {ANN}: 401, Unauthorized")
    assert f"Kerberos was passed over: no KDC of {REALM} answers." in done.lines


class Unanswered:
    """A KDC that is not there, or one that takes everything and says nothing."""

    def __init__(self, way: str) -> None:
        self._silent = way == "silent"
        self._sockets: List[socket.socket] = []

    def __enter__(self) -> str:
        for _ in range(20):
            try:
                return self._open()
            except OSError:  # somebody has the same port with the other protocol
                self.__exit__()
        raise AssertionError("no port is free with both protocols")

    def _open(self) -> str:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = socket.socket(socket.AF_INET, kind)
            port = self._sockets[0].getsockname()[1] if self._sockets else 0
            self._sockets.append(sock)
            sock.bind(("127.0.0.1", port))
            if kind is socket.SOCK_STREAM and self._silent:
                sock.listen(16)
        place = f"127.0.0.1:{self._sockets[0].getsockname()[1]}"
        if not self._silent:
            self.__exit__()
        return place

    def __exit__(self, *_: object) -> None:
        while self._sockets:
            self._sockets.pop().close()


# ------------------------------------------------------------------ what a KDC says


def refused(uri: str) -> Tuple[int, str]:
    return 2, f"LYNC PRESENCE CRITICAL - Register failed for {uri}: Kerberos: the KDC refuses the password"


def test_a_refused_password_is_tried_once_not_with_ntlm_and_not_again(lab: Lab, tmp_path: Path) -> None:
    uri = address("guessed")
    given = {"publisher": uri, "publisher_user": "CONTOSO\\guessed", "publisher_password": "wrong"}
    before = lab.samba.wrong_passwords("guessed")
    assert verdict(lab.check(tmp_path, **given)) == refused(uri)
    assert lab.samba.wrong_passwords("guessed") == before + 1
    assert len(remembered(tmp_path)) == 1
    code, line = verdict(lab.check(tmp_path, **given))
    assert code == 2
    assert line.startswith(f"LYNC PRESENCE CRITICAL - Register failed for {uri}: No attempt, refused since ")
    assert lab.samba.wrong_passwords("guessed") == before + 1


def test_a_refused_key_is_not_tried_again_until_the_keytab_is_another_one(lab: Lab, tmp_path: Path) -> None:
    # The keys of ben, who has the same password: a key is made of the name, too.
    keytab = tmp_path / "ann.keytab"
    keytab.touch(mode=0o600)
    keytab.write_bytes(lab.keytab("ben").read_bytes().replace(b"\0\3ben", b"\0\3ann"))
    given = {"publisher_keytab": str(keytab), "publisher_password": ""}
    text = f"LYNC PRESENCE CRITICAL - Register failed for {ANN}: Kerberos: the KDC refuses the keytab's key"
    assert verdict(lab.check(tmp_path, **given)) == (2, text)
    assert "No attempt, refused since" in lab.check(tmp_path, **given).first_line
    keytab.write_bytes(lab.keytab("ann").read_bytes())
    assert lab.check(tmp_path, **given).code == 0


@pytest.mark.parametrize(
    ("name", "reason", "advice"),
    [
        ("nobody", f"no such user as nobody@{REALM}", "Check the logon name CONTOSO\\nobody"),
        ("disabled", "account disabled, locked or expired", "Check the account CONTOSO\\disabled"),
        ("locked", "account disabled, locked or expired", "Check the account CONTOSO\\locked"),
        ("expired", "account disabled, locked or expired", "Check the account CONTOSO\\expired"),
        ("oldpassword", "password expired or to be changed", "Set another password for CONTOSO\\oldpassword"),
        ("mustchange", "password expired or to be changed", "Set another password for CONTOSO\\mustchange"),
    ],
)
def test_what_the_kdc_has_against_an_account_is_said(
    lab: Lab, tmp_path: Path, name: str, reason: str, advice: str
) -> None:
    given = {"publisher": address(name), "publisher_user": f"CONTOSO\\{name}"}
    done = lab.check(tmp_path, "--auth", "kerberos", **given)
    text = f"LYNC PRESENCE CRITICAL - Register failed for {address(name)}: Kerberos: {reason[:10]}"
    assert done.code == 2
    assert done.first_line.startswith(text)
    assert done.lines[4] == f"Error      : Kerberos: {reason}."
    assert any(line.startswith(advice) for line in done.lines)
    assert remembered(tmp_path) == []  # no password was refused


def test_an_account_that_the_kdc_refuses_is_not_tried_with_ntlm(lab: Lab, tmp_path: Path) -> None:
    done = lab.check(tmp_path, publisher=address("disabled"), publisher_user="CONTOSO\\disabled")
    assert done.lines[4] == "Error      : Kerberos: account disabled, locked or expired."


def test_the_directory_proves_what_the_kdc_says(lab: Lab, tmp_path: Path, certificates: Certificates) -> None:
    given = {"publisher": address("disabled"), "publisher_user": "CONTOSO\\disabled"}
    directory = {"ldap_uri": lab.samba.ldaps, "ldap_ca_file": str(certificates.ca), "ldap_bind": f"ben@{DOMAIN}"}
    done = lab.check(tmp_path, "--account-state", "warning", **given, **directory, LDAP_PASSWORD=PASSWORD)
    assert done.code == 1
    assert "The AD account CONTOSO\\disabled is disabled: Enable-ADAccount -Identity disabled." in done.lines


def test_a_service_that_the_kdc_does_not_know_is_named(lab: Lab, tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "pool09.ini", everybody().replace(f"[{POOL}]", f"[pool09.{DOMAIN}]"))
    given: Dict[str, Any] = dict(lab.environment)
    with Simulator(accounts, "--tcp", "0", "--keytab", str(lab.keytab(SERVICE)), **given) as simulator:
        done = run_check(
            "-H", f"pool09.{DOMAIN}", "--accounts", str(accounts), "--connect", f"127.0.0.1:{simulator.tcp}",
            "--transport", "tcp", "--state-dir", str(tmp_path / "state"), "--auth", "kerberos", **given,
        )  # fmt: skip
    text = f"LYNC PRESENCE CRITICAL - Register failed for both users: Kerberos: no such service as sip/pool09.{DOMAIN}"
    assert verdict(done) == (2, text)
    assert "setspn -S" in done.stdout


# ------------------------------------------------------------------ tickets and clocks


@pytest.fixture
def faketime() -> str:
    found = shutil.which("faketime")
    if found is None:
        without_lab("faketime is missing", "faketime")
    libraries = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), Path("/usr/lib/faketime/libfaketimeMT.so.1")]
    return next(str(path) for path in libraries if path.exists())


def elsewhen(library: str, seconds: int) -> Dict[str, str]:
    """The environment of a host whose clock is ahead; monotonic time is as it is."""
    return {"LD_PRELOAD": library, "FAKETIME": f"+{seconds}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def test_a_ticket_that_has_expired_is_said(lab: Lab, tmp_path: Path, faketime: str) -> None:
    cache = {"KRB5CCNAME": f"FILE:{tmp_path / 'ann'}"}
    kinit("ann", PASSWORD, {**lab.environment, **cache}, "-l", "10m")
    done = lab.check(tmp_path, "--auth", "kerberos", publisher_password="", **cache, **elsewhen(faketime, 1200))
    text = f"LYNC PRESENCE CRITICAL - Register failed for {ANN}: Kerberos: the ticket has expired"
    assert verdict(done)[1].startswith(text)
    assert done.code == 2
    assert any(line.startswith("Renew it before it ends") for line in done.lines)


def test_clocks_that_are_too_far_apart_are_said(lab: Lab, tmp_path: Path, faketime: str) -> None:
    cache = {"KRB5CCNAME": f"FILE:{tmp_path / 'ann'}"}
    kinit("ann", PASSWORD, {**lab.environment, **cache})
    given = {"publisher_password": "", "subscriber_password": "", **cache, **elsewhen(faketime, 900)}
    done = lab.check(tmp_path, "--auth", "kerberos", **given)
    assert verdict(done)[0] == 2
    assert f"Register failed for {ANN}: " in done.first_line
    assert "The clocks differ too much" in done.stdout


def test_a_pool_that_finds_the_clocks_too_far_apart_is_believed(lab: Lab, tmp_path: Path) -> None:
    pool = ("--fault", "kerberos-skew")
    done = lab.check(tmp_path, "--auth", "kerberos", pool=pool)
    assert verdict(done) == (2, "LYNC PRESENCE CRITICAL - Register failed for both users: 401, Unauthorized")
    assert done.lines[5].startswith("Diagnosis  : ErrorCode=1013,")
    assert done.lines[6].startswith("The clocks differ too much")
    assert remembered(tmp_path) == []
    assert schemes(lab.check(tmp_path, "-v", pool=pool)) == ["NTLM", "NTLM"]


# ------------------------------------------------------------------ this host


def test_a_keytab_without_the_user_is_unknown(lab: Lab, tmp_path: Path) -> None:
    keytab = str(lab.keytab("ben"))
    done = lab.check(tmp_path, publisher_keytab=keytab)
    text = f"LYNC PRESENCE UNKNOWN - the keytab {keytab} has no key of ann@{REALM}; klist -k shows what it has"
    assert (done.code, done.first_line) == (3, text)


def test_a_host_without_configuration_is_unknown_with_kerberos_by_name(lab: Lab, tmp_path: Path) -> None:
    nothing = {"KRB5_CONFIG": str(tmp_path / "none.conf")}
    done = lab.check(tmp_path, "--auth", "kerberos", **nothing)
    assert done.code == 3
    assert done.first_line.startswith(
        "LYNC PRESENCE UNKNOWN - this host is not configured for the Kerberos realm of CONTOSO\\ann: write the logon"
    )
    assert schemes(lab.check(tmp_path, "-v", **nothing)) == ["NTLM", "NTLM"]


def test_without_the_extra_kerberos_by_name_is_unknown_and_ntlm_works(lab: Lab, tmp_path: Path) -> None:
    # A module of that name without anything in it stands before any that has it.
    (tmp_path / "gssapi.py").write_text("raise ImportError('not installed')\n")
    none = {"PYTHONPATH": str(tmp_path)}
    done = lab.check(tmp_path, "--auth", "kerberos", **none)
    text = "Kerberos needs gssapi: install python3-gssapi, or pip install gssapi with the check's own pip"
    assert (done.code, done.stdout) == (3, f"LYNC PRESENCE UNKNOWN - {text}\n")
    done = lab.check(tmp_path, "-v", **none)
    assert (done.code, schemes(done)) == (0, ["NTLM", "NTLM"])


# ------------------------------------------------------------------ tokens that prove nothing


TOKEN = """
import base64, gssapi
def name(text): return gssapi.Name(text, gssapi.NameType.kerberos_principal)
store = {"client_keytab": "FILE:%s", "ccache": "MEMORY:test"}
user = gssapi.Credentials(usage="initiate", name=name("ann@%s"), store=store)
context = gssapi.SecurityContext(name=name("%s@"), creds=user, usage="initiate", mech=gssapi.MechType.kerberos)
print(base64.b64encode(context.step()).decode())
"""


def test_a_token_proves_something_once_and_in_whole(lab: Lab, tmp_path: Path) -> None:
    program = TOKEN % (lab.keytab("ann"), REALM, SERVICE)
    made = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **lab.environment},
    )
    token = made.stdout.strip()
    # In version 3 the last REGISTER of a handshake is not signed: the token alone proves.
    simulator = lab.simulator("--fault", "sa-version=3")

    def answer(gssapi_data: str, uri: str = ANN) -> Response:
        params = {
            "qop": "auth",
            "realm": REALM_OF_SIP,
            "targetname": SERVICE,
            "gssapi-data": gssapi_data,
            "version": "3",
        }
        client = simulator.client(uri)
        return client.answer_of(client.register(("Authorization", format_auth_header("Kerberos", params))))

    cut = [token[:number] for number in (4, 64, len(token) // 2 // 4 * 4)]
    other = b64encode(b64decode(token)[:-1] + b"\0").decode()
    assert {answer(wrong).status for wrong in (*cut, other, "AAAA", "%%%")} == {401}
    assert answer(token).status == 200
    assert answer(token).status == 401  # the acceptor remembers it
    assert answer(token, BEN).status == 401


# ------------------------------------------------------------------ certificates


def test_a_certificate_is_got_with_a_ticket_for_the_web_service(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("OpenSSL", reason="comes with pip install 'check_lync_presence[tls-dsk]'")
    both = lab.keytab("services")
    if not both.exists():
        for service in (SERVICE, f"HTTP/{POOL}"):
            lab.samba.export_keytab(service, both)
    pool = ("--offer", "tls-dsk", "--keytab", str(both))
    keytab = {"publisher_keytab": str(lab.keytab("ann")), "publisher_password": ""}
    done = lab.check(tmp_path, "-v", "--auth", "tls-dsk", pool=pool, **keytab)
    assert (done.code, schemes(done)) == (0, ["TLS-DSK", "TLS-DSK"]), done.stdout
    assert len(list((tmp_path / "state").glob("certificate-*"))) == 2
    wrong = lab.check(
        tmp_path, "--auth", "tls-dsk", "--state-dir", str(tmp_path / "other"), pool=pool, publisher_password="x"
    )
    assert wrong.code == 2
    assert "Kerberos: the KDC refuses the password" in wrong.stdout
