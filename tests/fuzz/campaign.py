"""Fuzz the targets one after the other and print a line of figures for each: ``make fuzz FUZZ_SECONDS=60``.

What was new is kept in .fuzz/corpus, so that the next run goes on from there; what of it reaches code that the corpus
here does not, ``--keep`` copies into it. What failed is kept in .fuzz/found, and shown by ``--show FILE``, the name of
whose folder is that of its target.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, List, NamedTuple, Set, Tuple

from .targets import TARGETS, corpus, dictionary, seeds

Step = Tuple[str, int, int]

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


def keep(target: str) -> int:
    """Copy into the corpus what reaches code that nothing there reaches, the smallest first; how many there were."""
    known: Set[Step] = set().union(*(steps(target, path.read_bytes()) for path in seeds(target)))
    kept = 0
    for path in sorted((PLACE / "corpus" / target).iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        data = path.read_bytes()
        new = steps(target, data) - known
        if new:
            known |= new
            kept += 1
            (corpus(target) / path.name[:12]).write_bytes(data)
    return kept


def steps(target: str, data: bytes) -> Set[Step]:
    """From which line to which an input leads through the code that is fuzzed."""
    reached: Set[Step] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if "/check_lync_presence/" not in name or "/simulator/" in name:
            return None
        last = 0

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                reached.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        TARGETS[target](data)
    finally:
        sys.settrace(None)
    return reached


def main(arguments: List[str]) -> int:
    """The command line; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.campaign", description="Fuzz the check's readers.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: %(default)s)")
    parser.add_argument("--show", type=Path, metavar="FILE", help="run the target of a found file with it, once")
    parser.add_argument("--keep", action="store_true", help="copy what is new from .fuzz/corpus into the corpus here")
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
        if chosen.keep:
            print(f"{target:<12} {keep(target):>5} inputs kept", flush=True)
            continue
        figures = fuzz(target, chosen.seconds)
        found += figures.found
        print(figures, flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
