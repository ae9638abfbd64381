"""Presence documents (PIDF, RFC 3863): what is published, and whether a notification shows it.

Owns the XML. Must not know messages.
"""

from __future__ import annotations

from typing import Set

from ..markup import attribute, children, escape, parse, quoteattr
from ..sip.uri import same_address

CONTENT_TYPE = "application/pidf+xml"


def document(entity: str, marker: str, tuple_id: str) -> bytes:
    """An open tuple with `marker` as its note; `tuple_id` begins with a letter."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n'
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity={quoteattr(entity)}>'
        f"<tuple id={quoteattr(tuple_id)}><status><basic>open</basic></status><note>{escape(marker)}</note></tuple>"
        "</presence>"
    ).encode()


def notes(body: bytes, entity: str) -> Set[str]:
    """The notes of a document about `entity`; none where it is about somebody else. Raises DocumentError.

    Servers serialise anew, merge the tuples of several publications and give them other ids: the note is what counts.
    """
    root = parse(body, "presence")
    about = attribute(root, "entity")
    if about.lower().startswith("pres:"):
        about = "sip:" + about[len("pres:") :]
    if not same_address(about, entity):
        return set()
    found = [note for item in children(root, "tuple") for note in children(item, "note")]
    found += list(children(root, "note"))
    return {(note.text or "").strip() for note in found}
