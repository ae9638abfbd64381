"""The simulator as a process of its own, and the check beside it: what demonstrations and drills start.

Owns the two commands as an installation has them, and the users of an example. Must not know any fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

POOL = "pool01.contoso.example"
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # by exit code
_COMMANDS = Path(sys.executable).parent  # of the environment that this is installed in


class NotStarted(Exception):
    """There is no simulator; the text says why: what it said, or the system."""


def write_accounts(path: Path, passwords: Mapping[str, str], settings: Optional[Mapping[str, str]] = None) -> None:
    """Write a private accounts file of ann, who publishes, and ben; `settings` are more lines of the pool's section."""
    lines = [f"[{POOL}]"]
    for role, name in (("publisher", "ann"), ("subscriber", "ben")):
        lines.append(f"{role} = sip:{name}@contoso.example")
        lines.append(f"{role}_user = CONTOSO\\{name}")
        lines.append(f"{role}_password = {passwords[name]}")
    lines += [f"{key} = {value}" for key, value in (settings or {}).items()]
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as part:
        part.write("\n".join(lines) + "\n")
    os.chmod(part.name, 0o640)
    os.replace(part.name, path)  # a check that reads it meanwhile has the old one or the new one


def simulate(accounts: Path, *options: str) -> List[str]:
    """The simulator's command line."""
    return [str(_COMMANDS / "lync-presence-simulator"), "--accounts", str(accounts), *options]


def check(accounts: Path, *options: str) -> List[str]:
    """The check's command line."""
    return [str(_COMMANDS / "check_lync_presence"), "-H", POOL, "--accounts", str(accounts), *options]


def state_of(code: int) -> str:
    """The state that an exit code means; below 0 it is the signal that ended the check."""
    return STATES[code] if 0 <= code < len(STATES) else f"exit code {code}"


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[Dict[str, Any]]:
    """Start the simulator; the facts of its ready line. It is ended by SIGTERM. Raises NotStarted."""
    try:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    except OSError as error:
        raise NotStarted(f"cannot run {command[0]}: {error.strerror}") from None
    with started as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            try:
                facts: Dict[str, Any] = json.loads(line)
            except ValueError:
                raise NotStarted(line.strip()) from None
            yield facts
        finally:
            process.terminate()
