"""A real Nagios 4 and a real NRPE that are set up as the README says."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Optional

import pytest

from check_lync_presence.plugin import PERFDATA

from ..commands import POOL
from .machine import Daemon, Machine, free_address
from .readme import steps

LIMIT = 90.0  # seconds until Nagios has done what it is waited for; a busy machine is slow
MINUTE = 3  # seconds that Nagios takes for one
SERVICE = "Lync presence"
NRPE_HOST = "nrpe01.contoso.example"
BY_NRPE = "Lync presence of pool01"
OK, CRITICAL, UNKNOWN = "0", "2", "3"
UP, DOWN = "0", "1"
STATUS = "/var/lib/nagios4/status.dat"
PERFDATA_FILE = "/var/lib/nagios4/service-perfdata"
LOG = "/var/log/nagios4/nagios.log"
# What the lab changes in Debian's configuration: time runs faster, nothing calls out, performance data go to a file.
CHANGES = (
    ("check_for_updates=1", "check_for_updates=0"),
    ("interval_length=60", f"interval_length={MINUTE}"),
    ("status_update_interval=10", "status_update_interval=1"),
    ("check_result_reaper_frequency=10", "check_result_reaper_frequency=1"),
    ("enable_flap_detection=1", "enable_flap_detection=0"),
    ("max_service_check_spread=30", "max_service_check_spread=1"),
    ("max_host_check_spread=30", "max_host_check_spread=1"),
    ("cached_host_check_horizon=15", "cached_host_check_horizon=0"),
    (
        "process_performance_data=0",
        f"process_performance_data=1\nservice_perfdata_file={PERFDATA_FILE}\n"
        "service_perfdata_file_template=$HOSTNAME$\\t$SERVICEDESC$\\t$SERVICEPERFDATA$",
    ),
)


class Nagios(Daemon):
    """A running Nagios."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        super().__init__(machine.command("nagios4", "/etc/nagios4/nagios.cfg"), machine.folder / "nagios.log")

    def status(self, kind: str, host: str, service: str = "") -> Dict[str, str]:
        """What the status file says of a host (``hoststatus``) or service (``servicestatus``), once it was checked."""
        path = self.machine.path(STATUS)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for block in re.findall(rf"^{kind} {{\n(.*?)^\t}}", text, re.MULTILINE | re.DOTALL):
            status = dict(line.strip().split("=", 1) for line in block.splitlines() if "=" in line)
            if (status["host_name"], status.get("service_description", "")) == (host, service):
                return status if status["has_been_checked"] == "1" else {}
        return {}

    def service(
        self, state: str, says: str = "", name: str = SERVICE, host: str = POOL, after: str = "0"
    ) -> Dict[str, str]:
        """The status of a service once a check later than `after` has found it in this state and said this."""

        def probe() -> Optional[Dict[str, str]]:
            status = self.status("servicestatus", host, name)
            later = status and float(status["last_check"]) > float(after)
            return status if later and status["current_state"] == state and says in status["plugin_output"] else None

        return self.until(probe, LIMIT)

    def notifications(self) -> List[str]:
        """Whom it has told what about the pool, from its log."""
        lines = self.machine.path(LOG).read_text(encoding="utf-8").splitlines()
        return [line.partition("] ")[2] for line in lines if re.search(rf" NOTIFICATION: \w+;{POOL};", line)]

    def said(self) -> str:
        return self.machine.path(LOG).read_text(encoding="utf-8")[-4000:]


@pytest.fixture(scope="module")
def nagios(machine: Machine) -> Iterator[Nagios]:
    """A Nagios as Debian installs it, but for CHANGES, and what the README says done to the letter."""
    machine.edit("/etc/nagios4/nagios.cfg", *CHANGES)
    machine.run("install", "-d", "-o", "nagios", "/run/nagios4")
    with Nagios(machine) as running:
        running.until(machine.path(STATUS).exists, LIMIT)
        with machine.pool():
            machine.follow(steps("nagios"), running)
            running.service(OK)
        yield running


