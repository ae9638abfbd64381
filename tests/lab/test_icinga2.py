"""A real Icinga 2 that is set up as the README says: one that stands alone, and a master with two satellites."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest
import trustme

from check_lync_presence.plugin import PERFDATA

from ..commands import ANN_PASSWORD, BEN_PASSWORD, POOL
from .director import Director
from .machine import Daemon, Machine, free_address
from .namespace import seeing
from .readme import steps

LIMIT = 90.0  # seconds until Icinga has done what it is waited for; a busy machine is slow
PORT = 5665
ADMIN = "lab"
PASSWORD = "lab-of-the-tests"
PRESENCE = f"lync-presence {POOL}"
LISTENS = f"lync-port {POOL}"
OK, CRITICAL = 0, 2
DOWN = 1
HARD = 1
CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
ICINGA2 = CONTRIB / "icinga2"
ZONES = ICINGA2 / "zones"
NOTES = "/var/log/icinga2/notes"
MASTER, SATELLITES = "master.contoso.example", ("west1.contoso.example", "west2.contoso.example")
STATE_FOLDERS = ("/var/lib/icinga2", "/var/log/icinga2", "/var/cache/icinga2", "/var/spool/icinga2")

# The API at the node's own address, and a user of it.
API = f"""
object ApiUser "{ADMIN}" {{
  password = "{PASSWORD}"
  permissions = [ "*" ]
}}
object ApiListener "api" {{
  bind_host = "@ADDRESS@"
  accept_config = true
  accept_commands = true
}}
"""

# Users and passwords from custom variables, for a pool that has no section in its accounts file; and who is told what.
MORE = f"""
object Host "by-variables" {{
  check_command = "dummy"
  vars.lync_pools["{POOL}"] = {{
    lync_presence_accounts = "/etc/check_lync_presence/empty.ini"
    lync_presence_publisher = "sip:ann@contoso.example"
    lync_presence_publisher_user = "CONTOSO\\\\ann"
    lync_presence_publisher_password = "{ANN_PASSWORD.replace("$", "$$")}"
    lync_presence_subscriber = "sip:ben@contoso.example"
    lync_presence_subscriber_user = "CONTOSO\\\\ben"
    lync_presence_subscriber_password = "{BEN_PASSWORD.replace("$", "$$")}"
    lync_presence_ca_file = "/etc/ssl/certs/contoso-root.pem"
    lync_presence_warning = 50
    lync_presence_critical = 50
    lync_presence_activity_warning = [ "register=50", "notify=50" ]
    lync_presence_all_front_ends = false
    lync_presence_ipv4 = true
    lync_presence_verbose = 2
  }}
}}

object Host "variants" {{
  check_command = "dummy"
  vars.lync_pools["udp"] = {{ lync_presence_transport = "udp" }}
  vars.lync_pools["discovered"] = {{ lync_presence_discover = true }}
  vars.lync_pools["tcp"] = {{ lync_presence_transport = "tcp" }}
  vars.lync_pools["port"] = {{ lync_presence_port = 5063 }}
  vars.lync_pools["fe01"] = {{
    lync_presence_target = "{POOL}"
    lync_presence_connect = "127.0.0.4"
    tcp_address = "127.0.0.4"
  }}
}}

