from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.markup import DocumentError, attribute, child, parse
from check_lync_presence.simple.pidf import document, shows

from ..strategies import HANG, LARGE, any_text, made_of, many

ANN = "sip:ann@contoso.example"
MARKER = "presence-check 0123456789abcdef"
OTHER = "presence-check fedcba9876543210"
NS = 'xmlns="urn:ietf:params:xml:ns:pidf"'

document_text = any_text | made_of(
    "<presence", f" {NS}", f' entity="{ANN}"', ">", "/>", "<tuple", "</tuple>", "<note>", "</note>", MARKER,
    "</presence>",
    "&", "&lt;", "<!DOCTYPE", "]]>", "<?xml version='1.0'", "?>", " ", "\0", "\udcff", ' id="p1"', "\ufeff",
)  # fmt: skip


def tuple_with(note: str, identity: str = "p1") -> str:
    return f'<tuple id="{identity}"><status><basic>open</basic></status><note>{note}</note></tuple>'


def presence(content: str, entity: str = ANN) -> bytes:
    return f'<presence {NS} entity="{entity}">{content}</presence>'.encode()


def test_the_document_that_is_published_is_an_open_tuple_with_the_marker() -> None:
    root = parse(document(ANN, MARKER), "presence")
    assert (root.space, root.name) == ("urn:ietf:params:xml:ns:pidf", "presence")
    assert attribute(root, "entity") == ANN
    found = child(root, "tuple")
    assert found is not None
    assert attribute(found, "id") == "p0123456789abcdef"
    status, note = child(found, "status"), child(found, "note")
    assert status is not None
    assert note is not None
    assert [(item.name, item.text) for item in (*status, note)] == [
        ("basic", "open"),
        ("note", MARKER),
    ]


def test_what_is_published_shows_itself_and_nothing_else() -> None:
    body = document(ANN, MARKER)
    assert shows(body, ANN, MARKER)
    assert not shows(body, ANN, OTHER)


def test_an_address_with_markup_in_it_stays_an_address() -> None:
    entity = "sip:a&b'<@contoso.example"
    assert attribute(parse(document(entity, '<&> p"1'), "presence"), "entity") == entity


@pytest.mark.parametrize(
    "entity", [ANN, "pres:ann@contoso.example", "PRES:ann@contoso.example", "sip:Ann@CONTOSO.example"]
)
def test_the_same_user_may_be_written_in_several_ways(entity: str) -> None:
    assert shows(presence(tuple_with(MARKER), entity), ANN, MARKER)


@pytest.mark.parametrize(
    "entity", ["sip:ben@contoso.example", "pres:ben@contoso.example", "sip:ann@fabrikam.example", "", "x"]
)
def test_the_document_of_another_user_shows_nothing_of_this_one(entity: str) -> None:
    assert not shows(presence(tuple_with(MARKER), entity), ANN, MARKER)


def test_a_document_without_an_entity_is_nobodys() -> None:
    assert not shows(f"<presence {NS}>{tuple_with(MARKER)}</presence>".encode(), ANN, MARKER)


def test_the_marker_is_found_among_the_tuples_of_several_publications() -> None:
    assert shows(presence(tuple_with(OTHER) + tuple_with("", "x") + tuple_with(MARKER, "y")), ANN, MARKER)


def test_a_note_of_the_document_counts_like_one_of_a_tuple() -> None:
    assert shows(presence(f"<note>{MARKER}</note>"), ANN, MARKER)


def test_the_prefix_and_the_blanks_of_a_server_do_not_count() -> None:
    body = (
        f'<?xml version="1.0"?>\n<p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" entity="{ANN}">\n'
        f' <p:tuple id="x">\n  <p:status><p:basic>open</p:basic></p:status>\n'
        f'  <p:note xml:lang="en">\n {MARKER}\n </p:note>\n </p:tuple>\n</p:presence>'
    )
    assert shows(body.encode(), ANN, MARKER)


@pytest.mark.parametrize("note", [OTHER, "", MARKER[:-1], f"{MARKER}0", f"x {MARKER}"])
def test_only_the_very_marker_counts(note: str) -> None:
    assert not shows(presence(tuple_with(note)), ANN, MARKER)


def test_a_withdrawn_publication_shows_nothing() -> None:
    closed = '<tuple id="x"><status><basic>closed</basic></status></tuple>'
    assert not shows(presence(closed), ANN, MARKER)
    assert not shows(presence(""), ANN, MARKER)


def test_a_marker_that_is_no_note_does_not_count() -> None:
    content = f'<tuple id="{MARKER}"><status><basic>open</basic></status><contact>{MARKER}</contact></tuple>'
    assert not shows(presence(content), ANN, MARKER)


OPEN, CLOSED = (f"<status><basic>{basic}</basic></status>" for basic in ("open", "closed"))


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (f'<tuple id="p0123456789abcdef">{OPEN}</tuple>', True),
        (f'<tuple id="p0123456789abcdef">{CLOSED}</tuple>', False),
        ('<tuple id="p0123456789abcdef"/>', False),
        (f'<tuple id="p0123456789abcdef">{OPEN}<note>{OTHER}</note></tuple>', False),
        (f'<tuple id="pfedcba9876543210">{OPEN}</tuple>', False),
    ],
    ids=["dropped its note", "withdrawn", "says nothing", "has another note", "another's"],
)
def test_the_id_of_a_tuple_counts_where_a_server_has_dropped_its_note(content: str, shown: bool) -> None:
    assert shows(presence(content), ANN, MARKER) is shown


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not XML",
        b"<presence",
        document(ANN, MARKER)[:-5],
        f'<categories uri="{ANN}"/>'.encode(),
        f'<!DOCTYPE presence [<!ENTITY m "{MARKER}">]><presence {NS} entity="{ANN}"/>'.encode(),
    ],
)
def test_what_is_no_presence_document_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(DocumentError):
        shows(body, ANN, MARKER)


@many
@given(document_text)
def test_any_octets_give_an_answer_or_the_one_error(text: str) -> None:
    with contextlib.suppress(DocumentError):
        assert shows(text.encode("utf-8", "surrogateescape"), ANN, MARKER) in (True, False)


@many
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Co")), max_size=30))
def test_what_is_published_is_what_a_notification_shows_and_nothing_else(marker: str) -> None:
    published = document(ANN, marker.strip())
    assert shows(published, ANN, marker.strip())
    assert not shows(published, ANN, f"{marker}0")


def test_a_document_of_very_many_tuples_is_read_in_time() -> None:
    started = time.monotonic()
    assert shows(presence(tuple_with(OTHER) * (LARGE // 40) + tuple_with(MARKER)), ANN, MARKER)
    assert time.monotonic() - started < HANG
