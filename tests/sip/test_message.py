from __future__ import annotations

import contextlib
import time
from typing import Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from check_lync_presence.sip.message import (
    COMPACT_NAMES,
    MAX_CSEQ,
    MAX_HEADERS,
    CSeq,
    Header,
    ParseError,
    Request,
    Response,
    parse_head,
    reason_phrase,
    with_body,
)

from ..strategies import HANG, LARGE, few, header_value, many, message_head, token, wire_text
from ..transcripts import NAMES, octets, recorded

REQUEST = (
    b"SERVICE sip:ann@contoso.example SIP/2.0\r\n"
    b"Via: SIP/2.0/tls 192.0.2.10:50412;branch=z9hG4bK1\r\n"
    b"Call-ID: 1122\r\n"
    b"CSeq: 7 SERVICE\r\n"
    b"Supported: one\r\n"
    b"Supported: two, three"
)


def request(*lines: str) -> Request:
    head = "\r\n".join(("OPTIONS sip:a SIP/2.0", "Call-ID: 1", "CSeq: 1 OPTIONS", *lines))
    message = parse_head(head.encode())
    assert isinstance(message, Request)
    return message


def response(status_line: str) -> Response:
    message = parse_head(f"{status_line}\r\nCall-ID: 1\r\nCSeq: 1 REGISTER".encode())
    assert isinstance(message, Response)
    return message


