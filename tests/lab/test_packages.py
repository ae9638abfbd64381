"""What is installed from a package is what was tested: built, installed where it belongs, run, and removed."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Set

import pytest

from check_lync_presence import __version__

from ..commands import ACCOUNTS, POOL, Finished, Simulator, write_accounts
from .required import without_lab

ROOT = Path(__file__).parents[2]
LIBRARY = "/usr/lib/check_lync_presence"
PLUGIN = "/usr/lib/nagios/plugins/check_lync_presence"
CONFIGURATION = Path("/etc/check_lync_presence")
STATE = Path("/var/lib/check_lync_presence")
PACKAGE = "check-lync-presence"
APT = "rpm cpio nagios-nrpe-server"
OK = f"LYNC PRESENCE OK - sip:ann@contoso.example reached sip:ben@contoso.example on {POOL} in "


def run(*command: str, **environment: str) -> Finished:
    """A program with nothing of this one's environment."""
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=120, check=False, stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


def succeeds(*command: str) -> str:
    done = run(*command)
    assert done.code == 0, done
    return done.stdout


class Built(NamedTuple):
    """The packages."""

    pyz: Path
    deb: Path
    rpm: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    for program in ("dpkg-deb", "rpmbuild", "cpio"):
        if shutil.which(program) is None:
            without_lab(f"{program} is not installed", APT)
    folder = tmp_path_factory.mktemp("packages")
    before = set(ROOT.iterdir())
    done = subprocess.run(
        [sys.executable, ROOT / "packaging/build.py", folder, "pyz", "deb", "rpm"],
        capture_output=True, encoding="utf-8", check=False, timeout=240, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(ROOT.iterdir()) == before  # nothing is left where it was built
    return Built(*(Path(line) for line in done.stdout.splitlines()))


def at(simulator: Simulator) -> List[str]:
    return ["-H", POOL, "--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"]]


def with_accounts(simulator: Simulator) -> List[str]:
    return [*at(simulator), "--accounts", str(simulator.accounts)]


def assert_versions(done: Finished) -> None:
    assert (done.code, done.first_line, done.stderr) == (3, f"check_lync_presence {__version__}", "")
    told = dict(line.split(" ", 1) for line in done.lines)
    for name in ("nagiosplugin", "pyVoIP", "ldap3", "dnspython", "expat"):
        assert told[name] != "of unknown version"


# ------------------------------------------------------------- the one file


def test_the_one_file_needs_nothing_but_python(built: Built, simulator: Simulator) -> None:
    # Without -S the packages of this Python could help out.
    bare = (sys.executable, "-I", "-S", str(built.pyz))
    assert_versions(run(*bare, "-V"))
    done = run(*bare, *with_accounts(simulator))
    assert done.first_line.startswith(OK)
    assert (done.code, done.stderr) == (0, "")


def test_the_one_file_can_be_started_by_its_name(built: Built) -> None:
    assert stat.S_IMODE(built.pyz.stat().st_mode) == 0o755
    assert_versions(run(str(built.pyz), "-V"))


def test_the_one_file_asks_a_directory_and_finds_servers_without_anything_else(built: Built) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import ldap3, dns.resolver; print(ldap3, dns, sep=chr(10))"
    done = run(sys.executable, "-I", "-S", "-c", code, str(built.pyz))
    assert [f"from '{built.pyz}/" in line for line in done.lines] == [True, True], done


