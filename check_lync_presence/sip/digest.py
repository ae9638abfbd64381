"""Digest authentication for SIP (RFC 7616, RFC 8760, RFC 3261 section 22).

Owns the answer to a challenge: algorithms MD5, SHA-256 and SHA-512-256, their -sess forms, quality "auth" or none.
Must not know which request is sent again. Random values are handed in.
"""

from __future__ import annotations

import hashlib
import re
from typing import Dict, Optional, Sequence

from ..value import NamedTuple

_PARAM = re.compile(r'(?<![A-Za-z0-9_-])([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))')
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_ALGORITHMS = {"md5": "md5", "sha-256": "sha256", "sha-512-256": "sha512_256"}


class DigestError(ValueError):
    """No challenge can be answered; the text says why."""


class Challenge(NamedTuple):
    """A challenge that can be answered. `algorithm` as the server wrote it, ``""`` where it wrote none."""

    realm: str
    nonce: str
    opaque: Optional[str]
    algorithm: str
    qop: bool
    stale: bool


def choose(values: Sequence[str]) -> Challenge:
    """The first of several challenge headers that can be answered: servers put their preference first (RFC 8760 2.4).

    Raises DigestError.
    """
    reasons = []
    for value in values:
        scheme, _, rest = _CONTROLS.sub(" ", value).strip().partition(" ")
        if scheme.lower() != "digest":
            reasons.append(f"the scheme {scheme[:20]}")
            continue
        # What was quoted stays escaped as the server wrote it: it is hashed and sent back like that (RFC 7616 3.4).
        params = {name.lower(): quoted or _escape(plain) for name, quoted, plain in _PARAM.findall(rest)}
        algorithm = params.get("algorithm", "")
        if _base(algorithm) not in _ALGORITHMS:
            reasons.append(f"algorithm {algorithm[:20]}")
            continue
        qualities = [item.strip().lower() for item in params.get("qop", "").split(",") if item.strip()]
        if qualities and "auth" not in qualities:
            reasons.append("qop auth-int only")
            continue
        if not params.get("nonce"):
            reasons.append("a challenge without nonce")
            continue
        return Challenge(
            params.get("realm", ""),
            params["nonce"],
            params.get("opaque"),
            algorithm,
            bool(qualities),
            params.get("stale", "").lower() == "true",
        )
    raise DigestError(", ".join(reasons) or "no challenge")


def credentials(challenge: Challenge, method: str, uri: str, user: str, password: str, count: int, cnonce: str) -> str:
    """The credentials header's value. `uri` is the Request-URI as written; `count`: uses of the nonce, from 1."""
    name = _ALGORITHMS[_base(challenge.algorithm)]

    def digest(text: str) -> str:
        return hashlib.new(name, text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()

    first = digest(f"{user}:{challenge.realm}:{password}")
    if challenge.algorithm.lower().endswith("-sess"):
        first = digest(f"{first}:{challenge.nonce}:{cnonce}")
    second = digest(f"{method}:{uri}")
    nc = f"{count:08x}"
    middle = f"{challenge.nonce}:{nc}:{cnonce}:auth" if challenge.qop else challenge.nonce
    quoted: Dict[str, str] = {
        "username": _escape(user),
        "realm": challenge.realm,
        "nonce": challenge.nonce,
        "uri": _escape(uri),
        "response": digest(f"{first}:{middle}:{second}"),
    }
    if challenge.opaque is not None:
        quoted["opaque"] = challenge.opaque
    if challenge.qop:
        quoted["cnonce"] = cnonce
    parts = [f'{key}="{value}"' for key, value in quoted.items()]
    parts += [f"algorithm={challenge.algorithm}"] if challenge.algorithm else []
    parts += ["qop=auth", f"nc={nc}"] if challenge.qop else []
    return "Digest " + ", ".join(parts)


def _base(algorithm: str) -> str:
    name = (algorithm or "MD5").lower()
    return name[: -len("-sess")] if name.endswith("-sess") else name


def _escape(value: str) -> str:
    """What stands between the quotes of a quoted-string (RFC 3261 25.1), which has no control characters."""
    return re.sub(r'(["\\])', r"\\\1", _CONTROLS.sub("", value))
