"""The check against a healthy simulator: what it measures, what it leaves behind, what it says at each verbosity."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import pytest

from check_lync_presence.lync.categories import parse_self
from check_lync_presence.simulator.xmltext import text_of

from ..commands import ANN_PASSWORD, BEN_PASSWORD, POOL, run_check, write_accounts
from ..simulator_unit.client import ANN, note, state
from .conftest import Start

AGGREGATE = 1  # the instance number of what the server computes
LABELS = {"certificate_days", "latency", "notify", "publish", "register", "self_subscribe", "subscribe", "success"} | {
    "unregister"
}


def test_all_activities_are_measured(simulate: Start) -> None:
    result = simulate().check()
    assert set(result.perfdata) == LABELS
    assert result.perfdata["success"] == "1"


def test_the_first_line_names_both_users_the_pool_and_the_latency(simulate: Start) -> None:
    text = simulate().check().first_line.partition(" | ")[0]
    pattern = (
        r"LYNC PRESENCE OK - sip:ann@contoso\.example reached sip:ben@contoso\.example on pool01\.contoso\.example in "
    )
    assert re.fullmatch(pattern + r"\d+\.\d{3} s", text)


def test_over_tcp_there_is_no_certificate_and_a_remark(simulate: Start) -> None:
    result = simulate(options=("--tcp", "0")).check()
    assert result.code == 0
    assert "certificate_days" not in result.perfdata
    assert "The connection is not encrypted (--transport tcp)." in result.lines


def test_insecure_says_so(simulate: Start) -> None:
    simulator = simulate("certificate-other-name")
    result = simulator.check("--insecure")
    assert result.code == 0
    assert "The server's certificate was not verified (--insecure)." in result.lines
    assert "certificate_days" not in result.perfdata


def test_five_answers_in_a_row_are_the_latency(simulate: Start) -> None:
    # Three for the registration, one for the subscription, one for publication and notification, whoever they are for.
    result = simulate(options=("--tls", "0", "--delay", "0.5")).check()
    assert 2.5 <= float(result.perfdata["latency"].partition(";")[0]) < 3.0


def test_nothing_is_asked_that_the_verdict_does_not_need(simulate: Start) -> None:
    lines = simulate().check("-vv").lines
    told = next(index for index, line in enumerate(lines) if ": BENOTIFY " in line)
    pattern = re.compile(r" *[0-9.]+ sent by (sip:\S+): ([A-Z]+) ")
    sent = [found.groups() for found in map(pattern.match, lines[:told]) if found]
    assert [method for who, method in sent if who == ANN] == ["REGISTER"] * 3 + ["SUBSCRIBE", "SERVICE"]
    assert [method for who, method in sent if who != ANN] == ["REGISTER"] * 3 + ["SUBSCRIBE"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["-w", "0.1"], 1, "outside range 0:0.1"),
        (["-w", "0.1", "-c", "0.2"], 2, "outside range 0:0.2"),
        (["-w", "10:", "-c", "60"], 1, "outside range 10:"),
        (["--activity-warning", "register=0.1"], 1, "register"),
        (["--activity-critical", "notify=@0:5", "--activity-warning", "publish=9"], 2, "notify"),
        (["--certificate-warning", "99999999:"], 1, "certificate_days"),
        (["--certificate-critical", "99999999:"], 2, "certificate_days"),
        (["-w", "5", "-c", "10", "--activity-warning", "notify=4"], 0, "reached"),
    ],
)
def test_thresholds_make_the_state(simulate: Start, options: list[str], code: int, words: str) -> None:
    result = simulate(options=("--tls", "0", "--delay", "0.05")).check(*options)
    assert result.code == code
    assert words in result.first_line
    assert "Result     : Success" in result.lines


def test_thresholds_stand_on_their_label_as_they_were_typed(simulate: Start) -> None:
    perfdata = simulate().check("-w", "5", "-c", "10.0", "--activity-warning", "notify=~:4").perfdata
    assert perfdata["latency"].endswith(";5;10.0;0")
    assert perfdata["notify"].endswith(";~:4;;0")


@pytest.mark.parametrize("fault", ["", "notification-never", "cut=publish", "account-unknown", "cut=notify"])
def test_nothing_is_left_on_the_server(simulate: Start, fault: str) -> None:
    simulator = simulate(*filter(None, [fault]))
    simulator.check("--timeout", "4", "--notify-timeout", "1")
    simulator.census_when(lambda census: not _left(census))


def _left(census: Dict[str, Any]) -> int:
    """Endpoints, publications and connections together."""
    kinds = ("endpoints", "publications", "subscriptions")
    return int(census["connections"]) + sum(int(user[kind]) for user in census["users"].values() for kind in kinds)


def test_a_killed_check_does_not_make_the_next_one_fail(simulate: Start) -> None:
    simulator = simulate("notification-late=0.5")
    arguments = ["-H", POOL, "--accounts", str(simulator.accounts), "--ca-file", simulator.ready["ca_file"]]
    arguments += ["--connect", f"127.0.0.1:{simulator.ready['tls']}"]
    with subprocess.Popen(
        [sys.executable, "-m", "check_lync_presence", *arguments], stdout=subprocess.DEVNULL
    ) as check:
        simulator.census_when(lambda census: _left(census) > 4)
        assert check.poll() is None
        check.kill()
    assert simulator.check().code == 0


def test_checks_at_the_same_time_on_the_same_users_do_not_disturb_each_other(simulate: Start) -> None:
    simulator = simulate(options=("--tls", "0", "--delay", "0.05"))
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: simulator.check(), range(6)))
    assert [result.first_line[:16] for result in results] == ["LYNC PRESENCE OK"] * 6


@pytest.mark.parametrize("fault", ["", "note-instance-refused"])
def test_a_person_who_is_signed_in_as_the_publisher_keeps_what_she_has_published(simulate: Start, fault: str) -> None:
    simulator = simulate(*filter(None, [fault]))
    ann = simulator.client(ANN)
    ann.sign_in()
    ann.publish(note("in a meeting"), state(6500), state(6500, kind="userState", instance=536870912))
    before = _own_publications(ann.subscribe_self().body)
    assert simulator.check().code == 0
    assert _own_publications(ann.subscribe_self().body) == before
    assert ann.sign_out().status == 200


def _own_publications(body: bytes) -> Dict[Tuple[str, Optional[int], Optional[int]], str]:
    """What clients, not the server, have published: key to content."""
    told = parse_self(body).categories
    return {
        (item.name, item.instance, item.container): text_of(item.content)
        for item in told
        if item.content is not None and item.instance != AGGREGATE
    }


@pytest.mark.parametrize("fault", ["", "wrong-password", "require-mic", "signature-wrong", "notification-never"])
def test_no_secret_is_shown_at_any_verbosity(simulate: Start, fault: str) -> None:
    result = simulate(*filter(None, [fault])).check("-vvv", "--timeout", "4", "--notify-timeout", "1")
    output = result.stdout + result.stderr
    assert "REGISTER sip:contoso.example SIP/2.0" in output
    assert ANN_PASSWORD not in output
    assert BEN_PASSWORD not in output
    assert "TlRMTVNTUAAD" not in output  # a type 3 token in base64
    assert re.findall(r"(?:gssapi-data|response|rspauth)=\"(?!\*\*\*\")[^\"]*\"", output) == []


def test_verbosity_grows_by_the_letter(simulate: Start) -> None:
    simulator = simulate()
    plain, one, two, three = (simulator.check(*option).stdout for option in ([], ["-v"], ["-vv"], ["-vvv"]))
    assert "activity started" not in plain
    assert "'Register' activity started." in one
    assert "SIP/2.0 200 OK" not in one
    assert "SIP/2.0 200 OK" in two
    assert "Call-ID:" not in two
    assert "Call-ID:" in three


def test_a_refused_connection_names_the_address(accounts: Path) -> None:
    result = run_check("-H", POOL, "--accounts", str(accounts), "--connect", "127.0.0.1:1")
    assert result.code == 2
    assert "cannot connect to 127.0.0.1:1: Connection refused" in result.first_line
    assert result.perfdata == {"success": "0"}


def test_a_name_that_does_not_resolve_is_critical(tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini", ACCOUNTS_OF_NOWHERE)
    result = run_check("-H", "pool.invalid", "--accounts", str(accounts), "--timeout", "5")
    assert result.code == 2
    assert "pool.invalid" in result.first_line


ACCOUNTS_OF_NOWHERE = """\
[pool.invalid]
publisher = sip:ann@contoso.example
publisher_password = a
subscriber = sip:ben@contoso.example
subscriber_password = b
"""


def test_certificate_thresholds_that_cannot_be_met_are_named(simulate: Start) -> None:
    result = simulate().check("--insecure", "--certificate-warning", "30:")
    assert result.code == 0
    assert any("have met no threshold" in line for line in result.lines)