def test_what_pyvoip_wants_of_audioop_is_its_name_alone(built: Built, simulator: Simulator) -> None:
    # As from Python 3.13 on, where the file brings an empty one.
    code = (
        "import runpy, sys, types; sys.modules['audioop'] = types.ModuleType('audioop'); "
        "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = run(sys.executable, "-I", "-S", "-c", code, str(built.pyz), *with_accounts(simulator))
    assert done.first_line.startswith(OK), done


def test_the_one_file_runs_on_every_python_here(built: Built, simulator: Simulator) -> None:
    names = [f"python3.{minor}" for minor in range(9, 15)]
    pythons = [path for path in map(shutil.which, names) if path and run(path, "-c", "").code == 0]
    assert pythons or shutil.which("python3")
    for python in pythons:
        done = run(python, "-I", "-S", str(built.pyz), *with_accounts(simulator))
        assert done.first_line.startswith(OK), (python, done)
        assert done.stderr == ""


def test_an_old_python_gets_a_sentence(built: Built) -> None:
    text = (ROOT / "packaging/launcher.py").read_text(encoding="utf-8")
    code = f"import sys; sys.version_info = (3, 8, 1); exec({text!r})"
    done = run(sys.executable, "-I", "-c", code)
    assert done == Finished(3, "LYNC PRESENCE UNKNOWN - Python 3.9 or newer is needed, this is 3.8\n", "")


# --------------------------------------------------------- Debian's package


@pytest.fixture(scope="module")
def installed(built: Built) -> Iterator[pwd.struct_passwd]:
    """The package, installed on this machine until the tests are over; the user that monitoring runs as."""
    if os.geteuid() != 0:
        without_lab("only root can install a package", APT)
    try:
        nagios = pwd.getpwnam("nagios")
    except KeyError:
        without_lab("there is no user nagios", APT)
    there = [path for path in (CONFIGURATION, STATE, Path(PLUGIN), Path(LIBRARY)) if path.exists()]
    if there:
        pytest.skip(f"this machine has {there[0]}, which a test must not touch")
    try:
        succeeds("dpkg", "--install", str(built.deb))
        yield nagios
    finally:
        succeeds("dpkg", "--purge", PACKAGE)


Nagios = pwd.struct_passwd


def as_nagios(*command: str) -> Finished:
    # setpriv rather than su: no shell, no session.
    return run("setpriv", "--reuid=nagios", "--regid=nagios", "--clear-groups", *command)


def test_files_are_where_the_distribution_has_them(installed: Nagios) -> None:
    listed = set(succeeds("dpkg-query", "--listfiles", PACKAGE).split("\n"))
    assert {
        PLUGIN,
        "/usr/bin/check_lync_presence",
        "/usr/bin/lync-presence-simulator",
        "/usr/share/man/man1/check_lync_presence.1.gz",
        "/usr/share/bash-completion/completions/check_lync_presence",
        "/usr/share/zsh/vendor-completions/_check_lync_presence",
        "/usr/share/fish/vendor_completions.d/check_lync_presence.fish",
        "/usr/share/check_lync_presence",
        "/usr/share/doc/check-lync-presence/README.md",
        "/etc/check_lync_presence/accounts.ini.example",
    } <= listed
    outside = [path for path in listed if path.startswith(("/usr/local", "/usr/lib/python", "/opt", "/tmp"))]  # noqa: S108
    assert outside == []
    assert succeeds("dpkg", "--verify", PACKAGE) == ""


def test_passwords_will_be_safe_where_they_are_to_stand(installed: Nagios) -> None:
    for path, mode, owner in (
        (CONFIGURATION, 0o750, 0),
        (CONFIGURATION / "accounts.ini.example", 0o640, 0),
        (STATE, 0o700, installed.pw_uid),
    ):
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, owner, installed.pw_gid), path


def test_whoever_was_given_the_configuration_keeps_it_at_an_update(built: Built, installed: Nagios) -> None:
    example = CONFIGURATION / "accounts.ini.example"
    shutil.chown(CONFIGURATION, group="daemon")
    try:
        succeeds("dpkg", "--install", str(built.deb))
        assert (CONFIGURATION.group(), example.group()) == ("daemon", "daemon")
        example.unlink()  # an administrator may; dpkg leaves it at that
        succeeds("dpkg", "--install", str(built.deb))
    finally:
        shutil.chown(CONFIGURATION, group="root")
        succeeds("dpkg", "--force-confmiss", "--install", str(built.deb))
    assert (CONFIGURATION.group(), example.group()) == ("nagios", "nagios")


def named(text: str) -> Set[str]:
    """The files that a text names where packages put them, without placeholders."""
    return set(re.findall(r"/usr/(?:share|lib)/(?:doc/)?check[_-]lync[_-]presence(?:/[\w.*/-]*[\w*])?", text))


