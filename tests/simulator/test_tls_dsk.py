"""TLS-DSK through the real command line: certificates that were given, fetched, kept; and all that can be wrong.

The whole output of every fault is pinned in tests/golden/tls-dsk.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import pytest

pytest.importorskip("OpenSSL", reason="comes with pip install 'check_lync_presence[tls-dsk]'")

from cryptography import x509

from ..certificates import user_certificate
from ..commands import ACCOUNTS, Finished, Simulator, run_check, write_accounts
from .conftest import Start
from .test_faults import CRITICAL, GOLDEN, OK, compare

UNKNOWN = 3
SIMULATOR = ("--tls", "0", "--offer", "tls-dsk")
CHECK = ("--auth", "tls-dsk", "--timeout", "20")


class Pool(NamedTuple):
    """A simulator that offers TLS-DSK, and the folder that the check keeps its certificates in."""

    simulator: Simulator
    state: Path

    def check(self, *arguments: str, code: int = OK, **extra: Any) -> Finished:
        result = self.simulator.check(*CHECK, "--state-dir", str(self.state), *arguments, **extra)
        assert (result.code, result.stderr) == (code, ""), result.stdout
        return result

    def kept(self) -> List[Path]:
        return sorted(self.state.glob("certificate-*"))


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One without faults, for all tests that need no other."""
    accounts = write_accounts(tmp_path_factory.mktemp("pool") / "accounts.ini")
    with Simulator(accounts, *SIMULATOR) as running:
        assert isinstance(running, Simulator)
        yield running


@pytest.fixture
def pool(simulator: Simulator, tmp_path: Path) -> Pool:
    return Pool(simulator, tmp_path / "state")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Tuple[Path, Path]:
    """Two files with certificate and key, of a CA of their own: of nobody in particular, and one that has expired."""
    folder = tmp_path_factory.mktemp("certificates")
    paths = folder / "valid.pem", folder / "expired.pem"
    for path, days in zip(paths, (30, -1)):
        made = user_certificate("ann@contoso.example", days)
        write_accounts(path, made.certificate + made.key.reveal())
    return paths


def without(module: str, folder: Path) -> Dict[str, Any]:
    """The environment of a process that cannot import `module`."""
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{module!r}] = None\n")
    return {"PYTHONPATH": str(folder)}


# ------------------------------------------------------------ fetched and kept


def test_a_certificate_is_fetched_for_each_user_and_kept_for_us_alone(pool: Pool) -> None:
    result = pool.check("-v")
    assert result.stdout.count("Authentication: TLS-DSK") == 2
    assert [stat.S_IMODE(path.stat().st_mode) for path in pool.kept()] == [0o600, 0o600]
    assert stat.S_IMODE(pool.state.stat().st_mode) == 0o700
    subjects = [x509.load_pem_x509_certificate(path.read_bytes()).subject.rfc4514_string() for path in pool.kept()]
    assert sorted(subjects) == ["CN=ann@contoso.example", "CN=ben@contoso.example"]


def test_a_kept_certificate_needs_no_web_service_and_no_further_message(pool: Pool, tmp_path: Path) -> None:
    first = pool.check("-vv")
    before = [path.read_bytes() for path in pool.kept()]
    second = pool.check("-vv", **without("check_lync_presence.net.https", tmp_path))
    assert [path.read_bytes() for path in pool.kept()] == before
    for result in (first, second):
        sent = [line for line in result.lines if "sent by" in line and ": REGISTER " in line]
        assert len(sent) == 2 * (4 + 1), result.stdout  # four legs, and the log-off


def test_a_kept_certificate_that_is_refused_is_replaced_once(pool: Pool, simulate: Start) -> None:
    pool.check()
    before = {path.name: path.read_bytes() for path in pool.kept()}
    other = Pool(simulate(options=SIMULATOR), pool.state)
    names = _rename(pool.state, pool, other)
    told = other.check("-v")
    assert told.stdout.count("TLS-DSK was passed over: Certificate refused: ") == 2
    after = {path.name: path.read_bytes() for path in pool.kept()}
    assert set(after) == set(names.values())
    assert all(after[new] != before[old] for old, new in names.items())


