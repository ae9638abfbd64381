"""What a healthy check costs, beside what anybody can measure: ``make bench``.

Every command is run in turn, so that whatever else the machine does is done to all of them; CPU time and peak memory
are what the kernel accounts to the process and its children (wait4). The table is Markdown.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple

from tests.commands import POOL, Simulator, environment, write_accounts
from tests.lab.test_kamailio import PASSWORDS, SERVER, Kamailio, accounts_of, program

HERE = Path(__file__).parent
FLOOR = "import nagiosplugin, pyVoIP.VoIP, ssl"
RUNS = int(os.environ.get("BENCH_RUNS", "30"))
CHECK_TCP = "/usr/lib/nagios/plugins/check_tcp"


class Cost(NamedTuple):
    """Of one run: CPU seconds, seconds, MiB."""

    cpu: float
    wall: float
    memory: float


# Runs a command and tells what it cost. The kernel takes the memory of whoever forks for the child's: somebody small
# must do it.
LAUNCHER = """\
import json, os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
started = time.perf_counter()
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(process, 0)
wall = time.perf_counter() - started
print(json.dumps([usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def cost(command: List[str], env: Dict[str, str]) -> Cost:
    """Run a command, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, *command], stdout=subprocess.PIPE, env=env, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"this should succeed: {' '.join(command)}")
    return Cost(*json.loads(done.stdout))


def measured(commands: Dict[str, List[str]], runs: int) -> Dict[str, Cost]:
    """The median of each, all of them run in turn."""
    env = environment()
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its byte code
    for command in commands.values():
        cost(command, env)
    costs: Dict[str, List[Cost]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            costs[name].append(cost(command, env))
    return {name: Cost(*(statistics.median(column) for column in zip(*found))) for name, found in costs.items()}


def check(*arguments: str) -> List[str]:
    return [sys.executable, "-m", "check_lync_presence", *arguments]


def sipp(kamailio: Kamailio, folder: Path) -> List[str]:
    scenario = (HERE / "presence.xml").read_text(encoding="utf-8")
    for name in ("ann", "ben"):
        scenario = scenario.replace(f"@{name}@", PASSWORDS[name])
    (folder / "presence.xml").write_text(scenario, encoding="utf-8")
    where = ["-i", "127.0.0.1", f"127.0.0.1:{kamailio.tcp}"]
    return [program("sipp"), "-sf", str(folder / "presence.xml"), "-t", "t1", "-m", "1", "-nostdin", *where]


def report(found: Dict[str, Cost]) -> None:
    floor = found["the floor"]
    print("| command | CPU ms | × floor | wall ms | peak MiB | × floor |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, item in found.items():
        times = f"{item.cpu * 1000:.1f} | {item.cpu / floor.cpu:.2f} | {item.wall * 1000:.1f}"
        print(f"| {name} | {times} | {item.memory:.1f} | {item.memory / floor.memory:.2f} |")


def latency(simulator: Simulator) -> float:
    return float(simulator.check().perfdata["latency"].partition(";")[0])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        accounts = write_accounts(folder / "lync.ini")
        simulator, slow = Simulator(accounts, "--tls", "0"), Simulator(accounts, "--tls", "0", "--delay", "0.1")
        kamailio = Kamailio(_made(folder / "kamailio"))
        try:
            with simulator, slow:
                users = str(accounts_of(_made(folder / "simple")))
                port = str(simulator.tls)
                lync = ["-H", POOL, "--accounts", str(accounts), "--ca-file", simulator.ready["ca_file"]]
                simple = ["-H", SERVER, "--accounts", users, "--protocol", "simple", "--transport", "tcp"]
                found = measured(
                    {
                        "bare interpreter": [sys.executable, "-c", "pass"],
                        "the floor": [sys.executable, "-c", FLOOR],
                        "**check, Lync over TLS**": check(*lync, "--connect", f"127.0.0.1:{port}"),
                        "check, SIMPLE over TCP, Kamailio": check(*simple, "--connect", f"127.0.0.1:{kamailio.tcp}"),
                        "SIPp, the same with Kamailio": sipp(kamailio, folder),
                        "check_tcp --ssl": [program(CHECK_TCP), "-H", "127.0.0.1", "-p", port, "--ssl"],
                    },
                    RUNS,
                )
                report(found)
                lync_cpu = found["**check, Lync over TLS**"].cpu
                print(f"\nChecks a second on one core: {1 / lync_cpu:.0f}.")
                print(f"Latency where every answer takes 0.1 s: {latency(slow):.3f} s (5 answers).")
        finally:
            kamailio.stop()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
