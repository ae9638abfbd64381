"""Every fault of the simulator through the real command line: the whole output is pinned in tests/golden.

What a SIMPLE server does wrong is in tests/golden/simple.

``UPDATE_GOLDEN=1 pytest tests/simulator`` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from check_lync_presence.simulator.faults import ACTIVITIES, LYNC, SIMPLE, TABLE
from check_lync_presence.simulator.process import STATES

from ..commands import normalised, run_check
from ..in_process import recorded
from .conftest import Start

GOLDEN = Path(__file__).parent.parent / "golden"
TIMEOUT = 4.0
NRPE_LIMIT = 1024  # what NRPE v2 carries
MAX_FIRST_LINE = 120
OK, WARNING, CRITICAL = 0, 1, 2

# What a fault comes to. A fault at log-off is never a reason for another verdict.
_CONNECTION_FAULTS = ("no-answer", "cut", "half-message", "garbage", "oversized-message")
_LYNC = {
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
    "kerberos-skew": OK,
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
    "not-replicated": OK,
    "xml-bomb": CRITICAL,
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
        for fault in _CONNECTION_FAULTS
        for activity in ACTIVITIES
    },
}
_SIMPLE = {
    "account-unknown": CRITICAL,
    "account-not-allowed=subscriber": CRITICAL,
    "wrong-password": CRITICAL,
    "wrong-password=subscriber": CRITICAL,
    "service-unavailable": CRITICAL,
    "server-timeout": CRITICAL,
    "redirect": OK,
    "redirect-loop": CRITICAL,
    "redirect-foreign": CRITICAL,
    "digest-algorithm=MD5": OK,
    "digest-algorithm=SHA-256": OK,
    "digest-algorithm=SHA-512-256": OK,
    "stale-nonce": OK,
    "proxy-authentication": OK,
    "presentity-unknown": CRITICAL,
    "publication-refused": CRITICAL,
    "watcher-blocked": CRITICAL,
    "interval-too-brief": OK,
    "event-refused": CRITICAL,
    "subscription-accepted-202": OK,
    "notify-before-answer": OK,
    "subscription-ended": CRITICAL,
    "etag-missing": OK,
    "condition-failed": OK,
    "notification-never": CRITICAL,
    "notification-other-user": CRITICAL,
    "notification-older": CRITICAL,
    "notification-wrong-type": CRITICAL,
    "notification-multipart": CRITICAL,
    "xml-bomb": CRITICAL,
    "notification-first": OK,
    "notification-late=0.3": OK,
    "notification-duplicate": OK,
    "not-replicated": OK,
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
        for fault in _CONNECTION_FAULTS
        for activity in ACTIVITIES
        if activity != "self-subscribe"
    },
}
EXPECTED = {LYNC: _LYNC, SIMPLE: _SIMPLE}
FOLDERS = {LYNC: GOLDEN, SIMPLE: GOLDEN / "simple"}
# A pool whose every answer takes so many seconds, with a warning at one second.
_DELAYED = {"0.3": WARNING, "60": CRITICAL}
OPTIONS = {LYNC: ("--tls", "0"), SIMPLE: ("--tls", "0", "--dialect", SIMPLE)}
UDP_ONLY = {"lost"}  # tests/simulator/test_udp.py
ONLY_ONCE = {"resign", "version-conflict"}  # what a pool does to a user once
TLS_DSK_ONLY = {"user-certificate", "provisioning"}  # tests/simulator/test_tls_dsk.py

both = pytest.mark.parametrize("dialect", EXPECTED)


@both
def test_every_fault_of_the_simulator_is_tested(dialect: str) -> None:
    tested = {fault.partition("=")[0] for fault in EXPECTED[dialect]}
    assert tested == {fault.name for fault in TABLE if dialect in fault.dialects} - UDP_ONLY - TLS_DSK_ONLY


@both
def test_the_table_of_faults_says_to_which_state_each_comes(dialect: str) -> None:
    told = {fault.name: fault for fault in TABLE}
    for fault, code in EXPECTED[dialect].items():
        name, _, value = fault.partition("=")
        assert told[name].state(value) == STATES[code], fault


@pytest.mark.parametrize(
    ("dialect", "fault"),
    [pytest.param(dialect, fault, id=f"{dialect}-{fault}") for dialect in EXPECTED for fault in EXPECTED[dialect]],
)
def test_fault_is_reported_as_it_should_be_and_judged_again_alike(
    simulate: Start, tmp_path: Path, dialect: str, fault: str
) -> None:
    simulator = simulate(fault, options=OPTIONS[dialect])
    started = time.monotonic()
    # A refusal is remembered by the server's address, and another simulator may have had it.
    state = ("--state-dir", str(tmp_path / "golden"))
    result = simulator.check("-v", "--timeout", f"{TIMEOUT:g}", "--notify-timeout", "1", *state)
    elapsed = time.monotonic() - started
    compare(FOLDERS[dialect] / f"{fault.replace('=', '-')}.txt", result.stdout)
    assert result.code == EXPECTED[dialect][fault]
    assert result.stderr == ""
    assert _own_share(elapsed) < TIMEOUT + 1
    without_log, _, _ = result.stdout.partition("'Register' activity started.")
    assert len(without_log.encode()) < NRPE_LIMIT
    assert len(result.first_line.partition(" | ")[0]) < MAX_FIRST_LINE
    if fault in ONLY_ONCE:
        simulator = simulate(fault, options=OPTIONS[dialect])
    # What goes well takes no time, and a simulator wants to be heard out.
    limit = ("--timeout", f"{TIMEOUT:g}") if result.code == OK else ()
    recorded(simulator, tmp_path, *limit)


@pytest.mark.parametrize("delay", _DELAYED)
def test_answers_that_take_their_time_are_reported_as_they_should_be(simulate: Start, delay: str) -> None:
    simulator = simulate(options=(*OPTIONS[LYNC], "--delay", delay))
    started = time.monotonic()
    result = simulator.check("-v", "-w", "1", "--timeout", f"{TIMEOUT:g}", "--notify-timeout", "1")
    elapsed = time.monotonic() - started
    compare(GOLDEN / f"delay-{delay}.txt", result.stdout)
    assert (result.code, result.stderr) == (_DELAYED[delay], "")
    assert _own_share(elapsed) < TIMEOUT + 1


@both
def test_a_healthy_pool_is_ok(simulate: Start, dialect: str) -> None:
    result = simulate(options=OPTIONS[dialect]).check("-v", "-w", "5", "-c", "10")
    compare(FOLDERS[dialect] / "healthy.txt", result.stdout)
    assert (result.code, result.stderr) == (OK, "")


def test_a_domain_that_demands_a_mic_is_content_with_ntlm_mic(simulate: Start) -> None:
    result = simulate("require-mic").check("--ntlm-mic")
    assert result.code == OK, result.stdout


def _own_share(elapsed: float) -> float:
    """How long a check took, without what starting a process takes on this machine where it is too busy for tests."""
    if elapsed < TIMEOUT + 1:
        return elapsed
    started = time.monotonic()
    run_check("--version")
    return elapsed - 3 * (time.monotonic() - started)


def compare(path: Path, output: str) -> None:
    """The output must be that of the file."""
    text = normalised(output)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@both
def test_no_golden_file_is_left_over(dialect: str) -> None:
    names = [*(fault.replace("=", "-") for fault in EXPECTED[dialect]), "healthy"]
    names += [f"delay-{delay}" for delay in _DELAYED if dialect == LYNC]
    known = sorted(f"{name}.txt" for name in names)
    assert sorted(path.name for path in FOLDERS[dialect].glob("*.txt")) == known