def test_a_certificate_file_that_others_can_read_or_that_is_a_link_is_not_believed(pool: Pool) -> None:
    pool.check()
    public, link = pool.kept()
    before = {path: path.read_bytes() for path in (public, link)}
    public.chmod(0o644)
    target = pool.state.parent / "elsewhere.pem"
    link.rename(target)
    link.symlink_to(target)
    pool.check()
    for path in (public, link):
        assert not path.is_symlink()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes() != before[path]
    assert target.read_bytes() == before[link]


def test_without_a_folder_of_our_own_the_run_succeeds_and_says_so(pool: Pool) -> None:
    pool.state.mkdir()
    pool.state.chmod(0o777)
    result = pool.check()
    assert f"could not be kept ({pool.state}: others may write to it (mode 0777))" in result.stdout
    assert list(pool.state.iterdir()) == []


def test_a_refused_password_of_the_ticket_service_is_not_tried_again(simulate: Start, tmp_path: Path) -> None:
    pool = Pool(simulate("wrong-password", options=SIMULATOR), tmp_path / "state")
    refused = pool.check("-v", code=CRITICAL)
    compare(GOLDEN / "tls-dsk" / "wrong-password.txt", refused.stdout)
    again = pool.check(code=CRITICAL)
    assert "No attempt, refused since" in again.first_line


# ------------------------------------------------------------ certificates that were given


def test_a_certificate_that_was_given_needs_no_password_and_no_service(pool: Pool, tmp_path: Path) -> None:
    pool.check()
    ann, ben = _by_user(pool)
    text = "".join(line for line in ACCOUNTS.splitlines(True) if "password" not in line)
    accounts = write_accounts(tmp_path / "given.ini", f"{text}publisher_cert = {ann}\nsubscriber_cert = {ben}\n")
    other = Pool(pool.simulator, tmp_path / "other")
    for auth in ("tls-dsk", "auto"):
        result = other.check("--accounts", str(accounts), "--auth", auth, "--certificate-warning", "400:", "-v", code=1)
        assert result.stdout.count("Authentication: TLS-DSK") == 2
        assert result.perfdata["certificate_days"].startswith("179;")
        # The two were made at the same time, or one a second before the other.
        ends_first = r"certificate_days of the certificate of sip:(ann|ben)@contoso\.example 179 is outside"
        assert re.search(ends_first, result.first_line)
    assert not (tmp_path / "other").exists()


def test_the_key_may_stand_in_a_file_of_its_own(pool: Pool, tmp_path: Path) -> None:
    pool.check()
    ann, _ = _by_user(pool)
    certificate, key = tmp_path / "ann.crt", tmp_path / "ann.key"
    text = ann.read_text()
    certificate.write_text(text[: text.index("-----BEGIN PRIVATE")])
    write_accounts(key, text[text.index("-----BEGIN PRIVATE") :])
    result = pool.check("-v", "--publisher-cert", str(certificate), "--publisher-key", str(key))
    assert result.stdout.count("Authentication: TLS-DSK") == 2


def test_a_run_with_a_given_certificate_is_not_played_as_one_that_fails(pool: Pool, tmp_path: Path) -> None:
    pool.check()
    ann, ben = _by_user(pool)
    trace = tmp_path / "trace"
    pool.check("--publisher-cert", str(ann), "--subscriber-cert", str(ben), "--trace", str(trace))
    played = run_check("--replay", str(trace))
    assert (played.code, played.stderr) == (UNKNOWN, "")
    assert "the trace cannot be played: nobody can be signed in again with TLS-DSK" in played.stdout


