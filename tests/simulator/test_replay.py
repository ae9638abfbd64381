"""Runs against the simulator that are recorded with ``--trace`` and judged again with ``--replay``: the same output and
the same state. What a pool can do wrong is played again in test_faults.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from check_lync_presence.simulator.faults import LYNC

from ..commands import ACCOUNTS, POOL, write_accounts
from ..in_process import judged_again, recorded, replay, run_here
from .conftest import Start
from .test_all_front_ends import check, listening, places
from .test_faults import OPTIONS


@pytest.mark.parametrize("fault", ["", "lost", "cut=publish", "garbage=publish"])
def test_a_run_over_udp(simulate: Start, tmp_path: Path, fault: str) -> None:
    udp = ("--dialect", "simple", "--udp", "0")
    recorded(simulate(*filter(None, [fault]), options=udp), tmp_path, "--timeout", "3")


def test_a_run_over_tcp_with_thresholds_that_are_broken(simulate: Start, tmp_path: Path) -> None:
    simulator = simulate(options=("--tcp", "0"))
    recorded(simulator, tmp_path, "-w", "0.000001", "--activity-critical", "publish=0.000001")


@pytest.mark.parametrize("fault", ["", "not-replicated", "no-answer=register@127.0.0.2", "wrong-password"])
def test_a_run_on_all_front_ends(simulate: Start, tmp_path: Path, fault: str) -> None:
    pool = simulate(*filter(None, [fault]), options=listening(3))
    trace = tmp_path / "run.jsonl"
    result = check(
        pool, places(3), "-vvv", "--timeout", "3", "--notify-timeout", "0.5",
        "--state-dir", str(tmp_path / "state"), "--trace", str(trace),
    )  # fmt: skip
    judged_again(result, trace)


def test_a_password_that_is_not_tried_again(simulate: Start, tmp_path: Path) -> None:
    simulator = simulate("wrong-password")
    recorded(simulator, tmp_path)
    trace = recorded(simulator, tmp_path)
    assert "No attempt, refused since" in replay(trace).first_line


def test_a_server_that_nobody_listens_at(tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{held.getsockname()[1]}"
        trace = tmp_path / "run.jsonl"
        named = ("-H", POOL, "--accounts", str(accounts), "--connect", place)
        judged_again(run_here(*named, "-v", "--trace", str(trace)), trace)


def test_a_name_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    accounts = write_accounts(tmp_path / "accounts.ini")
    trace = tmp_path / "run.jsonl"
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    result = run_here("-H", POOL, "--accounts", str(accounts), "-v", "--trace", str(trace))
    assert "cannot resolve pool01.contoso.example" in result.first_line
    monkeypatch.undo()
    judged_again(result, trace)


def test_a_directory_that_cannot_be_asked(simulate: Start, tmp_path: Path) -> None:
    trace = recorded(simulate("account-unknown"), tmp_path, "--ldap-uri", "ldaps://127.0.0.1:1", "-t", "5")
    assert "Active Directory could not be asked: " in replay(trace).stdout


def test_a_subscriber_on_another_pool(simulate: Start, tmp_path: Path) -> None:
    other = ACCOUNTS.replace(POOL, "pool02.contoso.example")
    write_accounts(tmp_path / "accounts.ini", ACCOUNTS + other)
    pool, trace = simulate(options=("--tcp", "0")), tmp_path / "run.jsonl"
    connect = f"connect = 127.0.0.1:{pool.ready['tcp']}\n"
    accounts = write_accounts(tmp_path / "two.ini", f"{ACCOUNTS}{connect}{other}{connect}")
    named = ("-H", POOL, "--accounts", str(accounts), "--transport", "tcp")
    options = ("--subscriber-target", "pool02.contoso.example", "-vvv", "--trace", str(trace))
    judged_again(run_here(*named, *options), trace)


@pytest.mark.parametrize("dialect", OPTIONS)
def test_it_is_not_recorded_what_a_password_could_be_guessed_from(
    simulate: Start, tmp_path: Path, dialect: str
) -> None:
    text = recorded(simulate(options=OPTIONS[dialect]), tmp_path).read_text(encoding="ascii")
    assert len(text.splitlines()) > 20
    removed = ("gssapi-data", "rspauth") if dialect == LYNC else ("nonce", "cnonce")
    for name in (*removed, "response"):
        values = {part.partition('\\"')[0] for part in text.split(f'{name}=\\"')[1:]}
        assert values - {""} == {"***"}, name


def test_a_replay_needs_no_network(simulate: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = recorded(simulate(), tmp_path)

    def forbidden(*_: Any) -> None:
        raise AssertionError("a network")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, forbidden)
    assert replay(trace).code == 0


def test_a_replay_can_be_shown_in_more_detail_and_as_a_page(simulate: Start, tmp_path: Path) -> None:
    trace, page = recorded(simulate(), tmp_path), tmp_path / "page.html"
    short = replay(trace, "-v", "--report", str(page))
    assert "sent by" not in short.stdout
    assert "sent by" in replay(trace, "-vv").stdout
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
