"""The grammar of ms-diagnostics, and the table of codes."""

from __future__ import annotations

import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.diagnosis.ms_diagnostics import ADVICE, Diagnostic, parse

from ..strategies import HANG, LARGE, any_text, made_of, many

# As pools of Lync 2010 and 2013 and Skype for Business 2015 send them, names changed.
REAL = [
    (
        '4005;reason="Destination URI either not enabled for SIP or does not exist";source="pool01"',
        "ErrorCode=4005,Source=pool01,Reason=Destination URI either not enabled for SIP or does not exist",
    ),
    (
        '1003;reason="User does not exist";TargetUri="ann@contoso.example";source="fe01.contoso.example"',
        "ErrorCode=1003,Source=fe01.contoso.example,Reason=User does not exist",
    ),
    (
        '1000;reason="Final handshake failed";source="fe01";HRESULT="0xC3E93EC3(SIP_E_AUTH_UNAUTHORIZED)"',
        "ErrorCode=1000,Source=fe01,Reason=Final handshake failed",
    ),
    (
        "4004;reason=\"Credentials provided are not authorized to act as specified from URI\"",
        "ErrorCode=4004,Reason=Credentials provided are not authorized to act as specified from URI",
    ),
    ('1013 ; source = "x" ; reason = "Significant time skew detected during authentication"',
     "ErrorCode=1013,Source=x,Reason=Significant time skew detected during authentication"),
    ("5000", "ErrorCode=5000"),
    ('24002.1;Component="RTCC/15.0.0.0"', "ErrorCode=24002"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "shown"), REAL)
def test_real_headers_are_shown_as_the_cmdlet_shows_them(value: str, shown: str) -> None:
    assert str(parse(value)) == shown


@pytest.mark.parametrize(
    "value", ["", "x", "-1", "4005 reason", "4005,reason", "1234567", "٤٠٠٥", ";4005", "4.5.6", "5x;"]
)
def test_what_does_not_begin_with_a_code_is_none(value: str) -> None:
    assert parse(value) is None


def test_names_of_parameters_have_no_case_and_the_first_one_counts() -> None:
    assert parse('1;REASON="a";Reason="b";SOURCE="c"') == Diagnostic(1, {"reason": "a", "source": "c"})


def test_unknown_parameters_are_kept() -> None:
    found = parse('1;Domain="contoso.example";PeerServer="sip.contoso.example"')
    assert found is not None
    assert found.params == {"domain": "contoso.example", "peerserver": "sip.contoso.example"}


@pytest.mark.parametrize("value", ['1;reason="no end', "1;reason=plain", "1;a", '1;="x"', "1;;;", '1;"reason"="x"'])
def test_broken_parameters_are_passed_over(value: str) -> None:
    assert parse(value) == Diagnostic(1, {})


def test_an_unknown_code_keeps_the_servers_own_reason() -> None:
    found = parse('99999;reason="The moon is in the wrong house";source="fe01"')
    assert found is not None
    assert found.code not in ADVICE
    assert str(found) == "ErrorCode=99999,Source=fe01,Reason=The moon is in the wrong house"


@many
@given(any_text | made_of("4005", ";", "reason", "=", '"', " ", "source", ".", "\t", "\n"))
def test_any_text_is_a_diagnostic_or_none(value: str) -> None:
    found = parse(value)
    if found is not None:
        assert 0 <= found.code < 1_000_000
        assert str(found).startswith("ErrorCode=")


def test_reading_takes_no_more_time_than_the_text_is_long() -> None:
    started = time.monotonic()
    for piece in (";", "; ", ";a", ';a="', ";a =", " ", ';a="b"'):
        parse("1;" + piece * (LARGE // len(piece)))
        parse(piece * (LARGE // len(piece)))
        parse("1;a" + piece[:1] * LARGE)
    assert time.monotonic() - started < HANG


def test_every_code_that_a_presence_check_meets_is_decoded() -> None:
    sip_stack = {*range(1000, 1011), 1012, 1013, 1014, 1017, 1027, 1034, 1036, 1038, 1039, 1046, 1047}
    presence = {*range(2003, 2015), 2016, 2057, 2141, 2165}
    user_services = {*range(4000, 4014), 4055, 4141}
    others = {*range(5000, 5005), 15030, 17000, 17001, 17002, 17003}
    assert set(ADVICE) == sip_stack | presence | user_services | others


@pytest.mark.parametrize("code", ADVICE)
def test_the_advice_of_a_code_names_only_what_there_is_a_name_for(code: int) -> None:
    names = {name for _, name, _, _ in string.Formatter().parse(ADVICE[code]) if name is not None}
    assert names <= {"user", "logon", "pool"}


@pytest.mark.parametrize("code", [4003, 4004, 4005, 4006, 4141])
def test_advice_that_begins_with_a_user_may_begin_with_two(code: int) -> None:
    both = ADVICE[code].format(user="A and B", logon="a and b")
    assert re.match(r"((a and b and )?A and B)(:| do not )", both)


@given(st.sampled_from(sorted(ADVICE)))
@many
def test_known_codes_can_be_read(code: int) -> None:
    found = parse(f'{code};reason="x"')
    assert found is not None
    assert found.code == code
