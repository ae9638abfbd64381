"""Every fault of the simulator through the real command line: the whole output is pinned in tests/golden.

``UPDATE_GOLDEN=1 pytest tests/simulator`` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import List, Tuple

import pytest

from check_lync_presence.simulator.faults import ACTIVITIES, TABLE

from ..commands import normalised
from .conftest import Start

GOLDEN = Path(__file__).parent.parent / "golden"
TIMEOUT = 4.0
NRPE_LIMIT = 1024  # what NRPE v2 carries
MAX_FIRST_LINE = 120
OK, WARNING, CRITICAL = 0, 1, 2

# What a fault comes to. A fault at log-off is never a reason for another verdict.
EXPECTED = {
    "account-unknown": CRITICAL,
    "account-unknown=subscriber": CRITICAL,
    "account-not-allowed": CRITICAL,
    "wrong-password": CRITICAL,
    "wrong-password=subscriber": CRITICAL,
    "not-authorized-from": CRITICAL,
    "deregistered": CRITICAL,
    "service-unavailable": CRITICAL,
    "server-timeout": CRITICAL,
    "redirect": OK,
    "redirect-loop": CRITICAL,
    "redirect-foreign": CRITICAL,
    "survivable-mode": CRITICAL,
    "no-enhanced-presence": CRITICAL,
    "clock-skew=1000": OK,
    "no-ntlm": CRITICAL,
    "digest-only": CRITICAL,
    "weak-ntlm": CRITICAL,
    "require-mic": CRITICAL,
    "sa-version=3": OK,
    "sa-version=2": OK,
    "resign": OK,
    "signature-wrong": CRITICAL,
    "signature-wrong=notification": CRITICAL,
    "signature-missing": CRITICAL,
    "notification-unsigned": CRITICAL,
    "presentity-unknown": CRITICAL,
    "publication-refused": CRITICAL,
    "note-instance-refused": OK,
    "version-conflict": OK,
    "version-conflict=always": CRITICAL,
    "watcher-blocked": CRITICAL,
    "fresh-account": OK,
    "no-adhoclist": OK,
    "no-piggyback": OK,
    "notify": OK,
    "notification-never": CRITICAL,
    "notification-other-user": CRITICAL,
    "notification-older": CRITICAL,
    "notification-first": OK,
    "notification-late=0.3": OK,
    "notification-duplicate": OK,
    "certificate-expired": CRITICAL,
    "certificate-other-name": CRITICAL,
    "plain-text-on-tls": CRITICAL,
    "tls-silent": CRITICAL,
    "split-messages": OK,
    "joined-messages": OK,
    "crlf-storm": OK,
    "upper-case-headers": OK,
    "folded-headers": OK,
    "options-probe": OK,
    **{
        f"{fault}={activity}": OK if activity == "unregister" else CRITICAL
        for fault in ("no-answer", "cut", "half-message", "garbage", "oversized-message")
        for activity in ACTIVITIES
    },
}


def test_every_fault_of_the_simulator_is_tested() -> None:
    assert {fault.partition("=")[0] for fault in EXPECTED} == {fault.name for fault in TABLE}


@pytest.mark.parametrize("fault", EXPECTED)
def test_fault_is_reported_as_it_should_be(simulate: Start, fault: str) -> None:
    simulator = simulate(fault)
    started = time.monotonic()
    result = simulator.check("-v", "--timeout", f"{TIMEOUT:g}", "--notify-timeout", "1")
    elapsed = time.monotonic() - started
    _compare(fault.replace("=", "-"), result.stdout)
    assert result.code == EXPECTED[fault]
    assert result.stderr == ""
    assert elapsed < TIMEOUT + 1
    without_log, _, _ = result.stdout.partition("'Register' activity started.")
    assert len(without_log.encode()) < NRPE_LIMIT
    assert len(result.first_line.partition(" | ")[0]) < MAX_FIRST_LINE


def test_a_healthy_pool_is_ok(simulate: Start) -> None:
    result = simulate().check("-v", "-w", "5", "-c", "10")
    _compare("healthy", result.stdout)
    assert (result.code, result.stderr) == (OK, "")


def test_a_domain_that_demands_a_mic_is_content_with_ntlm_mic(simulate: Start) -> None:
    result = simulate("require-mic").check("--ntlm-mic")
    assert result.code == OK, result.stdout


def _compare(name: str, output: str) -> None:
    path = GOLDEN / f"{name}.txt"
    text = normalised(output)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    names: List[str] = [*(fault.replace("=", "-") for fault in EXPECTED), "healthy"]
    known: Tuple[str, ...] = tuple(sorted(f"{name}.txt" for name in names))
    assert tuple(sorted(path.name for path in GOLDEN.glob("*.txt"))) == known