object NotificationCommand "note" {{
  command = [ "sh", "-c", "echo \\"$$0\\" >> @NOTES@", "$host.name$!$service.name$ $service.state$" ]
}}
object User "reader" {{
}}
apply Notification "note" to Service {{
  command = "note"
  users = [ "reader" ]
  assign where host.name == "lync"
}}
"""

OF_THE_DIRECTOR = f"""
object Host "of the director" {{
  check_command = "dummy"
}}
object Service "presence" {{
  import "of the director"
  host_name = "of the director"
  vars.lync_presence_target = "{POOL}"
  vars.lync_presence_verbose = "2"
  vars.lync_presence_ipv4 = true
  vars.lync_presence_activity_warning = [ "register=4", "notify=4" ]
}}
"""


class Node(Daemon):
    """A running Icinga 2 and its API."""

    def __init__(self, prefix: List[str], address: str, log: Path) -> None:
        self._address = address
        subprocess.run([*prefix, "/usr/lib/icinga2/prepare-dirs"], check=True)
        super().__init__([*prefix, "icinga2", "daemon"], log, [(address, PORT)])

    def ask(self, path: str, body: Optional[Dict[str, Any]] = None) -> List[Dict[str, Any]]:
        """The results of an API call; nothing while it is not ready."""
        token = base64.b64encode(f"{ADMIN}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(self._address, PORT, timeout=LIMIT, context=unverified)
        with contextlib.closing(connection):
            try:
                given = None if body is None else json.dumps(body)
                connection.request("GET" if body is None else "POST", f"/v1/{path}", given, headers)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                return []  # it is reading its configuration
        if answer.status in (404, 503):
            return []  # nobody has such an object yet; it is starting
        assert answer.status == 200, text
        results: List[Dict[str, Any]] = json.loads(text)["results"]
        return results

    def said(self) -> str:
        """The last results, and the warnings of the log."""
        results = [result["attrs"].get("last_check_result") for result in self.ask("objects/services")]
        lines = [line for line in self.log.read_text(encoding="utf-8").splitlines() if "information/" not in line]
        return "\n".join([*(result["output"] for result in results if result), *lines[-40:]])

    def service(self, name: str, host: str = "lync") -> Dict[str, Any]:
        """A service's attributes; none while there is no such service."""
        found = [result["attrs"] for result in self.ask("objects/services")]
        return next((attrs for attrs in found if (attrs["host_name"], attrs["name"]) == (host, name)), {})

    def checked(
        self, name: str, state: int, says: str = "", host: str = "lync", hard: bool = False, at: str = ""
    ) -> Dict[str, Any]:
        """The service's attributes once a check, `at` this node, has found it in this state and said this.

        Checks are asked for till then.
        """

        def probe() -> Optional[Dict[str, Any]]:
            attrs = self.service(name, host)
            result = attrs.get("last_check_result") or {"state": None}
            found = result["state"] == state and at in ("", result["check_source"]) and says in result["output"]
            if found and (not hard or attrs["state_type"] == HARD):
                return attrs
            if attrs and asked != [attrs["last_check"]]:
                asked[:] = [attrs["last_check"]]
                self.check_now(host, name)
            return None

        asked: List[float] = []
        return self.until(probe, LIMIT)

    def check_now(self, host: str, name: str) -> None:
        wanted = f'host.name == "{host}" && service.name == "{name}"'
        self.ask("actions/reschedule-check", {"type": "Service", "filter": wanted, "force": True})


@pytest.fixture(scope="module")
def icinga(machine: Machine) -> Iterator[Node]:
    """An Icinga 2 as Debian installs it, and what the README says done to the letter; then MORE."""
    machine.run("icinga2", "api", "setup", "--cn", "monitor")
    machine.path("/etc/icinga2/features-available/api.conf").write_text(API.replace("@ADDRESS@", machine.address))
    with Node(machine.command(), machine.address, machine.folder / "icinga2.log") as node:
        with machine.pool():
            machine.follow(steps("icinga2"), node)
            node.until(lambda: node.service(PRESENCE), LIMIT)
        yield node


@pytest.fixture(scope="module")
def more(machine: Machine, icinga: Node) -> Node:
    """The same with MORE configuration."""
    machine.run("install", "-m", "0640", "-g", "nagios", "/dev/null", "/etc/check_lync_presence/empty.ini")
    machine.path("/etc/icinga2/conf.d/more.conf").write_text(MORE.replace("@NOTES@", NOTES), encoding="utf-8")
    icinga.reload()
    icinga.until(lambda: icinga.service(PRESENCE, "by-variables"), LIMIT)
    return icinga


