"""Which response belongs to which request, and what a client answers to a server's request."""

from __future__ import annotations

from typing import List, Optional, Tuple

import pytest
from hypothesis import given

from check_lync_presence.sip.message import Request, Response
from check_lync_presence.sip.transaction import ALLOWED, answer, belongs, response_to

from ..strategies import any_text, many
from ..transcripts import parse

VIA = "SIP/2.0/TLS 192.0.2.10:50977;branch=z9hG4bKa1"


def request(
    method: str = "SUBSCRIBE", *more: Tuple[str, str], to: Optional[str] = "<sip:ann@contoso.example>"
) -> Request:
    headers: List[Tuple[str, str]] = [("Via", VIA), ("From", "<sip:ben@contoso.example>;tag=b"), ("Call-ID", "c1")]
    headers += [("To", to)] if to is not None else []
    return Request(method, "sip:ann@contoso.example", (*headers, ("CSeq", f"1 {method}"), *more))


def response(via: Optional[str] = VIA, call_id: str = "c1", cseq: str = "1 SUBSCRIBE", status: int = 200) -> Response:
    headers = [("Call-ID", call_id), ("CSeq", cseq)]
    return Response(status, "", headers + ([("Via", via)] if via is not None else []))


@pytest.mark.parametrize(
    "ours",
    [
        response(),
        response(status=100),
        response(status=699),
        response(via=None),
        response(via=VIA + ";received=192.0.2.10;ms-received-port=50977"),
        response(via="SIP/2.0/TLS 10.0.0.1:1;received=x;BRANCH=z9hG4bKa1"),
        response(via=VIA.replace("=z", " = z")),
        response(via=VIA + ", SIP/2.0/TLS other;branch=z9hG4bKother"),
        response(cseq="1  SUBSCRIBE"),
    ],
)
def test_an_answer_to_our_request_belongs_to_it(ours: Response) -> None:
    assert belongs(ours, request())


@pytest.mark.parametrize(
    "foreign",
    [
        response(call_id="c2"),
        response(call_id="C1"),
        response(cseq="2 SUBSCRIBE"),
        response(cseq="1 SERVICE"),
        response(cseq="1 subscribe"),
        response(via=VIA[:-1]),
        response(via=VIA + "1"),
        response(via="SIP/2.0/TLS 192.0.2.10:50977"),
        response(via=""),
        response(via="SIP/2.0/TLS other;branch=z9hG4bKother, " + VIA),
    ],
)
def test_an_answer_to_somebody_else_does_not_belong(foreign: Response) -> None:
    assert not belongs(foreign, request())


@pytest.mark.parametrize(("known", "late", "status"), [(True, False, 200), (True, True, 500), (False, False, 481)])
def test_notify_is_answered(known: bool, late: bool, status: int) -> None:
    reply = answer(request("NOTIFY"), known, "t", late)
    assert reply is not None
    assert reply.status == status


@pytest.mark.parametrize("method", ["BENOTIFY", "ACK"])
@pytest.mark.parametrize("known", [True, False])
def test_best_effort_and_ack_are_not_answered(method: str, known: bool) -> None:
    assert answer(request(method), known, "t") is None


@pytest.mark.parametrize("known", [True, False])
def test_options_is_answered_with_what_we_understand(known: bool) -> None:
    reply = answer(request("OPTIONS"), known, "t")
    assert reply is not None
    assert (reply.status, reply.get("Allow")) == (200, ", ".join(ALLOWED))


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "BYE", "REGISTER", "notify", "X-NEW"])
def test_what_we_do_not_understand_is_refused_with_what_we_do(method: str) -> None:
    reply = answer(request(method), True, "t")
    assert reply is not None
    assert (reply.status, reply.get("Allow")) == (405, ", ".join(ALLOWED))


def test_a_response_has_what_belongs_to_its_request_and_nothing_else() -> None:
    more = (
        ("Via", "SIP/2.0/TLS second"),
        ("Record-Route", "<sip:p;lr>"),
        ("Event", "presence"),
        ("Authorization", "x"),
    )
    reply = response_to(request("NOTIFY", *more), 200, "t1")
    assert reply.headers == (
        ("Via", VIA),
        ("From", "<sip:ben@contoso.example>;tag=b"),
        ("Call-ID", "c1"),
        ("To", "<sip:ann@contoso.example>;tag=t1"),
        ("CSeq", "1 NOTIFY"),
        ("Via", "SIP/2.0/TLS second"),
        ("Record-Route", "<sip:p;lr>"),
    )
    assert parse(bytes(reply)).start_line == "SIP/2.0 200 OK"


def test_a_to_that_has_a_tag_keeps_it() -> None:
    reply = response_to(request(to="<sip:ann@contoso.example>;tag=old;epid=1"), 200, "new")
    assert reply.get("To") == "<sip:ann@contoso.example>;tag=old;epid=1"


@pytest.mark.parametrize("to", ["<sip:ann", "", "<>", ";tag=x"])
def test_a_to_that_cannot_be_read_is_sent_back_as_it_came(to: str) -> None:
    assert response_to(request(to=to), 405, "t").get("To") == to


def test_a_request_without_to_is_answered_without() -> None:
    assert response_to(request(to=None), 405, "t").get("To") is None


@many
@given(any_text, any_text)
def test_no_header_of_a_peer_makes_an_error(to: str, via: str) -> None:
    answer(request("INVITE", to=to), False, "t")
    belongs(response(via=via), request())
