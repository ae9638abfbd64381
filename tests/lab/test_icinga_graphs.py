"""What a real Icinga 2 writes of real runs, and what Grafana and Icinga Web make graphs of.

Its InfluxdbWriter fills a real InfluxDB, which answers the queries of the Grafana dashboard; the metrics that its
GraphiteWriter sends are found by the real Graphite module of Icinga Web with our templates.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import queue
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Set

import pytest

from check_lync_presence.plugin import PERFDATA

from ..commands import POOL, Simulator, write_accounts
from ..loopback import Server, lasting_port
from .required import without_lab
from .servers import Process

PACKAGES = "icinga2-bin icinga2-common influxdb icingaweb2-module-graphite php-cli"
CONTRIB = Path(__file__).parents[2] / "contrib"
DASHBOARD = CONTRIB / "grafana" / "lync_presence.json"
TEMPLATE = CONTRIB / "icingaweb2-graphite" / "lync_presence.ini"
CHARTS = Path(__file__).parent / "icinga_graphs" / "charts.php"
LIMIT = 60.0  # seconds until Icinga's results have arrived on a slow machine
ACTIVITIES = ["notify", "publish", "register", "self_subscribe", "subscribe", "unregister"]

ICINGA = """
include <itl>
object CheckerComponent "checker" {{ }}
object InfluxdbWriter "influxdb" {{
  host = "127.0.0.1"
  port = {influxdb}
  database = "icinga2"
  flush_interval = 1s
}}
object GraphiteWriter "graphite" {{
  host = "127.0.0.1"
  port = {graphite}
  enable_send_thresholds = true
}}
object CheckCommand "check_lync_presence" {{
  command = [ "{check}", "-H", "{pool}", "--accounts", "{accounts}", "-w", "30" ]
  arguments = {{ "--connect" = "$connect$", "--ca-file" = "$ca_file$" }}
}}
object Host "pool01" {{
  check_command = "dummy"
}}
object Service "presence" {{
  host_name = "pool01"
  check_command = "check_lync_presence"
  check_interval = 2s
  vars.connect = "{healthy}"
  vars.ca_file = "{healthy_ca}"
}}
object Service "broken presence" {{
  host_name = "pool01"
  check_command = "check_lync_presence"
  check_interval = 2s
  retry_interval = 2s
  vars.connect = "{failing}"
  vars.ca_file = "{failing_ca}"
}}
"""
INFLUXDB = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[http]
  bind-address = "127.0.0.1:{port}"
[monitor]
  store-enabled = false
"""


