"""XML of the peer, read without trust: no entities, no document types, names without their name spaces.

Owns the one way in which documents are parsed. Must not know what a document means.
"""

from __future__ import annotations

import re
from typing import Iterator, Optional
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

__all__ = [
    "DocumentError",
    "Element",
    "attribute",
    "child",
    "children",
    "escape",
    "local",
    "may_have",
    "number",
    "parse",
    "quoteattr",
]

# A document may name its encoding, and expat reaches for any codec of Python's by that name.
_ENCODING = rb"""\s*<\?xml[^>]{0,60}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})"""
_ENCODINGS = (b"utf-8", b"utf-16", b"us-ascii", b"iso-8859-1", b"windows-1252")


class DocumentError(ValueError):
    """The octets are not the XML document that was expected."""


def parse(body: bytes, root: str) -> Element:
    """The document's root element, whose local name must be `root`. Raises DocumentError.

    The size is bounded by the framer's MAX_BODY; entities and document types are refused, so nothing expands.
    """
    try:
        named = re.match(_ENCODING, body) if b"<?xml" in body else None
        if named is not None and named.group(1).lower() not in _ENCODINGS:
            raise ValueError("an encoding that no server uses")
        element: Element = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise DocumentError(f"not a readable XML document ({type(error).__name__})") from None
    if local(element) != root:
        raise DocumentError(f"an XML document <{local(element)[:40]}> where <{root}> belongs")
    return element


def may_have(body: bytes, text: str) -> bool:
    """Whether a document may have `text`, letters and digits, in it: no, where it would stand there as it is.

    Far cheaper than to parse it, and most of what a busy pool tells is about others.
    """
    return text.encode() in body or b"&#" in body or b"\0" in body  # character references, UTF-16


def local(element: Element) -> str:
    """The element's name without its name space: servers differ in the name spaces they write."""
    return str(element.tag).rpartition("}")[2]


def children(element: Element, name: str) -> Iterator[Element]:
    """The direct children of that local name."""
    return (found for found in element if local(found) == name)


def child(element: Element, name: str) -> Optional[Element]:
    """The first direct child of that local name."""
    return next(children(element, name), None)


def attribute(element: Element, name: str) -> str:
    """An attribute by its local name, ``""`` where it is absent."""
    value = element.get(name)
    if value is None:
        value = next((text for key, text in element.items() if key.rpartition("}")[2] == name), "")
    return value


def number(text: str, default: int = 0) -> int:
    """An unsigned decimal of at most 32 bits, `default` for anything else."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else -1
    return value if 0 <= value < 2**32 else default


def escape(text: str) -> str:
    """Text as element content. (xml.sax.saxutils does this and imports all of urllib and email on the way.)"""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quoteattr(text: str) -> str:
    """Text as an attribute's value, quotes included."""
    return '"' + escape(text).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;") + '"'
