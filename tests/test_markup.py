from __future__ import annotations

import codecs
import contextlib
import time
from typing import Any

import pytest
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError as NotXml
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.markup import (
    MAX_DEPTH,
    MAX_TAGS,
    DocumentError,
    Element,
    attribute,
    child,
    children,
    may_have,
    number,
    parse,
)

from .strategies import HANG, many

DOCUMENT = (
    b'<a:list xmlns:a="urn:a" xmlns:x="urn:x" uri="sip:a" x:type="one" type="two" x:only="three">'
    b"<a:item/><item>first</item><!-- no element --><?not one?>text<other/><x:item>last</x:item></a:list>"
)

BOMB = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "%s">%s]><r>&i;</r>' % (
    b"x" * 100,
    b"".join(b'<!ENTITY %c "%s">' % (97 + n, b"&%c;" % (96 + n) * 10) for n in range(1, 9)),
)
UNTRUSTED = {
    "an entity that grows": BOMB,
    "an entity": b'<!DOCTYPE r [<!ENTITY a "x">]><r>&a;</r>',
    "a file": b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/hostname">]><r>&a;</r>',
    "a document type": b"<!DOCTYPE r><r/>",
    "a document type elsewhere": b'<!DOCTYPE r SYSTEM "http://192.0.2.1/r.dtd"><r/>',
    "a parameter entity": b'<!DOCTYPE r [<!ENTITY % a SYSTEM "http://192.0.2.1/"> %a;]><r/>',
    "an undefined entity": b"<r>&a;</r>",
}
UNREADABLE = {
    "nothing": b"",
    "text": b"no document",
    "an open element": b"<r>",
    "two roots": b"<r/><r/>",
    "an unknown prefix": b"<x:r/>",
    "a NUL": b"<r>\0</r>",
    "octets that are not UTF-8": b"<r>\xff</r>",
    "an unknown encoding": b'<?xml version="1.0" encoding="no-such-thing"?><r/>',
    "an encoding that is none": b'<?xml version="1.0" encoding="hex"?><r/>',
    "an encoding of several octets": b'<?xml version="1.0" encoding="gb18030"?><r/>',
    "half of a UTF-16 document": "<r/>".encode("utf-16")[:-1],
    "JSON": b'{"r": 1}',
}


@pytest.mark.parametrize("kind", UNTRUSTED)
def test_a_document_with_entities_or_a_document_type_is_refused(kind: str) -> None:
    with pytest.raises(DocumentError):
        parse(UNTRUSTED[kind], "r")


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_document_is_refused(kind: str) -> None:
    with pytest.raises(DocumentError, match="not a readable XML document"):
        parse(UNREADABLE[kind], "r")


def test_a_document_with_another_root_is_refused_by_its_name() -> None:
    with pytest.raises(DocumentError, match="<html> where <r> belongs"):
        parse(b'<html xmlns="http://www.w3.org/1999/xhtml"/>', "r")


def test_the_name_of_a_wrong_root_is_shortened() -> None:
    with pytest.raises(DocumentError, match=r"<x{40}> where"):
        parse(b"<" + b"x" * 1000 + b"/>", "r")


@pytest.mark.parametrize(
    "body", [b"<r/>", b'<r xmlns="urn:r"/>', b'<n:r xmlns:n="urn:n"/>', b"\xef\xbb\xbf<r/>", b"\r\n<r/>\r\n"]
)
def test_the_root_is_found_whatever_its_name_space(body: bytes) -> None:
    assert parse(body, "r").name == "r"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_a_document_may_name_its_encoding(encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?><r>Jörg</r>'.encode(encoding)
    assert parse(body, "r").text == "Jörg"


def test_children_are_found_by_their_local_name() -> None:
    root = parse(DOCUMENT, "list")
    assert [item.text for item in children(root, "item")] == ["", "first", "last"]
    assert list(children(root, "text")) == []


def test_the_first_child_of_a_name_is_found() -> None:
    root = parse(DOCUMENT, "list")
    found = child(root, "other")
    assert found is not None
    assert found.name == "other"
    assert child(root, "missing") is None


def test_children_of_children_are_not_found() -> None:
    assert child(parse(b"<r><a><b/></a></r>", "r"), "b") is None


def test_an_attribute_is_found_by_its_local_name() -> None:
    root = parse(DOCUMENT, "list")
    assert [attribute(root, name) for name in ("uri", "only", "missing")] == ["sip:a", "three", ""]


def test_an_attribute_without_a_name_space_counts_before_one_with_it() -> None:
    assert attribute(parse(DOCUMENT, "list"), "type") == "two"


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("7", 7), ("0042", 42), ("974859325", 974859325), ("4294967295", 4294967295)]
)
def test_a_decimal_is_a_number(text: str, expected: int) -> None:
    assert number(text, -1) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "+1", "1.0", "0x1", "one", "1 ", "٤", "²", "4294967296", "9999999999", "00000000001", "1_0"]
)
def test_what_is_no_decimal_of_32_bits_is_the_default(text: str) -> None:
    assert number(text, -1) == -1
    assert number(text) == 0