class Influx:
    """A running InfluxDB."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/query"

    def ask(self, query: str) -> List[Dict[str, Any]]:
        """The series of an InfluxQL query."""
        body = urllib.parse.urlencode({"db": "icinga2", "q": query}).encode()
        with urllib.request.urlopen(self._url, body, timeout=30) as answer:  # noqa: S310
            (result,) = json.load(answer)["results"]
        assert "error" not in result, (query, result)
        series: List[Dict[str, Any]] = result.get("series", [])
        return series


class Written(NamedTuple):
    """What Icinga has written."""

    influx: Influx
    graphite: Set[str]


def program(name: str) -> str:
    return shutil.which(name) or without_lab(f"{name} is not installed", PACKAGES)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """Both writers have had results of a pool in order and of one that fails."""
    icinga2, influxd = program("icinga2"), program("influxd")
    folder = tmp_path_factory.mktemp("icinga")
    accounts = write_accounts(folder / "accounts.ini")
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def collect(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            for line in stream:
                lines.put(line)

    port, rpc = lasting_port(), lasting_port()
    (folder / "influxdb.conf").write_text(INFLUXDB.format(folder=folder, port=port, rpc=rpc))
    healthy = Simulator(accounts, "--tls", "0")
    failing = Simulator(accounts, "--tls", "0", "--fault", "publication-refused")
    influxdb = [influxd, "run", "-config", str(folder / "influxdb.conf")]
    with (
        healthy,
        failing,
        Process(influxdb, folder / "influxdb.log", [("127.0.0.1", port)]),
        Server(collect) as graphite,
    ):
        influx = Influx(port)
        influx.ask("CREATE DATABASE icinga2")
        configuration = ICINGA.format(
            check=Path(sys.executable).parent / "check_lync_presence",
            pool=POOL,
            accounts=accounts,
            influxdb=port,
            graphite=graphite.port,
            healthy=f"127.0.0.1:{healthy.tls}",
            healthy_ca=healthy.ready["ca_file"],
            failing=f"127.0.0.1:{failing.tls}",
            failing_ca=failing.ready["ca_file"],
        )
        (folder / "icinga2.conf").write_text(configuration)
        command = [icinga2, "daemon", "-c", str(folder / "icinga2.conf")]
        for name in ("ConfigDir", "ZonesDir", "DataDir", "LogDir", "CacheDir", "SpoolDir", "InitRunDir"):
            (folder / name).mkdir()
            command.append(f"-DConfiguration.{name}={folder / name}")
        command.append(f"-DConfiguration.RunAsUser={pwd.getpwuid(os.geteuid()).pw_name}")
        command.append(f"-DConfiguration.RunAsGroup={grp.getgrgid(os.getegid()).gr_name}")
        with Process(command, folder / "icinga2.log", []):
            metrics = _all_metrics(lines, influx, folder / "icinga2.log")
        yield Written(influx, metrics)


def _all_metrics(lines: queue.SimpleQueue[bytes], influx: Influx, log: Path) -> Set[str]:
    """The names that were sent to Graphite when both services are in InfluxDB."""
    metrics: Set[str] = set()
    end = time.monotonic() + LIMIT
    services = 'SELECT count("value") FROM "check_lync_presence" WHERE metric = \'success\' GROUP BY service'
    while True:
        try:
            line = lines.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise AssertionError(log.read_text(errors="replace")[-3000:]) from None
        metrics.add(line.decode().partition(" ")[0])
        values = [name for name in metrics if ".presence." in name and re.search(r"perfdata\.\w+\.value", name)]
        if len(values) >= len(PERFDATA) and len(influx.ask(services)) == 2:
            return metrics


def panels() -> Dict[str, Dict[str, Any]]:
    found = {panel["title"] + " " + panel["type"]: panel for panel in json.loads(DASHBOARD.read_text())["panels"]}
    assert len({panel["id"] for panel in found.values()}) == len(found)
    return found


def as_grafana_asks(query: str) -> str:
    """The query with a choice of hosts and services, of the last hour."""
    for macro, value in (
        ("$hostname", "(pool01|pool02)"),
        ("$service", "(presence|broken presence)"),
        ("$timeFilter", "time > now() - 1h"),
        ("$__interval", "1m"),
    ):
        query = query.replace(macro, value)
    assert "$" not in query.replace("$/", ""), query
    return query


def test_every_panel_of_the_dashboard_has_its_data(written: Written) -> None:
    answers: Dict[str, List[Dict[str, Any]]] = {}
    for title, panel in panels().items():
        (target,) = panel["targets"]
        answers[title] = written.influx.ask(as_grafana_asks(target["query"]))

    def of(title: str) -> Dict[str, float]:
        """The last value of each service."""
        values = {series["tags"]["service"]: series["values"] for series in answers[title]}
        return {name: rows[-1][1] for name, rows in values.items()}

    assert of("Now stat") == {"presence": 1, "broken presence": 0}
    assert of("Arrived stat") == {"presence": 1, "broken presence": 0}
    assert of("Round trips state-timeline") == {"presence": 1, "broken presence": 0}
    assert of("Latency stat").keys() == of("Latency timeseries").keys() == {"presence"}
    assert of("Certificate stat").keys() == {"presence", "broken presence"}
    assert {series["tags"]["metric"] for series in answers["Activities timeseries"]} == set(ACTIVITIES)
    assert answers.pop("Front ends timeseries") == []  # the runs were without --all-front-ends
    assert all(answers.values())


def test_the_choices_of_the_dashboard_are_the_hosts_and_services(written: Written) -> None:
    variables = {item["name"]: item for item in json.loads(DASHBOARD.read_text())["templating"]["list"]}
    assert variables.keys() == {"datasource", "hostname", "service"}
    choices = {
        name: [
            row[1]
            for series in written.influx.ask(as_grafana_asks(variables[name]["query"]))
            for row in series["values"]
        ]
        for name in ("hostname", "service")
    }
    assert choices == {"hostname": ["pool01"], "service": ["broken presence", "presence"]}


def test_the_panels_lie_side_by_side() -> None:
    taken: Set[Any] = set()
    for panel in panels().values():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        for owner in (panel, *panel["targets"]):
            assert owner["datasource"] == {"type": "influxdb", "uid": "${datasource}"}


def test_the_graphite_module_of_icinga_web_finds_every_curve(written: Written) -> None:
    program("php")
    if not Path("/usr/share/icingaweb2/modules/graphite").is_dir():
        without_lab("the Graphite module of Icinga Web is not installed", PACKAGES)
    ours = sorted(metric for metric in written.graphite if ".presence." in metric)
    front_end = "icinga2.pool01.services.presence.check_lync_presence.perfdata.latency_10_0_0_4.value"
    given = json.dumps({"template": str(TEMPLATE), "metrics": [*ours, front_end]})
    done = subprocess.run(["php", str(CHARTS)], input=given, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    charts: Dict[str, Dict[str, List[str]]] = json.loads(done.stdout)
    assert {name: sorted(curves) for name, curves in charts.items()} == {
        "lync-presence-latency": ["latency.crit", "latency.value", "latency.warn", "success.value"],
        "lync-presence-activities": [f"{name}.value" for name in ACTIVITIES],
        "lync-presence-certificate": ["certificate_days.value"],
        "lync-presence-front-end": ["latency.value"],
    }
    assert charts["lync-presence-latency"].pop("latency.crit") == []  # the service has no -c
    drawn = [target for curves in charts.values() for targets in curves.values() for target in targets]
    assert len(drawn) == sum(len(curves) for curves in charts.values())  # each curve is one metric
    assert all(target.count("(") == target.count(")") for target in drawn)
    shown = {found.group(1) for target in drawn if (found := re.search(r"perfdata\.(\w+)\.value", target))}
    assert shown == {*PERFDATA, "latency_10_0_0_4"}
    assert {metric for metric in ours if re.search(r"perfdata\.\w+\.value", metric)} <= set(
        re.findall(r"icinga2[\w.]+", " ".join(drawn))
    )
