"""The real command line against a server that means harm: what it said, how long it took, how much memory.

A verdict is what is wanted of it: in time, with one state and five lines, and without a word of the server's that
could be taken for ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import List, NamedTuple

from check_lync_presence.plugin import PERFDATA

from ..commands import ANN_PASSWORD, BEN_PASSWORD, environment
from ..transcripts import POOL

TIMEOUT = 10.0  # seconds that an attacked check has
SHORT = 2.0  # the same, where the attack goes on until then
LATE = 1.0  # seconds by which it may be late
MEMORY = 96.0  # MiB: a healthy check takes 35, and no attack more than a few messages of the size that is allowed
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

# Runs the check and tells what it took. A child's memory counts from that of whoever forks: he must be small.
_RUN = """\
import json, os, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, capture_output=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps([done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8", "replace"), peak]))
"""


class Attacked(NamedTuple):
    """A check that is over."""

    code: int
    stdout: str
    seconds: float
    memory: float

    @property
    def first_line(self) -> str:
        return self.stdout.partition("\n")[0]


def accounts(folder: Path) -> Path:
    """Accounts of the two users."""
    path = folder / "accounts.ini"
    path.touch(mode=0o600)
    path.write_text(
        f"[{POOL}]\npublisher = sip:ann@contoso.example\npublisher_user = CONTOSO\\ann\n"
        f"publisher_password = {ANN_PASSWORD}\nsubscriber = sip:ben@contoso.example\n"
        f"subscriber_user = ben@contoso.example\nsubscriber_password = {BEN_PASSWORD}\n",
        encoding="utf-8",
    )
    return path


def attacked(folder: Path, port: int, *arguments: str, timeout: float = TIMEOUT) -> Attacked:
    """Run the check against the port, over TCP unless told otherwise; everything that always holds is held."""
    transport = () if "--ca-file" in arguments else ("--transport", "tcp")
    where: List[str] = ["--connect", f"127.0.0.1:{port}", *transport, "--timeout", str(timeout)]
    command = [sys.executable, "-m", "check_lync_presence", "-H", POOL, "--accounts", str(accounts(folder))]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _RUN, *command, *where, *arguments],
        stdout=subprocess.PIPE,
        env=environment(),
        timeout=60,
        check=True,
    )
    seconds = time.monotonic() - started
    code, stdout, stderr, memory = json.loads(done.stdout)
    assert stderr == ""
    assert seconds < timeout + LATE + 1  # the start of two interpreters on a busy machine
    assert memory < MEMORY
    hold(code, stdout)
    return Attacked(code, stdout, seconds, memory)


def hold(code: int, stdout: str) -> None:
    """What every output must be, whatever a server says."""
    first, *rest = stdout.splitlines()
    assert stdout.isprintable() or set(stdout) - set(map(chr, range(32, 0x110000))) <= {"\n"}
    assert first.startswith(f"LYNC PRESENCE {STATES[code]} - ")
    assert first.count("|") == 1
    assert not any("|" in line for line in rest)
    assert [line.partition(":")[0].strip() for line in rest[:5]] == [
        "TargetFqdn",
        "Result",
        "Latency",
        "Error",
        "Diagnosis",
    ]
    labels = [item.partition("=")[0] for item in first.partition(" | ")[2].split()]
    assert set(labels) <= set(PERFDATA)
    assert ANN_PASSWORD not in stdout
    assert BEN_PASSWORD not in stdout
