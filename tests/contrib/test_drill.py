"""The fire drill as a person and as a clock walk through it."""

from __future__ import annotations

import concurrent.futures
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import pytest

from check_lync_presence.simulator.faults import DIALECTS, LYNC, SIMPLE, TABLE

from ..commands import Finished, environment, run_check
from ..loopback import lasting_port

DRILL = Path(__file__).parents[2] / "contrib" / "drill" / "drill.py"
LIMIT = 600.0  # seconds that a whole drill may take on a slow machine
QUICK = ("--timeout", "4", "--notify-timeout", "1")


def drill(*arguments: str, stdin: str = "") -> Finished:
    done = subprocess.run(
        [sys.executable, str(DRILL), "--port", str(lasting_port()), *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
        env=environment(),
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def told(done: Finished) -> Dict[str, Tuple[str, str]]:
    """Of the summary: (the alarm that there should be, the check's first line) by fault."""
    _, _, rows = done.stdout.partition("What your monitoring should have:\n")
    found: List[Tuple[str, str, str]] = re.findall(
        r"^  \d\d:\d\d:\d\d  (no alarm|\w+) +(\S+).*\n(?: {22}(.*)\n)?", rows, re.MULTILINE
    )
    return {fault: (alarm, line) for alarm, fault, line in found}


def unattended(names: Sequence[str], dialect: str = LYNC) -> Finished:
    """A drill of these faults, one look at each, which must go as it should."""
    only = [word for name in names for word in ("--only", name)]
    done = drill("--every", "0", *QUICK, "--dialect", dialect, *only)
    assert (done.code, done.stderr) == (0, ""), done.stdout
    assert "NOT AS IT SHOULD" not in done.stdout
    assert "No attempt" not in done.stdout  # a refused password is never in the way of the next fault
    return done


def test_the_whole_drill_shows_every_fault_of_a_lync_pool_and_each_state_is_right() -> None:
    names = [fault.name for fault in TABLE if LYNC in fault.dialects]
    rows = {}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in pool.map(unattended, (names[::2], names[1::2])):
            rows.update(told(done))
    drilled = {fault.partition("=")[0]: alarm for fault, (alarm, _) in rows.items()}
    assert set(drilled) == set(names)
    for fault, (alarm, line) in rows.items():
        assert line.startswith(f"LYNC PRESENCE {alarm} - " if alarm != "no alarm" else ""), fault
    assert drilled["notification-late"] == "WARNING"
    assert rows["wrong-password"][1] == (
        "LYNC PRESENCE CRITICAL - Register failed for sip:ann@contoso.example: 401, Unauthorized"
    )


def test_a_simple_server_can_be_drilled_too() -> None:
    done = unattended(("event-refused", "stale-nonce"), SIMPLE)
    assert {fault: alarm for fault, (alarm, _) in told(done).items()} == {
        "event-refused": "CRITICAL",
        "stale-nonce": "no alarm",
    }


def test_what_a_person_has_missed_is_in_the_summary(tmp_path: Path) -> None:
    # begin; it alarmed; it has recovered; nothing alarmed; it did not alarm; it has recovered
    answers = "\n\n\n\nn\n\n"
    only = [word for name in ("service-unavailable", "folded-headers", "account-unknown") for word in ("--only", name)]
    done = drill(*only, "--folder", str(tmp_path / "drill"), stdin=answers)
    assert (done.code, done.stderr) == (1, "")
    assert re.search(r"CRITICAL  account-unknown  <- NOT AS IT SHOULD$", done.stdout, re.MULTILINE)
    assert done.stdout.count("NOT AS IT SHOULD") == 1
    assert done.lines[-1] == "2 alarms, each with a recovery; none for the other 1; 1 went wrong."
    command = next(line.split() for line in done.lines if line.startswith("  /"))
    assert command[1:] == ["-H", "pool01.contoso.example", "--accounts", str(tmp_path / "drill" / "accounts.ini")]
    # What the service is told to run works: it finds the place and the CA in the accounts file.
    assert "Connection refused" in run_check(*command[1:]).stdout


def test_a_drill_that_nobody_can_answer_says_so() -> None:
    done = drill("--only", "redirect")
    assert (done.code, done.stderr) == (3, "")
    assert done.lines[-1] == "drill: nobody can press Enter here; let the clock do it with --every SECONDS"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--only", "flood"), "drill: there is no fault 'flood'; --list-faults shows those that there are"),
        (("--only", "cut=always"), "drill: the fault cut does not take the value 'always'"),
        (("--only", "resign", "--dialect", SIMPLE), "drill: the fault resign does not exist in the simple dialect"),
        (("--only", "lost", "--dialect", SIMPLE), "drill: the fault lost shows over UDP only"),
        (("--folder", "/proc/drill"), "drill: cannot use the folder /proc/drill"),
        (("--timeout", "0.001"), "drill: cannot begin: the check says CRITICAL of a pool in order"),
        (("--listen", "192.0.2.1"), "drill: cannot begin: lync-presence-simulator: cannot listen on"),
    ],
)
def test_what_cannot_be_drilled_is_refused(arguments: Tuple[str, ...], reason: str) -> None:
    done = drill("--every", "0", *arguments)
    assert (done.code, done.stderr) == (3, "")
    assert done.lines[-1].startswith(reason)


def test_a_notification_later_than_the_check_waits_is_critical() -> None:
    listed = drill("--list", "--notify-timeout", "8", "--only", "notification-late", "--only", "notification-late=8")
    assert re.findall(r"^(\w+) +(\S+):", listed.stdout, re.MULTILINE) == [
        ("WARNING", "notification-late=4"),
        ("CRITICAL", "notification-late=8"),
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_list_has_every_fault_with_its_state(dialect: str) -> None:
    done = drill("--list", "--dialect", dialect)
    assert (done.code, done.stderr) == (0, "")
    rows = re.findall(r"^(OK|WARNING|CRITICAL) +([a-z0-9-]+)[=:]", done.stdout, re.MULTILINE)
    assert [name for _, name in rows] == [
        fault.name for fault in TABLE if dialect in fault.dialects and fault.name != "lost"
    ]
