"""A hundred real runs in a row, some slow, some failing: what graphs and readers of them must cope with."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path
from typing import List

from ..commands import Finished, Simulator, write_accounts

RUNS = 100
THRESHOLDS = ("-w", "0.15", "-c", "~:30", "--certificate-warning", "30:", "--activity-warning", "notify=0.5")
SLOW, REFUSED, SILENT = range(30, 45), range(60, 68), range(80, 83)


def hundred_runs(folder: Path) -> List[Finished]:
    """The runs in the order of their numbers."""
    accounts = write_accounts(folder / "accounts.ini")
    healthy = Simulator(accounts, "--tls", "0")
    slow = Simulator(accounts, "--tls", "0", "--delay", "0.05")
    refusing = Simulator(accounts, "--tls", "0", "--fault", "account-unknown")
    silent = Simulator(accounts, "--tls", "0", "--fault", "notification-never")

    def run(number: int) -> Finished:
        if number in SILENT:
            return silent.check(*THRESHOLDS, "--notify-timeout", "0.3")
        simulator = slow if number in SLOW else refusing if number in REFUSED else healthy
        return simulator.check(*THRESHOLDS)

    with healthy, slow, refusing, silent, concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, range(RUNS)))
