"""What 32 front ends in one run cost, beside one: ``python -m benchmarks.front_ends``.

As in `bench`, the commands are run in turn and the figures are medians. The front ends are addresses of one simulator.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import List

from tests.commands import POOL, Simulator, write_accounts
from tests.simulator.resolver import with_addresses

from .bench import RUNS, measured

COUNT = 32
PLACES = [f"127.0.0.{number}" for number in range(1, COUNT + 1)]
SLOW = 1.0  # seconds that one front end is late in one of the cases


def pool(accounts: Path, dialect: str, *options: str) -> Simulator:
    listening = [word for place in PLACES for word in ("--listen", place)]
    return Simulator(accounts, "--dialect", dialect, "--tls", "0", *listening, *options)


def check(simulator: Simulator, dialect: str, count: int) -> List[str]:
    """All of the first `count` front ends."""
    where = ["-H", POOL, "-p", str(simulator.tls), "--accounts", str(simulator.accounts)]
    trusted = ["--ca-file", simulator.ready["ca_file"], "--protocol", dialect]
    return with_addresses(" ".join(PLACES[:count]), *where, *trusted, "--all-front-ends")


def main() -> None:
    print(f"| dialect | CPU ms, 1 | CPU ms, {COUNT} | × | wall ms, 1 | wall ms, {COUNT} | one {SLOW:.0f} s late |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        accounts = write_accounts(Path(folder) / "accounts.ini")
        for dialect in ("lync", "simple"):
            late = f"notification-late={SLOW}@{PLACES[COUNT // 2]}"
            healthy, slow = pool(accounts, dialect), pool(accounts, dialect, "--fault", late)
            with healthy, slow:
                commands = {
                    "one": check(healthy, dialect, 1),
                    "all": check(healthy, dialect, COUNT),
                    "slow": check(slow, dialect, COUNT),
                }
                found = measured(commands, RUNS)
            one, every = found["one"], found["all"]
            cpu = f"{one.cpu * 1000:.0f} | {every.cpu * 1000:.0f} | {every.cpu / one.cpu:.2f}"
            wall = f"{one.wall * 1000:.0f} | {every.wall * 1000:.0f} | {found['slow'].wall * 1000:.0f}"
            print(f"| {dialect} | {cpu} | {wall} |")


if __name__ == "__main__":
    main()
