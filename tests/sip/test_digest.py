from __future__ import annotations

import contextlib
import hashlib
import re
import time
from typing import Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.sip.digest import Challenge, DigestError, choose, credentials

from ..strategies import HANG, LARGE, any_text, made_of, many

RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC_2617 = (
    'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)
OWN = 'Digest realm="contoso.example", nonce="f84f1cec41e6cbe5aea9c8e88d359"'
PARAM = re.compile(r'([a-z]+)=("(?:[^"\\]|\\.)*"|[^\s,"]+)(?:, |\Z)')

challenge_text = any_text | made_of(
    "Digest ", "digest\t", "Basic ", "NTLM ", 'realm="contoso.example"', "realm=contoso.example", 'nonce="abc"',
    "nonce=",
    ",", ", ", '"', "\\", '\\"', "=", 'qop="auth"', "qop=auth-int", 'qop="auth-int,auth"', "algorithm=MD5",
    "algorithm=SHA-256-sess", "algorithm=SHA-512-256", 'algorithm="md5"', "algorithm=TOKEN", "stale=TRUE", "opaque=",
    'opaque="\\""', "\r\n", "X-Injected: 1", "\0", "\udcff", "\u017f",
)  # fmt: skip


def params(value: str) -> Dict[str, str]:
    """The parameters of a credentials header, as written; every character of it belongs to one."""
    scheme, _, rest = value.partition(" ")
    assert scheme == "Digest"
    found = PARAM.findall(rest)
    assert ", ".join(f"{name}={text}" for name, text in found) == rest
    return dict(found)


def mufasa(challenge: str, password: str, cnonce: str) -> Dict[str, str]:
    return params(credentials(choose([challenge]), "GET", "/dir/index.html", "Mufasa", password, 1, cnonce))


def ann(challenge: str, **changes: object) -> Dict[str, str]:
    told = {"user": "ann", "password": "secret-ann", "count": 1, "cnonce": "0a4f113b", **changes}
    return params(credentials(choose([challenge]), "REGISTER", "sip:contoso.example", **told))  # type: ignore[arg-type]


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


# -------------------------------------------------------------- known answers


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_answers_are_those_of_rfc_7616(algorithm: str, response: str) -> None:
    found = mufasa(RFC_7616.format(algorithm), "Circle of Life", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    assert found["response"] == f'"{response}"'
    assert found["algorithm"] == algorithm


def test_the_answer_is_that_of_rfc_2617_where_no_algorithm_is_named() -> None:
    found = mufasa(RFC_2617, "Circle Of Life", "0a4f113b")
    assert found["response"] == '"6629fae49393a05397450978507c4ef1"'
    assert "algorithm" not in found


@pytest.mark.parametrize(
    ("more", "response"),
    [
        (', qop="auth", algorithm=MD5', "4f468f8ebe459bfa085b5ba5e91814e3"),
        (', qop="auth", algorithm=SHA-256', "6f455277b95f04cbc26dfa3f44eb3c0fa49e5b5110965bab8de9f8437438be56"),
        (", algorithm=MD5", "f42167ac8582e8e39160c7f4043aaf3c"),
    ],
)
def test_a_register_is_answered_as_others_have_computed_it(more: str, response: str) -> None:
    assert ann(OWN + more)["response"] == f'"{response}"'


def test_a_session_key_goes_into_the_answer() -> None:
    first = md5(f"{md5('ann:contoso.example:secret-ann')}:f84f1cec41e6cbe5aea9c8e88d359:0a4f113b")
    second = md5("REGISTER:sip:contoso.example")
    wanted = md5(f"{first}:f84f1cec41e6cbe5aea9c8e88d359:00000001:0a4f113b:auth:{second}")
    found = ann(OWN + ', qop="auth", algorithm=MD5-sess')
    assert (found["response"], found["algorithm"]) == (f'"{wanted}"', "MD5-sess")


def test_sha_512_256_is_the_truncated_one() -> None:
    def digest(text: str) -> str:
        return hashlib.new("sha512_256", text.encode()).hexdigest()

    middle = "f84f1cec41e6cbe5aea9c8e88d359:00000001:0a4f113b:auth"
    wanted = digest(f"{digest('ann:contoso.example:secret-ann')}:{middle}:{digest('REGISTER:sip:contoso.example')}")
    assert ann(OWN + ', qop="auth", algorithm=SHA-512-256')["response"] == f'"{wanted}"'


# ----------------------------------------------------------------- credentials


def test_what_must_be_quoted_is_and_what_must_not_be_is_not() -> None:
    value = credentials(
        choose([OWN + ', opaque="x", qop="auth", algorithm=MD5']), "REGISTER", "sip:a", "ann", "p", 1, "c"
    )
    shape = {name: text.startswith('"') for name, text in params(value).items()}
    quoted = dict.fromkeys(("username", "realm", "nonce", "uri", "response", "opaque", "cnonce"), True)
    assert shape == {**quoted, "algorithm": False, "qop": False, "nc": False}


def test_without_qop_there_is_neither_count_nor_cnonce_in_the_answer() -> None:
    assert list(ann(OWN)) == ["username", "realm", "nonce", "uri", "response"]


def test_the_count_has_eight_hexadecimal_digits_and_changes_the_answer() -> None:
    once, later = ann(OWN + ',qop="auth"'), ann(OWN + ',qop="auth"', count=0x1F)
    assert (once["nc"], later["nc"]) == ("00000001", "0000001f")
    assert once["response"] != later["response"]


def test_an_empty_opaque_is_sent_back_and_an_absent_one_is_not() -> None:
    assert ann(OWN + ', opaque=""')["opaque"] == '""'
    assert "opaque" not in ann(OWN)


def test_the_password_is_not_in_the_answer() -> None:
    assert "secret-ann" not in str(ann(OWN))


def test_a_logon_name_is_escaped_in_the_header_and_plain_in_the_digest() -> None:
    found = ann(OWN, user='CONTOSO\\an"n')
    assert found["username"] == '"CONTOSO\\\\an\\"n"'
    first, second = md5('CONTOSO\\an"n:contoso.example:secret-ann'), md5("REGISTER:sip:contoso.example")
    assert found["response"] == f'"{md5(f"{first}:f84f1cec41e6cbe5aea9c8e88d359:{second}")}"'


def test_a_realm_with_quotes_and_backslashes_comes_back_and_is_hashed_as_it_was_written() -> None:
    # RFC 7616 3.4: unq(X) is what stands between the quotes.
    realm = r"the \"big\" C:\\ realm"
    found = ann(f'Digest realm="{realm}", nonce="n"')
    assert found["realm"] == f'"{realm}"'
    assert found["response"] == f'"{md5(md5(f"ann:{realm}:secret-ann") + ":n:" + md5("REGISTER:sip:contoso.example"))}"'


def test_a_backslash_in_an_unquoted_value_does_not_swallow_the_quote_behind_it() -> None:
    assert ann("Digest realm=contoso\\, nonce=n")["realm"] == '"contoso\\\\"'


@pytest.mark.parametrize("user", ["ann\r\nX-Injected: 1", "ann\nX-Injected: 1", "ann\0"])
def test_a_logon_name_cannot_begin_a_header_of_its_own(user: str) -> None:
    value = credentials(choose([OWN]), "REGISTER", "sip:contoso.example", user, "p", 1, "c")
    assert re.search(r"[\x00-\x1f]", value) is None


# --------------------------------------------------------------------- choose


def test_a_challenge_is_read() -> None:
    value = OWN + ', qop="auth", algorithm=MD5, opaque="5ccc", stale=false'
    assert choose([value]) == Challenge("contoso.example", "f84f1cec41e6cbe5aea9c8e88d359", "5ccc", "MD5", True, False)


def test_names_scheme_and_blanks_are_the_servers_own() -> None:
    value = "DIGEST\tRealm = contoso.example ,NONCE=abc,Algorithm=md5 , QOP = auth"
    assert choose([value]) == Challenge("contoso.example", "abc", None, "md5", True, False)


def test_a_name_inside_a_quoted_value_is_no_parameter() -> None:
    assert choose(['Digest realm="x, nonce=evil, stale=true", nonce="good"']).nonce == "good"


@pytest.mark.parametrize("order", [("SHA-256", "MD5"), ("MD5", "SHA-256")])
def test_the_servers_order_decides_between_algorithms(order: tuple[str, str]) -> None:
    assert choose([f"{OWN}, algorithm={name}" for name in order]).algorithm == order[0]


@pytest.mark.parametrize(
    "unusable",
    [
        OWN + ", algorithm=SHA3-1024",
        OWN + ", algorithm=MD5-sess-sess",
        OWN + ', qop="auth-int"',
        'Digest realm="contoso.example"',
        'Digest realm="contoso.example", nonce=""',
        'Basic realm="contoso.example"',
        'NTLM realm="SIP Communications Service", targetname="pool01.contoso.example", version=4',
        "",
    ],
)
def test_what_cannot_be_answered_is_passed_over(unusable: str) -> None:
    assert choose([unusable, OWN + ", algorithm=SHA-256"]).algorithm == "SHA-256"
    with pytest.raises(DigestError):
        choose([unusable])


def test_the_error_says_why_each_challenge_cannot_be_answered() -> None:
    values = [
        'Basic realm="x"',
        'Digest nonce="x", algorithm=SHA3',
        'Digest nonce="x", qop="auth-int"',
        'Digest realm="x"',
    ]
    with pytest.raises(DigestError) as error:
        choose(values)
    assert str(error.value) == "the scheme Basic, algorithm SHA3, qop auth-int only, a challenge without nonce"


def test_no_challenge_at_all_is_an_error_too() -> None:
    with pytest.raises(DigestError, match="no challenge"):
        choose([])


def test_auth_is_found_among_other_qualities() -> None:
    assert choose([OWN + ', qop="auth-int, AUTH"']).qop
    assert not choose([OWN + ', qop=""']).qop


@pytest.mark.parametrize(
    ("more", "stale"), [(", stale=true", True), (', stale="TRUE"', True), (", stale=false", False), ("", False)]
)
def test_stale_is_read_with_and_without_quotes(more: str, stale: bool) -> None:
    assert choose([OWN + more]).stale is stale


# ------------------------------------------------------------------- totality


@many
@given(st.lists(challenge_text, max_size=3), any_text, any_text)
def test_any_challenge_and_any_user_give_one_header_line_or_the_one_error(
    values: list[str], user: str, uri: str
) -> None:
    try:
        challenge = choose(values)
    except DigestError:
        return
    value = credentials(challenge, "REGISTER", uri, user, "secret", 1, "c")
    assert re.search(r"[\x00-\x1f\x7f]", value) is None
    assert {"username", "realm", "nonce", "uri", "response"} <= params(value).keys()


@many
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30))
def test_a_quoted_logon_name_reads_back_as_it_was(user: str) -> None:
    written = params(credentials(choose([OWN]), "REGISTER", "sip:a", user, "p", 1, "c"))["username"]
    assert re.sub(r"\\(.)", r"\1", written[1:-1]) == user


@pytest.mark.parametrize("piece", ['a="', "a ", 'x="\\"', '\\"', "a=,", "nonce=", " ", "a-", '"'])
def test_a_large_hostile_challenge_is_read_in_time(piece: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(DigestError):
        choose(["Digest " + piece * (LARGE // len(piece))])
    assert time.monotonic() - started < HANG