class Cluster:
    """The zones example as it is shipped: a master and two satellites, each with folders of its own."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._authority = trustme.CA()
        self._nodes = contextlib.ExitStack()
        addresses = {name: free_address() for name in (MASTER, *SATELLITES)}
        for name, address in addresses.items():
            machine.name(name, address)
        try:
            self.nodes = {name: self._start(name, address) for name, address in addresses.items()}
        except BaseException:
            self.stop()
            raise

    def _start(self, name: str, address: str) -> Node:
        folder = self._machine.folder / name
        mounts = dict(self._machine.mounts)
        for place in ("/run", "/etc/icinga2", *STATE_FOLDERS):
            mounts[Path(place)] = folder / place.lstrip("/")
            mounts[Path(place)].parent.mkdir(parents=True, exist_ok=True)
            if place == "/run":
                mounts[Path(place)].mkdir()
            else:
                subprocess.run(["cp", "-a", place, str(mounts[Path(place)])], check=True)
        etc = mounts[Path("/etc/icinga2")]
        self._certify(name, mounts[Path("/var/lib/icinga2")] / "certs")
        (etc / "features-enabled" / "api.conf").write_text(API.replace("@ADDRESS@", address), encoding="utf-8")
        shutil.copy(ZONES / "zones.conf", etc / "zones.conf")
        # As `icinga2 node wizard` leaves it: a name, and nothing from conf.d.
        with (etc / "constants.conf").open("a", encoding="utf-8") as constants:
            constants.write(f'const NodeName = "{name}"\n')
        main = (etc / "icinga2.conf").read_text(encoding="utf-8")
        (etc / "icinga2.conf").write_text(main.replace('include_recursive "conf.d"', ""), encoding="utf-8")
        prefix = seeing(mounts)
        if name == MASTER:
            zones = etc / "zones.d"
            shutil.copytree(ZONES / "zones.d", zones, dirs_exist_ok=True)
            (zones / "global-templates").mkdir()
            for file in ("check_lync_presence.conf", "lync_presence.conf"):
                shutil.copy(ICINGA2 / file, zones / "global-templates")
            for path in zones.glob("*/*.conf"):  # as shipped, only faster
                text = path.read_text(encoding="utf-8")
                path.write_text(re.sub(r"check_interval = \w+", "check_interval = 2s", text), encoding="utf-8")
            subprocess.run([*prefix, "icinga2", "daemon", "-C"], check=True, capture_output=True)
        return self._nodes.enter_context(Node(prefix, address, folder / "log"))

    def _certify(self, name: str, folder: Path) -> None:
        """A certificate for a node, of one CA for all; making RSA keys as Icinga does takes seconds."""
        certificate = self._authority.issue_cert(name, common_name=name)
        folder.mkdir()
        (folder / "ca.crt").write_bytes(self._authority.cert_pem.bytes())
        (folder / f"{name}.crt").write_bytes(certificate.cert_chain_pems[0].bytes())
        (folder / f"{name}.key").write_bytes(certificate.private_key_pem.bytes())
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "nagios", "nagios")

    def stop(self) -> None:
        self._nodes.close()


@pytest.fixture(scope="module", autouse=True)
def cluster(machine: Machine) -> Iterator[Cluster]:
    """Started before anything else: its nodes take half a minute to be sure of each other."""
    started = Cluster(machine)
    try:
        yield started
    finally:
        started.stop()


def labels(attrs: Dict[str, Any]) -> List[str]:
    return [item.partition("=")[0] for item in attrs["last_check_result"]["performance_data"]]


def test_whoever_follows_the_readme_to_the_letter_has_a_green_service(machine: Machine, icinga: Node) -> None:
    with machine.pool():
        attrs = icinga.checked(PRESENCE, OK)
        assert icinga.checked(LISTENS, OK)["last_check_result"]["output"].startswith("TCP OK")
    assert attrs["last_check_result"]["output"].startswith(
        f"LYNC PRESENCE OK - sip:ann@contoso.example reached sip:ben@contoso.example on {POOL} in "
    )
    assert sorted(labels(attrs)) == sorted(PERFDATA)


def test_a_fault_is_critical_and_says_what_it_is(machine: Machine, icinga: Node) -> None:
    with machine.pool("--fault", "service-unavailable"):
        attrs = icinga.checked(PRESENCE, CRITICAL, "LYNC PRESENCE CRITICAL - Register failed for both users: 503")
        assert icinga.checked(LISTENS, OK)
    result = attrs["last_check_result"]
    assert "success=0" in result["performance_data"]
    assert "Result     : Failure" in result["output"]


def test_passwords_from_custom_variables_are_in_no_list(machine: Machine, more: Node) -> None:
    with machine.pool("--delay", "0.5"):
        seen: List[str] = []
        more.check_now("by-variables", PRESENCE)

        def probe() -> Optional[Dict[str, Any]]:
            seen.extend(line for line in command_lines() if "check_lync_presence" in line and "empty.ini" in line)
            attrs = more.service(PRESENCE, "by-variables")
            return attrs if (attrs.get("last_check_result") or {}).get("state") == OK else None

        attrs = more.until(probe, LIMIT)
    command = attrs["last_check_result"]["command"]
    assert command[:1] == ["/usr/lib/nagios/plugins/check_lync_presence"]
    given = " ".join(command)
    assert "--activity-warning register=50 --activity-warning notify=50" in given
    assert "--ipv4" in command
    assert "-vv" in command
    assert not {"--all-front-ends", "-v", "-vvv", "--discover"} & set(command)
    assert seen
    for listed in (given, *seen):
        assert ANN_PASSWORD not in listed
        assert BEN_PASSWORD not in listed


def test_the_port_that_is_looked_at_is_that_of_the_presence_check(more: Node) -> None:
    def ports() -> Dict[str, Tuple[str, int]]:
        found = [result["attrs"] for result in more.ask("objects/services")]
        return {
            attrs["name"]: (attrs["vars"]["tcp_address"], attrs["vars"]["tcp_port"])
            for attrs in found
            if attrs["host_name"] == "variants" and attrs["check_command"] == "tcp"
        }

    assert more.until(ports, LIMIT) == {
        "lync-port tcp": ("tcp", 5060),
        "lync-port port": ("port", 5063),
        "lync-port fe01": ("127.0.0.4", 5061),
    }
    depending = {result["attrs"]["child_service_name"] for result in more.ask("objects/dependencies")}
    assert {"lync-presence fe01", PRESENCE} <= depending
    assert not {"lync-presence udp", "lync-presence discovered"} & depending


def command_lines() -> Iterator[str]:
    """The arguments of every process, as `ps` shows them to everybody."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def test_a_pool_that_is_down_alarms_once(machine: Machine, more: Node) -> None:
    machine.edit(
        "/etc/icinga2/conf.d/lync_presence.conf",
        ("retry_interval = 15s", "retry_interval = 1s"),
        ("retry_interval = 30s", "retry_interval = 1s"),
    )
    notes = machine.path(NOTES)

    def noted() -> List[str]:
        lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
        return [line for line in lines if line.endswith(" CRITICAL")]

    with machine.pool():
        more.reload()
        more.until(lambda: more.service(PRESENCE).get("retry_interval") == 1, LIMIT)
        more.checked(PRESENCE, OK, hard=True)
        more.checked(LISTENS, OK, hard=True)
        notes.unlink(missing_ok=True)
    more.checked(LISTENS, CRITICAL)
    for name in (PRESENCE, LISTENS):
        more.checked(name, CRITICAL, hard=True)
    more.until(noted, LIMIT)
    assert noted() == [f"lync!{LISTENS} CRITICAL"]
    # The port is back, and presence is not: that is another problem, and somebody is told.
    with machine.pool("--fault", "service-unavailable"):
        more.checked(LISTENS, OK, hard=True)
        more.check_now("lync", PRESENCE)
        more.until(lambda: f"lync!{PRESENCE} CRITICAL" in noted(), LIMIT)


