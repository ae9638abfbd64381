"""A hundred real runs read as Icinga 2, Telegraf and Checkmk read them, and our configurations for the latter two."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from check_lync_presence.options import GROUPS

from ..commands import Finished, Simulator, environment, write_accounts
from .hundred_runs import RUNS
from .readers import Value, checkmk, icinga2, mrpe_lines, mrpe_section, telegraf

CONTRIB = Path(__file__).parents[2] / "contrib"
INSTALLED = "/usr/lib/nagios/plugins/check_lync_presence"
BIGGEST = float("inf")


def numbers(run: Finished) -> Dict[str, float]:
    return {label: float(text.partition(";")[0]) for label, text in run.perfdata.items()}


def test_icinga_2_reads_every_value_and_every_line(runs: List[Finished]) -> None:
    assert len(runs) == RUNS
    for run in runs:
        text, values = icinga2(run.stdout)
        assert {label: value.value for label, value in values.items()} == numbers(run)
        assert {value.unit for value in values.values()} == {""}
        assert text.splitlines() == [run.first_line.partition("|")[0], *run.lines[1:]]
    _, values = icinga2(runs[0].stdout)
    assert values["latency"] == Value(numbers(runs[0])["latency"], "", 0.15, None, 0, None)  # no ranges: "~:30"
    assert values["notify"].warning == 0.5
    assert values["success"] == Value(1, "", None, None, None, None)


def test_telegraf_reads_every_value_and_both_ends_of_ranges(runs: List[Finished]) -> None:
    for run in runs:
        state, metrics = telegraf(run.stdout, run.code)
        assert {label: fields["value"] for label, fields in metrics.items()} == numbers(run)
        assert state == {
            "state": run.code,
            "service_output": run.first_line.partition(" |")[0],
            "long_service_output": "\n".join(line.strip() for line in run.lines[1:]),
        }
    _, metrics = telegraf(runs[0].stdout, 0)
    latency = metrics["latency"]
    assert (latency["warning_lt"], latency["warning_gt"], latency["min"]) == (0, 0.15, 0)
    assert (latency["critical_lt"], latency["critical_gt"]) == (-BIGGEST, 30)
    assert (metrics["certificate_days"]["warning_lt"], metrics["certificate_days"]["warning_gt"]) == (30, BIGGEST)


def run_installed(command: str, simulator: Simulator) -> Finished:
    """Run a configured command line in a shell, with our check where it stands, and our pool."""
    assert shlex.split(command)[0] == INSTALLED
    where = (
        f"--accounts {simulator.accounts} --connect 127.0.0.1:{simulator.tls} --ca-file {simulator.ready['ca_file']}"
    )
    ours = command.replace(INSTALLED, f"{Path(sys.executable).parent}/check_lync_presence {where}", 1)
    done = subprocess.run(
        ["/bin/sh", "-c", ours], capture_output=True, encoding="utf-8", timeout=60, check=False, env=environment()
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def default(name: str) -> float:
    (option,) = [option for group in GROUPS for option in group.options if f"--{name}" in option.names]
    return float(option.help.rpartition("default ")[2])


def test_telegrafs_configuration_runs_the_check_and_waits_long_enough(tmp_path: Path) -> None:
    toml: Any = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    configuration = toml.loads((CONTRIB / "telegraf" / "lync_presence.conf").read_text())
    (plugin,) = configuration["inputs"]["exec"]
    assert plugin["data_format"] == "nagios"
    assert float(plugin["timeout"].rstrip("s")) > default("timeout")
    (command,) = plugin["commands"]
    assert plugin["tags"]["pool"] in shlex.split(command)
    simulator = Simulator(write_accounts(tmp_path / "accounts.ini"), "--tls", "0")
    with simulator:
        done = run_installed(command, simulator)
    state, metrics = telegraf(done.stdout, done.code)
    assert (state["state"], metrics["success"]["value"]) == (0, 1)


def test_checkmks_configuration_becomes_a_service(tmp_path: Path) -> None:
    (line,) = mrpe_lines((CONTRIB / "checkmk" / "mrpe.cfg").read_text())
    assert line.interval is not None  # the agent would wait for the check
    simulator = Simulator(write_accounts(tmp_path / "accounts.ini"), "--tls", "0", "--fault", "service-unavailable")
    with simulator:
        done = run_installed(line.command, simulator)
    plugin, service, state, text, rest, perfdata = checkmk(mrpe_section(line, done.stdout, done.code))
    assert (plugin, service, state) == ("check_lync_presence", "Lync_presence_pool01", 2)
    assert text == "LYNC PRESENCE CRITICAL - Register failed for both users: 503, Service Unavailable"
    assert perfdata == done.perfdata
    assert rest == done.lines[1:]


def test_checkmk_reads_every_run(runs: List[Finished]) -> None:
    (line,) = mrpe_lines((CONTRIB / "checkmk" / "mrpe.cfg").read_text())
    for run in runs:
        _, _, state, _, rest, perfdata = checkmk(mrpe_section(line, run.stdout, run.code))
        assert (state, perfdata, rest) == (run.code, run.perfdata, run.lines[1:])
