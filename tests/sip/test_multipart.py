from __future__ import annotations

import time
from typing import Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.sip.multipart import (
    MAX_PARTS,
    MultipartError,
    Part,
    parse_content_type,
    split_multipart,
)

from ..strategies import HANG, LARGE, any_text, made_of, many
from ..transcripts import recorded

BODY = (
    b"--7f9a1c\r\nContent-ID: resourceList\r\nContent-Type: Application/RLMI+xml; charset=utf-8\r\n\r\n<list/>\r\n"
    b"--7f9a1c\r\nContent-Type: text/plain\r\n\r\none\r\n\r\ntwo\r\n"
    b"--7f9a1c--\r\n"
)
PARTS = (
    Part({"content-id": "resourceList", "content-type": "Application/RLMI+xml; charset=utf-8"}, b"<list/>"),
    Part({"content-type": "text/plain"}, b"one\r\n\r\ntwo"),
)


# ------------------------------------------------------------------ Content-Type


@pytest.mark.parametrize(
    ("value", "kind", "params"),
    [
        ("", "", {}),
        ("text/plain", "text/plain", {}),
        (" Text/PLAIN ; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
        ('multipart/x;type="a/b";start=x;boundary=7', "multipart/x", {"type": "a/b", "start": "x", "boundary": "7"}),
        ('multipart/related; boundary="a; b=c"; start = x', "multipart/related", {"boundary": "a; b=c", "start": "x"}),
        ('multipart/related;boundary=""', "multipart/related", {"boundary": ""}),
        ("multipart/related;boundary=", "multipart/related", {"boundary": ""}),
    ],
)  # fmt: skip
def test_a_content_type_is_a_kind_and_parameters(value: str, kind: str, params: Dict[str, str]) -> None:
    assert parse_content_type(value) == (kind, params)


# ------------------------------------------------------------------ parts


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/related;boundary=7f9a1c",
        'multipart/related;boundary="7f9a1c"',
        'multipart/related;type="application/rlmi+xml";start=resourceList;boundary=7f9a1c',
        'multipart/related; BOUNDARY = "7f9a1c" ; type="application/rlmi+xml"',
        "multipart/mixed;boundary=7f9a1c;start=x",
    ],
)
def test_the_boundary_may_be_quoted_and_stand_anywhere(content_type: str) -> None:
    assert split_multipart(content_type, BODY) == PARTS


def test_a_part_has_a_content_type_without_parameters() -> None:
    assert [part.content_type for part in PARTS] == ["application/rlmi+xml", "text/plain"]
    assert Part({}, b"").content_type == ""


@pytest.mark.parametrize("preamble", [b"\r\n", b"\r\n\r\n", b"This is a message of two parts.\r\n"])
def test_what_stands_before_the_first_boundary_does_not_count(preamble: bytes) -> None:
    assert split_multipart("multipart/related;boundary=7f9a1c", preamble + BODY) == PARTS


def test_what_stands_behind_the_last_boundary_does_not_count() -> None:
    assert split_multipart("multipart/related;boundary=7f9a1c", BODY + b"\r\n--7f9a1c\r\n\r\nx") == PARTS


def test_a_line_end_more_before_a_boundary_belongs_to_the_part() -> None:
    body = BODY.replace(b"<list/>\r\n", b"<list/>\r\n\r\n")
    assert split_multipart("multipart/related;boundary=7f9a1c", body)[0].body == b"<list/>\r\n"


def test_the_last_line_end_may_be_missing() -> None:
    assert split_multipart("multipart/related;boundary=7f9a1c", BODY[:-2]) == PARTS


def test_blanks_behind_a_boundary_do_not_count() -> None:
    body = BODY.replace(b"--7f9a1c\r\n", b"--7f9a1c \t\r\n")
    assert split_multipart("multipart/related;boundary=7f9a1c", body) == PARTS


def test_a_boundary_inside_of_a_line_is_no_boundary() -> None:
    body = b"--b\r\n\r\nnot --b and\n--b either\r\n--b--"
    assert split_multipart("multipart/mixed;boundary=b", body) == (Part({}, b"not --b and\n--b either"),)


def test_a_part_without_header_fields_is_all_body() -> None:
    assert split_multipart("multipart/mixed;boundary=b", b"--b\r\n\r\nX: y\r\n\r\nz\r\n--b--") == (
        Part({}, b"X: y\r\n\r\nz"),
    )


def test_the_header_names_of_a_part_have_no_case() -> None:
    (part,) = split_multipart("multipart/mixed;boundary=b", b"--b\r\nCONTENT-TYPE : text/plain\r\n\r\n\r\n--b--")
    assert part == Part({"content-type": "text/plain"}, b"")


