"""What a healthy run loads: the check is started thousands of times an hour, and every module costs at each start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Set

import pytest

from ..commands import POOL, environment
from .conftest import Start

LOADS = """
import atexit, json, sys, sysconfig
def note():
    places = tuple(sysconfig.get_paths()[key] for key in ("purelib", "platlib"))
    files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    foreign = {name.partition(".")[0] for name, file in files.items() if file.startswith(places) and name[0] != "_"}
    with open(sys.argv.pop(), "w") as output:
        json.dump([sorted(files), sorted(foreign)], output)
atexit.register(note)
from check_lync_presence.cli import main
main(sys.argv[1:-1])
"""
# Each costs more than a whole round trip's messages, and none is needed until something fails or is asked for by name.
NOT_LOADED = {
    "asyncio", "concurrent", "dataclasses", "email", "http", "inspect", "importlib.metadata", "subprocess",
    "check_lync_presence.diagnosis", "check_lync_presence.directory", "check_lync_presence.front_ends",
    "check_lync_presence.lync.kerberos", "check_lync_presence.net.client_certificate",
    "check_lync_presence.net.discover", "check_lync_presence.simulator", "check_lync_presence.verify",
}  # fmt: skip
DEPENDENCIES = {"nagiosplugin", "pyVoIP"}  # ldap3, dns, gssapi, trustme … are for other occasions
DROPPED_FROM_PYTHON = {"audioop"}  # from 3.13 on a package has it


def unavoidable() -> Set[str]:
    """What this Python's own modules import for themselves."""
    if sys.version_info < (3, 11):
        return {"subprocess"}  # by platform, that by uuid, and that by pyVoIP
    if sys.version_info >= (3, 14):
        return {"dataclasses", "inspect"}  # by traceback, that by logging, and that by nagiosplugin
    return set()


@pytest.mark.parametrize(("dialect", "unused"), [("lync", {"check_lync_presence.simple"}), ("simple", set())])
def test_a_healthy_run_loads_what_it_needs_and_no_more(
    simulate: Start, tmp_path: Path, dialect: str, unused: Set[str]
) -> None:
    simulator = simulate(options=("--tls", "0", "--dialect", dialect))
    where = ["--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"], "--protocol", dialect]
    told = tmp_path / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", LOADS, "-H", POOL, "--accounts", str(simulator.accounts), *where, str(told)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    names, foreign = json.loads(told.read_text())
    loaded: Set[str] = {".".join(name.split(".")[:end]) for name in names for end in (1, 2, 3)}
    assert loaded & (NOT_LOADED - unavoidable() | unused) == set()
    assert set(foreign) - DROPPED_FROM_PYTHON - {"check_lync_presence"} == DEPENDENCIES
