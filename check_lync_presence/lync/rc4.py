"""RC4 (as RFC 6229 tests it), for NTLM's key exchange and message signatures only.

It encrypts one session key and eight octets a message; current OpenSSL has no RC4 switched on.
"""

from __future__ import annotations


def rc4(key: bytes, data: bytes) -> bytes:
    """`data` under the RC4 key stream of `key` from its first octet on; encrypts and decrypts."""
    state = list(range(256))
    j = 0
    for i, octet in enumerate((key * (256 // len(key) + 1))[:256]):
        value = state[i]
        j = (j + value + octet) & 255
        state[i] = state[j]
        state[j] = value
    out = bytearray()
    i = j = 0
    for octet in data:
        i = (i + 1) & 255
        j = (j + state[i]) & 255
        state[i], state[j] = state[j], state[i]
        out.append(octet ^ state[(state[i] + state[j]) & 255])
    return bytes(out)
