"""Presence documents of a SIMPLE server (RFC 3863): what was published is read, and several publications become one.

Owns the XML, and shares nothing of it with the check but the parser. Must not know who may see what.
"""

from __future__ import annotations

from typing import Iterable, List, NamedTuple, Set, Tuple

from ..markup import DocumentError, Element, attribute, children, escape, parse, quoteattr
from .xmltext import text_of

CONTENT_TYPE = "application/pidf+xml"
NS = "urn:ietf:params:xml:ns:pidf"
MAX_TUPLES = 50  # of one publication


class Document(NamedTuple):
    """What somebody published: (id, XML text) of each tuple, and the XML text of notes and extensions behind them."""

    tuples: Tuple[Tuple[str, str], ...]
    others: Tuple[str, ...]


def read(body: bytes) -> Document:
    """A published document. Raises DocumentError."""
    root = parse(body, "presence")
    tuples = tuple(children(root, "tuple"))
    if len(tuples) > MAX_TUPLES or not all(attribute(item, "id") for item in tuples):
        raise DocumentError("too many tuples, or one without id")
    return Document(
        tuple((attribute(item, "id"), _inside(item)) for item in tuples),
        tuple(_inside(item) for item in root if item.name != "tuple"),
    )


def presence_of(contacts: Iterable[str]) -> Document:
    """What a registrar knows of a user: he is open where he is registered, or closed."""
    tuples = [
        (f"contact{number}", f'<tuple id="contact{number}">{_status("open")}<contact>{escape(uri)}</contact></tuple>')
        for number, uri in enumerate(contacts, 1)
    ]
    return Document(tuple(tuples) or (("nobody", f'<tuple id="nobody">{_status("closed")}</tuple>'),), ())


def note(text: str) -> Document:
    """A document of one note."""
    return Document((("note", f'<tuple id="note">{_status("open")}<note>{escape(text)}</note></tuple>'),), ())


def compose(entity: str, documents: Iterable[Document]) -> bytes:
    """One document of several (RFC 3903 section 6 leaves the how to us): all tuples, each id once, then all others."""
    tuples: List[str] = []
    others: List[str] = []
    taken: Set[str] = set()
    for document in documents:
        for name, text in document.tuples:
            free = name
            while free in taken:
                free += "x"
            taken.add(free)
            tuples.append(text.replace(f"id={quoteattr(name)}", f"id={quoteattr(free)}", 1))
        others += document.others
    inner = "".join(tuples + others)
    return f'<?xml version="1.0"?>\n<presence xmlns="{NS}" entity={quoteattr(entity)}>{inner}</presence>\n'.encode()


def _inside(element: Element) -> str:
    """The element as it stands in a document of ours."""
    return text_of(element, NS)


def _status(basic: str) -> str:
    return f"<status><basic>{basic}</basic></status>"
