"""Thousands of checks against one simulator: ``make soak``.

Every run must be OK; at the end nothing may be left on the server, and neither of the two may have grown. RUNS says how
many (default 5000).
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from tests.commands import POOL, Simulator, environment, write_accounts
from tests.simulator.test_many_checks import left

from .bench import check, cost

RUNS = int(os.environ.get("RUNS", "5000"))
SAMPLES = 10  # how often the sizes are looked at


def resident(pid: int) -> float:
    """MiB that a process has in memory now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        accounts = write_accounts(Path(name) / "accounts.ini")
        with Simulator(accounts, "--tls", "0") as simulator:
            command = check(
                "-H", POOL, "--accounts", str(accounts), "--connect", f"127.0.0.1:{simulator.tls}",
                "--ca-file", simulator.ready["ca_file"],
            )  # fmt: skip
            pid = simulator.process.pid
            print("| runs | simulator MiB | its open files | check peak MiB | seconds so far |")
            print("| --- | --- | --- | --- | --- |")
            started = time.monotonic()
            for number in range(1, RUNS + 1):
                spent = cost(command, environment())
                if number == 1 or number % max(1, RUNS // SAMPLES) == 0:
                    row = f"{resident(pid):.1f} | {descriptors(pid)} | {spent.memory:.1f}"
                    print(f"| {number} | {row} | {time.monotonic() - started:.0f} |", flush=True)
            simulator.census_when(lambda census: not left(census))
            print(f"\n{RUNS} of {RUNS} runs were OK; no endpoint, publication, subscription or connection is left.")


if __name__ == "__main__":
    main()