def test_the_certificate_of_another_user_is_explained(pool: Pool) -> None:
    pool.check()
    _, ben = _by_user(pool)
    result = pool.check("-v", "--publisher-cert", str(ben), code=CRITICAL)
    compare(GOLDEN / "tls-dsk" / "certificate-of-ben.txt", result.stdout)


def test_a_certificate_of_an_unknown_ca_is_explained(pool: Pool, certificates: Tuple[Path, Path]) -> None:
    result = pool.check("-v", "--publisher-cert", str(certificates[0]), code=CRITICAL)
    compare(GOLDEN / "tls-dsk" / "certificate-of-another-ca.txt", result.stdout)


def test_a_file_that_cannot_be_used_is_a_usage_error(certificates: Tuple[Path, Path], tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini")
    given = ("--auth", "tls-dsk", "--publisher-cert", str(certificates[1]))
    result = run_check("-H", "pool01.contoso.example", "--accounts", str(accounts), *given)
    assert (result.code, result.stderr, len(result.lines)) == (UNKNOWN, "", 1)
    assert f"the publisher's certificate {certificates[1]} expired on " in result.first_line


def test_the_missing_packages_are_named_with_the_command(tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini")
    arguments = ("-H", "pool01.contoso.example", "--accounts", str(accounts), "--auth", "tls-dsk")
    result = run_check(*arguments, **without("OpenSSL", tmp_path))
    assert (result.code, result.stderr) == (UNKNOWN, "")
    assert result.first_line.endswith(
        "TLS-DSK needs pyOpenSSL and pyspnego: pip install pyOpenSSL pyspnego with the check's own pip"
    )


# ------------------------------------------------------------ faults


@pytest.mark.parametrize(
    "fault",
    [
        "user-certificate",
        "user-certificate=expired",
        "user-certificate=refused",
        "provisioning",
        "provisioning=silent",
        "provisioning=garbage",
        "signature-wrong",
    ],
)
def test_fault_is_reported_as_it_should_be(simulate: Start, tmp_path: Path, fault: str) -> None:
    pool = Pool(simulate(fault, options=SIMULATOR), tmp_path / "state")
    result = pool.check("-v", "--timeout", "6", code=CRITICAL)
    compare(GOLDEN / "tls-dsk" / f"{fault.replace('=', '-')}.txt", result.stdout)


def test_a_server_that_does_not_offer_it_is_named(simulate: Start, tmp_path: Path) -> None:
    pool = Pool(simulate(options=("--tls", "0", "--offer", "ntlm")), tmp_path / "state")
    result = pool.check("-v", code=CRITICAL)
    compare(GOLDEN / "tls-dsk" / "not-offered.txt", result.stdout)


def test_nothing_secret_leaves_the_process(pool: Pool) -> None:
    result = pool.check("-vvv")
    assert "TLS-DSK" in result.stdout
    assert "PRIVATE KEY" not in result.stdout
    assert 'gssapi-data="***"' in result.stdout
    assert "BEGIN" not in result.stdout


def _by_user(pool: Pool) -> List[Path]:
    """The kept files of ann and ben."""
    return sorted(
        pool.kept(), key=lambda path: x509.load_pem_x509_certificate(path.read_bytes()).subject.rfc4514_string()
    )


def _rename(state: Path, pool: Pool, other: Pool) -> Dict[str, str]:
    """Give kept files the names that they would have for another simulator; its port is part of the place."""
    from check_lync_presence.settings import Account, Secret
    from check_lync_presence.user_certificates import CertificateStore

    names = {}
    for name in ("ann", "ben"):
        account = Account(f"sip:{name}@contoso.example", "", Secret(""))
        old, new = (
            CertificateStore((), f"pool01.contoso.example {('127.0.0.1', place.simulator.tls)}")._file_name(account)
            for place in (pool, other)
        )
        (state / old).rename(state / new)
        names[old] = new
    return names
