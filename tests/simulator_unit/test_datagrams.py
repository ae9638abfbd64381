"""UDP: what is repeated, what is absorbed, what is lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Iterator

import pytest

from check_lync_presence.sip.message import Response

from .client import ANN, BEN, PASSWORDS, Silence
from .process import Simulator, accounts_file
from .simple_client import DatagramWire, SimpleClient, document, in_dialog
from .test_process import run

OPTIONS = ("--dialect", "simple", "--udp", "0")


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    """Users without logon names: Digest knows them by their addresses' first part."""
    path = accounts_file(tmp_path)
    lines = [line for line in path.read_text().splitlines() if "_user" not in line]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def server(accounts: Path) -> Iterator[Simulator]:
    with Simulator(accounts, *OPTIONS) as simulator:
        yield simulator


def client(server: Simulator, address: str) -> SimpleClient:
    wire = DatagramWire(server.udp)
    server.clients.append(wire)
    return SimpleClient(wire, address, PASSWORDS[address])


def wire_of(client: SimpleClient) -> DatagramWire:
    assert isinstance(client.wire, DatagramWire)
    return client.wire


def test_a_round_trip_over_udp_leaves_nothing_behind(server: Simulator) -> None:
    ann, ben = client(server, ANN), client(server, BEN)
    assert ann.register().status == ben.register().status == 200
    accepted = ben.watch(ANN)
    ben.reply(ben.next_request(), 200)
    tag = ann.publish(document("probe")).get("SIP-ETag") or ""
    told = ben.next_request()
    ben.reply(told, 200)
    assert b"probe" in told.body
    assert ann.publish(etag=tag, expires=0).status == 200
    ben.reply(ben.next_request(), 200)
    ben.watch(ANN, expires=0, dialog=in_dialog(accepted))
    ben.reply(ben.next_request(), 200)
    assert ann.register(expires=0).status == ben.register(expires=0).status == 200
    census = server.census()
    assert census["connections"] == 0
    nothing = {"endpoints": 0, "publications": 0, "subscriptions": 0}
    assert census["users"] == {ANN: {**nothing, "answers": {}}, BEN: {**nothing, "answers": {"NOTIFY 200": 4}}}


def test_a_repeated_request_gets_the_same_answer_and_nothing_else(server: Simulator) -> None:
    ann = client(server, ANN)
    ann.register()
    ann.publish(document("one"))
    headers = [("Event", "presence"), ("Content-Type", "application/pidf+xml")]
    request = ann.signed(ann.build("PUBLISH", ANN, headers, document("two")))
    answers = [ann.answer_of(request) for _ in range(3)]
    assert {answer.status for answer in answers} == {200}
    assert len({bytes(answer) for answer in answers}) == 1
    assert server.census()["users"][ANN]["publications"] == 2


def test_a_notification_is_repeated_until_it_is_answered(server: Simulator) -> None:
    ben = client(server, BEN)
    ben.watch(ANN)
    first, second = ben.next_request(), ben.next_request()
    assert bytes(first) == bytes(second)
    ben.reply(second, 200)
    wire_of(ben).deadline = 1.2  # the third one would come a second after the second
    with pytest.raises(Silence):
        ben.next_request()


def test_a_datagram_that_is_no_message_is_dropped_and_others_go_on(server: Simulator) -> None:
    ann = client(server, ANN)
    for nonsense in (b"", b"\r\n\r\n", b"\0\r\n\r\n", b"x" * 60_000, b"A sip:b SIP/2.0\r\nContent-Length: 9\r\n\r\n"):
        wire_of(ann).socket.send(nonsense)
    assert ann.register().status == 200


def test_each_message_is_lost_as_often_as_asked_for(accounts: Path) -> None:
    with Simulator(accounts, *OPTIONS, "--fault", "lost=2") as simulator:
        ann = client(simulator, ANN)
        request = ann.build("OPTIONS", ANN)
        begin = time.monotonic()
        for _ in range(3):
            ann.wire.send(request)
        answer = ann.wire.receive()
        assert isinstance(answer, Response)
        assert time.monotonic() - begin < 5
        wire_of(ann).deadline = 0.2
        with pytest.raises(Silence):
            ann.wire.receive()


def test_nothing_follows_half_a_datagram(accounts: Path) -> None:
    with Simulator(accounts, *OPTIONS, "--fault", "half-message=publish") as simulator:
        ann = client(simulator, ANN)
        ann.register()
        wire_of(ann).deadline = 0.3
        with pytest.raises(ValueError, match=r"shorter|empty line"):
            ann.publish(document("probe"))
        with pytest.raises(Silence):
            ann.register()


def test_one_message_is_one_datagram_even_where_messages_are_joined(accounts: Path) -> None:
    with Simulator(accounts, *OPTIONS, "--fault", "joined-messages", "--fault", "split-messages") as simulator:
        ann = client(simulator, ANN)
        ann.wire.send(ann.build("OPTIONS", ANN))
        lines = [ann.wire.receive().start_line for _ in range(2)]
        assert lines == ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]


def test_a_redirection_over_udp_leads_to_a_second_port(accounts: Path) -> None:
    with Simulator(accounts, *OPTIONS, "--fault", "redirect") as simulator:
        contact = client(simulator, ANN).register().get("Contact") or ""
        assert contact.endswith(";transport=udp>")
        simulator.ready["udp"] = int(contact.partition(";")[0].rpartition(":")[2])
        assert client(simulator, ANN).register().status == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--udp", "0"], "Lync does not speak UDP"),
        (["--dialect", "simple", "--fault", "resign"], "does not exist in the simple dialect"),
        (["--fault", "stale-nonce"], "does not exist in the lync dialect"),
        (["--dialect", "simple", "--fault", "cut=self-subscribe"], "does not take the value 'self-subscribe'"),
        (["--dialect", "h323"], "invalid choice"),
    ],
)
def test_what_a_dialect_does_not_have_is_one_line_and_exit_status_3(
    accounts: Path, arguments: list[str], words: str
) -> None:
    status, output, errors = run("--accounts", str(accounts), *arguments)
    assert (status, errors) == (3, "")
    assert words in output
    assert output.count("\n") == 1
