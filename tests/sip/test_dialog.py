"""Dialogs as a subscriber needs them (RFC 3261 section 12)."""

from __future__ import annotations

from typing import List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.sip.dialog import Dialog
from check_lync_presence.sip.message import Request, Response, parse_head

from ..strategies import any_text, many

CALL_ID = "7d3e5c1a"
ANN, BEN = "sip:ann@contoso.example", "sip:ben@contoso.example"


@pytest.fixture
def dialog() -> Dialog:
    return Dialog(CALL_ID, BEN, "ours", ANN, ";epid=0f1e2d3c")


def accepted(to: str = f"<{ANN}>;tag=theirs", *more: Tuple[str, str]) -> Response:
    return Response(200, "OK", (("To", to), *more))


def notify(
    number: int = 1,
    to: Optional[str] = f"<{BEN}>;tag=ours;epid=0f1e2d3c",
    sender: Optional[str] = f"<{ANN}>;tag=theirs",
    call_id: str = CALL_ID,
) -> Request:
    headers: List[Tuple[str, str]] = [("Call-ID", call_id), ("CSeq", f"{number} NOTIFY")]
    headers += [("To", to)] if to is not None else []
    headers += [("From", sender)] if sender is not None else []
    return Request("NOTIFY", BEN, headers)


def test_the_first_request_has_our_tag_and_no_tag_of_theirs(dialog: Dialog) -> None:
    assert dialog.headers("SUBSCRIBE") == [
        ("From", f"<{BEN}>;tag=ours;epid=0f1e2d3c"),
        ("To", f"<{ANN}>"),
        ("Call-ID", CALL_ID),
        ("CSeq", "1 SUBSCRIBE"),
    ]


def test_every_request_has_the_next_number_whatever_its_method(dialog: Dialog) -> None:
    numbers = [dict(dialog.headers(method))["CSeq"] for method in ("SUBSCRIBE", "SERVICE", "SUBSCRIBE")]
    assert numbers == ["1 SUBSCRIBE", "2 SERVICE", "3 SUBSCRIBE"]


def test_an_established_dialog_has_the_tag_the_target_and_the_route_of_the_answer(dialog: Dialog) -> None:
    dialog.establish(
        accepted(
            f"<{ANN}>;tag=theirs",
            ("Contact", "<sip:ann@contoso.example;gruu;opaque=srvr:HomeServer:x>"),
            ("Record-Route", "<sip:edge.contoso.example;lr>, <sip:director.contoso.example;lr>"),
            ("Record-Route", "<sip:pool01.contoso.example;lr;ms-key-info=a,b>"),
        )
    )
    assert dialog.headers("SUBSCRIBE") == [
        ("From", f"<{BEN}>;tag=ours;epid=0f1e2d3c"),
        ("To", f"<{ANN}>;tag=theirs"),
        ("Call-ID", CALL_ID),
        ("CSeq", "1 SUBSCRIBE"),
        ("Route", "<sip:pool01.contoso.example;lr;ms-key-info=a,b>"),
        ("Route", "<sip:director.contoso.example;lr>"),
        ("Route", "<sip:edge.contoso.example;lr>"),
    ]
    assert dialog.remote_target == "sip:ann@contoso.example;gruu;opaque=srvr:HomeServer:x"


def test_an_answer_without_contact_leaves_the_target_open(dialog: Dialog) -> None:
    dialog.establish(accepted())
    assert (dialog.remote_tag, dialog.remote_target, dialog.routes) == ("theirs", None, ())


@pytest.mark.parametrize("to", ["", "<sip:ann", "<>", ";tag=theirs"])
def test_an_answer_whose_to_cannot_be_read_changes_nothing(dialog: Dialog, to: str) -> None:
    dialog.establish(accepted(to, ("Contact", "<sip:x@y>"), ("Record-Route", "<sip:z;lr>")))
    assert (dialog.remote_tag, dialog.remote_target, dialog.routes) == ("", None, ())


def test_a_notification_of_the_dialog_is_owned(dialog: Dialog) -> None:
    dialog.establish(accepted())
    assert dialog.owns(notify())


def test_a_notification_before_the_answer_is_owned_by_call_id_and_our_tag(dialog: Dialog) -> None:
    assert dialog.owns(notify(sender=f"<{ANN}>;tag=anything"))


@pytest.mark.parametrize(
    "request_",
    [
        notify(call_id="other"),
        notify(call_id=CALL_ID.upper()),
        notify(to=f"<{BEN}>;tag=other"),
        notify(to=f"<{BEN}>"),
        notify(to=None),
        notify(to="<sip:ben"),
        notify(sender=f"<{ANN}>;tag=other"),
        notify(sender=f"<{ANN}>"),
        notify(sender=None),
        notify(sender="<sip:ann"),
    ],
)
def test_what_belongs_to_another_dialog_is_not_owned(dialog: Dialog, request_: Request) -> None:
    dialog.establish(accepted())
    assert not dialog.owns(request_)


def test_a_foreign_request_does_not_move_the_numbers(dialog: Dialog) -> None:
    dialog.establish(accepted())
    assert not dialog.owns(notify(1000, call_id="other"))
    assert dialog.in_order(notify(1))


def test_a_number_that_comes_late_is_out_of_order_and_gaps_and_repetitions_are_not(dialog: Dialog) -> None:
    dialog.establish(accepted())
    assert [dialog.in_order(notify(number)) for number in (1, 2, 2, 7, 6, 1, 8)] == [
        True,
        True,
        True,
        True,
        False,
        False,
        True,
    ]


def test_a_contact_with_a_blank_in_it_does_not_break_the_next_request(dialog: Dialog) -> None:
    dialog.establish(accepted(f"<{ANN}>;tag=theirs", ("Contact", "<sip:ann@192.0.2.1 SIP/2.0>")))
    request = Request("SUBSCRIBE", dialog.request_uri, dialog.headers("SUBSCRIBE"))
    assert parse_head(bytes(request).partition(b"\r\n\r\n")[0]).start_line == request.start_line


@many
@given(st.lists(st.integers(0, 20), max_size=20))
def test_the_numbers_that_are_in_order_never_fall(numbers: List[int]) -> None:
    dialog = Dialog(CALL_ID, BEN, "ours", ANN)
    taken = [number for number in numbers if dialog.in_order(notify(number))]
    assert taken == sorted(taken)
    assert not numbers or max(numbers) in taken


@many
@given(any_text, any_text, any_text, any_text)
def test_no_answer_and_no_request_makes_an_error(to: str, contact: str, route: str, sender: str) -> None:
    dialog = Dialog(CALL_ID, BEN, "ours", ANN)
    dialog.establish(accepted(to, ("Contact", contact), ("Record-Route", route)))
    dialog.owns(notify(to=to, sender=sender))
    dialog.headers("SUBSCRIBE")