def test_the_director_takes_the_basket_and_its_command_does_the_same(machine: Machine, icinga: Node) -> None:
    basket = (CONTRIB / "icinga-director" / "basket.json").read_text(encoding="utf-8")
    with Director(machine.folder / "director") as director:
        director.run("migration", "run")
        for _ in range(2):  # a newer basket over an older one
            assert "have been restored" in director.run("basket", "restore", given=basket)
        command = director.run("command", "show", "check_lync_presence")
        template = director.run("service", "show", "lync-presence")
    shipped = machine.path("/etc/icinga2/conf.d/check_lync_presence.conf")
    text = shipped.read_text(encoding="utf-8")
    renamed = template.replace('"lync-presence"', '"of the director"')
    try:
        shipped.write_text(command + renamed + OF_THE_DIRECTOR, encoding="utf-8")
        machine.run("icinga2", "daemon", "-C")
        icinga.reload()
        with machine.pool():
            attrs = icinga.checked("presence", OK, host="of the director")
    finally:
        shipped.write_text(text, encoding="utf-8")
        icinga.reload()
    given = " ".join(attrs["last_check_result"]["command"])
    assert given.startswith("/usr/lib/nagios/plugins/check_lync_presence ")
    for wanted in (
        f"--target {POOL}",
        "--warning 5",
        "--certificate-critical 7:",
        "-vv",
        "--ipv4",
        "--activity-warning register=4 --activity-warning notify=4",
    ):
        assert f" {wanted} " in f"{given} "
    assert "'Register' activity completed in" in attrs["last_check_result"]["output"]


def test_satellites_near_the_pools_run_the_checks_and_take_over_from_each_other(
    machine: Machine, cluster: Cluster
) -> None:
    master = cluster.nodes[MASTER]
    with machine.pool():
        attrs = master.checked(PRESENCE, OK, host="lync-west")
        first = attrs["last_check_result"]["check_source"]
        assert first in SATELLITES
        assert attrs["zone"] == "west"
        (second,) = {*SATELLITES} - {first}
        cluster.nodes[first].kill()
        taken = master.checked(PRESENCE, OK, host="lync-west", at=second)
        assert "latency" in labels(taken)
        assert master.until(lambda: host_state(master, "west") is not None, LIMIT)
        assert host_state(master, "west") == OK  # one satellite is enough
        cluster.nodes[second].kill()
    master.until(lambda: host_state(master, "west") == DOWN, LIMIT)
    assert master.service(PRESENCE, "lync-west")["last_check_result"]["state"] == OK  # the last that is known


def host_state(node: Node, name: str) -> Optional[float]:
    """0 up, 1 down; None before the first check."""
    for result in node.ask(f"objects/hosts/{name}"):
        if result["attrs"]["last_check_result"]:
            return float(result["attrs"]["state"])
    return None