@pytest.fixture(scope="module")
def nrpe(machine: Machine) -> Iterator[Daemon]:
    """An NRPE as Debian installs it, on an address of its own, and what the README says done to the letter."""
    address = free_address()
    machine.name(NRPE_HOST, address)
    machine.run("install", "-d", "-o", "nagios", "/run/nagios")
    machine.edit("/etc/nagios/nrpe.cfg", ("#server_address=127.0.0.1", f"server_address={address}"))
    command = machine.command("/usr/sbin/nrpe", "-c", "/etc/nagios/nrpe.cfg", "-f")
    with Daemon(command, machine.folder / "nrpe.log", [(address, 5666)]) as running:
        machine.follow(steps("nrpe"), running)
        yield running


def test_whoever_follows_the_readme_to_the_letter_has_a_green_service(machine: Machine, nagios: Nagios) -> None:
    with machine.pool():
        status = nagios.service(OK)
        nagios.until(lambda: nagios.status("hoststatus", POOL).get("current_state") == UP, LIMIT)
    assert status["plugin_output"].startswith(
        f"LYNC PRESENCE OK - sip:ann@contoso.example reached sip:ben@contoso.example on {POOL} in "
    )
    assert status["long_plugin_output"].startswith(f"TargetFqdn : {POOL}\\nResult     : Success\\n")
    assert sorted(labels(status["performance_data"])) == sorted(PERFDATA)
    written = machine.path(PERFDATA_FILE).read_text(encoding="utf-8").splitlines()
    (first, *_) = (line.split("\t") for line in written if line.startswith(POOL))
    assert first[:2] == [POOL, SERVICE]
    assert sorted(labels(first[2])) == sorted(PERFDATA)


def test_a_fault_is_critical_and_says_what_it_is(machine: Machine, nagios: Nagios) -> None:
    with machine.pool("--fault", "service-unavailable"):
        status = nagios.service(CRITICAL, "LYNC PRESENCE CRITICAL - Register failed for both users: 503")
    assert "success=0" in status["performance_data"].split()


def test_a_pool_that_is_down_alarms_once(machine: Machine, nagios: Nagios) -> None:
    with machine.pool():
        nagios.until(lambda: nagios.status("hoststatus", POOL).get("current_state") == UP, LIMIT)
        before = nagios.service(OK)["last_check"]
        told = len(nagios.notifications())
    nagios.until(lambda: nagios.status("hoststatus", POOL).get("current_state") == DOWN, LIMIT)
    for _ in range(3):
        before = nagios.service(CRITICAL, after=before)["last_check"]
    (only,) = nagios.until(lambda: nagios.notifications()[told:], LIMIT)
    assert re.match(rf"HOST NOTIFICATION: \w+;{POOL};DOWN;", only)


def test_the_accounts_file_may_lie_where_a_resource_macro_says(machine: Machine, nagios: Nagios) -> None:
    place = "/etc/check_lync_presence/elsewhere.ini"
    with machine.path("/etc/nagios4/resource.cfg").open("a", encoding="utf-8") as resources:
        resources.write(f"$USER5$={place}\n")
    change = (" -H '$ARG1$' -w", " --accounts $USER5$ -H '$ARG1$' -w")
    machine.edit("/etc/nagios4/conf.d/lync_presence.cfg", change)
    nagios.reload()
    with machine.pool():
        nagios.service(UNKNOWN, place)
        machine.run("cp", "-a", "/etc/check_lync_presence/accounts.ini", place)
        nagios.service(OK)


def test_whoever_follows_the_readme_to_the_letter_has_a_green_service_by_nrpe(
    machine: Machine, nagios: Nagios, nrpe: Daemon
) -> None:
    machine.run("cp", "contrib/nrpe/nagios.cfg", "/etc/nagios4/conf.d/")
    with machine.pool():
        nagios.reload()
        status = nagios.service(OK, "LYNC PRESENCE OK - ", BY_NRPE, NRPE_HOST)
        assert status["long_plugin_output"].startswith(f"TargetFqdn : {POOL}\\n")
        assert sorted(labels(status["performance_data"])) == sorted(PERFDATA)
    with machine.pool("--fault", "service-unavailable"):
        nagios.service(CRITICAL, "Register failed for both users: 503", BY_NRPE, NRPE_HOST)


def labels(perfdata: str) -> List[str]:
    return [item.partition("=")[0] for item in perfdata.split()]
