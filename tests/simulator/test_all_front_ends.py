"""``--all-front-ends`` and ``--subscriber-target``: the real command line against simulated pools of several servers.

Only the resolver is replaced: it knows the addresses of the pool.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest

from check_lync_presence.roundtrip import World, presence_round_trip

from ..commands import ACCOUNTS, POOL, Finished, Simulator, write_accounts
from ..samples import settings
from .conftest import Start
from .resolver import run_with_addresses

SIGN_IN = 3  # REGISTERs of one sign-in: the menu, the challenge, the proof


def places(count: int) -> List[str]:
    return [f"127.0.0.{number}" for number in range(1, count + 1)]


def listening(count: int) -> tuple[str, ...]:
    return ("--tls", "0", *(item for place in places(count) for item in ("--listen", place)))


def label(place: str) -> str:
    return place.replace(".", "_")


def check(pool: Simulator, addresses: Sequence[str], *arguments: str, accounts: Any = None) -> Finished:
    """The check of all front ends at these addresses."""
    done = run_with_addresses(
        " ".join(addresses),
        *("-H", POOL, "-p", str(pool.tls), "--accounts", str(accounts or pool.accounts)),
        *("--ca-file", pool.ready["ca_file"], "--all-front-ends", *arguments),
    )
    assert done.stderr == ""
    return done


def healthy(result: Finished, count: int) -> Dict[str, bool]:
    """By front end, whether it was found well."""
    assert result.perfdata["front_ends"].partition(";")[0] == str(count)
    return {place: result.perfdata[f"success_{label(place)}"] == "1" for place in places(count)}


def paths(result: Finished) -> List[str]:
    return sorted(name for name in result.perfdata if "_to_" in name)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_front_end_and_every_way_to_a_neighbour_is_tried(simulate: Start, count: int) -> None:
    pool = simulate(options=listening(count))
    result = check(pool, places(count))
    assert result.code == 0
    which = f"all {count} front ends" if count > 1 else "the only front end"
    assert f"on {which} of {POOL} in " in result.first_line
    assert all(healthy(result, count).values())
    assert {name for name in result.perfdata if name.startswith("latency")} == {
        f"latency_{label(place)}" for place in places(count)
    }
    before = dict(zip(places(count), [places(count)[-1], *places(count)]))
    ways = [f"notify_{label(place)}_to_{label(before[place])}" for place in places(count)]
    assert paths(result) == (sorted(ways) if count > 1 else [])


def test_nothing_is_left_at_any_front_end(simulate: Start) -> None:
    pool = simulate(options=listening(3))
    assert check(pool, places(3)).code == 0
    census = pool.census()
    assert census["connections"] == 0
    assert all(user["endpoints"] == user["publications"] == 0 for user in census["users"].values())


def test_more_front_ends_than_a_user_may_have_endpoints_do_not_throw_each_other_out(simulate: Start) -> None:
    pool = simulate(options=listening(12))
    result = check(pool, places(12))
    assert result.code == 0
    assert all(healthy(result, 12).values())
    assert len(paths(result)) == 11


@pytest.mark.parametrize("sick", [1, 2, 3])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-answer=register", "Register failed for both users: No answer to REGISTER in"),
        ("cut=publish", "PublishPresence failed for sip:ann@contoso.example: The server closed the connection"),
        ("notification-never", "PublishPresence failed: Presence notification is not received within 1 secs"),
        ("service-unavailable", "Register failed for both users: 503, Service Unavailable"),
    ],
)
def test_a_sick_front_end_is_named_and_the_others_are_well(simulate: Start, sick: int, fault: str, words: str) -> None:
    place = places(3)[sick - 1]
    pool = simulate(f"{fault}@{place}", options=listening(3))
    result = check(pool, places(3), "--timeout", "5", "--notify-timeout", "1")
    assert result.code == 2
    assert f"1 of 3 front ends of {POOL} fails: {place}" in result.first_line
    assert [name for name, well in healthy(result, 3).items() if not well] == [place]
    assert any(line.startswith(f"{place} : Failure, {words}") for line in result.lines)
    assert len(result.first_line.partition(" | ")[0]) < 120


def test_a_front_end_that_nobody_listens_at_is_named(simulate: Start) -> None:
    pool = simulate(options=listening(2))
    result = check(pool, [*places(2), "127.0.0.9"])
    assert result.code == 2
    assert "1 of 3 front ends of pool01.contoso.example fails: 127.0.0.9" in result.first_line
    assert f"127.0.0.9 : Failure, Register failed: cannot connect to 127.0.0.9:{pool.tls}: Connection refused" in (
        result.lines
    )


def test_a_way_that_is_not_replicated_is_named_by_both_of_its_ends(simulate: Start) -> None:
    pool = simulate("not-replicated@127.0.0.2", options=listening(3))
    result = check(pool, places(3), "--notify-timeout", "1")
    assert result.code == 2
    assert "1 of 3 front ends of pool01.contoso.example fails: 127.0.0.2 to 127.0.0.1" in result.first_line
    assert all(healthy(result, 3).values())
    assert len(paths(result)) == 2
    words = (
        "127.0.0.2 to 127.0.0.1 : Failure, PublishPresence failed: Presence notification is not received within 1 secs"
    )
    assert words in result.lines


def test_a_way_that_is_not_replicated_is_no_mistake_of_ours_where_not_all_go_at_once(simulate: Start) -> None:
    # The seventh waits for a slot; the sixth must not have logged off while it is still listened to there.
    pool = simulate(f"not-replicated@{places(7)[6]}", options=listening(7))
    result = check(pool, places(7), "--timeout", "6")
    assert result.code == 2
    assert f"1 of 7 front ends of {POOL} fails: 127.0.0.7 to 127.0.0.6" in result.first_line
    assert all(healthy(result, 7).values())


def test_a_front_end_that_refuses_what_the_others_take_is_named(simulate: Start, tmp_path: Path) -> None:
    pool = simulate("wrong-password@127.0.0.3", options=listening(4))
    for _ in range(2):  # nothing is held against the password
        result = check(pool, places(4), "--state-dir", str(tmp_path / "state"))
        assert result.code == 2
        assert f"1 of 4 front ends of {POOL} fails: 127.0.0.3" in result.first_line
        assert [name for name, well in healthy(result, 4).items() if not well] == ["127.0.0.3"]
        assert any(
            line.startswith("127.0.0.3: refuses what other front ends have just taken.") for line in result.lines
        )


def test_what_two_front_ends_have_against_two_users_hides_nothing(simulate: Start, tmp_path: Path) -> None:
    faults = ("account-not-allowed=subscriber@127.0.0.1", "wrong-password=publisher@127.0.0.2")
    result = check(simulate(*faults, options=listening(4)), places(4), "--state-dir", str(tmp_path / "state"))
    assert result.code == 2
    assert f"2 of 4 front ends of {POOL} fail: 127.0.0.1, 127.0.0.2" in result.first_line
    assert [name for name, well in healthy(result, 4).items() if well] == ["127.0.0.3", "127.0.0.4"]


def test_where_all_fail_the_pool_is_named(simulate: Start) -> None:
    pool = simulate("service-unavailable", options=listening(3))
    result = check(pool, places(3), "--front-ends-critical", "5")
    assert result.code == 2  # nothing is left that could be tolerated
    assert f"all 3 front ends of {POOL} fail" in result.first_line


@pytest.mark.parametrize(("limit", "code"), [("0", 2), ("1", 1), ("2", 1)])
def test_how_many_may_fail_can_be_said(simulate: Start, limit: str, code: int) -> None:
    pool = simulate("service-unavailable@127.0.0.2", options=listening(3))
    result = check(pool, places(3), "--front-ends-critical", limit)
    assert result.code == code
    assert result.perfdata["front_ends_failed"] == f"1;;{limit};0"


def test_a_wrong_password_is_tried_at_one_front_end_only(simulate: Start, tmp_path: Path) -> None:
    pool = simulate("wrong-password", options=listening(3))
    result = check(pool, places(3), "-vv", "--state-dir", str(tmp_path / "state"))
    assert result.code == 2
    assert "Register failed for sip:ann@contoso.example: 401, Unauthorized" in result.first_line
    assert "The other 2 front ends were not tried, so as not to lock an account out." in result.lines
    sent = [line for line in result.lines if "sent by sip:ann@contoso.example: REGISTER" in line]
    assert len(sent) == SIGN_IN


def test_a_wrong_password_is_tried_once_although_the_first_front_end_hangs(simulate: Start, tmp_path: Path) -> None:
    pool = simulate("wrong-password", "no-answer=register@127.0.0.1", options=listening(4))
    result = check(pool, places(4), "-vv", "--timeout", "8", "--state-dir", str(tmp_path / "state"))
    assert "401, Unauthorized" in result.first_line
    sent = [line for line in result.lines if "sent by sip:ann@contoso.example: REGISTER" in line]
    assert len(sent) == 1 + SIGN_IN


def test_a_wrong_password_is_tried_at_two_front_ends_where_all_are_slow(simulate: Start, tmp_path: Path) -> None:
    pool = simulate("wrong-password", options=("--delay", "2.5", *listening(5)))
    result = check(pool, places(5), "-vv", "--state-dir", str(tmp_path / "state"))
    assert "401, Unauthorized" in result.first_line
    sent = [line for line in result.lines if "sent by sip:ann@contoso.example: REGISTER" in line]
    assert SIGN_IN < len(sent) <= 2 * SIGN_IN


def test_those_that_hang_leave_time_for_the_others(simulate: Start) -> None:
    faults = [f"no-answer=register@{place}" for place in places(8)[:7]]
    pool = simulate(*faults, options=listening(8))
    started = time.monotonic()
    result = check(pool, places(8), "--timeout", "16")
    assert time.monotonic() - started < 17
    assert [place for place, well in healthy(result, 8).items() if well] == ["127.0.0.8"]
    assert "7 of 8 front ends" in result.first_line


def test_thresholds_stand_on_every_front_end(simulate: Start) -> None:
    pool = simulate("notification-late=2@127.0.0.2", options=listening(2))
    result = check(pool, places(2), "-w", "1.5", "-c", "9", "--activity-critical", "register=8")
    assert result.code == 1
    assert "latency_127_0_0_2 2." in result.first_line
    assert "latency_127_0_0_1 0" not in result.first_line.partition(" | ")[0]
    for place in places(2):
        assert result.perfdata[f"latency_{label(place)}"].endswith(";1.5;9;0")
        assert result.perfdata[f"register_{label(place)}"].endswith(";;8;0")


def test_the_activity_log_is_told_front_end_by_front_end(simulate: Start) -> None:
    pool = simulate(options=listening(2))
    lines = check(pool, places(2), "-v").lines
    assert [line for line in lines if line.startswith("Front end")] == ["Front end 127.0.0.1:", "Front end 127.0.0.2:"]
    assert lines.count("'PublishPresence' activity started.") == 2


# ---------------------------------------------------------------- SIMPLE, and many

MANY = 32
SIMPLE = ("--dialect", "simple")


@pytest.mark.parametrize("dialect", ["lync", "simple"])
def test_many_front_ends_are_tried_in_one_run_and_nothing_is_left(simulate: Start, dialect: str) -> None:
    pool = simulate(options=("--dialect", dialect, *listening(MANY)))
    result = check(pool, places(MANY))
    assert result.code == 0, result.stdout
    assert all(healthy(result, MANY).values())
    assert len(paths(result)) == MANY - 1
    census = pool.census()
    assert census["connections"] == 0
    kinds = ("endpoints", "publications", "subscriptions")
    assert {user[kind] for user in census["users"].values() for kind in kinds} == {0}


@pytest.mark.parametrize("dialect", ["lync", "simple"])
def test_no_thread_and_no_file_is_left_open(simulate: Start, monkeypatch: pytest.MonkeyPatch, dialect: str) -> None:
    pool = simulate(options=("--dialect", dialect, "--tcp", "0", *listening(8)[2:]))
    real = socket.getaddrinfo
    addresses = [real(place, pool.tcp, 0, socket.SOCK_STREAM)[0] for place in places(8)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: addresses)
    told = settings(transport="tcp", port=pool.tcp, all_front_ends=True, timeout=20.0)
    world = World(time.monotonic, time.time, lambda digits: os.urandom(digits).hex()[:digits], "HOST")
    before = set(threading.enumerate()), set(os.listdir("/proc/self/fd"))
    outcome = presence_round_trip(told, None, world)
    assert outcome.success, outcome.failures
    for thread in set(threading.enumerate()) - before[0]:
        thread.join(10)
    assert (set(threading.enumerate()), set(os.listdir("/proc/self/fd"))) == before


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("notification-never", "PublishPresence failed: Presence notification is not received within 1 secs"),
        ("event-refused", "SubscribePresence failed for sip:ben@contoso.example: 489, Bad Event"),
    ],
)
def test_a_sick_simple_server_is_named_and_the_others_are_well(simulate: Start, fault: str, words: str) -> None:
    pool = simulate(f"{fault}@127.0.0.2", options=(*SIMPLE, *listening(3)))
    result = check(pool, places(3), "--timeout", "5", "--notify-timeout", "1")
    assert result.code == 2
    assert [name for name, well in healthy(result, 3).items() if not well] == ["127.0.0.2"]
    assert f"127.0.0.2 : Failure, {words}" in result.lines


def test_a_way_between_simple_servers_that_is_not_replicated_is_named(simulate: Start) -> None:
    pool = simulate("not-replicated@127.0.0.2", options=(*SIMPLE, *listening(3)))
    result = check(pool, places(3), "--notify-timeout", "1")
    assert result.code == 2
    assert all(healthy(result, 3).values())
    assert "fails: 127.0.0.2 to 127.0.0.1" in result.first_line


# ---------------------------------------------------------------- two pools

OTHER_POOL = """
[pool02.contoso.example]
connect             = 127.0.0.2:{port}
publisher           = sip:eve@contoso.example
publisher_password  = Secret-of-eve.1
subscriber          = sip:dan@contoso.example
subscriber_password = Secret-of-dan.1
"""


def test_the_subscriber_of_another_pool_is_reached_there(simulate: Start, tmp_path: Path) -> None:
    served = write_accounts(tmp_path / "both.ini", ACCOUNTS + OTHER_POOL.format(port=1))
    pools = Simulator(served, *listening(2))
    with pools:
        write_accounts(served, ACCOUNTS + OTHER_POOL.format(port=pools.tls))
        result = pools.check("--subscriber-target", "pool02.contoso.example", "-v")
        assert result.code == 0
        assert "sip:ann@contoso.example reached sip:dan@contoso.example on" in result.first_line
        assert "pool01.contoso.example and pool02.contoso.example" in result.first_line
        assert f"    Registered with RTC/5.0 at 127.0.0.1:{pools.tls}" in result.lines
        assert f"    Registered with RTC/5.0 at 127.0.0.2:{pools.tls}" in result.lines


def test_the_certificate_of_the_other_pool_must_be_its_own(simulate: Start, tmp_path: Path) -> None:
    text = ACCOUNTS + OTHER_POOL.replace("pool02", "pool03")
    served = write_accounts(tmp_path / "both.ini", ACCOUNTS)
    pools = Simulator(served, *listening(2))
    with pools:
        write_accounts(served, text.format(port=pools.tls))
        result = pools.check("--subscriber-target", "pool03.contoso.example")
        assert result.code == 2
        assert "is not for pool03.contoso.example" in result.first_line


def test_a_fault_of_both_pools_is_told_of_both(simulate: Start, tmp_path: Path) -> None:
    served = write_accounts(tmp_path / "both.ini", ACCOUNTS + OTHER_POOL.format(port=1))
    pools = Simulator(served, *listening(2), "--fault", "certificate-expired")
    with pools:
        write_accounts(served, ACCOUNTS + OTHER_POOL.format(port=pools.tls))
        result = pools.check("--subscriber-target", "pool02.contoso.example")
    assert result.code == 2
    assert f"Register failed: the certificate of 127.0.0.1:{pools.tls} has expired (and 1 more) |" in result.first_line
    (advice,) = [line for line in result.lines if line.startswith("Renew")]
    assert "pool01.contoso.example, pool02.contoso.example" in advice


def test_the_pool_that_fails_is_the_one_that_is_named(simulate: Start, tmp_path: Path) -> None:
    served = write_accounts(tmp_path / "both.ini", ACCOUNTS)
    pool = Simulator(served, "--tls", "0")
    with pool:
        write_accounts(served, ACCOUNTS + OTHER_POOL.replace("127.0.0.2", "127.0.0.9").format(port=pool.tls))
        result = pool.check("--subscriber-target", "pool02.contoso.example")
    assert result.code == 2
    assert f"cannot connect to 127.0.0.9:{pool.tls}: Connection refused" in result.first_line
    (advice,) = [line for line in result.lines if line.startswith("Check that")]
    assert "runs on pool02.contoso.example" in advice
    assert f"TCP port {pool.tls}" in advice
