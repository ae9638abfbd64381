"""The octets: legal forms read as the same message, illegal ones as what they are."""

from __future__ import annotations

import pytest

from check_lync_presence.simulator.faults import Faults
from check_lync_presence.simulator.link import Link, Outgoing
from check_lync_presence.simulator.wire import Emission, emit, joined
from check_lync_presence.sip.framing import StreamFramer
from check_lync_presence.sip.message import ParseError, Request, Response

HEADERS = [
    ("Via", "SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bK1"),
    ("From", "<sip:ann@contoso.example>;tag=1"),
    ("To", "<sip:ann@contoso.example>;tag=2"),
    ("Call-ID", "c1"),
    ("CSeq", "1 SERVICE"),
    ("Supported", "ms-benotify, ms-piggyback-first-notify"),
    ("Content-Type", "text/plain"),
]
ANSWER = Response(200, "OK", HEADERS, b"a body\r\n\r\nof two paragraphs")


def link(*faults: str) -> Link:
    return Link("4A2400", "127.0.0.1", 50000, "tls", "127.0.0.1", 5061, faults=Faults(faults))


def emission(fault: str, activity: str = "publish") -> Emission:
    return emit(Outgoing(link(*filter(None, [fault])), ANSWER, None, activity))


@pytest.mark.parametrize(
    "fault", ["", "split-messages", "joined-messages", "crlf-storm", "upper-case-headers", "folded-headers"]
)
def test_a_legal_form_reads_as_the_same_message(fault: str) -> None:
    framer = StreamFramer()
    messages = [message for piece in emission(fault).pieces for message in framer.feed(piece)]
    last = messages[-1]
    assert isinstance(last, Response)
    assert last.body == ANSWER.body
    assert [(name.lower(), value) for name, value in last.headers[:-1]] == [
        (name.lower(), value) for name, value in ANSWER.headers
    ]


def test_split_messages_are_octets() -> None:
    assert {len(piece) for piece in emission("split-messages").pieces[:-1]} == {1}


def test_joined_messages_begin_with_a_provisional_answer_in_the_same_piece() -> None:
    (piece,) = emission("joined-messages").pieces
    assert [message.start_line for message in StreamFramer().feed(piece)] == ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]


def test_folded_and_capital_headers_are_what_they_are_called() -> None:
    assert b"\r\n ms-benotify,\r\n\tms-piggyback" in emission("folded-headers").pieces[0]
    assert b"\r\nCALL-ID: c1\r\n" in emission("upper-case-headers").pieces[0]


def test_no_answer_is_nothing() -> None:
    assert emission("no-answer=publish") == Emission([])


def test_a_cut_is_nothing_and_the_end() -> None:
    assert emission("cut=publish") == Emission([], cut=True, lost=True)


def test_half_a_message_waits_for_its_rest() -> None:
    framer = StreamFramer()
    (piece,) = emission("half-message=publish").pieces
    assert list(framer.feed(piece)) == []
    assert framer.partial


@pytest.mark.parametrize("fault", ["garbage=publish", "oversized-message=publish"])
def test_nonsense_and_giants_are_not_messages(fault: str) -> None:
    with pytest.raises(ParseError):
        list(StreamFramer().feed(emission(fault).pieces[0]))


def test_a_head_without_end_is_no_message() -> None:
    request = Request("BENOTIFY", "sip:ben@contoso.example", [*HEADERS[:4], ("CSeq", "2 BENOTIFY")])
    endless = emit(Outgoing(link("oversized-message=notify"), request, None, "notify"))
    with pytest.raises(ParseError, match="head"):
        list(StreamFramer().feed(endless.pieces[0]))


@pytest.mark.parametrize("fault", ["no-answer", "cut", "half-message", "garbage", "oversized-message"])
def test_other_activities_are_left_alone(fault: str) -> None:
    assert emission(f"{fault}=register") == Emission([bytes(ANSWER)])


def test_joined_emissions_are_one_piece() -> None:
    assert joined([Emission([b"a", b"b"]), Emission([b"c"])]) == Emission([b"abc"])
    assert joined([Emission([b"a"]), Emission([b"b"], mute=True)]) == Emission([b"ab"], mute=True)


@pytest.mark.parametrize("fault", ["cut", "half-message", "garbage", "oversized-message"])
def test_nothing_else_comes_of_a_request_that_the_server_fell_over(fault: str) -> None:
    assert emission(f"{fault}=publish").lost
    assert not emission("no-answer=publish").lost
