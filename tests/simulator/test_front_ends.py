"""The check against each front end of a pool by itself."""

from __future__ import annotations

import pytest

from .conftest import Start

FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
POOL = ("--tls", "0", "--listen", FIRST, "--listen", SECOND, "--listen", THIRD)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-answer=register", "No answer to REGISTER"),
        ("certificate-expired", "has expired"),
        ("plain-text-on-tls", "TLS"),
        ("redirect-foreign", "Redirected out of contoso.example"),
        ("notification-never", "Presence notification is not received"),
    ],
)
def test_one_sick_front_end_is_found_and_the_others_are_well(simulate: Start, fault: str, words: str) -> None:
    pool = simulate(f"{fault}@{THIRD}", options=POOL)
    options = ("--timeout", "4", "--notify-timeout", "1")
    results = {place: pool.check(*options, at=place) for place in (FIRST, SECOND, THIRD)}
    assert {place: result.code for place, result in results.items()} == {FIRST: 0, SECOND: 0, THIRD: 2}
    assert words in results[THIRD].stdout


def test_a_redirecting_front_end_leads_to_its_home(simulate: Start) -> None:
    result = simulate(f"redirect@{SECOND}", options=POOL).check(at=SECOND)
    assert result.code == 0
    assert "was redirected to its home pool" in result.stdout


def test_a_pool_that_does_not_replicate_is_well_at_each_front_end_by_itself(simulate: Start) -> None:
    pool = simulate("not-replicated", options=POOL)
    assert [pool.check(at=place).code for place in (FIRST, SECOND, THIRD)] == [0, 0, 0]


@pytest.mark.parametrize("transport", ["--tls", "--udp"])
def test_a_pool_of_simple_servers_is_well_at_each_of_them(simulate: Start, transport: str) -> None:
    places = ("--listen", FIRST, "--listen", SECOND)
    pool = simulate(f"notification-never@{SECOND}", options=("--dialect", "simple", transport, "0", *places))
    options = ("--timeout", "4", "--notify-timeout", "1")
    assert [pool.check(*options, at=place).code for place in (FIRST, SECOND)] == [0, 2]
