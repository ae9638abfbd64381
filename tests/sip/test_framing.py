from __future__ import annotations

import time
from typing import List, Sequence, Tuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from check_lync_presence.sip.framing import MAX_BODY, MAX_HEAD, StreamFramer, read_datagram
from check_lync_presence.sip.message import ParseError

from ..strategies import HANG, few, many
from ..transcripts import NAMES, octets

HEAD = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
EMPTY = HEAD + b"Content-Length: 0\r\n\r\n"
WITH_BODY = HEAD + b"Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody"


def frame(pieces: Sequence[bytes]) -> Tuple[List[bytes], str]:
    """The messages that come out of a stream cut into `pieces`, and how it ended."""
    framer = StreamFramer()
    found = []
    for piece in pieces:
        try:
            for message in framer.feed(piece):
                found.append(bytes(message))
        except ParseError as error:
            return found, str(error)
    return found, "partial" if framer.partial else "complete"


def refuse(stream: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        list(StreamFramer().feed(stream))


def octet_by_octet(stream: bytes) -> List[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


# ------------------------------------------------------------------ messages


def test_a_message_without_a_body_comes_out() -> None:
    assert frame([EMPTY]) == ([EMPTY], "complete")


def test_a_message_comes_out_with_its_body() -> None:
    assert frame([WITH_BODY]) == ([WITH_BODY], "complete")


def test_a_message_without_content_length_and_content_type_has_no_body() -> None:
    assert frame([HEAD + b"\r\n", EMPTY]) == ([EMPTY, EMPTY], "complete")


def test_two_messages_in_one_piece_come_out_in_order() -> None:
    assert frame([WITH_BODY + EMPTY]) == ([WITH_BODY, EMPTY], "complete")


def test_a_body_that_looks_like_a_message_stays_a_body() -> None:
    stream = HEAD + b"Content-Length: %d\r\n\r\n" % len(EMPTY) + EMPTY
    assert frame([stream]) == ([stream], "complete")


def test_a_message_comes_out_with_its_last_octet_and_not_before() -> None:
    framer = StreamFramer()
    assert list(framer.feed(WITH_BODY[:-1])) == []
    assert framer.partial
    assert [bytes(message) for message in framer.feed(WITH_BODY[-1:])] == [WITH_BODY]
    assert not framer.partial


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_message_comes_out_of_single_octets(name: str) -> None:
    assert frame(octet_by_octet(octets(name))) == ([octets(name)], "complete")


def test_the_whole_recording_comes_out_of_one_piece_and_of_single_octets() -> None:
    stream = b"".join(octets(name) for name in NAMES)
    whole = frame([stream])
    assert whole == ([octets(name) for name in NAMES], "complete")
    assert frame(octet_by_octet(stream)) == whole


def test_messages_before_a_bad_one_come_out_first() -> None:
    found, end = frame([EMPTY + b"garbage\r\n\r\n"])
    assert found == [EMPTY]
    assert "start line" in end


def test_messages_that_were_not_fetched_come_out_later() -> None:
    framer = StreamFramer()
    assert bytes(next(framer.feed(EMPTY + WITH_BODY))) == EMPTY
    assert [bytes(message) for message in framer.feed(b"")] == [WITH_BODY]


# ------------------------------------------------------------------ keep-alives


@pytest.mark.parametrize("pong", [b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\r\n" * 500])
def test_line_ends_between_messages_are_skipped(pong: bytes) -> None:
    assert frame([pong + EMPTY + pong + WITH_BODY + pong]) == ([EMPTY, WITH_BODY], "complete")


def test_line_ends_in_single_octets_are_skipped() -> None:
    assert frame(octet_by_octet(b"\r\n\r\n" + EMPTY + b"\r\n\r\n\r\n" + EMPTY)) == ([EMPTY, EMPTY], "complete")


def test_keep_alives_leave_nothing_behind() -> None:
    framer = StreamFramer()
    assert list(framer.feed(b"\r\n\r\n")) == []
    assert not framer.partial


# ------------------------------------------------------------------ Content-Length


@pytest.mark.parametrize(
    "value", [b"-1", b"+4", b"four", b"", b"0x4", b"4 4", b"4, 4", b"4.0", b"\xd9\xa4", b"99999999999"]
)
def test_a_content_length_that_is_not_a_number_is_refused(value: bytes) -> None:
    refuse(HEAD + b"Content-Length: " + value + b"\r\n\r\nbody", "not a number")


def test_two_content_lengths_that_differ_are_refused() -> None:
    refuse(HEAD + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\nbody", "two Content-Lengths")


def test_a_compact_content_length_counts_as_the_second_one() -> None:
    refuse(HEAD + b"Content-Length: 4\r\nl: 0\r\n\r\nbody", "two Content-Lengths")


def test_the_same_content_length_twice_is_one() -> None:
    stream = HEAD + b"Content-Length: 4\r\nCONTENT-LENGTH: 4\r\n\r\nbody"
    assert frame([stream]) == ([HEAD + b"Content-Length: 4\r\n\r\nbody"], "complete")


def test_the_compact_content_length_is_understood() -> None:
    assert frame([HEAD + b"l: 4\r\n\r\nbody"]) == ([HEAD + b"Content-Length: 4\r\n\r\nbody"], "complete")


def test_a_body_of_the_largest_size_is_read() -> None:
    stream = HEAD + b"Content-Length: %d\r\n\r\n" % MAX_BODY + b"x" * MAX_BODY
    assert frame([stream]) == ([stream], "complete")


def test_a_body_over_the_largest_size_is_refused_before_it_arrives() -> None:
    refuse(HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), "message body")


@pytest.mark.parametrize("name", [b"Content-Type", b"CONTENT-TYPE", b"c"])
def test_a_content_type_without_a_content_length_is_refused(name: bytes) -> None:
    refuse(HEAD + name + b": text/plain\r\n\r\nbody", "without Content-Length")


# ------------------------------------------------------------------ what is not a SIP stream


def head_of(size: int) -> bytes:
    start = HEAD + b"Content-Length: 0\r\nX: "
    return start + b"x" * (size - len(start)) + b"\r\n\r\n"


@pytest.mark.parametrize("cut", range(5))
def test_a_head_of_the_largest_size_is_read_wherever_it_is_cut(cut: int) -> None:
    stream = head_of(MAX_HEAD)
    found, end = frame([stream[: len(stream) - cut], stream[len(stream) - cut :]])
    assert (len(found), end) == (1, "complete")


@pytest.mark.parametrize("cut", range(5))
def test_a_head_over_the_largest_size_is_refused_wherever_it_is_cut(cut: int) -> None:
    stream = head_of(MAX_HEAD + 1)
    found, end = frame([stream[: len(stream) - cut], stream[len(stream) - cut :]])
    assert found == []
    assert "message head" in end


def test_an_endless_head_is_refused_once_it_is_too_long() -> None:
    framer = StreamFramer()
    assert list(framer.feed(b"x" * MAX_HEAD)) == []
    with pytest.raises(ParseError, match="message head"):
        list(framer.feed(b"x" * 4))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 3\r\n\r\n400",
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b" \r\n\r\n",
        b"<html></html>\r\n\r\n",
    ],
)
def test_another_protocol_is_refused(answer: bytes) -> None:
    refuse(answer, "start line|NUL")


def test_a_tls_alert_waits_for_the_end_of_a_head_that_never_comes() -> None:
    assert frame([b"\x15\x03\x03\x00\x02\x02\x28"]) == ([], "partial")


def test_a_stream_stays_lost_after_an_error() -> None:
    framer = StreamFramer()
    with pytest.raises(ParseError):
        list(framer.feed(b"garbage\r\n\r\n"))
    with pytest.raises(ParseError):
        list(framer.feed(EMPTY))


# ------------------------------------------------------------------ properties

stream_pieces = st.lists(
    st.sampled_from([EMPTY, WITH_BODY, HEAD, b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"l: 4\r\n", b"Content-Type: x\r\n"])
    | st.sampled_from(NAMES).map(octets)
    | st.binary(max_size=10),
    max_size=8,
).map(b"".join)


@many
@given(stream_pieces, st.lists(st.integers(0, 4000), max_size=12))
@example(b"\r\n" + EMPTY + b"\r" + WITH_BODY, [1, 2, 3])
def test_what_comes_out_does_not_depend_on_how_the_stream_is_cut(stream: bytes, cuts: List[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in zip(places, places[1:])]
    assert frame(pieces) == frame([stream])


@few
@given(stream_pieces)
def test_single_octets_give_what_the_whole_stream_gives(stream: bytes) -> None:
    assert frame(octet_by_octet(stream)) == frame([stream])


@many
@given(st.binary(max_size=400))
def test_any_octets_are_messages_or_a_parse_error(stream: bytes) -> None:
    found, end = frame([stream])
    assert found == [] or end


@many
@given(stream_pieces | st.binary(max_size=400))
def test_any_datagram_is_a_message_or_nothing_or_a_parse_error(data: bytes) -> None:
    try:
        found = list(read_datagram(data))
    except ParseError:
        return
    assert len(found) == bool(data.strip(b"\r\n\0"))
    for message in found:
        assert list(map(bytes, read_datagram(bytes(message)))) == [bytes(message)]


@pytest.mark.parametrize("storm", [b"\r\n", b"x", HEAD + b"\r\n"])
def test_a_storm_of_small_pieces_takes_no_more_than_its_length(storm: bytes) -> None:
    framer = StreamFramer()
    began = time.perf_counter()
    count = sum(1 for _ in range(60_000 // len(storm)) for _ in framer.feed(storm))
    assert time.perf_counter() - began < HANG
    assert count == (60_000 // len(storm) if storm.startswith(HEAD) else 0)


def test_a_large_piece_of_many_messages_takes_no_more_than_its_length() -> None:
    began = time.perf_counter()
    found, end = frame([EMPTY * 5_000])
    assert time.perf_counter() - began < HANG
    assert (len(found), end) == (5_000, "complete")
