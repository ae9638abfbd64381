"""XML as text: elements of a client's document inside a document of ours, and the document that no reader survives.

Must not know what a document means.
"""

from __future__ import annotations

from ..markup import DocumentError, Element, escape, quoteattr

XML = "http://www.w3.org/XML/1998/namespace"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
MAX_DEPTH = 20  # of elements in a publication


def text_of(element: Element, inherited: str = "", depth: int = 0) -> str:
    """The element as XML text that stands on its own, name spaces declared where they change."""
    if depth > MAX_DEPTH:
        raise DocumentError("elements too deep in each other")
    name = element.name
    head = f"<{name} xmlns={quoteattr(element.space)}" if element.space != inherited else f"<{name}"
    for number, (key, value) in enumerate(element.attributes.items()):
        attribute_space, _, attribute_name = key.rpartition("}")
        if attribute_space == XML:
            head += f" xml:{attribute_name}={quoteattr(value)}"
        elif attribute_space:
            prefix = "xsi" if attribute_space == XSI else f"a{number}"
            head += f" xmlns:{prefix}={quoteattr(attribute_space)} {prefix}:{attribute_name}={quoteattr(value)}"
        else:
            head += f" {attribute_name}={quoteattr(value)}"
    inner = escape(element.text)
    for item in element:
        inner += text_of(item, element.space, depth + 1) + escape(item.tail)
    return f"{head}>{inner}</{name}>" if inner else f"{head}/>"


def bomb(root: str) -> bytes:
    """A document <`root`> of a few hundred octets that becomes ten gigabytes where entities are expanded."""
    entities = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE {root} [<!ENTITY e0 "0123456789">{entities}]><{root}>&e9;</{root}>'.encode()
