"""Graphs of a hundred real runs, some slow, some failing: rrdtool draws them as PNP4Nagios has it do."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import pytest

from ..commands import Finished
from .hundred_runs import REFUSED, RUNS, SILENT
from .required import without_lab

PACKAGES = "rrdtool php-cli"
CONTRIB = Path(__file__).parents[2] / "contrib" / "pnp4nagios"
PAGE = Path(__file__).parent / "pnp4nagios" / "page.php"
STEP, BEGIN = 60, 1_700_000_040


def program(name: str) -> str:
    return shutil.which(name) or without_lab(f"{name} is not installed", PACKAGES)


class Rrd:
    """The RRDs of one service, made and filled as PNP's process_perfdata.pl does with one file for each label."""

    def __init__(self, folder: Path, service: str) -> None:
        self.folder = folder
        self.service = service
        self._commands: List[str] = []
        self._labels: List[str] = []

    def file(self, label: str) -> str:
        return str(self.folder / f"{self.service}_{label}.rrd")

    def update(self, perfdata: Dict[str, str], when: int) -> None:
        for label, text in perfdata.items():
            if label not in self._labels:
                self._labels.append(label)
                archives = " ".join(f"RRA:{how}:0.5:1:2880" for how in ("AVERAGE", "MAX", "MIN"))
                self._commands.append(
                    f"create {self.file(label)} {archives} DS:1:GAUGE:8460:U:U --start={when - STEP} --step={STEP}"
                )
            self._commands.append(f"update {self.file(label)} {when}:{text.partition(';')[0]}")

    def write(self) -> None:
        done = rrdtool("\n".join(self._commands) + "\n")
        assert b"ERROR" not in done
        assert done.count(b"OK u:") == len(self._commands)

    def datasources(self, perfdata: Dict[str, str]) -> List[Dict[str, str]]:
        """What PNP tells a template: what the last run measured, and nothing else."""
        found = []
        for label, text in perfdata.items():
            value, warning, critical, *_ = [*text.split(";"), "", ""]
            found.append({"NAME": label, "RRDFILE": self.file(label), "DS": "1", "ACT": value})
            for key, limit in (("WARN", warning), ("CRIT", critical)):
                low, colon, high = limit.partition(":")
                told = {key: "" if colon else limit, f"{key}_MIN": low if colon else "", f"{key}_MAX": high}
                found[-1].update(told)
        return found


def rrdtool(commands: str) -> bytes:
    """What `rrdtool -` answers to these lines."""
    return subprocess.run(
        [program("rrdtool"), "-"], input=commands.encode(), capture_output=True, timeout=60, check=True
    ).stdout


class Graph(NamedTuple):
    """One graph of a template."""

    name: str
    options: str
    definition: str

    def draw(self, path: Path) -> bytes:
        """The PNG, drawn as PNP does: one line to `rrdtool -`."""
        times = f"--start {BEGIN} --end {BEGIN + RUNS * STEP}"
        size = "--width=640 --height=160"
        answer = rrdtool(f"graph {path} {size} {times} {self.options} {self.definition}\n")
        assert b"ERROR" not in answer, answer
        return path.read_bytes()

    def exported(self, name: str) -> List[Optional[float]]:
        """The values of a name of the definition, one a run; None where there is none."""
        sources = " ".join(re.findall(r"C?DEF:\S+", self.definition))
        times = f"--step {STEP} --start {BEGIN} --end {BEGIN + RUNS * STEP}"
        answer = rrdtool(f"xport --json {times} {sources} XPORT:{name}:{name}\n").decode()
        found: Dict[str, Any] = json.loads(answer.rpartition("OK ")[0])
        return [None if row[0] in (None, "NaN") else float(row[0]) for row in found["data"]]


