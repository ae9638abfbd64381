"""The two commands as processes: what a user types, what comes out. Shared by the tests that need them."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from .simulator_unit.client import ANN, PASSWORDS
from .simulator_unit.client import POOL as POOL
from .simulator_unit.process import Simulator as SimulatorProcess

ANN_PASSWORD = PASSWORDS[ANN]
BEN_PASSWORD = "Correct-Horse;Battery%20"

ACCOUNTS = f"""\
[{POOL}]
publisher           = sip:ann@contoso.example
publisher_user      = CONTOSO\\ann
publisher_password  = {ANN_PASSWORD}
subscriber          = sip:ben@contoso.example
subscriber_user     = ben@contoso.example
subscriber_password = {BEN_PASSWORD}
"""


STATE = Path(tempfile.mkdtemp(prefix="check_lync_presence-state-"))
atexit.register(shutil.rmtree, STATE, ignore_errors=True)


class Finished(NamedTuple):
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def first_line(self) -> str:
        return self.stdout.partition("\n")[0]

    @property
    def lines(self) -> List[str]:
        return self.stdout.splitlines()

    @property
    def perfdata(self) -> Dict[str, str]:
        _, _, perfdata = self.first_line.partition(" | ")
        return dict(item.split("=", 1) for item in perfdata.split())


def write_accounts(path: Path, text: str = ACCOUNTS, mode: int = 0o600) -> Path:
    """An accounts file with the permissions that one must have."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def write_keytab(path: Path, mode: int = 0o600) -> Path:
    """A keytab without keys."""
    path.touch(mode=0o600)
    path.write_bytes(b"\5\2")
    path.chmod(mode)
    return path


def environment(**extra: str) -> Dict[str, str]:
    """The tests' environment without what would reach the check from the outside."""
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_PASSWORD")}
    for name in ("CHECK_LYNC_PRESENCE_ACCOUNTS", "PYTHONUNBUFFERED"):
        kept.pop(name, None)
    kept["XDG_STATE_HOME"] = str(STATE)  # a refused password of one test is not held against the next
    kept.update(extra)
    return kept


def run_check(*arguments: str, stdin: Optional[str] = None, limit: float = 60.0, **extra: str) -> Finished:
    """Run the real command line; `extra` goes into its environment."""
    done = subprocess.run(
        [sys.executable, "-m", "check_lync_presence", *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        encoding="utf-8",
        timeout=limit,
        check=False,
        env=environment(**extra),
    )
    return Finished(done.returncode, done.stdout, done.stderr)


class Simulator(SimulatorProcess):
    """A running lync-presence-simulator, and the check against it."""

    def __init__(self, accounts: Path, *arguments: str, **extra: str) -> None:
        self.accounts = accounts
        super().__init__(accounts, *arguments, env=environment(**extra))

    def check(self, *arguments: str, at: str = "127.0.0.1", **keywords: Any) -> Finished:
        """Run the check `at` a front end of this simulator: over TLS, else TCP, else UDP, as it listens."""
        return run_check(*self.named(at), *arguments, **keywords)

    def named(self, at: str = "127.0.0.1") -> List[str]:
        """The arguments that name this simulator to the check."""
        if "tls" in self.ready:
            where = ["--connect", f"{at}:{self.tls}", "--ca-file", self.ready["ca_file"]]
        else:
            transport = "tcp" if "tcp" in self.ready else "udp"
            where = ["--connect", f"{at}:{self.ready[transport]}", "--transport", transport]
        return ["-H", POOL, "--accounts", str(self.accounts), *where]


_VARIABLE = (
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"TCP port \d+|on port \d+"), lambda found: found.group().rpartition(" ")[0] + " PORT"),
    (re.compile(r"(\w+=|'|in |latency )\d+\.\d+(?=[;' ]|$)"), r"\1SECONDS"),
    (re.compile(r"\d\d:\d\d:\d\d\.\d{7}"), "00:00:00.TICKS"),
    (re.compile(r"certificate_days=-?\d+"), "certificate_days=DAYS"),
    (re.compile(r"\bin \d+(\.\d+)? secs\b|\bwithin \d+\.\d+ (secs|s)\b"), "in what was left"),
)


def normalised(output: str) -> str:
    """Output without what differs from run to run: ports and measured times."""
    for pattern, replacement in _VARIABLE:
        output = pattern.sub(replacement, output)
    return output
