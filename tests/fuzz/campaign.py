"""Fuzz the targets one after the other and print a line of figures for each: ``make fuzz FUZZ_SECONDS=60``.

What was new is kept in .fuzz/corpus, so that the next run goes on from there. What failed is kept in .fuzz/found, and
shown by ``python -m tests.fuzz.campaign --show FILE``, the name of whose folder is that of its target.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import List, NamedTuple

from .targets import TARGETS, corpus, dictionary

PLACE = Path(".fuzz")
MAX_INPUT = 8192  # octets; limits of the parsers that lie beyond are tested one by one
MAX_SECONDS = 20  # for one input; the slowest takes a hundredth of that
MAX_MEMORY = 1024  # MiB

_STATE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)")
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)|Done (\d+) runs")


class Figures(NamedTuple):
    """What came of fuzzing one target. `edges` of the code were seen, `seconds` are of CPU time."""

    target: str
    executed: int
    edges: int
    inputs: int
    seconds: float
    found: int

    def __str__(self) -> str:
        return (
            f"{self.target:<12} {self.executed:>10} runs {self.edges:>6} edges {self.inputs:>5} inputs "
            f"{self.seconds:>8.0f} s of CPU {self.found:>3} found"
        )


def fuzz(target: str, seconds: int) -> Figures:
    """Fuzz one target in a process of its own for so long, or until something fails."""
    kept, found, log = PLACE / "corpus" / target, PLACE / "found" / target, PLACE / f"{target}.log"
    kept.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    before = len(list(found.iterdir()))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT}",
        f"-timeout={MAX_SECONDS}",
        f"-rss_limit_mb={MAX_MEMORY}",
        f"-artifact_prefix={found}/",
        f"-dict={dictionary(target)}",
        "-print_final_stats=1",
    ]
    command = [sys.executable, "-m", f"{__package__}.coverage_guided", target, *options, str(kept), str(corpus(target))]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace")
    state, executed = _STATE.findall(text), _EXECUTED.findall(text)
    if not state:
        sys.exit(f"the target {target} cannot be fuzzed; {log} says why")
    return Figures(
        target,
        max((int(number or other) for number, other in executed), default=0),
        int(state[-1][0]),
        int(state[-1][2]),
        used.ru_utime + used.ru_stime,
        len(list(found.iterdir())) - before,
    )


def main(arguments: List[str]) -> int:
    """The command line; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.campaign", description="Fuzz the check's readers.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: %(default)s)")
    parser.add_argument("--show", type=Path, metavar="FILE", help="run the target of a found file with it, once")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    chosen = parser.parse_args(arguments)
    if chosen.show is not None:
        TARGETS[chosen.show.parent.name](chosen.show.read_bytes())
        return 0
    unknown = set(chosen.targets).difference(TARGETS)
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    found = 0
    for target in chosen.targets or TARGETS:
        figures = fuzz(target, chosen.seconds)
        found += figures.found
        print(figures, flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