def pages(*services: Dict[str, Any]) -> List[List[Graph]]:
    """The graphs that the template makes of each service."""
    given = {"template": str(CONTRIB / "check_lync_presence.php"), "services": services}
    done = subprocess.run(
        [program("php"), str(PAGE)], input=json.dumps(given), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    found = []
    for page in json.loads(done.stdout):
        assert page["printed"] == ""
        found.append([Graph(page["ds_name"][i], page["opt"][i], page["def"][i]) for i in page["def"]])
    return found


@pytest.fixture(scope="module")
def rrd(runs: List[Finished], tmp_path_factory: pytest.TempPathFactory) -> Rrd:
    made = Rrd(tmp_path_factory.mktemp("rrd"), "Lync_presence")
    for number, run in enumerate(runs):
        made.update(run.perfdata, BEGIN + (number + 1) * STEP)
    made.write()
    return made


def service(rrd: Rrd, run: Finished) -> Dict[str, Any]:
    return {"hostname": "pool01", "servicedesc": rrd.service, "datasources": rrd.datasources(run.perfdata)}


def test_a_hundred_runs_become_graphs_with_the_slow_and_the_failed_ones_in_them(
    runs: List[Finished], rrd: Rrd, tmp_path: Path
) -> None:
    failed = sorted({*REFUSED, *SILENT})
    assert [number for number, run in enumerate(runs) if run.code == 2] == failed
    ((latency, activities, certificate),) = pages(service(rrd, runs[-1]))
    for graph in (latency, activities, certificate):
        png = graph.draw(tmp_path / f"{graph.name}.png")
        width, height = struct.unpack(">II", png[16:24])
        assert png.startswith(b"\x89PNG")
        assert (width > 640, height > 160) == (True, True)
    assert [rule for graph in (latency, activities, certificate) for rule in rules(graph)] == [
        '0.15#d97706:"latency warning 0.15', '30#b91c1c:"latency critical 30',
        '0.5#d97706:"notify warning 0.5', '30#d97706:"certificate_days warning 30',
    ]  # fmt: skip
    assert [number for number, value in enumerate(latency.exported("success")) if value == 0] == failed
    drawn = latency.exported("latency")
    for number, run in enumerate(runs):
        measured = run.perfdata.get("latency")
        assert drawn[number] == (None if measured is None else pytest.approx(float(measured.partition(";")[0])))


def rules(graph: Graph) -> List[str]:
    return re.findall(r"HRULE:(.*?)\\n", graph.definition)


def test_after_a_failed_run_the_graphs_still_show_what_was_before(
    runs: List[Finished], rrd: Rrd, tmp_path: Path
) -> None:
    now, before = pages(service(rrd, runs[REFUSED[0]]), service(rrd, runs[0]))
    assert "latency" not in runs[REFUSED[0]].perfdata
    assert [graph.name for graph in now] == [graph.name for graph in before] == ["Latency", "Activities", "Certificate"]
    assert now[0].draw(tmp_path / "now.png")
    assert now[0].exported("latency") == before[0].exported("latency")


def test_a_pool_that_never_worked_has_a_graph_of_failures(runs: List[Finished], tmp_path: Path) -> None:
    rrd = Rrd(tmp_path, "Other")
    for number in REFUSED:
        rrd.update({"success": runs[number].perfdata["success"]}, BEGIN + number * STEP)
    rrd.write()
    ((graph,),) = pages(
        {"hostname": "pool01", "servicedesc": "Other", "datasources": rrd.datasources({"success": "0"})}
    )
    assert graph.draw(tmp_path / "failures.png")


def test_front_ends_have_a_graph_of_their_own(tmp_path: Path) -> None:
    rrd = Rrd(tmp_path, "Front_ends")
    perfdata = {"success": "1", "latency_10_0_0_4": "0.2;5;10;0", "latency_10_0_0_5": "0.3;5;10;0"}
    for number in range(10):
        rrd.update(perfdata, BEGIN + number * STEP)
    rrd.write()
    ((_, graph),) = pages(service(rrd, Finished(0, "OK | " + " ".join(f"{k}={v}" for k, v in perfdata.items()), "")))
    assert '"10.0.0.4 ' in graph.definition
    assert graph.draw(tmp_path / "front-ends.png")


def test_one_file_of_all_labels_would_not_take_a_run_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "single.rrd"
    both = " ".join(f"DS:{number}:GAUGE:8460:U:U" for number in (1, 2))
    answer = rrdtool(
        f"create {path} RRA:AVERAGE:0.5:1:10 {both} --start={BEGIN} --step={STEP}\nupdate {path} {BEGIN + STEP}:0\n"
    )
    assert b"ERROR" in answer  # hence RRD_STORAGE_TYPE = MULTIPLE
    assert "RRD_STORAGE_TYPE = MULTIPLE" in (CONTRIB / "check_lync_presence.cfg").read_text().splitlines()
