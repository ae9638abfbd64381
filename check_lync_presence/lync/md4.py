"""MD4 (RFC 1320), for NTLM's password hash only.

OpenSSL 3 keeps MD4 in a provider that is off by default, and importing a package for one hash of a password
costs half of what starting this program costs: so it stands here.
"""

from __future__ import annotations

import struct

_ROUND1 = (3, 7, 11, 19)
_ROUND2 = (3, 5, 9, 13)
_ROUND3 = (3, 9, 11, 15)
_ORDER2 = (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
_ORDER3 = (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)
_MASK = 0xFFFFFFFF


def md4(data: bytes) -> bytes:
    """The 16 octet MD4 digest of `data`."""
    padded = data + b"\x80" + b"\0" * ((55 - len(data)) % 64) + struct.pack("<Q", len(data) * 8)
    state = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
    for offset in range(0, len(padded), 64):
        x = struct.unpack_from("<16I", padded, offset)
        a, b, c, d = state
        for i in range(16):
            a, b, c, d = d, _rotate(a + ((b & c) | (~b & d)) + x[i], _ROUND1[i % 4]), b, c
        for i in range(16):
            mixed = (b & c) | (b & d) | (c & d)
            a, b, c, d = d, _rotate(a + mixed + x[_ORDER2[i]] + 0x5A827999, _ROUND2[i % 4]), b, c
        for i in range(16):
            a, b, c, d = d, _rotate(a + (b ^ c ^ d) + x[_ORDER3[i]] + 0x6ED9EBA1, _ROUND3[i % 4]), b, c
        state = tuple((old + new) & _MASK for old, new in zip(state, (a, b, c, d)))  # type: ignore[assignment]
    return struct.pack("<4I", *state)


def _rotate(value: int, bits: int) -> int:
    value &= _MASK
    return (value << bits | value >> (32 - bits)) & _MASK
