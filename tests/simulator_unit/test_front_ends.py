"""A pool of several front ends: one state, and faults that strike at one of them only."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path
from typing import Iterator

import pytest

from check_lync_presence.simulator.faults import Faults
from check_lync_presence.simulator.server import Server, Site
from check_lync_presence.simulator.simple import SimpleFrontEnd

from .client import ANN, BEN, Client, Silence, Stage, note, state
from .process import Simulator, accounts_file
from .test_process import run

FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
SECOND_SITE = Site(SECOND, Faults(), None)


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return accounts_file(tmp_path)


def apart(stage: Stage) -> tuple[Client, Client]:
    """ann at the first front end, and ben, who watches her, at the second."""
    ann, ben = stage.client(ANN, FIRST), stage.client(BEN, SECOND)
    assert ann.sign_in().status == ben.sign_in().status == 200
    assert ben.watch(ANN).status == 200
    return ann, ben


def silent(client: Client) -> bool:
    try:
        client.next_request()
    except Silence:
        return True
    return False


# ----------------------------------------------------------------- one state


def test_what_is_published_at_one_front_end_is_told_at_another() -> None:
    ann, ben = apart(Stage())
    assert ann.publish(note("probe")).status == 200
    assert b"probe" in ben.next_request().body


def test_eight_endpoints_are_the_limit_of_all_front_ends_together() -> None:
    stage = Stage()
    clients = [stage.client(ANN, (FIRST, SECOND, THIRD)[number % 3], epid=f"0000000{number}aa") for number in range(9)]
    for client in clients:
        assert client.sign_in().status == 200
    assert clients[0].next_request().body == b"deregistered;event=unregistered"
    assert stage.front_end.census()[ANN]["endpoints"] == 8


# ----------------------------------------------------------- faults of one of them


def test_without_replication_watchers_elsewhere_are_not_told_and_see_nothing() -> None:
    stage = Stage("not-replicated")
    ann, ben = apart(stage)
    neighbour = stage.client(BEN, FIRST, epid="0f1e2d3c4b5a")
    neighbour.sign_in()
    neighbour.watch(ANN)
    assert ann.publish(note("probe"), state(3500)).status == 200
    assert b"probe" in neighbour.next_request().body
    assert silent(ben)
    assert b"probe" not in ben.watch(ANN).body
    assert b"probe" in neighbour.watch(ANN).body


def test_only_what_is_published_at_the_front_end_with_the_fault_stays_there() -> None:
    stage = Stage(f"not-replicated@{SECOND}")
    _, ben = apart(stage)
    ann = stage.client(ANN, SECOND, epid="0f1e2d3c4b5a")
    ann.sign_in()
    ann.publish(note("stays"))
    assert b"stays" in ben.next_request().body
    stage = Stage(f"not-replicated@{SECOND}")
    ann, ben = apart(stage)
    ann.publish(note("travels"))
    assert b"travels" in ben.next_request().body


@pytest.mark.parametrize(("place", "told"), [(FIRST, True), (SECOND, False)])
def test_a_notification_is_lost_where_its_watcher_is(place: str, told: bool) -> None:
    ann, ben = apart(Stage(f"notification-never@{place}"))
    ann.publish(note("probe"))
    assert silent(ben) != told


def test_a_front_end_that_is_out_of_service_is_alone_in_that() -> None:
    stage = Stage(f"service-unavailable@{SECOND}")
    sick = stage.client(ANN, SECOND)
    assert sick.answer_of(sick.register()).status == 503
    assert stage.client(ANN, FIRST).sign_in().status == 200


# ----------------------------------------------------------------- over sockets


@pytest.fixture
def pool(accounts: Path) -> Iterator[Simulator]:
    options = [option for place in (FIRST, SECOND, THIRD) for option in ("--listen", place)]
    with Simulator(
        accounts, "--tls", "0", "--tcp", "0", *options, "--fault", f"no-answer=publish@{THIRD}"
    ) as simulator:
        yield simulator


def test_every_front_end_listens_on_the_same_ports(pool: Simulator) -> None:
    for place in (FIRST, SECOND, THIRD):
        for port in (pool.tls, pool.tcp):
            socket.create_connection((place, port), timeout=10).close()


def test_a_publication_crosses_the_pool(pool: Simulator) -> None:
    ann, ben = pool.client(ANN, FIRST), pool.client(BEN, THIRD)
    ann.sign_in()
    ben.sign_in()
    ben.watch(ANN)
    assert ann.publish(note("probe")).status == 200
    assert b"probe" in ben.next_request().body
    assert pool.census()["users"][ANN]["endpoints"] == 1


def test_a_front_end_can_be_silent_alone(pool: Simulator) -> None:
    ann = pool.client(ANN, THIRD)
    ann.sign_in()
    pool.clients[-1].deadline = 0.3
    with pytest.raises(Silence):
        ann.publish(note("probe"))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_free_port_is_one_that_is_free_at_every_front_end(transport: str) -> None:
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM

    class Unlucky(Server):
        """The first ports that it finds at the first front end are taken at the second."""

        def __init__(self) -> None:
            super().__init__(SimpleFrontEnd([], random.Random(1)), [Site(FIRST, Faults(), None), SECOND_SITE], 0.0)
            self.taken: list[socket.socket] = []

        async def _listen(self, site: Site, name: str, port: int, home: int | None = None) -> int:
            if site is SECOND_SITE and len(self.taken) < 3:
                self.taken.append(socket.socket(socket.AF_INET, kind))
                self.taken[-1].bind((SECOND, port))
                if kind == socket.SOCK_STREAM:
                    self.taken[-1].listen()
            return await super()._listen(site, name, port, home)

    async def scene() -> None:
        server = Unlucky()
        ports = await server.listen(None, 0 if transport == "tcp" else None, 0 if transport == "udp" else None)
        found = getattr(ports, transport)
        assert found not in {taken.getsockname()[1] for taken in server.taken}
        with socket.socket(socket.AF_INET, kind) as first, socket.socket(socket.AF_INET, kind) as second:
            for sock, place in ((first, FIRST), (second, SECOND)):
                with pytest.raises(OSError, match="in use"):
                    sock.bind((place, found))
        for taken in server.taken:
            with socket.socket(socket.AF_INET, kind) as given_back:
                given_back.bind((FIRST, taken.getsockname()[1]))
            taken.close()
        server.close()

    asyncio.run(scene())


def test_a_port_that_is_taken_at_one_front_end_is_a_line(accounts: Path) -> None:
    with socket.create_server((SECOND, 0)) as taken:
        port = str(taken.getsockname()[1])
        status, output, errors = run("--accounts", str(accounts), "--tcp", port, "--listen", FIRST, "--listen", SECOND)
    assert (status, errors) == (3, "")
    assert f"cannot listen on {FIRST}, {SECOND}" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", FIRST, "--listen", FIRST], "given twice"),
        (["--listen", "::1", "--listen", "[::1]"], "given twice"),
        (["--listen", FIRST, "--fault", f"notify@{SECOND}"], f"limited to {SECOND}, which is not among"),
        (["--fault", f"watcher-blocked@{FIRST}"], "one of the whole pool"),
    ],
)
def test_a_pool_that_cannot_be_is_one_line_and_exit_status_3(accounts: Path, arguments: list[str], words: str) -> None:
    status, output, errors = run("--accounts", str(accounts), *arguments)
    assert (status, errors) == (3, "")
    assert words in output
    assert output.count("\n") == 1
