#!/usr/bin/env python3
"""Run check_lync_presence and write what it says as metrics for the node exporter's textfile collector.

    lync_presence_textfile.py /var/lib/prometheus/node-exporter/lync_presence.prom POOL [POOL …] [-- CHECK'S OPTIONS]

The pools are checked at the same time. The file is replaced in one go: a scrape sees the old run or the new one. Needs
Python 3.9 and nothing else. Ends with 0 when the file is written, whatever the pools' states are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, NamedTuple, Sequence, Tuple, Union

PREFIX = "lync_presence_"
OK, UNKNOWN = 0, 3
LIMIT = 600  # seconds; the check ends itself at its own --timeout, this is for a machine in trouble
DAY = 86400

# What each label becomes: metric, factor, activity. With --all-front-ends the name of a front end follows the label.
METRICS: Dict[str, Tuple[str, int, str]] = {
    "success": ("success", 1, ""),
    "latency": ("latency_seconds", 1, ""),
    **{
        activity: ("activity_seconds", 1, activity)
        for activity in ("register", "self_subscribe", "subscribe", "publish", "notify", "unregister")
    },
    "certificate_days": ("certificate_remaining_seconds", DAY, ""),
    "front_ends_failed": ("front_ends_failed", 1, ""),
    "front_ends": ("front_ends", 1, ""),
}
HELP = {
    "state": "What the check came to: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.",
    "failure_info": "Always 1, there while the state is not OK; the label reason has the check's own words.",
    "last_run_timestamp_seconds": "When the check ended, as Unix time.",
    "success": "1 if the publication reached the subscriber, else 0.",
    "latency_seconds": "From the first connection to the notification.",
    "activity_seconds": "How long an activity of the round trip took.",
    "certificate_remaining_seconds": "Until the first certificate ends, the server's or our own, in whole days.",
    "front_ends": "How many front ends the pool has.",
    "front_ends_failed": "How many front ends fail.",
}


class Run(NamedTuple):
    """One run of the check: exit code, first line without performance data, performance data, its end (Unix time)."""

    pool: str
    state: int
    text: str
    perfdata: str
    ended: float


def check(command: str, pools: Sequence[str], options: Sequence[str]) -> List[Run]:
    """Run the check for all pools at once."""
    return [finish(pool, process) for pool, process in [(pool, start(command, pool, options)) for pool in pools]]


def start(command: str, pool: str, options: Sequence[str]) -> Union[subprocess.Popen[str], str]:
    """The process, or why there is none."""
    try:
        arguments = [command, "-H", pool, *options]
        return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8")
    except OSError as error:
        return f"cannot run {command}: {error.strerror}"


def finish(pool: str, process: Union[subprocess.Popen[str], str]) -> Run:
    """Wait for a check. One that did not run, or has no verdict, is UNKNOWN."""
    if isinstance(process, str):
        return Run(pool, UNKNOWN, process, "", time.time())
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Run(pool, UNKNOWN, f"not over after {LIMIT} s", "", time.time())
    text, _, perfdata = output.partition("\n")[0].partition(" | ")
    state = process.returncode if OK <= process.returncode <= UNKNOWN else UNKNOWN
    return Run(pool, state, text or f"no output, exit code {process.returncode}", perfdata, time.time())


def exposition(runs: Sequence[Run]) -> str:
    """The runs in Prometheus' text format."""
    samples: Dict[str, List[str]] = {name: [] for name in HELP}

    def add(name: str, value: str, **labels: str) -> None:
        told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items() if text)
        samples[name].append(f"{PREFIX}{name}{{{told}}} {value}")

    for run in runs:
        add("state", str(run.state), pool=run.pool)
        add("last_run_timestamp_seconds", f"{run.ended:.0f}", pool=run.pool)
        if run.state != OK:
            add("failure_info", "1", pool=run.pool, reason=run.text)
        for item in run.perfdata.split():
            label, _, rest = item.partition("=")
            base = next((base for base in METRICS if label == base or label.startswith(f"{base}_")), None)
            if base is not None:
                name, factor, activity = METRICS[base]
                value = float(rest.partition(";")[0]) * factor
                add(name, f"{value:.15g}", pool=run.pool, activity=activity, front_end=label[len(base) + 1 :])
    lines = []
    for name, found in samples.items():
        if found:
            lines += [f"# HELP {PREFIX}{name} {HELP[name]}", f"# TYPE {PREFIX}{name} gauge", *found]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def replace(path: str, text: str) -> None:
    """Write the file so that a reader has all of it or what was there before. Raises OSError."""
    folder = os.path.dirname(os.path.abspath(path))
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".lync_presence-", delete=False, encoding="utf-8") as part:
        try:
            part.write(text)
            part.flush()
            os.fchmod(part.fileno(), 0o644)
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise


def main() -> int:
    arguments = sys.argv[1:]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", metavar="PATH", default="check_lync_presence", help="the check (default: %(default)s)"
    )
    parser.add_argument("file", metavar="FILE", help="where to write; its name must end with .prom")
    parser.add_argument("pools", metavar="POOL", nargs="+", help="FQDN of a pool")
    options = parser.parse_args(arguments[:at])
    try:
        replace(options.file, exposition(check(options.check, options.pools, arguments[at + 1 :])))
    except OSError as error:
        print(f"lync_presence_textfile: cannot write {options.file}: {error.strerror}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
