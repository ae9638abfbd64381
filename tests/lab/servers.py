"""What tests with real servers share: skipping, starting and stopping, certificates, running the check."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, TypeVar

import trustme

from ..commands import POOL, Finished, Simulator, run_check, write_accounts
from ..simulator_unit.client import BEN
from .people import MONITOR_PASSWORD, PASSWORD, USERS

PYASN1 = "ignore:.* is deprecated. Please use:DeprecationWarning"  # what ldap3 uses of it
START_LIMIT = 30.0  # seconds that a server may take to listen
TIME = re.compile(r"\d\d\d\d-\d\d-\d\d \d\d:\d\d UTC")


def free_port() -> int:
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


AnyProcess = TypeVar("AnyProcess", bound="Process")


class Process:
    """A server in the foreground. Use it as a context manager: it is stopped by its process id."""

    def __init__(self, command: Sequence[str], log: Path, listens: Sequence[Tuple[str, int]], **options: Any) -> None:
        self.log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, **options
            )
        try:
            end = time.monotonic() + START_LIMIT
            for place in listens:
                self._wait_for(place, end)
        except BaseException:
            self.stop()
            raise

    def __enter__(self: AnyProcess) -> AnyProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _wait_for(self, place: Tuple[str, int], end: float) -> None:
        while True:
            try:
                socket.create_connection(place, timeout=1.0).close()
                return
            except OSError:
                code = self._process.poll()
                said = self.log.read_text(errors="replace")[-2000:]
                assert code is None, f"the server ended with {code}: {said}"
                assert time.monotonic() < end, f"nothing listens on {place}: {said}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """The server takes connections (its kernel does) and says nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


class Certificates:
    """A CA of the lab, and what it vouches for; `stranger` is another CA that vouches for nothing here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self._ca.cert_pem.bytes())
        self.stranger = folder / "stranger.pem"
        self.stranger.write_bytes(trustme.CA().cert_pem.bytes())

    def issue(self, name: str, *names: str, expired: bool = False) -> Tuple[Path, Path]:
        """(certificate, key) for `names`, in files that begin with `name`."""
        yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        issued = self._ca.issue_cert(*names, not_after=yesterday if expired else None)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key


class Pools:
    """Simulators, one for each set of faults, started when the first check wants it; all know all users."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._running: Dict[Tuple[str, ...], Simulator] = {}

    def close(self) -> None:
        self._stack.close()

    def __getitem__(self, faults: Tuple[str, ...]) -> Simulator:
        if faults not in self._running:
            path = write_accounts(self._folder / f"pool{len(self._running)}.ini", self._everybody())
            options = [text for fault in faults for text in ("--fault", fault)]
            simulator = Simulator(path, "--tcp", "0", *options)
            self._stack.enter_context(simulator)
            self._running[faults] = simulator
        return self._running[faults]

    def _everybody(self) -> str:
        sections = []
        for number, (uri, logon) in enumerate(USERS.items()):
            role = "subscriber" if uri == BEN else "publisher"
            name = POOL if uri == BEN else f"pool{number}.contoso.example"
            sections.append(f"[{name}]\n{role} = {uri}\n{role}_user = {logon}\n{role}_password = {PASSWORD}\n")
        return "\n".join(sections)

    def check(self, folder: Path, fault: str, uri: str, logon: str, *arguments: str, **environment: str) -> Finished:
        """Run the check with `uri` as the publisher against a pool with this fault (``""``: none, or several)."""
        simulator = self[tuple(fault.split())]
        accounts = write_accounts(folder / "accounts.ini", accounts_of(uri, logon))
        done = run_check(
            "-H", POOL, "--accounts", str(accounts), "--connect", f"127.0.0.1:{simulator.tcp}", "--transport", "tcp",
            "--state-dir", str(folder / "state"), *arguments, **given(environment),
        )  # fmt: skip
        assert_discreet(done)
        return done


def accounts_of(uri: str, logon: str) -> str:
    return (
        f"[{POOL}]\npublisher = {uri}\npublisher_user = {logon}\npublisher_password = {PASSWORD}\n"
        f"subscriber = {BEN}\nsubscriber_user = CONTOSO\\ben\nsubscriber_password = {PASSWORD}\n"
    )


def verify(folder: Path, uri: str, logon: str, *arguments: str, **environment: str) -> Finished:
    """Run --verify-accounts for a publisher and ben."""
    accounts = write_accounts(folder / "accounts.ini", accounts_of(uri, logon))
    done = run_check(
        "-H", POOL, "--accounts", str(accounts), "--verify-accounts", *arguments,
        **given(environment),
    )  # fmt: skip
    assert_discreet(done)
    return done


def given(environment: Dict[str, str]) -> Dict[str, Any]:
    """The environment of a check: the bind account's password, unless another one is given."""
    return {"LDAP_PASSWORD": MONITOR_PASSWORD, **environment}


def assert_discreet(done: Finished) -> None:
    """Whatever happens: nothing on standard error, and no password."""
    assert done.stderr == ""
    assert PASSWORD not in done.stdout
    assert MONITOR_PASSWORD not in done.stdout
    assert "Traceback" not in done.stdout


def sentences(done: Finished) -> List[str]:
    """The sentences below the cmdlet's five lines, times of day replaced."""
    return [TIME.sub("{time}", line) for line in done.lines[6:] if "not encrypted (--transport tcp)" not in line]


def verdict(done: Finished) -> Tuple[int, str]:
    """(exit code, first line without performance data)."""
    return done.code, done.first_line.partition(" | ")[0]


UNKNOWN = "account-unknown=publisher"
BOTH_UNKNOWN = "account-unknown=publisher account-unknown=subscriber"
FORBIDDEN = "account-not-allowed=publisher"
REFUSED = "wrong-password=publisher"
CODES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}


def failed(uri: str, reason: str, state: str) -> Tuple[int, str]:
    """The verdict when the pool does not register `uri`."""
    return CODES[state], f"LYNC PRESENCE {state} - Register failed for {uri}: {reason}"


def not_found(uri: str, state: str = "WARNING") -> Tuple[int, str]:
    return failed(uri, "404, Not Found", state)


def refused(uri: str, state: str = "WARNING") -> Tuple[int, str]:
    return failed(uri, "401, Unauthorized", state)


def waiting(uri: str, done: Finished, state: str) -> Tuple[int, str]:
    """The verdict when a refused password is held back; the time is that of `done`.

    The first line may have no room for all of it.
    """
    time_of_day = TIME.search(done.lines[4])
    assert time_of_day is not None, done.stdout
    code, text = failed(uri, f"No attempt, refused since {time_of_day.group()}", state)
    return code, text if text in done.first_line else text.replace(" UTC", "…")


def options(uri: str, ca: Optional[Path], bind: Optional[str], *more: str) -> List[str]:
    """The options for a directory."""
    given = ["--ldap-uri", uri, "--account-state", "warning"]
    if ca is not None:
        given += ["--ldap-ca-file", str(ca)]
    if bind is not None:
        given += ["--ldap-bind", bind]
    return [*given, *more]


def age_refusals(folder: Path, seconds: float) -> None:
    """Let the refusals that a check has remembered be older."""
    (path,) = (folder / "state").iterdir()
    state = json.loads(path.read_text())
    state.update(since=state["since"] - seconds, tried=state["tried"] - seconds)
    path.write_text(json.dumps(state))


def remembered(folder: Path) -> List[Path]:
    """The state files of refused passwords."""
    return sorted((folder / "state").glob("refused-*.json"))