def test_a_body_of_no_parts_has_none() -> None:
    assert split_multipart("multipart/mixed;boundary=b", b"--b--") == ()


def test_octets_of_a_part_are_kept() -> None:
    content = bytes(range(256))
    assert split_multipart("multipart/mixed;boundary=b", b"--b\r\n\r\n" + content + b"\r\n--b--")[0].body == content


def test_the_recorded_notification_has_a_list_and_a_document() -> None:
    message = recorded("10-ben-200-first-notification.sip")
    listed, document = split_multipart(message.get("Content-Type") or "", message.body)
    assert listed.headers["content-id"] == "resourceList"
    assert listed.content_type == "application/rlmi+xml"
    assert document.headers == {
        "content-transfer-encoding": "binary",
        "content-id": "ann@contoso.example",
        "content-type": "application/msrtc-event-categories+xml",
    }
    assert document.body.startswith(b"<categories ")
    assert document.body.endswith(b"</categories>")


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "content_type", ["", "multipart/related", "multipart/related;boundary=", f"multipart/related;boundary={'b' * 71}"]
)
def test_a_body_without_a_usable_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(MultipartError, match="boundary"):
        split_multipart(content_type, BODY)


def test_a_boundary_of_the_largest_length_is_usable() -> None:
    boundary = "b" * 70
    assert split_multipart(f"multipart/mixed;boundary={boundary}", f"--{boundary}--".encode()) == ()


@pytest.mark.parametrize(
    "body", [b"", b"--7f9a1c", b"nothing", BODY[: BODY.rindex(b"--7f9a1c")], BODY.replace(b"7f", b"7e")]
)
def test_a_body_that_does_not_end_is_refused(body: bytes) -> None:
    with pytest.raises(MultipartError, match="end"):
        split_multipart("multipart/related;boundary=7f9a1c", body)


def test_as_many_parts_as_the_limit_are_split() -> None:
    assert len(split_multipart("multipart/mixed;boundary=b", b"--b\r\n\r\nx\r\n" * MAX_PARTS + b"--b--")) == MAX_PARTS


def test_one_part_over_the_limit_is_refused() -> None:
    with pytest.raises(MultipartError, match=str(MAX_PARTS)):
        split_multipart("multipart/mixed;boundary=b", b"--b\r\n\r\nx\r\n" * (MAX_PARTS + 1) + b"--b--")


# ------------------------------------------------------------------ properties

content_types = any_text | made_of(
    "multipart/related", ";", "boundary", "=", "b", '"', "\\", " ", ";boundary=b", ';boundary="b"', "\udcff", "\t"
)
bodies = st.lists(
    st.sampled_from([b"--b", b"\r\n", b"--", b"Content-Type: x", b"--b--", b"\r\n--b\r\n", b"\xff", b":"])
    | st.binary(max_size=4),
    max_size=20,
).map(b"".join)


@many
@given(content_types, bodies)
def test_any_octets_are_parts_or_a_multipart_error(content_type: str, body: bytes) -> None:
    try:
        parts = split_multipart(content_type, body)
    except MultipartError:
        return
    assert sum(len(part.body) for part in parts) <= len(body)


@many
@given(st.lists(st.binary(max_size=20).filter(lambda body: b"--b" not in body), max_size=5), st.booleans())
def test_parts_that_are_joined_are_split_again(contents: list[bytes], quoted: bool) -> None:
    body = b"".join(b"--b\r\nContent-Type: x/y\r\n\r\n" + content + b"\r\n" for content in contents) + b"--b--\r\n"
    parts = split_multipart('multipart/mixed;boundary="b"' if quoted else "multipart/mixed;boundary=b", body)
    assert parts == tuple(Part({"content-type": "x/y"}, content) for content in contents)


@pytest.mark.parametrize("start", ["", "a/b;", "a/b;a", "a/b;a=", 'a/b;a="'])
def test_a_large_content_type_is_read_at_once(start: str) -> None:
    for filling in ["; ", ";a", ";a=", ';a="', "; a = ", "a", "a ", " ", '"', "\\", '\\"', '"\\', "=", ";"]:
        began = time.perf_counter()
        parse_content_type(start + filling * (LARGE // len(filling)) + "!")
        assert time.perf_counter() - began < HANG, filling


@pytest.mark.parametrize("filling", [b"\r\n--b\r\n", b"\r\n", b"--b", b"\r\n--", b"a:\r\n", b":"])
def test_a_large_body_is_split_or_refused_at_once(filling: bytes) -> None:
    body = b"--b\r\n" + filling * (1024 * 1024 // len(filling)) + b"\r\n--b--"
    began = time.perf_counter()
    try:
        split_multipart("multipart/mixed;boundary=b", body)
    except MultipartError:
        pass
    finally:
        assert time.perf_counter() - began < HANG
