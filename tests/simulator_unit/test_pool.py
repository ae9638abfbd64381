"""The pool's rules by themselves: who sees what, and what several endpoints come to."""

from __future__ import annotations

from typing import Tuple

import pytest

from check_lync_presence.settings import Secret
from check_lync_presence.simulator.documents import Item, State
from check_lync_presence.simulator.pool import OFFLINE, Container, Pool, Publication, User, VersionConflict, aggregate

from .client import ANN, BEN, POOL, START

OUTSIDER = "sip:cleo@fabrikam.example"


def user(address: str) -> User:
    return User(address, address[4:], Secret("x"), POOL, frozenset(("publisher",)))


def published(kind: str, availability: int, time: float = 0.0) -> Publication:
    return Publication("state", 7, 2, 1, "static", time, "<state/>", State(kind, availability), "a1b2c3d4")


def a_note(version: int, container: int = 200) -> Item:
    return Item("note", 0, container, version, "static", None, "<note/>", None)


@pytest.mark.parametrize(
    ("states", "availability"),
    [
        ([], OFFLINE),
        ([("machineState", 0)], OFFLINE),
        ([("machineState", 15500), ("machineState", 3500)], 3500),
        ([("machineState", 3500), ("calendarState", 6500)], 6500),
        ([("machineState", 3500), ("phoneState", 9500), ("calendarState", 6500)], 6500),
        ([("userState", 18500), ("machineState", 3500)], 18500),
        ([("userState", 0), ("machineState", 3500)], 3500),
    ],
)
def test_several_states_come_to_one(states: list[Tuple[str, int]], availability: int) -> None:
    assert aggregate([published(*state) for state in states], signed_in=True) == availability


def test_the_newer_choice_counts() -> None:
    assert aggregate([published("userState", 3500, 2.0), published("userState", 6500, 1.0)], signed_in=True) == 3500


def test_nobody_is_there_without_an_endpoint() -> None:
    assert aggregate([published("userState", 3500)], signed_in=False) == OFFLINE


@pytest.mark.parametrize(
    ("members", "watcher", "container"),
    [
        ({}, BEN, 0),
        ({200: ("sameEnterprise", "")}, BEN, 200),
        ({200: ("sameEnterprise", "")}, OUTSIDER, 0),
        ({100: ("federated", ""), 200: ("sameEnterprise", "")}, OUTSIDER, 100),
        ({300: ("user", "ben@contoso.example"), 400: ("domain", "contoso.example")}, BEN, 300),
        ({400: ("user", "ben@contoso.example"), 32000: ("user", "ben@contoso.example")}, BEN, 32000),
        ({100: ("everyone", ""), 200: ("sameEnterprise", "")}, BEN, 200),
        ({300: ("everyone", "")}, OUTSIDER, 300),
    ],
)
def test_a_watcher_belongs_to_one_container(members: dict[int, Tuple[str, str]], watcher: str, container: int) -> None:
    ann = user(ANN)
    ann.containers = {number: Container(1, {member}) for number, member in members.items()}
    pool = Pool([ann, user(BEN), user(OUTSIDER)], START)
    assert pool.container_of(pool.users[watcher], ann) == container


def test_addresses_are_compared_without_case() -> None:
    pool = Pool([user("sip:Ann@Contoso.example")], START)
    assert pool.find("SIP:ann@contoso.EXAMPLE") is not None


def test_nothing_is_applied_when_one_version_is_old() -> None:
    ann = user(ANN)
    pool = Pool([ann], START)
    pool.publish(ann, "e", [a_note(0)], START)
    with pytest.raises(VersionConflict) as refused:
        pool.publish(ann, "e", [a_note(0, container=300), a_note(0)], START)
    assert refused.value.conflicts == ((2, 0, 1),)
    assert ann.at(("note", 300)) == []


def test_what_changed_is_told_by_category_and_container() -> None:
    ann = user(ANN)
    pool = Pool([ann], START)
    changed = pool.publish(ann, "e", [a_note(0), a_note(0, container=300)], START)
    assert changed == {("note", 200), ("note", 300)}


def test_state_changes_what_the_audiences_see() -> None:
    ann = user(ANN)
    pool = Pool([ann], START)
    state = Item("state", 7, 3, 0, "static", None, "<state/>", State("userState", 6500))
    assert pool.publish(ann, "e", [state], START) == {("state", 3)}
    assert [item.state for item in ann.at(("state", 300))] == [State("aggregateState", OFFLINE)]