def test_what_the_documents_name_is_there(installed: Nagios) -> None:
    documents = [Path("/usr/share/doc/check-lync-presence/README.md"), Path("/usr/share/check_lync_presence/README.md")]
    documents.append(Path("/usr/share/check_lync_presence/icinga2/zones/zones.conf"))
    for document in documents:
        text = document.read_text(encoding="utf-8")
        paths = named(text)
        assert paths, document
        assert [path for path in paths if not list(Path("/").glob(path[1:]))] == []
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
        assert [link for link in links if not (document.parent / link).exists()] == []
        assert "contrib/" not in text


def test_the_fire_drill_starts_as_the_documents_say(installed: Nagios) -> None:
    text = Path("/usr/share/check_lync_presence/README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`(runuser -u nagios -- [^`]*drill\.py)`", text)
    listed = run("runuser", *shlex.split(command)[1:], "--list")
    assert (listed.code, listed.stderr) == (0, "")
    assert "notification-never" in listed.stdout


def test_the_demonstration_runs_as_the_documents_say(installed: Nagios) -> None:
    text = Path("/usr/share/check_lync_presence/README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`(env [^`]*demo\.py)`", text)
    shown = run(*shlex.split(command))
    can = run("/usr/bin/python3", "-I", "-c", "import trustme").code == 0
    assert ("All three states are right." in shown.stdout, "install python3-trustme" in shown.stdout) == (can, not can)
    assert (shown.code, shown.stderr) == (0 if can else 1, "")


def test_the_monitoring_user_runs_it_with_the_accounts_of_the_machine(installed: Nagios, simulator: Simulator) -> None:
    accounts = write_accounts(CONFIGURATION / "accounts.ini", ACCOUNTS, 0o640)
    os.chown(accounts, 0, installed.pw_gid)
    ca = CONFIGURATION / "ca.pem"
    shutil.copy(simulator.ready["ca_file"], ca)
    ca.chmod(0o644)
    where = ("-H", POOL, "--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", str(ca))
    try:
        done = as_nagios(PLUGIN, *where)
        assert done.first_line.startswith(OK), done
        assert (done.code, done.stderr) == (0, "")
        tested = as_nagios("/usr/bin/check_lync_presence", *where, "--self-test")
        assert tested.code == 0, tested
        assert f"[OK] state folder: {STATE}" in tested.lines
        assert_versions(as_nagios(PLUGIN, "-V"))
    finally:
        ca.unlink()


def test_what_is_refused_is_remembered_in_the_folder_that_the_package_made(installed: Nagios) -> None:
    accounts = write_accounts(CONFIGURATION / "accounts.ini", ACCOUNTS, 0o640)
    os.chown(accounts, 0, installed.pw_gid)
    refusing = Simulator(accounts, "--tcp", "0", "--fault", "wrong-password=publisher")
    with refusing:
        where = ("-H", POOL, "--connect", f"127.0.0.1:{refusing.tcp}", "--transport", "tcp")
        assert as_nagios(PLUGIN, *where).code == 2
    (refused,) = STATE.iterdir()
    assert refused.stat().st_uid == installed.pw_uid


def test_it_has_been_compiled_once_for_all(installed: Nagios) -> None:
    tag = succeeds("/usr/bin/python3", "-I", "-c", "import sys; print(sys.implementation.cache_tag)").strip()
    assert Path(LIBRARY, f"check_lync_presence/__pycache__/cli.{tag}.pyc").exists()


def test_it_takes_nothing_from_the_user_who_runs_it(installed: Nagios, tmp_path: Path) -> None:
    (tmp_path / "nagiosplugin.py").write_text("raise SystemExit('not ours')\n")
    assert_versions(run(PLUGIN, "-V", PYTHONPATH=str(tmp_path), PYTHONHOME="/nonexistent"))


def test_the_simulator_lists_its_faults(installed: Nagios) -> None:
    done = run("/usr/bin/lync-presence-simulator", "--list-faults")
    assert (done.code, done.stderr) == (0, "")
    assert "notification-never" in done.stdout


