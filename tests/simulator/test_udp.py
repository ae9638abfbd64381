"""The check over UDP: what is lost is sent again, and what a datagram cannot hold is named."""

from __future__ import annotations

import pytest

from ..commands import POOL
from .conftest import Start
from .resolver import run_with_addresses

OPTIONS = ("--dialect", "simple", "--udp", "0")
UDP = ("--transport", "udp")


@pytest.mark.parametrize(
    "fault",
    [
        "",
        "notification-first",
        "notify-before-answer",
        "stale-nonce",
        "interval-too-brief",
        "redirect",
        "joined-messages",
        "split-messages",
        "crlf-storm",
        "folded-headers",
        "options-probe",
        "no-answer=unregister",
    ],
)
def test_a_presence_arrives_in_datagrams(simulate: Start, fault: str) -> None:
    result = simulate(*filter(None, [fault]), options=OPTIONS).check("--timeout", "4")
    assert (result.code, result.stderr) == (0, ""), result.stdout


@pytest.mark.parametrize("protocol", ["auto", "simple"])
def test_lost_datagrams_are_sent_again_and_counted(simulate: Start, protocol: str) -> None:
    simulator = simulate("lost", options=OPTIONS)
    result = simulator.check("--protocol", protocol)
    assert result.code == 0, result.stdout
    assert "retransmission(s) were needed over UDP." in result.stdout
    left = simulator.census()["users"].values()
    assert sum(user[kind] for user in left for kind in ("endpoints", "publications", "subscriptions")) == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-answer=register", "No answer to REGISTER"),
        ("no-answer=notify", "Presence notification is not received"),
        ("cut=publish", "No answer to PUBLISH"),
        ("notification-never", "Presence notification is not received"),
        ("half-message=subscribe", "The answer is not SIP"),
        ("garbage=publish", "The answer is not SIP"),
        ("oversized-message=register", "The answer is not SIP"),
        ("oversized-message=notify", "Presence notification is not received"),
        ("wrong-password", "401, Unauthorized"),
    ],
)
def test_a_failure_in_datagrams_is_named(simulate: Start, fault: str, words: str) -> None:
    result = simulate(fault, options=OPTIONS).check("--timeout", "4", "--notify-timeout", "1")
    assert (result.code, result.stderr) == (2, "")
    assert words in result.first_line
    assert ("a datagram could not be read" in result.stdout) == (fault == "oversized-message=notify")


def test_over_udp_the_next_address_is_tried_where_nobody_listens(simulate: Start) -> None:
    simulator = simulate(options=("--dialect", "simple", "--udp", "0", "--listen", "127.0.0.2"))
    port = str(simulator.ready["udp"])
    done = run_with_addresses(
        "127.0.0.1 127.0.0.2", "-H", POOL, "-p", port, "--accounts", str(simulator.accounts), *UDP
    )
    assert (done.code, done.stderr) == (0, ""), done.stdout
    assert f"{POOL} was passed over: cannot reach 127.0.0.1:{port}: Connection refused." in done.lines
