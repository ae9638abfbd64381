"""The one place where untrusted text becomes printable: cleaning, redaction, the cmdlet's lines, the logs."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from base64 import b64encode
from typing import List

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from check_lync_presence.outcome import NOTIFY, REGISTER, Activity, Cause, Diagnosis, Path, WireMessage
from check_lync_presence.report.text import (
    CUT,
    MAX_LINE,
    Redaction,
    activity_log,
    clean,
    cmdlet_lines,
    fitted,
    octets,
    redact,
    shortened,
    sip_log,
    time_span,
    without_secrets,
)

from ..commands import ANN_PASSWORD, BEN_PASSWORD
from ..samples import ANN, failed, failure, settings, success
from ..strategies import HANG, many
from ..transcripts import POOL

INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Not Found", "Not Found"),
        ("Größe 5 µs", "Größe 5 µs"),
        ("two\r\nlines", "two lines"),
        ("a\ttab\vand\ffeeds", "a tab and feeds"),
        ("  too   many   blanks ", "too many blanks"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("\x9b31mred", "31mred"),
        ("bell\a and nul\0", "bell and nul"),
        ("OK | latency=0", "OK ¦ latency=0"),
        ("<b>bold</b>", "‹b›bold‹/b›"),
        ("evil\u202etxt.exe", "evil txt.exe"),
        ("zero\u200bwidth\ufeff", "zero width"),
        ("\ud800lone\udcff", "lone"),
        ("line\u2028separator\u2029", "line separator"),
        ("next\x85line", "next line"),
        ("no\xa0break", "no break"),
        ("\ue000private\U0010ffff", "private"),
        ("", ""),
        (" \n\t", ""),
    ],
)
def test_cleaning(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_very_long_text_is_cut_and_shows_it() -> None:
    assert clean("x" * 10_000) == "x" * (MAX_LINE - 1) + "…"


def test_a_text_of_just_the_limit_is_not_cut() -> None:
    assert clean("x" * MAX_LINE) == "x" * MAX_LINE


@many
@example("\x1b]0;title\x07|\u202e\ud800" * 100, 10)
@given(st.text(st.characters() | st.sampled_from("\x1b|\n\r\t<>\u202e\u200b\u2028\ud800\x00\x9b ")), st.integers(1, 50))
def test_what_is_clean_is_one_short_line_without_anything_invisible(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert not {unicodedata.category(char) for char in shown} & INVISIBLE
    assert not set(shown) & set("|<>")
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= limit
    assert clean(shown, limit) == shown


@many
@given(st.text(st.characters(codec="utf-8")), st.integers(3, 50))
def test_what_is_shortened_fits_and_is_the_beginning(text: str, room: int) -> None:
    short = shortened(text, room)
    assert len(short.encode()) <= room
    assert short == text or (short[-1] == "…" and text.startswith(short[:-1]) and len(text.encode()) > room)


def test_what_comes_first_has_the_room_before_the_others_and_nothing_is_moved() -> None:
    texts = ["a" * 100, "b" * 100, "c" * 100, "d" * 30]
    assert fitted(texts, (), octets([*texts, CUT])) == [*texts, CUT]
    assert fitted(texts, texts[2:3], octets([*texts[1:], CUT])) == [texts[0], texts[2], texts[3], CUT]
    assert fitted(texts, texts[1:3], octets([*texts[1:3], CUT]) + 70) == ["a" * 66 + "…", *texts[1:3], CUT]
    assert fitted(texts, texts[1:3], octets([*texts[1:3], CUT]) + 40) == [*texts[1:], CUT]
    assert fitted(texts, (), -500) == []


@pytest.mark.parametrize("name", ["gssapi-data", "GSSAPI-Data", "response", "RspAuth", "nonce", "cnonce", "CNONCE"])
@pytest.mark.parametrize("form", ['{}="{}"', "{}={}", '{} = "{}"', "{}\t=\t{}", '{}="{}', "{}='{}'", '{}= "{}" '])
@pytest.mark.parametrize("around", ["Authorization: NTLM {}", 'NTLM qop="auth", {}, version=4', '"x",{},y="z"'])
def test_authentication_values_are_removed_in_any_writing(name: str, form: str, around: str) -> None:
    secret = "TlRMTVNTUAADAAAA+/=="
    shown = redact(around.format(form.format(name, secret)), ())
    assert "TlRM" not in shown
    assert f'{name}="***"' in shown


@pytest.mark.parametrize("text", ['nonce="a\\"bcdef"', 'nonce="bcdef\r\nVia: x', "nonce=bcdef\r\nVia: x"])
def test_a_value_is_removed_to_its_end_and_no_further(text: str) -> None:
    shown = redact(text, ())
    assert "bcdef" not in shown
    assert ("Via: x" in shown) == ("Via: x" in text)


def test_what_stands_beside_an_authentication_value_stays() -> None:
    text = 'NTLM qop="auth", opaque="85185AE4", gssapi-data="TlRM", targetname="pool01", crand="11", cnum="1"'
    assert redact(text, ()) == text.replace('"TlRM"', '"***"')


@pytest.mark.parametrize("name", ["x-response", "nonces", "responsetime"])
def test_only_whole_names_count_from_their_end(name: str) -> None:
    assert ("value" in redact(f"{name}=value", ())) == (name != "x-response")


@pytest.mark.parametrize("secret", [ANN_PASSWORD, BEN_PASSWORD, "a+b(c", "\\1", "pä55"])
def test_the_passwords_themselves_are_removed_wherever_they_stand(secret: str) -> None:
    assert redact(f"a {secret}{secret} b", (secret,)) == "a ****** b"


def test_an_empty_password_removes_nothing() -> None:
    assert redact("text", ("",)) == "text"


TOKEN = b64encode(hashlib.sha512(b"token").digest()).decode()
RESPONSE = "0123456789abcdeffedcba9876543210"


@pytest.mark.parametrize("token", [TOKEN, RESPONSE])
@pytest.mark.parametrize("around", ["403, {}", "x={},", 'reason="{}"', "/{}/", "{}{}", "‹{}›", "No {}thanks"])
def test_what_was_sent_is_not_said_again_whole_or_in_part(token: str, around: str) -> None:
    redact = Redaction((), (token, "another-one-16ch"))
    for start in range(0, len(token) - 23):
        for part in (token[start:], token[start : start + 23], token[: len(token) - start]):
            shown = redact(around.replace("{}", part))
            assert not {part[at : at + 16] for at in range(8)} & {shown[at : at + 16] for at in range(len(shown))}
            assert "***" in shown
    assert redact("x another-one-16ch y") == "x *** y"


@pytest.mark.parametrize("text", ["No such user", "AAAAAAAAAAAAAAAAAAAAAAAA", "QwBPAE4AVABPAFMATwA=", "0" * 32])
def test_what_was_not_sent_is_left_alone(text: str) -> None:
    assert Redaction(("", "x" * 40), (TOKEN, "A" * 40, "0" * 40))(text) == text


def test_with_many_credentials_redaction_takes_no_more_time_than_the_texts_are_long() -> None:
    responses = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(20_000)]
    messages = [
        WireMessage(0.0, ANN.uri, True, f'SIP/2.0 200 OK\r\nAuthorization: NTLM response="{one}"\r\n\r\n'.encode())
        for one in responses
    ]
    started = time.monotonic()
    lines = sip_log(messages, settings(verbose=3))
    assert time.monotonic() - started < HANG
    assert not [line for line in lines if "response" in line and "***" not in line]


def test_an_outcome_is_redacted_wherever_a_server_may_speak_in_it() -> None:
    words = (f"a {TOKEN}", f"b {TOKEN}")
    wrong = failure(Cause.STATUS, words[0], diagnostics=words, detail=words[0], retry_after=words[1])
    part = failed(wrong, paths={"x": Path(None, wrong), "y": Path(0.1, None)})
    activity = Activity(REGISTER, ANN.uri, 0.0, 0.5, words, words[0])
    whole = failed(wrong, activities=(activity,), remarks=words, front_ends=(part,))
    shown = without_secrets(whole, Redaction((), (TOKEN,)))
    assert TOKEN[:16] not in repr(shown)
    assert repr(shown) == repr(whole).replace(TOKEN, "***").replace("mappingproxy({})", "{}")


def test_redaction_takes_no_more_time_than_the_text_is_long() -> None:
    started = time.monotonic()
    for hostile in ('nonce="' * 20_000, "nonce=" + " " * 100_000, "nonce " * 20_000, "response=\\" * 20_000):
        redact(hostile, ())
        clean(hostile)
    assert time.monotonic() - started < HANG


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00"),
        (0.2140315, "00:00:00.2140315"),
        (0.0345791, "00:00:00.0345791"),
        (1.5, "00:00:01.5000000"),
        (25, "00:00:25"),
        (61.25, "00:01:01.2500000"),
        (3599.99999999, "01:00:00"),
        (3600, "01:00:00"),
        (0.00000004, "00:00:00"),
    ],
)
def test_times_look_as_dot_net_prints_a_time_span(seconds: float, text: str) -> None:
    assert time_span(seconds) == text


def test_a_success_has_the_five_lines_of_the_cmdlet() -> None:
    assert cmdlet_lines(success(), Diagnosis("", "", ())) == [
        f"TargetFqdn : {POOL}",
        "Result     : Success",
        "Latency    : 00:00:00.2140315",
        "Error      :",
        "Diagnosis  :",
    ]


def test_a_failure_has_the_five_lines_of_the_cmdlet() -> None:
    diagnosis = Diagnosis("404, Not Found", "ErrorCode=4005,Source=pool01,Reason=no\nsuch user", ("advice",))
    assert cmdlet_lines(failed(), diagnosis) == [
        f"TargetFqdn : {POOL}",
        "Result     : Failure",
        "Latency    : 00:00:00",
        "Error      : 404, Not Found",
        "Diagnosis  : ErrorCode=4005,Source=pool01,Reason=no such user",
    ]


def test_a_failure_after_the_notification_has_no_latency() -> None:
    lines = cmdlet_lines(failed(latency=0.2)._replace(failures=()), Diagnosis("", "", ()))
    assert "Latency    : 00:00:00.2000000" in lines
    lines = cmdlet_lines(success(latency=None), Diagnosis("", "", ()))
    assert "Latency    : 00:00:00" in lines


def test_the_activity_log_tells_every_activity_in_the_words_of_the_cmdlet() -> None:
    lines = activity_log(success())
    assert lines[:4] == [
        "'Register' activity started.",
        "    User Sip Address = sip:ann@contoso.example",
        "    Authentication: NTLM",
        "'Register' activity completed in '0.0390000' secs.",
    ]
    assert "Presence notification received in '0.0400000' secs." in lines


def test_the_activity_log_tells_what_went_wrong() -> None:
    broken = Activity(REGISTER, ANN.uri, 0.0, 0.5, error="404, Not\x1b Found")
    never = Activity(NOTIFY, ANN.uri, 0.0, 25.0, error="Presence notification is not received within 25 secs.")
    cancelled = Activity(REGISTER, ANN.uri, 0.0, None)
    assert activity_log(failed(activities=(broken, never, cancelled))) == [
        "'Register' activity started.",
        "    User Sip Address = sip:ann@contoso.example",
        "An exception '404, Not Found' occurred during the presence workflow.",
        "An exception 'Presence notification is not received within 25 secs.' occurred during the presence workflow.",
        "'Register' activity started.",
        "    User Sip Address = sip:ann@contoso.example",
    ]


WIRE = (
    b"REGISTER sip:contoso.example SIP/2.0\r\n"
    b'Authorization: NTLM gssapi-data="TlRMTVNTUAADAAAA", version=4\r\n'
    b"X-Evil: \x1b[2J\xff|\r\n"
    b"Content-Length: 30\r\n\r\n<a>" + ANN_PASSWORD.encode() + b"</a>\n<b/>"
)


def log(data: bytes, verbose: int) -> List[str]:
    return sip_log((WireMessage(1.25, ANN.uri, True, data),), settings(verbose=verbose))


def test_the_short_sip_log_has_start_lines_only() -> None:
    assert log(WIRE, 2) == [" 1.250000 sent by sip:ann@contoso.example: REGISTER sip:contoso.example SIP/2.0".strip()]


def test_the_long_sip_log_has_whole_messages_without_secrets() -> None:
    assert log(WIRE, 3)[1:] == [
        '    Authorization: NTLM gssapi-data="***", version=4',
        "    X-Evil: [2J�¦",
        "    Content-Length: 30",
        "",
        "    ‹a›***‹/a›",
        "    ‹b/›",
    ]


def test_the_direction_of_a_message_is_told() -> None:
    lines = sip_log((WireMessage(0.5, ANN.uri, False, b"SIP/2.0 200 OK\r\n\r\n"),), settings(verbose=2))
    assert lines == ["0.500000 received by sip:ann@contoso.example: SIP/2.0 200 OK"]


def test_a_huge_message_is_cut_in_the_log() -> None:
    assert sum(map(len, log(b"A b SIP/2.0\r\n" + b"x\n" * 500_000, 3))) < 60_000


def test_a_log_that_is_too_long_is_cut_and_says_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("check_lync_presence.report.text.MAX_LOG", 1000)
    messages = [WireMessage(0.5, ANN.uri, False, b"SIP/2.0 200 OK\r\n\r\n")] * 100
    (line,) = sip_log(messages[:1], settings(verbose=2))
    shown = 1000 // octets([line]) + 1
    assert sip_log(messages, settings(verbose=2)) == [line] * shown + [f"{100 - shown} more messages are not shown."]
    assert sip_log(messages[:1], settings(verbose=2), 7) == [line, "7 more messages are not shown."]
    assert len(sip_log(messages, settings(verbose=3))) < 1000


def test_of_a_start_line_only_what_is_shown_is_looked_at() -> None:
    assert len(log(b"SIP/2.0 200 " + b"x" * 1_000_000, 2)[0]) == MAX_LINE
    (line,) = log(b"SIP/2.0 200 " + ANN_PASSWORD.encode() * 10_000 + b"\r\n", 2)
    assert ANN_PASSWORD[:-1] not in line


@many
@given(st.text(st.sampled_from('aZ0"=, \\\r\n|\u202e') | st.characters(), max_size=30), st.text(max_size=30))
def test_no_text_around_a_password_hides_it(before: str, after: str) -> None:
    assert ANN_PASSWORD not in redact(before + ANN_PASSWORD + after, (ANN_PASSWORD,))


@many
@given(st.binary(max_size=300))
def test_any_message_makes_clean_lines(data: bytes) -> None:
    for line in log(data, 3):
        assert line.isprintable()
        assert "|" not in line
