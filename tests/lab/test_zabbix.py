"""The Zabbix agent runs the check: the real agent with our UserParameter, asked as a Zabbix server asks.

What the template makes of the answer is worked out with the template's own patterns.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, Tuple

import pytest
from defusedxml import ElementTree

from check_lync_presence.plugin import PERFDATA

from ..commands import ACCOUNTS, POOL, Simulator, environment, write_accounts
from ..loopback import lasting_port
from .required import without_lab
from .servers import Process

CONTRIB = Path(__file__).parents[2] / "contrib" / "zabbix"
INSTALLED = "/usr/lib/nagios/plugins/check_lync_presence"
FAILING = "pool02.contoso.example"
KEY = "lync.presence[{}]"


class Agent:
    """A running Zabbix agent."""

    def __init__(self, program: str, configuration: Path, port: int) -> None:
        self.command = [program, "-c", str(configuration)]
        self._port = port

    def get(self, key: str) -> str:
        """The value of an item, by a passive check: a header with the length, and the key."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=40) as sock:
            sock.sendall(b"ZBXD\x01" + struct.pack("<II", len(key), 0) + key.encode())
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        assert answer[:5] == b"ZBXD\x01"
        return answer[13:].decode()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    program = shutil.which("zabbix_agentd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        without_lab("zabbix_agentd is not installed", "zabbix-agent")
    folder = tmp_path_factory.mktemp("zabbix")
    people = ACCOUNTS.partition("\n")[2]
    healthy = Simulator(write_accounts(folder / "healthy.ini"), "--tls", "0")
    theirs = write_accounts(folder / "failing.ini", f"[{FAILING}]\n{people}")
    failing = Simulator(theirs, "--tls", "0", "--fault", "service-unavailable")
    with healthy, failing:
        sections = [
            f"[{pool}]\n{people}connect = 127.0.0.1:{simulator.tls}\nca_file = {simulator.ready['ca_file']}\n"
            for pool, simulator in ((POOL, healthy), (FAILING, failing))
        ]
        accounts = write_accounts(folder / "accounts.ini", "".join(sections))
        parameter = (CONTRIB / "lync_presence.conf").read_text()
        assert INSTALLED in parameter
        command = f"{Path(sys.executable).parent}/check_lync_presence --accounts {accounts}"
        port = lasting_port()
        configuration = folder / "zabbix_agentd.conf"
        configuration.write_text(
            f"PidFile={folder}/agent.pid\nLogType=console\nServer=127.0.0.1\nListenIP=127.0.0.1\nListenPort={port}\n"
            f"AllowRoot=1\nStartAgents=1\nTimeout=30\n{parameter.replace(INSTALLED, command)}"
        )
        running = Agent(program, configuration, port)
        with Process([*running.command, "-f"], folder / "agent.log", [("127.0.0.1", port)]):
            yield running


def items(answer: str) -> Dict[str, str]:
    """What the template's dependent items make of the output."""
    found = {}
    for item in ElementTree.parse(CONTRIB / "template_lync_presence.xml").iterfind(".//item"):
        if item.findtext("type") == "DEPENDENT":
            assert item.findtext("master_item/key") == KEY.format("{$LYNC.POOL}")
            pattern, output = (parameter.text or "" for parameter in item.iterfind(".//parameter"))
            match = re.search(pattern, answer)
            if match is not None:
                found[str(item.findtext("key")).rpartition(".")[2]] = match.expand(output)
    return found


def test_the_agent_hands_out_a_healthy_pool(agent: Agent) -> None:
    answer = agent.get(KEY.format(POOL))
    assert answer.endswith("\nexit code 0")
    assert re.search(r" latency=[\d.]+;5;10;0 ", answer)
    found = items(answer)
    assert found.pop("text").startswith(
        f"LYNC PRESENCE OK - sip:ann@contoso.example reached sip:ben@contoso.example on {POOL}"
    )
    assert found.pop("state") == "0"
    assert found.keys() == PERFDATA.keys()
    assert found["success"] == "1"
    assert 0 < float(found["latency"]) < 28


def test_the_agent_hands_out_a_failure_and_measures_nothing_of_it(agent: Agent) -> None:
    found = items(agent.get(KEY.format(FAILING)))
    assert (found["state"], found["success"]) == ("2", "0")
    assert found["text"] == "LYNC PRESENCE CRITICAL - Register failed for both users: 503, Service Unavailable"
    assert "latency" not in found


def test_a_pool_without_an_account_is_unknown(agent: Agent) -> None:
    found = items(agent.get(KEY.format("pool03.contoso.example")))
    assert found.keys() == {"text", "state"}
    assert found["state"] == "3"


def test_a_pool_name_that_is_a_command_is_refused(agent: Agent) -> None:
    assert "ZBX_NOTSUPPORTED" in agent.get(KEY.format('"$(id)"'))


def test_the_agent_takes_the_configuration(agent: Agent) -> None:
    done = subprocess.run(
        [*agent.command, "-t", KEY.format(POOL)],
        capture_output=True, text=True, timeout=60, check=False, env=environment(),
    )  # fmt: skip
    assert "[t|LYNC PRESENCE OK - " in done.stdout


def test_the_template_alarms_for_every_state_but_ok_at_the_third_in_a_row() -> None:
    root = ElementTree.parse(CONTRIB / "template_lync_presence.xml")
    uuids = [element.text or "" for element in root.iter("uuid")]
    assert all(re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", uuid) for uuid in uuids)
    assert len(set(uuids)) == len(uuids)
    triggers: Dict[str, Tuple[str, str]] = {
        str(trigger.findtext("expression")): (str(trigger.findtext("priority")), str(trigger.findtext("name")))
        for trigger in root.iter("trigger")
    }
    state = "/Lync presence/lync.presence.state"
    assert {key: priority for key, (priority, _) in triggers.items()} == {
        f"min({state},#3)=1": "WARNING",
        f"min({state},#3)=2": "HIGH",
        f"min({state},#3)>2": "AVERAGE",
        f"nodata({state},15m)=1": "HIGH",
        "last(/Lync presence/lync.presence.certificate_days)<{$LYNC.CERTIFICATE.DAYS}": "WARNING",
    }
