"""XML of the peer, read without trust: no entities, no document types, names without their name spaces.

Owns the one way in which documents are parsed. Must not know what a document means.
"""

from __future__ import annotations

import pyexpat  # what xml.parsers.expat is, less the import of two packages
import re
from typing import Dict, Iterator, List, Optional

MAX_DEPTH = 100  # of elements in each other; real documents have 6
MAX_TAGS = 50_000  # of a document: an element takes thirty times the room of its tag; real documents have some hundreds

# A document may name its encoding, and expat reaches for any codec of Python's by that name.
_ENCODING = rb"""\s*<\?xml[^>]{0,60}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})"""
_ENCODINGS = (b"utf-8", b"utf-16", b"us-ascii", b"iso-8859-1", b"windows-1252")


class DocumentError(ValueError):
    """The octets are not the XML document that was expected."""


class Element:
    """An element. `text` stands before its first child, `tail` behind the element; attributes with a name space are
    named ``space}name``.
    """

    __slots__ = ("attributes", "children", "name", "space", "tail", "text")

    def __init__(self, space: str, name: str, attributes: Dict[str, str]) -> None:
        self.space = space
        self.name = name
        self.attributes = attributes
        self.children: List[Element] = []
        self.text = ""
        self.tail = ""

    def __iter__(self) -> Iterator[Element]:
        return iter(self.children)

    def iter(self) -> Iterator[Element]:
        """The element and all below it, in the order of the document."""
        yield self
        for item in self.children:
            yield from item.iter()


def parse(body: bytes, root: str) -> Element:
    """The document's root element, whose local name must be `root`. Raises DocumentError.

    The size is bounded by the framer's MAX_BODY; document types are refused and with them all entities, so nothing
    expands and nothing is fetched.
    """
    try:
        named = re.match(_ENCODING, body) if b"<?xml" in body else None
        if named is not None and named.group(1).lower() not in _ENCODINGS:
            raise ValueError("it names an encoding that no server uses")
        if body.count(b"<") > MAX_TAGS:
            raise ValueError("it has too many elements")
        element = _read(body)
    except (pyexpat.ExpatError, ValueError, LookupError) as error:
        reason = pyexpat.ErrorString(error.code) if isinstance(error, pyexpat.ExpatError) else error
        raise DocumentError(f"not a readable XML document: {reason}") from None
    if element.name != root:
        raise DocumentError(f"an XML document <{element.name[:40]}> where <{root}> belongs")
    return element


def _read(body: bytes) -> Element:
    """The root element. Raises ExpatError, ValueError, LookupError."""
    # Not defusedxml, which refuses document types by this very handler: it loads ElementTree twice, a twentieth of what
    # a check costs, and builds its trees at half this speed.
    above = [Element("", "", {})]

    def start(tag: str, attributes: Dict[str, str]) -> None:
        space, _, name = tag.rpartition("}")
        element = Element(space, name, attributes)
        above[-1].children.append(element)
        above.append(element)
        if len(above) > MAX_DEPTH:
            raise ValueError("its elements are too deep in each other")

    def end(_: str) -> None:
        above.pop()

    def data(text: str) -> None:
        here = above[-1]
        if here.children:
            here.children[-1].tail += text
        else:
            here.text += text

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type")

    parser = pyexpat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(body, True)
    return above[0].children[0]


def may_have(body: bytes, text: str) -> bool:
    """Whether a document may have `text`, letters and digits, in it: no, where it would stand there as it is.

    Far cheaper than to parse it, and most of what a busy pool tells is about others.
    """
    return text.encode() in body or b"&#" in body or b"\0" in body  # character references, UTF-16


def children(element: Element, name: str) -> Iterator[Element]:
    """The direct children of that local name."""
    return (found for found in element if found.name == name)


def child(element: Element, name: str) -> Optional[Element]:
    """The first direct child of that local name."""
    return next(children(element, name), None)


def attribute(element: Element, name: str) -> str:
    """An attribute by its local name, ``""`` where it is absent."""
    value = element.attributes.get(name)
    if value is None:
        value = next((text for key, text in element.attributes.items() if key.rpartition("}")[2] == name), "")
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
