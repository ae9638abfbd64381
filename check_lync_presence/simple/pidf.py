"""Presence documents (PIDF, RFC 3863): what is published, and whether a notification shows it.

Owns the XML. Must not know messages.
"""

from __future__ import annotations

from itertools import chain

from ..markup import Element, attribute, child, children, escape, parse, quoteattr
from ..sip.uri import same_address

CONTENT_TYPE = "application/pidf+xml"


def document(entity: str, marker: str) -> bytes:
    """An open tuple with `marker` as its note and in its id."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n'
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity={quoteattr(entity)}>'
        f"<tuple id={quoteattr(_tuple_id(marker))}><status><basic>open</basic></status><note>{escape(marker)}</note>"
        "</tuple></presence>"
    ).encode()


def shows(body: bytes, entity: str, marker: str) -> bool:
    """Whether a document is about `entity` and shows what was published with `marker`. Raises DocumentError.

    Servers serialise anew, merge the tuples of several publications and give them other ids: a note with the marker is
    enough, wherever it stands. Where a server has dropped the notes of a tuple, the id tells whose it is.
    """
    root = parse(body, "presence")
    about = attribute(root, "entity")
    if about.lower().startswith("pres:"):
        about = "sip:" + about[len("pres:") :]
    if not same_address(about, entity):
        return False
    tuples = list(children(root, "tuple"))
    notes = chain(children(root, "note"), *(children(item, "note") for item in tuples))
    if any(note.text.strip() == marker for note in notes):
        return True
    return any(
        attribute(item, "id") == _tuple_id(marker) and child(item, "note") is None and _is_open(item) for item in tuples
    )


def _tuple_id(marker: str) -> str:
    # An XML id begins with a letter and has no blanks.
    return "p" + marker.rpartition(" ")[2]


def _is_open(item: Element) -> bool:
    status = child(item, "status")
    basic = child(status, "basic") if status is not None else None
    return basic is not None and basic.text.strip() == "open"
