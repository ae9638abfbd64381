"""SIP addresses: URIs (RFC 3261 19.1) and the header values that carry them (RFC 3261 20.10).

Owns their grammar as far as a presence client needs it. Must not know what a parameter means to a dialect.
"""

from __future__ import annotations

import functools
import re
from typing import Dict, Optional, Tuple

from ..value import NamedTuple

_PARAM = re.compile(r';\s*([^\s;=,"]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^;,]*))?')
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[^:@\[\]\s<>\"]+)(?::([0-9]{1,5}))?\Z")
_USER = re.compile(r"[^\s@<>\"]+\Z")


class AddressError(ValueError):
    """The text is not a SIP address."""


class SipUri(NamedTuple):
    """A ``sip:`` or ``sips:`` URI. `host` has no brackets, `params` are lower-case names with raw values."""

    scheme: str
    user: str
    host: str
    port: Optional[int]
    params: Dict[str, str]

    @property
    def aor(self) -> str:
        """The address of record: scheme, user and host, without port and parameters."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}:{self.user}@{host}" if self.user else f"{self.scheme}:{host}"


class NameAddr(NamedTuple):
    """A From, To, Contact … value: the URI between the brackets as written, and the header parameters behind it."""

    uri: str
    params: Dict[str, str]

    @property
    def tag(self) -> str:
        return self.params.get("tag", "")


def parse_uri(text: str) -> SipUri:
    """Read a sip: or sips: URI. Raises AddressError."""
    scheme, colon, rest = text.strip().partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in ("sip", "sips"):
        raise AddressError("not a sip: or sips: URI")
    # In front of the @ also ; and ? belong to the user (RFC 3261 25.1).
    user, at, rest = rest.partition("@") if "@" in rest else ("", "", rest)
    host_port, *raw_params = rest.partition("?")[0].split(";")
    if at and not _USER.match(user):
        raise AddressError("the user part of the SIP URI is empty or has characters that do not belong there")
    match = _HOST_PORT.match(host_port)
    if match is None:
        raise AddressError("the SIP URI has no host")
    port = int(match.group(2)) if match.group(2) else None
    if port is not None and not 0 < port < 65536:
        raise AddressError("the port of the SIP URI is out of range")
    params = {}
    for param in raw_params:
        name, _, value = param.partition("=")
        params[name.strip().lower()] = value
    return SipUri(scheme, user, match.group(1).strip("[]"), port, params)


@functools.lru_cache(maxsize=128)  # the same From and To come again with every message
def parse_name_addr(value: str) -> NameAddr:
    """Read a From, To, Contact, Route … value. Raises AddressError."""
    start = _bracket(value)
    if start is not None:
        end = value.find(">", start)
        if end < 0:
            raise AddressError("an address with < and without >")
        uri, rest = value[start + 1 : end].strip(), value[end + 1 :]
    else:
        # RFC 3261 20.10: without brackets everything from the first semicolon on is a header parameter.
        uri, semicolon, tail = value.partition(";")
        uri, rest = uri.strip(), semicolon + tail
    if not uri:
        raise AddressError("an empty address")
    if len(uri.split(None, 1)) > 1:  # it would break the request line that it becomes
        raise AddressError("an address with a blank in it")
    params = {}
    for match in _PARAM.finditer(rest):
        raw = (match.group(2) or "").strip()
        params[match.group(1).lower()] = raw[1:-1] if raw[:1] == '"' else raw
    return NameAddr(uri, params)


def split_list(value: str) -> Tuple[str, ...]:
    """Split a comma separated header value (Contact, Route) outside quotes and brackets."""
    if "," not in value:
        return (value.strip(),) if value.strip() else ()
    parts, depth, quoted, escaped, start = [], 0, False, False, 0
    for index, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char == "<":
            depth += 1
        elif char == ">":
            depth = max(0, depth - 1)
        elif char == "," and not depth:
            parts.append(value[start:index].strip())
            start = index + 1
    parts.append(value[start:].strip())
    return tuple(part for part in parts if part)


def same_address(one: str, other: str) -> bool:
    """Whether two URIs name the same user: scheme and host without case, parameters left out (RFC 3261 19.1.4)."""
    try:
        a, b = parse_uri(one), parse_uri(other)
    except AddressError:
        return False
    # Active Directory compares SIP addresses without case, also the user part.
    return a.user.lower() == b.user.lower() and a.host.lower() == b.host.lower()


def _bracket(value: str) -> Optional[int]:
    """Where the < of a name-addr stands: the first one outside a quoted display name."""
    quoted = escaped = False
    for index, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char == "<":
            return index
    return None