def refuse(head: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        parse_head(head)


# ------------------------------------------------------------------ start lines


def test_a_request_line_gives_method_and_uri() -> None:
    message = parse_head(REQUEST)
    assert isinstance(message, Request)
    assert (message.method, message.uri) == ("SERVICE", "sip:ann@contoso.example")


def test_a_status_line_gives_status_and_reason() -> None:
    message = response("SIP/2.0 301 Redirect request to Home Server")
    assert (message.status, message.reason) == (301, "Redirect request to Home Server")


@pytest.mark.parametrize("line", ["SIP/2.0 404", "SIP/2.0 404 "])
def test_a_status_without_a_reason_gets_the_phrase_of_the_standard(line: str) -> None:
    assert response(line).reason == "Not Found"


@pytest.mark.parametrize("status", [199, 299, 399, 499, 599, 699])
def test_a_status_that_no_standard_knows_is_kept_as_it_is(status: int) -> None:
    message = response(f"SIP/2.0 {status} Made Up")
    assert (message.status, message.reason) == (status, "Made Up")


def test_a_status_that_no_standard_knows_has_no_phrase() -> None:
    assert reason_phrase(299) == ""


@pytest.mark.parametrize("method", ["BENOTIFY", "SERVICE", "SUBSCRIBE", "NEGOTIATE", "x-own.method!"])
def test_every_token_is_a_method(method: str) -> None:
    message = parse_head(f"{method} sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 {method}".encode())
    assert message.cseq == CSeq(1, method)


@pytest.mark.parametrize(
    "line",
    [
        "HTTP/1.1 400 Bad Request",
        "GET / HTTP/1.1",
        "REGISTER sip:contoso.example SIP/3.0",
        "REGISTER  sip:contoso.example SIP/2.0",
        "REGISTER sip:contoso example SIP/2.0",
        "REGISTER sip:contoso.example",
        "REG@STER sip:contoso.example SIP/2.0",
        " REGISTER sip:contoso.example SIP/2.0",
        "SIP/2.0 099 Too Low",
        "SIP/2.0 700 Too High",
        "SIP/2.0 20 Short",
        "SIP/2.0 2000 Long",
        "SIP/2.0  200 OK",
        "SIP/2.0 ２００ OK",
        "",
    ],
)
def test_a_start_line_that_is_not_sip_is_refused(line: str) -> None:
    refuse(f"{line}\r\nCall-ID: 1\r\nCSeq: 1 REGISTER".encode(), "start line")


def test_no_octets_at_all_are_no_message() -> None:
    refuse(b"", "start line")


# ------------------------------------------------------------------ header fields


@pytest.mark.parametrize("name", ["Call-ID", "CALL-ID", "call-id", "cAlL-iD"])
def test_header_names_have_no_case(name: str) -> None:
    message = parse_head(f"OPTIONS sip:a SIP/2.0\r\n{name}: 77\r\nCSEQ: 1 OPTIONS".encode())
    assert message.call_id == "77"
    assert message.get(name.swapcase()) == "77"
    assert message.all(name.upper()) == ("77",)


@pytest.mark.parametrize(("letter", "name"), sorted(COMPACT_NAMES.items()))
def test_a_compact_name_stands_for_the_long_one(letter: str, name: str) -> None:
    call_id = "" if name == "Call-ID" else "Call-ID: v\r\n"
    message = parse_head(f"OPTIONS sip:a SIP/2.0\r\nCSeq: 1 OPTIONS\r\n{call_id}{letter.upper()}: v".encode())
    assert message.get(name) == "v"
    assert message.headers[-1] == (name, "v")


@pytest.mark.parametrize("name", ["Call-ID", "i", "CSeq", "From", "f", "To", "t"])
def test_two_headers_of_which_there_can_be_one_are_refused(name: str) -> None:
    value = "1 OPTIONS" if name == "CSeq" else "<sip:a>"
    head = "OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nFrom: <sip:a>\r\nTo: <sip:b>\r\n"
    with pytest.raises(ParseError, match="more than one"):
        parse_head(f"{head}{name}: {value}".encode())


def test_a_cr_without_its_lf_is_refused() -> None:
    with pytest.raises(ParseError, match="CR without its LF"):
        parse_head(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\rX: 2\r\nCSeq: 1 OPTIONS")


def test_a_message_in_compact_names_only_is_read() -> None:
    message = parse_head(
        b"OPTIONS sip:a SIP/2.0\r\nv: x\r\nf: <sip:a>;tag=1\r\nt: <sip:b>\r\ni: 77\r\nCSeq: 1 OPTIONS\r\nl: 0"
    )
    assert (message.call_id, message.get("From"), message.get("Content-Length")) == ("77", "<sip:a>;tag=1", "0")


def test_the_values_of_a_repeated_header_keep_their_order() -> None:
    message = parse_head(REQUEST)
    assert message.all("supported") == ("one", "two, three")
    assert message.get("supported") == "one"


def test_a_header_that_is_not_there_has_no_value() -> None:
    message = parse_head(REQUEST)
    assert message.get("Expires") is None
    assert message.all("Expires") == ()


@pytest.mark.parametrize("line", ["Event:presence", "Event: presence", "Event :\tpresence", "Event\t: \t presence \t"])
def test_blanks_around_the_colon_and_the_value_do_not_count(line: str) -> None:
    assert request(line).get("Event") == "presence"


def test_only_the_first_colon_ends_the_name() -> None:
    assert request("Warning: a: b: c").get("Warning") == "a: b: c"


def test_an_empty_value_is_a_value() -> None:
    assert request("Supported:").get("Supported") == ""


@pytest.mark.parametrize("fold", ["\r\n ", "\r\n\t", "\r\n  \t", " \r\n "])
def test_a_folded_line_continues_the_value_with_one_blank(fold: str) -> None:
    assert request(f"Subject: one{fold}two").get("Subject") == "one two"


def test_a_value_is_folded_over_many_lines() -> None:
    assert request("Subject:", " one", "\ttwo", "   three").get("Subject") == "one two three"


def test_a_folded_line_behind_the_start_line_is_refused() -> None:
    refuse(b"OPTIONS sip:a SIP/2.0\r\n Call-ID: 1\r\nCSeq: 1 OPTIONS", "not a header field")


def test_lines_may_end_with_a_bare_line_feed() -> None:
    message = parse_head(b"OPTIONS sip:a SIP/2.0\nCall-ID: 1\nCSeq: 1 OPTIONS\nEvent: presence")
    assert message.get("Event") == "presence"


@pytest.mark.parametrize("line", ["no colon here", ": no name", "two words: x", "na(me: x", "n\u00e4me: x", ""])
def test_a_line_that_is_no_header_field_is_refused(line: str) -> None:
    refuse(f"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n{line}".encode(), "not a header field")


def test_octets_that_are_not_utf_8_survive() -> None:
    head = b'OPTIONS sip:a SIP/2.0\r\nFrom: "J\xf6rg"<sip:j@a>;tag=1\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS'
    assert bytes(parse_head(head)) == head + b"\r\nContent-Length: 0\r\n\r\n"


def test_a_nul_octet_is_refused() -> None:
    refuse(REQUEST + b"\r\nEvent: a\0b", "NUL")


def test_as_many_header_fields_as_the_limit_are_read() -> None:
    assert len(request(*["X: 1"] * (MAX_HEADERS - 2)).headers) == MAX_HEADERS


def test_one_header_field_over_the_limit_is_refused() -> None:
    with pytest.raises(ParseError, match=str(MAX_HEADERS)):
        request(*["X: 1"] * (MAX_HEADERS - 1))


# ------------------------------------------------------------------ Call-ID and CSeq


@pytest.mark.parametrize("line", ["", "Call-ID:\r\n", "X-Call-ID: 1\r\n"])
def test_a_message_without_a_call_id_is_refused(line: str) -> None:
    refuse(f"OPTIONS sip:a SIP/2.0\r\n{line}CSeq: 1 OPTIONS".encode(), "Call-ID")


@pytest.mark.parametrize(
    "line", ["", "\r\nCSeq:", "\r\nCSeq: OPTIONS", "\r\nCSeq: 1", "\r\nCSeq: -1 OPTIONS", "\r\nCSeq: 1OPTIONS"]
)
def test_a_message_without_a_readable_cseq_is_refused(line: str) -> None:
    refuse(f"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1{line}".encode(), "CSeq")


def test_the_largest_cseq_number_is_read() -> None:
    message = parse_head(f"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: {MAX_CSEQ} OPTIONS".encode())
    assert message.cseq.number == MAX_CSEQ


def test_a_cseq_number_above_the_largest_is_refused() -> None:
    refuse(f"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: {MAX_CSEQ + 1} OPTIONS".encode(), "too large")


def test_a_request_whose_cseq_names_another_method_is_refused() -> None:
    refuse(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 REGISTER", "method")


def test_methods_have_case() -> None:
    refuse(b"options sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS", "method")


def test_more_than_one_blank_may_stand_in_a_cseq() -> None:
    message = parse_head(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 0042 \t OPTIONS")
    assert message.cseq == CSeq(42, "OPTIONS")
    assert str(message.cseq) == "42 OPTIONS"


# ------------------------------------------------------------------ writing


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_message_is_written_octet_for_octet_as_it_was_read(name: str) -> None:
    assert bytes(recorded(name)) == octets(name)


def test_the_length_that_is_written_is_that_of_the_body() -> None:
    message = Request("INFO", "sip:a", (("Content-Length", "999"), ("Call-ID", "1")), "ä".encode())
    assert bytes(message) == b"INFO sip:a SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 2\r\n\r\n\xc3\xa4"


def test_headers_are_added_behind_those_of_a_request() -> None:
    message = request().with_headers(("Event", "presence"), ("Expires", "0"))
    assert message.headers == (("Call-ID", "1"), ("CSeq", "1 OPTIONS"), ("Event", "presence"), ("Expires", "0"))
    assert message.start_line == "OPTIONS sip:a SIP/2.0"


def test_headers_are_added_behind_those_of_a_response() -> None:
    message = Response(200, "OK", (("Call-ID", "1"),), b"body").with_headers(("Event", "presence"))
    assert (message.start_line, message.body) == ("SIP/2.0 200 OK", b"body")
    assert message.headers == (("Call-ID", "1"), ("Event", "presence"))


def test_a_request_keeps_its_head_when_its_body_arrives() -> None:
    whole = with_body(request("Event: presence"), b"body")
    assert isinstance(whole, Request)
    assert (whole.start_line, whole.get("Event"), whole.body) == ("OPTIONS sip:a SIP/2.0", "presence", b"body")


def test_a_response_keeps_its_head_when_its_body_arrives() -> None:
    whole = with_body(response("SIP/2.0 409 Conflict"), b"body")
    assert isinstance(whole, Response)
    assert (whole.start_line, whole.call_id, whole.body) == ("SIP/2.0 409 Conflict", "1", b"body")


# ------------------------------------------------------------------ properties


@many
@given(st.binary(max_size=300) | message_head.map(lambda text: text.encode("utf-8", "surrogateescape")))
@example(b"SIP/2.0 200 \xff\r\nCall-ID: \xff\r\nCSeq: 1 \xff")
@example(b"SIP/2.0 200 OK\r\nCall-ID: 1\r\nCSeq: 1 X\r")
def test_any_octets_are_a_message_or_a_parse_error(head: bytes) -> None:
    try:
        message = parse_head(head)
    except ParseError:
        return
    once = parse_head(bytes(message)[: -len(b"\r\n\r\n")])
    assert bytes(once) == bytes(message)
    assert once.headers[:-1] == tuple(item for item in message.headers if item[0].lower() != "content-length")


@few
@given(
    method=token,
    number=st.integers(0, MAX_CSEQ),
    call_id=header_value.filter(bool),
    extra=st.lists(st.tuples(token.filter(lambda name: len(name) > 1), header_value), max_size=10),
    body=st.binary(max_size=50),
)
def test_what_is_written_is_read_again(
    method: str, number: int, call_id: str, extra: list[Header], body: bytes
) -> None:
    ours = ("call-id", "cseq", "content-length")
    kept: Tuple[Header, ...] = tuple((name, value) for name, value in extra if name.lower() not in ours)
    headers = (("Call-ID", call_id), ("CSeq", f"{number} {method}"), *kept)
    head, _, rest = bytes(Request(method, "sip:a@b", headers, body)).partition(b"\r\n\r\n")
    message = parse_head(head)
    assert isinstance(message, Request)
    assert (message.method, message.uri, rest) == (method, "sip:a@b", body)
    assert message.headers == (*headers, ("Content-Length", str(len(body))))
    assert message.cseq == CSeq(number, method)


@pytest.mark.parametrize(
    "start", ["", "SIP/2.0 200 ", "OPTIONS sip:a SIP/2.0\r\nCSeq: 1", "OPTIONS sip:a SIP/2.0\r\nX:"]
)
def test_a_large_head_of_nonsense_is_judged_at_once(start: str) -> None:
    for filling in ["\r\n ", "\n\t\n", ":", "a:\n", "\r", " ", "1 ", "X: y\r\n", "é", "�"]:
        head = (start + filling * (LARGE // len(filling))).encode("utf-8", "surrogateescape")
        began = time.perf_counter()
        with pytest.raises(ParseError):
            parse_head(head)
        assert time.perf_counter() - began < HANG, filling


def test_text_on_the_wire_keeps_every_octet() -> None:
    value = wire_text(bytes(range(1, 256)).replace(b"\r", b"").replace(b"\n", b"").strip(b" \t"))
    assert parse_head(bytes(request().with_headers(("X", value)))[:-4]).get("X") == value


@pytest.mark.parametrize(
    "field",
    [
        "X:{}", "X: a{}", "X:{}a", "X{}: a", "X{}a", "X: a{}\r\n b", "X:{}\r\n\t", "\r\n{}", "\r\n {}a",
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [" ", "\t", "a", ":", " a", "\r\n ", "\r\n a", "\r\n", "a:\r\n"])
def test_a_large_hostile_head_is_read_in_time(field: str, piece: str) -> None:
    large = field.format(piece * (4 * LARGE // len(piece)))
    began = time.process_time()
    with contextlib.suppress(ParseError):
        parse_head(f"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n{large}".encode())
    assert time.process_time() - began < HANG
