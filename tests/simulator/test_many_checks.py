"""Checks that meet: on the same two users, on fifty pairs at once, after one that was killed, after many."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict

import pytest

from ..commands import POOL, environment, run_check, write_accounts
from ..simulator_unit.client import ANN, BEN, Client
from ..simulator_unit.process import Simulator, accounts_file
from .conftest import Start

MOST_ENDPOINTS = 8  # of a user, as a pool has it
PAIRS = 50
SOAK = 40


def left(census: Dict[str, Any]) -> int:
    """Endpoints, publications, subscriptions and connections together."""
    kinds = ("endpoints", "publications", "subscriptions")
    return int(census["connections"]) + sum(int(user[kind]) for user in census["users"].values() for kind in kinds)


def started(simulator: Simulator, accounts: Path, *arguments: str) -> subprocess.Popen[str]:
    """A check that is under way."""
    where = ["--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"]]
    where += ["--accounts", str(accounts)]
    return subprocess.Popen(
        [sys.executable, "-m", "check_lync_presence", "-H", POOL, *where, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    )


@pytest.mark.parametrize("user", [ANN, BEN])
def test_who_is_thrown_out_by_a_ninth_endpoint_says_so_and_blames_no_notification(tmp_path: Path, user: str) -> None:
    faults = ("--tls", "0", "--fault", "notification-never")
    accounts = accounts_file(tmp_path)
    with Simulator(accounts, *faults) as simulator, started(simulator, accounts, "--notify-timeout", "5") as check:
        simulator.census_when(lambda census: census["users"][ANN]["publications"] > 0)
        for number in range(MOST_ENDPOINTS):
            client: Client = simulator.client(user, epid=f"{number:012x}")
            assert client.sign_in().status == 200
        output, errors = check.communicate(timeout=30)
    assert (check.returncode, errors) == (2, "")
    assert "Signed off by the server" in output.splitlines()[0]
    assert "a pool allows 8 endpoints a user" in output
    assert "notification is not received" not in output


def test_fifty_checks_on_fifty_pairs_of_users_at_once_all_pass(tmp_path: Path) -> None:
    pools = [f"pool{number:02}.contoso.example" for number in range(PAIRS)]
    text = "".join(
        f"[{pool}]\npublisher = sip:p{number}@contoso.example\npublisher_password = secret\n"
        f"subscriber = sip:s{number}@contoso.example\nsubscriber_password = secret\n"
        for number, pool in enumerate(pools)
    )
    accounts = write_accounts(tmp_path / "accounts.ini", text)
    with Simulator(accounts, "--tls", "0") as simulator:
        where = ("--accounts", str(accounts), "--connect", f"127.0.0.1:{simulator.tls}")

        def check(pool: str) -> str:
            return run_check("-H", pool, *where, "--ca-file", simulator.ready["ca_file"], limit=120).first_line[:16]

        with ThreadPoolExecutor(PAIRS) as together:
            assert list(together.map(check, pools)) == ["LYNC PRESENCE OK"] * PAIRS
        simulator.census_when(lambda census: not left(census))


@pytest.mark.parametrize("activity", ["register", "self-subscribe", "subscribe", "publish", "notify"])
def test_a_check_that_is_killed_in_any_activity_leaves_nothing_that_disturbs_the_next(
    tmp_path: Path, activity: str
) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini")
    with Simulator(accounts, "--tls", "0", "--fault", f"no-answer={activity}") as simulator:
        with started(simulator, accounts) as check:
            simulator.census_when(lambda census: left(census) > (1 if activity == "register" else 3))
            check.kill()
        simulator.census_when(lambda census: not left(census))


def test_many_runs_leave_nothing(simulate: Start) -> None:
    simulator = simulate()
    for _ in range(SOAK):
        done = simulator.check()
        assert (done.code, done.stderr) == (0, "")
    simulator.census_when(lambda census: not left(census))