def test_another_python_has_it_compiled_anew(installed: Nagios) -> None:
    compiled = next(Path(LIBRARY, "check_lync_presence/__pycache__").glob("cli.*.pyc"))
    compiled.unlink()
    succeeds(
        "dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3"
    )  # as dpkg does where that file is exchanged
    succeeds("dpkg", "--triggers-only", "--pending")
    assert compiled.exists()


def test_removing_it_keeps_the_passwords_and_purging_it_leaves_nothing(installed: Nagios) -> None:
    """The last one that wants it installed."""
    accounts = write_accounts(CONFIGURATION / "accounts.ini", ACCOUNTS, 0o640)
    succeeds("dpkg", "--remove", PACKAGE)
    assert not Path(LIBRARY).exists()
    assert not Path(PLUGIN).exists()
    assert accounts.exists()
    succeeds("dpkg", "--purge", PACKAGE)
    for path in (CONFIGURATION, STATE, Path(LIBRARY), Path("/usr/share/check_lync_presence")):
        assert not path.exists()


# ----------------------------------------------------------------- the RPM


@pytest.fixture(scope="module")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the RPM below a folder."""
    folder = tmp_path_factory.mktemp("rpm")
    archive = subprocess.run(["rpm2cpio", built.rpm], check=True, stdout=subprocess.PIPE, timeout=60).stdout
    command = ["cpio", "--extract", "--make-directories", "--quiet", "--no-absolute-filenames"]
    subprocess.run(command, check=True, input=archive, cwd=folder, timeout=60)
    return folder


def test_the_rpm_runs_where_its_distributions_look_for_plugins(unpacked: Path, simulator: Simulator) -> None:
    program = unpacked / "usr/lib64/nagios/plugins/check_lync_presence"
    assert (unpacked / "usr/bin/check_lync_presence").resolve() == program
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    text = program.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/python3 -I\n")
    program.write_text(text.replace(LIBRARY, f"{unpacked}{LIBRARY}"), encoding="utf-8")
    assert_versions(run(str(program), "-V"))
    done = run(str(program), *with_accounts(simulator))
    assert done.first_line.startswith(OK), done


def test_the_rpm_says_what_it_is_and_needs_nothing_but_python(built: Built) -> None:
    def of(*query: str) -> Sequence[str]:
        return succeeds("rpm", "--query", "--package", *query, str(built.rpm)).split("\n")

    assert of("--queryformat", "%{NAME} %{VERSION} %{ARCH} %{LICENSE}") == [
        f"check_lync_presence {__version__} noarch GPL-3.0-or-later"
    ]
    needs = [line for line in of("--requires") if line and not line.startswith(("rpmlib(", "/bin/sh"))]
    assert needs == ["python(abi) >= 3.9"]
    modes: Dict[str, str] = {}
    for line in of("--list", "--verbose"):
        fields = line.split()
        if fields:
            modes[fields[8]] = fields[0]
    assert modes["/etc/check_lync_presence"] == "drwxr-x---"
    assert modes["/etc/check_lync_presence/accounts.ini.example"] == "-rw-r-----"
    assert "/usr/share/doc/check_lync_presence/README.md" in modes
    assert "/usr/share/man/man1/check_lync_presence.1.gz" in modes


def test_whoever_was_given_the_configuration_keeps_it_at_an_update_of_the_rpm(built: Built) -> None:
    # A ghost is nothing that rpm would set owner and mode of.
    flags = succeeds(
        "rpm", "--query", "--package", "--queryformat", "[%{FILENAMES} %{FILEFLAGS:fflags}\\n]", str(built.rpm)
    )
    assert [line for line in flags.splitlines() if line.endswith(" g")] == ["/etc/check_lync_presence g"]


def test_the_rpm_brings_nothing_that_is_compiled_for_one_machine(unpacked: Path) -> None:
    assert [path for pattern in ("*.so", "audioop*") for path in unpacked.rglob(pattern)] == []
