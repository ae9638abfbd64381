"""Digest as a server does it (RFC 7616, RFC 8760): nonces, challenges, and whether an answer proves the password.

Computes everything by itself: a mistake of the check's own ``sip.digest`` would not show if both made it. Must not know
what a request asks for.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from enum import Enum
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from .faults import Faults

NONCE_LIFE = 300.0  # seconds
MAX_NONCES = 1000  # that are remembered; the oldest are stale before their time
OFFERED = ("SHA-256", "MD5")  # the preferred one first (RFC 8760 2.4)

_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
_PARAM = re.compile(r'([a-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.IGNORECASE)
_COUNT = re.compile(r"[0-9a-f]{8}\Z")


class Verdict(Enum):
    """What credentials are worth. STALE: the password is right, and the nonce has had its day."""

    NONE = "none"
    WRONG = "wrong"
    STALE = "stale"
    RIGHT = "right"


class Claim(NamedTuple):
    """Whom the credentials must be of: the user's name for Digest, the realm, the password."""

    user: str
    realm: str
    password: str


class Digest:
    """The nonces of a pool, all front ends together. `token(n)` gives n random hexadecimal digits."""

    def __init__(self, token: Callable[[int], str]) -> None:
        self._token = token
        self._opaque = token(32)
        self._nonces: Dict[str, Tuple[float, int]] = {}  # since when, and the highest count that was used

    def challenges(self, realm: str, faults: Faults, stale: bool, now: float) -> List[str]:
        """The values of the challenge headers: one for each algorithm that is offered."""
        nonce = self._token(32)
        self._nonces[nonce] = (now, 0)
        while len(self._nonces) > MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        common = f'Digest realm="{realm}", nonce="{nonce}", opaque="{self._opaque}", qop="auth"'
        ending = ", stale=true" if stale else ""
        return [f"{common}, algorithm={algorithm}{ending}" for algorithm in _offered(faults)]

    def judge(
        self, values: Tuple[str, ...], method: str, uri: str, claim: Claim, faults: Faults, now: float
    ) -> Verdict:
        """What the credentials headers of a request (`method`, Request-URI `uri`) prove of `claim`."""
        given = next((found for found in map(_read, values) if found.get("realm") == claim.realm), None)
        if given is None:
            return Verdict.NONE
        expected = _response(given, method, claim)
        genuine = (given.get("username"), given.get("uri"), given.get("opaque")) == (claim.user, uri, self._opaque)
        offered = given.get("algorithm", "MD5").upper() in _offered(faults)
        if expected is None or not genuine or not offered:
            return Verdict.WRONG
        if not hmac.compare_digest(given.get("response", "").encode(errors="replace"), expected.encode()):
            return Verdict.WRONG
        nonce, count = given["nonce"], int(given["nc"], 16)
        since, used = self._nonces.get(nonce, (-NONCE_LIFE, 0))
        if now > since + NONCE_LIFE or count <= used:
            return Verdict.STALE
        self._nonces[nonce] = (since, count)
        if "stale-nonce" in faults:
            del self._nonces[nonce]
        return Verdict.RIGHT


def _offered(faults: Faults) -> Tuple[str, ...]:
    chosen = faults.value("digest-algorithm")
    return (chosen,) if chosen else OFFERED


def _read(value: str) -> Dict[str, str]:
    """The parameters of a Digest credentials header, nothing of other schemes."""
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "digest":
        return {}
    found = {}
    for name, quoted, plain in _PARAM.findall(rest):
        found[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) or plain
    return found


def _response(given: Dict[str, str], method: str, claim: Claim) -> Optional[str]:
    """The response that belongs to the given nonce, count and cnonce; None where one of them is missing."""
    algorithm = _HASHES.get(given.get("algorithm", "MD5").upper())
    nonce, count, cnonce = given.get("nonce"), given.get("nc", ""), given.get("cnonce")
    if algorithm is None or not nonce or not cnonce or not _COUNT.match(count) or given.get("qop") != "auth":
        return None

    def h(*parts: str) -> str:
        data = ":".join(parts).encode("utf-8", "surrogateescape")
        return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()

    secret, request = h(claim.user, claim.realm, claim.password), h(method, given.get("uri", ""))
    return h(secret, nonce, count, cnonce, "auth", request)