@many
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(
            [b"<r>", b"</r>", b"<r/>", b"<a ", b'x="1"', b">", b"/>", b"&a;", b"&#0;", b"<![CDATA[", b"]]>",
             b"<!DOCTYPE r>", b"<!--", b"-->", b"<?xml version='1.0' encoding='", b"'?>", b"utf-7", b"idna",
             b"xmlns:a='b' ", b"a:", b"\xff\xfe"]
        ),
        max_size=10,
    ).map(b"".join)
)  # fmt: skip
def test_any_octets_are_a_document_or_a_document_error(body: bytes) -> None:
    try:
        root = parse(body, "r")
    except DocumentError:
        return
    assert root.name == "r"


PIECES = st.sampled_from(
    ["<a>", "</a>", "<b:c xmlns:b='urn:b' b:d='1' d='2'>", "</b:c>", "<e xmlns='urn:e'/>", "<f>", "</f>", "text", " ",
     "ö", "&lt;", "&#65;", "<![CDATA[<]]>", "<!-- no -->", "<?no yes?>", "<g h='&quot;'/>", "&unknown;"]
)  # fmt: skip


@many
@given(st.lists(PIECES, max_size=12).map("".join))
def test_what_is_read_is_what_defusedxml_reads(inside: str) -> None:
    body = f"<r>{inside}</r>".encode()
    try:
        theirs = fromstring(body, forbid_dtd=True)
    except (NotXml, DefusedXmlException):
        with pytest.raises(DocumentError):
            parse(body, "r")
    else:
        assert shape(parse(body, "r")) == their_shape(theirs)


def shape(element: Element) -> object:
    return element.space, element.name, element.attributes, element.text, element.tail, [*map(shape, element)]


def their_shape(element: Any) -> object:
    space, _, name = element.tag.rpartition("}")
    attributes = {key.lstrip("{"): value for key, value in element.items()}
    return space[1:], name, attributes, element.text or "", element.tail or "", [*map(their_shape, element)]


@pytest.mark.parametrize("kind", UNTRUSTED)
def test_what_is_refused_defusedxml_refuses_as_well(kind: str) -> None:
    with pytest.raises((NotXml, DefusedXmlException)):
        fromstring(UNTRUSTED[kind], forbid_dtd=True)


def test_all_of_a_document_is_found_in_its_order() -> None:
    root = parse(b"<r><a><b/></a><c/></r>", "r")
    assert [item.name for item in root.iter()] == ["r", "a", "b", "c"]


@pytest.mark.parametrize(("depth", "read"), [(MAX_DEPTH - 2, True), (MAX_DEPTH, False)])
def test_elements_may_stand_so_deep_in_each_other(depth: int, read: bool) -> None:
    body = b"<r>" + b"<a>" * depth + b"</a>" * depth + b"</r>"
    with contextlib.nullcontext() if read else pytest.raises(DocumentError):
        assert len(list(parse(body, "r").iter())) == depth + 1


@pytest.mark.parametrize(("tags", "read"), [(MAX_TAGS - 2, True), (MAX_TAGS - 1, False)])
def test_a_document_may_have_so_many_tags(tags: int, read: bool) -> None:
    body = b"<r>" + b"<a/>" * tags + b"</r>"
    with contextlib.nullcontext() if read else pytest.raises(DocumentError, match="too many elements"):
        assert len(parse(body, "r").children) == tags


@pytest.mark.parametrize("encoding", ["utf-7", "idna", "punycode", "rot13", "undefined", "utf-32", "cp037", "base64"])
def test_an_encoding_that_python_knows_does_no_harm(encoding: str) -> None:
    assert codecs.lookup(encoding)
    try:
        root = parse(b'<?xml version="1.0" encoding="%s"?><r/>' % encoding.encode(), "r")
    except DocumentError:
        return
    assert root.name == "r"


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_deep_nesting_is_read_or_refused_at_once(depth: int) -> None:
    began = time.perf_counter()
    try:
        root = parse(b"<r>" + b"<a>" * depth + b"</a>" * depth + b"</r>", "r")
    except DocumentError:
        root = None
    assert time.perf_counter() - began < HANG
    if root is not None:
        assert [item.name for item in root] == ["a"]


def test_many_attributes_are_read_or_refused_at_once() -> None:
    body = b"<r " + b" ".join(b'a%d=""' % n for n in range(50_000)) + b"/>"
    began = time.perf_counter()
    parse(body, "r")
    assert time.perf_counter() - began < HANG


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
@pytest.mark.parametrize("text", ["0123456789abcdef", "&#48;123456789abcdef", "&#x30;123456789abcdef"])
def test_what_a_document_has_it_may_have(encoding: str, text: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?><r>{text}</r>'.encode(encoding)
    assert parse(body, "r").text == "0123456789abcdef"
    assert may_have(body, "0123456789abcdef")


def test_what_a_plain_document_has_not_it_may_not_have() -> None:
    assert not may_have(b"<r>fedcba9876543210 &amp; &lt;</r>", "0123456789abcdef")
