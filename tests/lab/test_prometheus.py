"""The Prometheus bridge: real runs of the check, read by the real promtool and the real node exporter."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from check_lync_presence.plugin import FRONT_END_PERFDATA, PERFDATA

from ..commands import POOL, Finished, Simulator, environment, write_accounts
from .required import without_lab
from .servers import Process, free_port

PACKAGES = "prometheus prometheus-node-exporter"
CONTRIB = Path(__file__).parents[2] / "contrib" / "prometheus"
BRIDGE = CONTRIB / "lync_presence_textfile.py"
RULES = CONTRIB / "lync_presence.rules.yml"
CHECK = str(Path(sys.executable).parent / "check_lync_presence")
SAMPLE = re.compile(r"^(lync_presence_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def program(name: str) -> str:
    path = shutil.which(name)
    return path or without_lab(f"{name} is not installed", PACKAGES)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_accounts(tmp_path_factory.mktemp("prometheus") / "accounts.ini")


@pytest.fixture(scope="module")
def healthy(accounts: Path) -> Iterator[Simulator]:
    simulator = Simulator(accounts, "--tls", "0")
    with simulator:
        yield simulator


def bridge(file: Path, simulator: Simulator, *options: str, check: str = CHECK) -> Finished:
    """Run the bridge for one pool."""
    where = ["--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"]]
    arguments = [str(file), POOL, "--", "--accounts", str(simulator.accounts), *where, *options]
    return run_bridge("--check", check, *arguments)


def run_bridge(*arguments: str) -> Finished:
    done = subprocess.run(
        [sys.executable, str(BRIDGE), *arguments],
        capture_output=True, encoding="utf-8", timeout=60, check=False, env=environment(),
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


def samples(text: str) -> Dict[str, float]:
    """Values by name and labels, without the pool."""
    ours = f'pool="{POOL}"'
    return {
        f"{name}{{{labels.replace(ours, '').strip(',')}}}": float(value) for name, labels, value in SAMPLE.findall(text)
    }


def assert_promtool_is_content(file: Path) -> None:
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=file.read_bytes(), capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_healthy_pool_becomes_metrics_that_the_node_exporter_passes_on(tmp_path: Path, healthy: Simulator) -> None:
    file = tmp_path / "lync_presence.prom"
    done = bridge(file, healthy)
    assert done == Finished(0, "", "")
    assert_promtool_is_content(file)
    port = free_port()
    command = [program("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile"]
    command += [f"--collector.textfile.directory={tmp_path}", f"--web.listen-address=127.0.0.1:{port}"]
    exporter = Process(command, tmp_path / "exporter.log", [("127.0.0.1", port)])
    with exporter, urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        exported = answer.read().decode()
    assert "node_textfile_scrape_error 0" in exported
    found = samples(exported)
    assert found == pytest.approx(samples(file.read_text()))
    assert found["lync_presence_state{}"] == 0
    assert found["lync_presence_success{}"] == 1
    assert 0 < found["lync_presence_latency_seconds{}"] < 40
    assert found['lync_presence_activity_seconds{activity="self_subscribe"}'] > 0
    assert found["lync_presence_certificate_remaining_seconds{}"] % 86400 == 0
    assert abs(found["lync_presence_last_run_timestamp_seconds{}"] - time.time()) < 120
    assert not any("failure_info" in name for name in found)


def test_a_failure_is_told_in_the_checks_own_words(tmp_path: Path, accounts: Path) -> None:
    file = tmp_path / "lync_presence.prom"
    simulator = Simulator(accounts, "--tls", "0", "--fault", "account-unknown")
    with simulator:
        assert bridge(file, simulator) == Finished(0, "", "")
    assert_promtool_is_content(file)
    found = samples(file.read_text())
    reason = "LYNC PRESENCE CRITICAL - Register failed for sip:ann@contoso.example: 404, Not Found"
    assert found["lync_presence_state{}"] == 2
    assert found["lync_presence_success{}"] == 0
    assert found[f'lync_presence_failure_info{{reason="{reason}"}}'] == 1
    assert not any("latency" in name for name in found)


def test_the_line_for_cron_writes_the_file(tmp_path: Path, healthy: Simulator) -> None:
    (line,) = re.findall(r"^    \* \* \* \* \* nagios (.*)$", (CONTRIB.parent / "README.md").read_text(), re.MULTILINE)
    assert "%" not in line  # cron would end the command there
    for installed, ours in (
        ("/usr/local/bin/lync_presence_textfile.py", f"{sys.executable} {BRIDGE}"),
        ("/usr/lib/nagios/plugins/check_lync_presence", CHECK),
        ("/var/lib/prometheus/node-exporter", str(tmp_path)),
    ):
        assert installed in line
        line = line.replace(installed, ours)
    line += f" --accounts {healthy.accounts} --connect 127.0.0.1:{healthy.tls} --ca-file {healthy.ready['ca_file']}"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=60, check=False, env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert samples((tmp_path / "lync_presence.prom").read_text())["lync_presence_state{}"] == 0


def test_every_label_of_the_performance_data_becomes_a_metric() -> None:
    sys.path.insert(0, str(CONTRIB))
    try:
        import lync_presence_textfile as module
    finally:
        sys.path.pop(0)
    labels = [*PERFDATA, *FRONT_END_PERFDATA]
    run = module.Run(POOL, 0, "OK", " ".join(f"{label}=7;;;0" for label in labels), 0.0)
    found = samples(module.exposition([run]))
    assert len(found) == len(set(labels)) + 2  # the state and the time of the run
    assert found['lync_presence_activity_seconds{activity="notify",front_end="10_0_0_5_to_10_0_0_4"}'] == 7
    assert found['lync_presence_latency_seconds{front_end="10_0_0_4"}'] == 7
    assert found["lync_presence_certificate_remaining_seconds{}"] == 7 * 86400


def test_a_check_that_cannot_run_is_unknown_and_not_silence(tmp_path: Path, healthy: Simulator) -> None:
    file = tmp_path / "lync_presence.prom"
    assert bridge(file, healthy, check="/nonexistent/check").code == 0
    assert_promtool_is_content(file)
    found = samples(file.read_text())
    assert found["lync_presence_state{}"] == 3
    assert found['lync_presence_failure_info{reason="cannot run /nonexistent/check: No such file or directory"}'] == 1


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing_behind(
    tmp_path: Path, healthy: Simulator
) -> None:
    missing = bridge(tmp_path / "missing" / "lync_presence.prom", healthy, check="/nonexistent/check")
    assert (missing.code, missing.stderr) == (1, "")
    assert missing.stdout.endswith("lync_presence.prom: No such file or directory\n")
    taken = tmp_path / "taken.prom"
    taken.mkdir()
    assert bridge(taken, healthy, check="/nonexistent/check").code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken.prom"]


@pytest.mark.parametrize(
    "arguments",
    [["check", "rules", str(RULES)], ["test", "rules", str(Path(__file__).parent / "prometheus" / "rules.test.yml")]],
)
def test_promtool_is_content_with_the_alert_rules(arguments: List[str]) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
