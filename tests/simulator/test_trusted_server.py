"""TrustedServer: a certificate in the place of passwords, over mutual TLS, through the real command line."""

from __future__ import annotations

import contextlib
import datetime
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, List, Optional

import pytest
import trustme

from ..commands import ACCOUNTS, POOL, Finished, Simulator, run_check, write_accounts
from ..simulator_unit.client import ANN, BEN

NO_PASSWORDS = f"[{POOL}]\npublisher = {ANN}\nsubscriber = {BEN}\n"
NAME = "app01.contoso.example"
TRUSTED = ("--auth", "trusted-server")
DAY = datetime.timedelta(days=1)


class Authority:
    """A CA, and certificates of servers by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ca = trustme.CA()
        self.file = folder / "trusted-ca.pem"
        self.file.write_bytes(self._ca.cert_pem.bytes())

    def show(self, name: str = NAME, days: Optional[float] = None, mode: int = 0o600) -> List[str]:
        """Options that show a certificate which ends in so many days."""
        end = None if days is None else datetime.datetime.now(datetime.timezone.utc) + days * DAY
        issued = self._ca.issue_cert(name, not_after=end)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        key.chmod(mode)
        return ["--client-cert", str(certificate), "--client-key", str(key)]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.contextmanager
def simulated(folder: Path, *options: str, accounts: str = ACCOUNTS) -> Iterator[Simulator]:
    simulator = Simulator(write_accounts(folder / "accounts.ini", accounts), *options)
    with simulator:
        yield simulator


@pytest.fixture
def pool(tmp_path: Path, authority: Authority) -> Iterator[Simulator]:
    with simulated(
        tmp_path, "--tls", "0", "--trust-client-ca", str(authority.file), accounts=NO_PASSWORDS
    ) as simulator:
        yield simulator


def test_a_trusted_server_needs_no_passwords(pool: Simulator, authority: Authority) -> None:
    done = pool.check(*TRUSTED, *authority.show(), "-v")
    assert (done.code, done.stderr) == (0, "")
    assert done.first_line.startswith(f"LYNC PRESENCE OK - {ANN} reached {BEN} on {POOL} in ")
    assert done.stdout.count("Authentication: TrustedServer (client certificate)") == 2
    census = pool.census_when(lambda census: census["connections"] == 0)
    assert [census["users"][user]["endpoints"] for user in (ANN, BEN)] == [0, 0]


def test_nothing_is_signed_and_no_credentials_are_sent(pool: Simulator, authority: Authority) -> None:
    done = pool.check(*TRUSTED, *authority.show(), "-vvv")
    assert done.code == 0
    assert "REGISTER sip:contoso.example SIP/2.0" in done.stdout
    assert re.findall(r"Authorization|Authenticat(?:e|ion-Info):", done.stdout) == []


def test_the_key_is_nowhere_in_the_output(pool: Simulator, authority: Authority) -> None:
    shown = authority.show()
    secret = [line for line in Path(shown[3]).read_text().splitlines() if "PRIVATE" not in line]
    output = pool.check(*TRUSTED, *shown, "-vvv").stdout
    assert not [line for line in secret if line in output]


def untrusted(done: Finished) -> str:
    """The advice where a pool does not believe the certificate."""
    line = next(line for line in done.lines if line.startswith("The pool does not know "))
    assert "New-CsTrustedApplicationPool -Identity " in line
    assert f"-Registrar {POOL}, then Enable-CsTopology" in line
    return line


def test_a_pool_that_asks_for_a_password_does_not_trust_the_certificate(authority: Authority, tmp_path: Path) -> None:
    # Its port does not even ask for a certificate.
    with simulated(tmp_path, "--tls", "0") as pool:
        done = pool.check(*TRUSTED, *authority.show())
    assert done.code == 2
    assert "Register failed for both users: 401, Unauthorized" in done.first_line
    assert untrusted(done).startswith(f"The pool does not know {NAME} as a trusted server: ")
    assert "the certificate's subject must be that very name" in untrusted(done)


def test_an_issuer_that_the_pool_does_not_know_is_named(pool: Simulator, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    done = pool.check(*TRUSTED, *Authority(tmp_path / "other").show())
    assert done.code == 2
    assert "Register failed" in done.first_line
    # With an alert, or, as asyncio does, without a word.
    advice = rf"server .*refuses our certificate {NAME}.*: check its issuer \(the server must trust it\)"
    assert re.search(advice, done.stdout), done.stdout


def test_a_pool_that_forbids_it_does_not_trust_the_certificate(authority: Authority, tmp_path: Path) -> None:
    options = ("--tls", "0", "--trust-client-ca", str(authority.file), "--fault", "account-not-allowed=publisher")
    with simulated(tmp_path, *options, accounts=NO_PASSWORDS) as pool:
        done = pool.check(*TRUSTED, *authority.show())
    # 4003 is about the user, not about us.
    assert (done.code, "403, Forbidden" in done.first_line) == (2, True)
    assert "is not enabled for remote access" in done.stdout
    assert "New-CsTrustedApplicationPool" not in done.stdout


def test_without_the_certificate_a_password_is_asked_for(pool: Simulator) -> None:
    done = pool.check(PUBLISHER_PASSWORD="a", SUBSCRIBER_PASSWORD="b")
    assert done.code == 2
    assert "401, Unauthorized" in done.first_line


@pytest.mark.parametrize("arguments", [["--transport", "tcp"], ["--insecure"], ["--protocol", "simple"]])
def test_what_would_leave_nothing_to_prove_it_is_refused(
    pool: Simulator, authority: Authority, arguments: List[str]
) -> None:
    done = pool.check(*TRUSTED, *authority.show(), *arguments)
    assert (done.code, done.stdout.count("\n")) == (3, 1)
    assert pool.census()["connections"] == 0


# ------------------------------------------------------------------ the files


def unknown(done: Finished) -> str:
    assert (done.code, done.stderr, done.stdout.count("\n")) == (3, "", 1)
    assert done.stdout.startswith("LYNC PRESENCE UNKNOWN - ")
    return done.stdout


def refused(tmp_path: Path, *arguments: str) -> str:
    accounts = write_accounts(tmp_path / "accounts.ini", NO_PASSWORDS)
    return unknown(run_check("-H", POOL, "--accounts", str(accounts), "--connect", "127.0.0.1:1", *TRUSTED, *arguments))


def test_a_key_that_others_may_read_is_refused(authority: Authority, tmp_path: Path) -> None:
    shown = authority.show(mode=0o644)
    text = (
        f"the client key {shown[3]} has mode 0644 and holds a private key; make it private with: chmod 0640 {shown[3]}"
    )
    assert text in refused(tmp_path, *shown)


def test_a_key_of_another_certificate_is_named(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.show(), authority.show("app02.contoso.example")
    assert "key and certificate do not belong together" in refused(tmp_path, *one[:2], *other[2:])


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    shown = authority.show()
    assert "cannot read the client key /nowhere/k.pem: No such file" in refused(
        tmp_path, *shown[:2], "--client-key", "/nowhere/k.pem"
    )
    Path(shown[3]).write_text("-----BEGIN PRIVATE KEY-----\nnot base64\n-----END PRIVATE KEY-----\n")
    assert f"cannot use the client certificate {shown[1]} and {shown[3]}: it is not a valid PEM file" in refused(
        tmp_path, *shown
    )


def test_a_certificate_that_has_expired_is_said_before_anything_else(authority: Authority, tmp_path: Path) -> None:
    shown = authority.show(days=-2)
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * 86400))
    assert f"the client certificate {shown[1]} expired on {day} " in refused(tmp_path, *shown)


def test_the_days_of_our_certificate_count_and_it_is_named(pool: Simulator, authority: Authority) -> None:
    shown = authority.show(days=9.5)
    done = pool.check(*TRUSTED, *shown, "--certificate-warning", "30:", "--certificate-critical", "7:")
    assert done.code == 1
    assert done.perfdata["certificate_days"] == "9;30:;7:"
    assert f"certificate_days of the client certificate {shown[1]} 9 is outside range 30:" in done.first_line


def test_the_days_count_for_a_certificate_that_is_shown_beside_a_password(tmp_path: Path, authority: Authority) -> None:
    with simulated(tmp_path, "--tls", "0") as pool:
        done = pool.check(*authority.show(days=9.5))
    assert (done.code, done.perfdata["certificate_days"]) == (0, "9")


# ------------------------------------------------------------------ the simulator's options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--offer", "kerberos"], "--offer kerberos needs the key of the service: --keytab FILE"),
        (["--offer", "digest"], "'digest' is not a list of ntlm, kerberos, tls-dsk"),
        (["--offer", ""], "'' is not a list of"),
        (["--trust-client-ca", "/nowhere/ca.pem"], "cannot use /nowhere/ca.pem: No such file"),
        (["--tcp", "0", "--trust-client-ca", "/dev/null"], "--trust-client-ca needs TLS; add --tls PORT"),
        (["--dialect", "simple", "--offer", "ntlm"], "--offer, --keytab and --trust-client-ca are for Lync"),
    ],
)
def test_what_the_simulator_cannot_do_is_one_line(tmp_path: Path, options: List[str], words: str) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini")
    command = [sys.executable, "-m", "check_lync_presence.simulator.command", "--accounts", str(accounts), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20.0, check=False)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (3, "", 1)
    assert words in done.stdout


@pytest.mark.parametrize(
    ("offer", "line"),
    [
        ("ntlm", ""),
        ("NTLM,tls-dsk", ""),
        ("tls-dsk", "The server does not offer NTLM; it offers TLS-DSK"),
    ],
)
def test_the_menu_is_what_is_offered(tmp_path: Path, offer: str, line: str) -> None:
    with simulated(tmp_path, "--tcp", "0", "--offer", offer) as pool:
        done = pool.check()
    assert (done.code == 0) == (not line)
    assert line in done.first_line


def test_a_scheme_that_is_named_and_not_offered_is_said(tmp_path: Path) -> None:
    with simulated(tmp_path, "--tcp", "0", "--offer", "tls-dsk") as pool:
        done = pool.check("--auth", "ntlm")
    assert "The server does not offer NTLM; it offers TLS-DSK" in done.first_line
    assert "Allow NTLM on the pool: Set-CsProxyConfiguration -UseNtlmForClientToProxyAuth $true" in done.lines


def test_digest_by_name_does_not_try_lync_first(tmp_path: Path) -> None:
    with simulated(tmp_path, "--tcp", "0", "--dialect", "simple") as server:
        done = server.check("--auth", "digest", "-vv")
    assert done.code == 0
    assert "gssapi-data" not in done.stdout
