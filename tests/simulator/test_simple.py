"""The check against a healthy SIMPLE server: what it measures, leaves behind and shows."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict

import pytest

from ..commands import ANN_PASSWORD, BEN_PASSWORD, POOL
from .conftest import Start

LABELS = {"certificate_days", "latency", "notify", "publish", "register", "subscribe", "success", "unregister"}
TLS = ("--dialect", "simple", "--tls", "0")
UDP = ("--dialect", "simple", "--udp", "0")

over_both = pytest.mark.parametrize("options", [TLS, UDP], ids=["tls", "udp"])


def _left(census: Dict[str, Any]) -> int:
    """Contacts, publications, subscriptions and connections together."""
    kinds = ("endpoints", "publications", "subscriptions")
    return int(census["connections"]) + sum(int(user[kind]) for user in census["users"].values() for kind in kinds)


@pytest.mark.parametrize("protocol", ["auto", "simple"])
def test_all_activities_are_measured(simulate: Start, protocol: str) -> None:
    result = simulate(options=TLS).check("--protocol", protocol)
    assert (result.code, set(result.perfdata)) == (0, LABELS)


def test_who_asks_for_lync_gets_an_error(simulate: Start) -> None:
    result = simulate(options=TLS).check("--protocol", "lync")
    assert result.code == 2
    assert "it offers Digest" in result.first_line


@over_both
@pytest.mark.parametrize("fault", ["", "notification-never", "account-unknown", "condition-failed", "stale-nonce"])
def test_nothing_is_left_on_the_server(simulate: Start, options: tuple[str, ...], fault: str) -> None:
    simulator = simulate(*filter(None, [fault]), options=options)
    simulator.check("--timeout", "4", "--notify-timeout", "1")
    simulator.census_when(lambda census: not _left(census))


@over_both
def test_a_killed_check_does_not_make_the_next_one_fail(simulate: Start, options: tuple[str, ...]) -> None:
    simulator = simulate("notification-late=0.5", options=options)
    where = ["--connect", f"127.0.0.1:{simulator.ready[options[-2][2:]]}", "--transport", options[-2][2:]]
    arguments = ["-H", POOL, "--accounts", str(simulator.accounts), "--insecure", *where]
    with subprocess.Popen(
        [sys.executable, "-m", "check_lync_presence", *arguments], stdout=subprocess.DEVNULL
    ) as check:
        simulator.census_when(lambda census: any(user["publications"] for user in census["users"].values()))
        assert check.poll() is None
        check.kill()
    assert simulator.check().code == 0


@over_both
def test_checks_at_the_same_time_on_the_same_users_do_not_disturb_each_other(
    simulate: Start, options: tuple[str, ...]
) -> None:
    simulator = simulate(options=(*options, "--delay", "0.05"))
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: simulator.check(), range(6)))
    assert [result.first_line[:16] for result in results] == ["LYNC PRESENCE OK"] * 6
    simulator.census_when(lambda census: not _left(census))


@pytest.mark.parametrize("fault", ["", "wrong-password", "proxy-authentication", "notification-never"])
def test_no_secret_is_shown_at_any_verbosity(simulate: Start, fault: str) -> None:
    result = simulate(*filter(None, [fault]), options=TLS).check("-vvv", "--timeout", "4", "--notify-timeout", "1")
    output = result.stdout + result.stderr
    assert "REGISTER sip:contoso.example SIP/2.0" in output
    assert ANN_PASSWORD not in output
    assert BEN_PASSWORD not in output
    assert re.findall(r"response=\"(?!\*\*\*\")[^\"]*\"", output) == []
