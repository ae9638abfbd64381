"""The server's Digest: known answers, and what credentials are worth."""

from __future__ import annotations

from typing import Tuple

import pytest

from check_lync_presence.simulator.digest import MAX_NONCES, NONCE_LIFE, Claim, Digest, Verdict
from check_lync_presence.simulator.faults import SIMPLE, Faults
from check_lync_presence.sip import digest as client

NOW = 1_370_088_000.0
URI = "sip:contoso.example"
ANN = Claim("ann", "contoso.example", "secret-ann")
NO_FAULTS = Faults()


def fresh(*tokens: str) -> Digest:
    """A server whose first random numbers are `tokens`: the opaque value, then the nonces."""
    numbers = iter([*tokens, *(f"n{number}" for number in range(5000))])
    return Digest(lambda digits: next(numbers))


def credentials(server: Digest, count: int = 1, claim: Claim = ANN, faults: Faults = NO_FAULTS, uri: str = URI) -> str:
    """What a client answers to a new challenge of `server`."""
    challenge = client.choose(server.challenges(claim.realm, faults, False, NOW))
    return client.credentials(challenge, "REGISTER", uri, claim.user, claim.password, count, "0a4f113b")


def verdict(server: Digest, *values: str, claim: Claim = ANN, faults: Faults = NO_FAULTS, later: float = 0) -> Verdict:
    return server.judge(values, "REGISTER", URI, claim, faults, NOW + later)


# The first two are the answers of RFC 7616 3.9.1, whose realm, method and URI are HTTP's; the others were computed with
# openssl from the formulas of RFC 7616 3.4.1.
@pytest.mark.parametrize(
    ("algorithm", "vector", "response"),
    [
        ("MD5", "rfc7616", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "rfc7616", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ("MD5", "sip", "4f468f8ebe459bfa085b5ba5e91814e3"),
        ("SHA-256", "sip", "6f455277b95f04cbc26dfa3f44eb3c0fa49e5b5110965bab8de9f8437438be56"),
        ("SHA-512-256", "sip", "9424cb5277198b5d9df34bbc975917b9aeb921818e96c7b1363d7e06ae6a0e0c"),
    ],
)
def test_known_answers_are_right(algorithm: str, vector: str, response: str) -> None:
    if vector == "rfc7616":
        claim, method, uri = Claim("Mufasa", "http-auth@example.org", "Circle of Life"), "GET", "/dir/index.html"
        nonce, cnonce = (
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        )
    else:
        claim, method, uri = ANN, "REGISTER", URI
        nonce, cnonce = "f84f1cec41e6cbe5aea9c8e88d359", "0a4f113b"
    server, offered = fresh("opaque", nonce), Faults([f"digest-algorithm={algorithm}"], SIMPLE)
    server.challenges(claim.realm, offered, False, NOW)
    value = (
        f'Digest username="{claim.user}", realm="{claim.realm}", nonce="{nonce}", uri="{uri}", opaque="opaque", '
        f'response="{response}", cnonce="{cnonce}", algorithm={algorithm}, qop=auth, nc=00000001'
    )
    assert server.judge((value,), method, uri, claim, offered, NOW) is Verdict.RIGHT
    spoiled = value.replace(f'response="{response[:4]}', 'response="0000')
    assert server.judge((spoiled,), method, uri, claim, offered, NOW) is Verdict.WRONG


def test_the_preferred_algorithm_is_offered_first() -> None:
    offered = [value.rpartition("algorithm=")[2] for value in fresh().challenges("r", NO_FAULTS, False, NOW)]
    assert offered == ["SHA-256", "MD5"]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
def test_one_algorithm_can_be_offered_alone(algorithm: str) -> None:
    faults, server = Faults([f"digest-algorithm={algorithm}"], SIMPLE), fresh()
    (value,) = server.challenges("r", faults, False, NOW)
    assert value.endswith(f"algorithm={algorithm}")
    assert verdict(server, credentials(server, faults=faults), faults=faults) is Verdict.RIGHT
    other = fresh()
    assert verdict(other, credentials(other), faults=Faults(["digest-algorithm=MD5"], SIMPLE)) is Verdict.WRONG


def test_a_name_with_a_backslash_is_the_same_name_on_both_sides() -> None:
    server, claim = fresh(), Claim('CONTOSO\\a"nn', "contoso.example", "p")
    assert verdict(server, credentials(server, claim=claim), claim=claim) is Verdict.RIGHT


def test_the_first_credentials_of_the_realm_count_and_others_are_none() -> None:
    server = fresh()
    right = credentials(server)
    assert verdict(server, "NTLM x", 'Digest realm="elsewhere"', right) is Verdict.RIGHT
    assert verdict(server) is Verdict.NONE
    assert verdict(server, "Digest") is Verdict.NONE


@pytest.mark.parametrize("claim", [Claim("ann", "contoso.example", "other"), Claim("ben", "contoso.example", "x")])
def test_another_password_or_user_is_wrong(claim: Claim) -> None:
    server = fresh()
    assert verdict(server, credentials(server, claim=claim)) is Verdict.WRONG


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("nc=00000001", "nc=1"),
        ("nc=00000001", "nc=0000000g"),
        ("qop=auth", "qop=auth-int"),
        ('cnonce="0a4f113b"', 'cnonce=""'),
        ("algorithm=SHA-256", "algorithm=SHA3"),
        (f'uri="{URI}"', 'uri="sip:other.example"'),
        ('opaque="', 'opaque="x'),
        ('response="', 'response="\udce9'),
    ],
)
def test_credentials_that_are_not_whole_are_wrong(part: str, other: str) -> None:
    server = fresh()
    value = credentials(server)
    assert part in value
    assert verdict(server, value.replace(part, other)) is Verdict.WRONG


def _used_twice(server: Digest) -> Tuple[Verdict, Verdict]:
    value = credentials(server)
    return verdict(server, value), verdict(server, value)


def test_a_count_is_good_once() -> None:
    assert _used_twice(fresh()) == (Verdict.RIGHT, Verdict.STALE)


def test_an_old_nonce_is_stale_and_a_wrong_password_with_it_is_wrong() -> None:
    server = fresh()
    value, wrong = credentials(server), credentials(server, claim=ANN._replace(password="other"))
    assert verdict(server, value, later=NONCE_LIFE) is Verdict.RIGHT
    assert verdict(server, credentials(server), later=NONCE_LIFE + 1) is Verdict.STALE
    assert verdict(server, wrong, later=NONCE_LIFE + 1) is Verdict.WRONG


def test_nonces_without_end_do_not_fill_the_memory() -> None:
    server = fresh()
    value = credentials(server)
    for _ in range(MAX_NONCES):
        server.challenges("r", NO_FAULTS, False, NOW)
    assert verdict(server, value) is Verdict.STALE
