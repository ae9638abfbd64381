"""NTLMv2 in connectionless mode, as MS-SIPAE uses it (MS-NLMP sections 2.2, 3.1.5.2, 3.3.2, 3.4).

Owns the tokens CHALLENGE (type 2) and AUTHENTICATE (type 3), the keys that follow from them, and the message
signature. There is no NEGOTIATE message and the sequence number of every signature is the constant 100.
Must not know SIP. Both ends of the wire use it: the check builds AUTHENTICATE, a server reads it.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import struct
from typing import Dict, Optional

from ..value import NamedTuple
from .md4 import md4
from .rc4 import rc4

SIGNATURE = b"NTLMSSP\0"
SEQUENCE = 100  # MS-SIPAE: the application's choice in connectionless mode, the same in both directions
MAX_TOKEN = 16 * 1024  # a token is some 400 octets; the largest field is 64 kB by its length, nothing real comes near

# MS-NLMP 2.2.2.5
UNICODE = 0x00000001
REQUEST_TARGET = 0x00000004
SIGN = 0x00000010
DATAGRAM = 0x00000040
NTLM = 0x00000200
ALWAYS_SIGN = 0x00008000
EXTENDED_SESSIONSECURITY = 0x00080000
IDENTIFY = 0x00100000
TARGET_INFO = 0x00800000
VERSION = 0x02000000
KEY_128 = 0x20000000
KEY_EXCH = 0x40000000
KEY_56 = 0x80000000

_WANTED = (
    UNICODE | SIGN | DATAGRAM | NTLM | ALWAYS_SIGN | EXTENDED_SESSIONSECURITY | IDENTIFY | TARGET_INFO
    | VERSION | KEY_128 | KEY_EXCH | KEY_56
)  # fmt: skip
# 128 is not optional: front ends refuse a session without it as if the password were wrong.
_REQUIRED = {
    "UNICODE": UNICODE,
    "NTLM": NTLM,
    "ALWAYS_SIGN": ALWAYS_SIGN,
    "EXTENDED_SESSIONSECURITY": EXTENDED_SESSIONSECURITY,
    "TARGET_INFO": TARGET_INFO,
    "KEY_EXCH": KEY_EXCH,
    "128 bit keys": KEY_128,
}

# MS-NLMP 2.2.2.1
AV_EOL = 0
AV_NB_COMPUTER = 1
AV_NB_DOMAIN = 2
AV_DNS_COMPUTER = 3
AV_DNS_DOMAIN = 4
AV_DNS_TREE = 5
AV_FLAGS = 6
AV_TIMESTAMP = 7
AV_TARGET_NAME = 9
AV_CHANNEL_BINDINGS = 10
AV_FLAG_MIC = 2

# Windows 6.1 build 7601, NTLM revision 15 (MS-NLMP 2.2.2.10); what a client of Lync's time says.
VERSION_BYTES = bytes.fromhex("0601b11d0000000f")

_FILETIME_EPOCH = 11644473600  # seconds from 1601 to 1970


class NtlmError(ValueError):
    """The peer's token is malformed or offers less than the protocol demands; the text says what."""


class Challenge(NamedTuple):
    """A CHALLENGE token: `raw` as received, 8 octets of `server_challenge`, `target_info` as AV pairs."""

    raw: bytes
    flags: int
    server_challenge: bytes
    target_info: bytes

    @property
    def timestamp(self) -> Optional[bytes]:
        """The server's FILETIME (8 octets, little-endian), or None."""
        return parse_av_pairs(self.target_info).get(AV_TIMESTAMP)


class Authenticate(NamedTuple):
    """An AUTHENTICATE token, taken apart. `mic` is None in the form without one."""

    raw: bytes
    flags: int
    lm_response: bytes
    nt_response: bytes
    domain: str
    user: str
    workstation: str
    encrypted_key: bytes
    mic: Optional[bytes]


class SessionKeys(NamedTuple):
    """One direction's signing and sealing key, 16 octets each (MS-NLMP 3.4.5)."""

    signing: bytes
    sealing: bytes

    def mac(self, text: bytes, sequence: int = SEQUENCE) -> bytes:
        """The 16 octet signature of `text` in connectionless mode with key exchange (MS-NLMP 3.4.4.2)."""
        number = struct.pack("<I", sequence)
        checksum = int.from_bytes(_hmac_md5(self.signing, number + text)[:8], "little")
        sealed = (checksum ^ _key_stream(self.sealing, number)).to_bytes(8, "little")
        return b"\x01\0\0\0" + sealed + number

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is that of `text` under this key."""
        return hmac.compare_digest(self.mac(text), signature)


class Credentials(NamedTuple):
    """A logon name taken apart, and its password."""

    user: str
    domain: str
    password: str


def split_logon_name(name: str) -> tuple[str, str]:
    """``DOMAIN\\name`` → (name, DOMAIN); a UPN stays whole and has no domain (MS-NLMP 2.2.1.3)."""
    domain, backslash, user = name.partition("\\")
    return (user, domain) if backslash else (name, "")


@functools.lru_cache(maxsize=8)  # the same two users sign in at each front end
def ntowf_v2(credentials: Credentials) -> bytes:
    """The NTLMv2 hash of a password: 16 octets (MS-NLMP 3.3.2 NTOWFv2)."""
    nt_hash = md4(credentials.password.encode("utf-16-le", "surrogatepass"))
    return _hmac_md5(nt_hash, _utf16(_upper(credentials.user) + credentials.domain))


def session_keys(exported_key: bytes, direction: str) -> SessionKeys:
    """Keys of one direction, ``"client-to-server"`` or ``"server-to-client"``, with 128 bit keys (MS-NLMP 3.4.5.2)."""
    magic = f"session key to {direction} %s key magic constant\0"
    return SessionKeys(
        _md5(exported_key + (magic % "signing").encode()), _md5(exported_key + (magic % "sealing").encode())
    )


def filetime(unix_seconds: float) -> bytes:
    """A Unix time as an 8 octet FILETIME."""
    return struct.pack("<Q", int((unix_seconds + _FILETIME_EPOCH) * 10_000_000))


def parse_av_pairs(data: bytes) -> Dict[int, bytes]:
    """AV pairs by id; the list must end with MsvAvEOL, what stands behind it does not count. Raises NtlmError."""
    pairs: Dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, offset)
        offset += 4
        if kind == AV_EOL:
            return pairs
        if offset + length > len(data):
            break
        pairs[kind] = data[offset : offset + length]
        offset += length
    raise NtlmError("the target information of the NTLM token is cut short")


def build_av_pairs(pairs: Dict[int, bytes]) -> bytes:
    """AV pairs in the order given, MsvAvEOL behind them. Raises NtlmError."""
    return b"".join(struct.pack("<HH", kind, _size(value)) + value for kind, value in pairs.items()) + b"\0\0\0\0"


def parse_challenge(token: bytes) -> Challenge:
    """Read a CHALLENGE token and insist on what a Lync sign-in needs. Raises NtlmError."""
    _check_kind(token, 2, 48)
    (flags,) = struct.unpack_from("<I", token, 20)
    missing = [name for name, bit in _REQUIRED.items() if not flags & bit]
    if missing:
        raise NtlmError("the NTLM challenge does not offer " + ", ".join(missing))
    target_info = _field(token, 40)
    if len(parse_av_pairs(target_info).get(AV_TIMESTAMP, bytes(8))) != 8:
        raise NtlmError("the time in the NTLM challenge is malformed")
    return Challenge(token, flags, token[24:32], target_info)


def build_challenge(flags: int, server_challenge: bytes, target_info: bytes) -> Challenge:
    """A server's CHALLENGE token with an empty target name, as front ends send it (MS-NLMP 2.2.1.2)."""
    raw = (
        SIGNATURE
        + struct.pack("<IHHII", 2, 0, 0, 56, flags)
        + server_challenge
        + b"\0" * 8
        + struct.pack("<HHI", len(target_info), len(target_info), 56)
        + VERSION_BYTES
        + target_info
    )
    return Challenge(raw, flags, server_challenge, target_info)


def nt_response(response_key: bytes, challenge: bytes, temp: bytes) -> tuple[bytes, bytes]:
    """(NTProofStr, session base key) for the NTOWFv2 `response_key` (MS-NLMP 3.3.2)."""
    proof = _hmac_md5(response_key, challenge + temp)
    return proof, _hmac_md5(response_key, proof)


def build_authenticate(
    challenge: Challenge,
    credentials: Credentials,
    workstation: str,
    client_challenge: bytes,
    exported_key: bytes,
    now: bytes,
    mic_for: Optional[str] = None,
    version: bytes = VERSION_BYTES,
) -> bytes:
    """The AUTHENTICATE token for `challenge`; `exported_key` (16 random octets) becomes the session key.

    `client_challenge` are 8 random octets; `now` is a FILETIME, used where the challenge has none. With `mic_for`, a
    service principal name, the token carries a MIC (MS-NLMP 3.1.5.2.1: flags, channel bindings and target name
    among the AV pairs, no LM response); without it, it is what Communicator and pidgin-sipe send. Raises NtlmError when
    a field does not hold what the server made it of.
    """
    flags = challenge.flags & _WANTED | REQUEST_TARGET
    if flags & KEY_128:
        flags &= ~KEY_56
    response_key = ntowf_v2(credentials)
    target_info = challenge.target_info
    if mic_for is not None:
        pairs = parse_av_pairs(target_info)
        pairs[AV_FLAGS] = struct.pack("<I", AV_FLAG_MIC)
        pairs[AV_CHANNEL_BINDINGS] = b"\0" * 16
        pairs[AV_TARGET_NAME] = _utf16(mic_for)
        target_info = build_av_pairs(pairs)
        lm_response = b""
    else:
        lm_proof = _hmac_md5(response_key, challenge.server_challenge + client_challenge)
        lm_response = lm_proof + client_challenge
    time = challenge.timestamp or now
    temp = b"\x01\x01" + b"\0" * 6 + time + client_challenge + b"\0" * 4 + target_info + b"\0" * 4
    proof, base_key = nt_response(response_key, challenge.server_challenge, temp)

    fields = (
        _utf16(credentials.domain),
        _utf16(credentials.user),
        _utf16(workstation),
        lm_response,
        proof + temp,
        rc4(base_key, exported_key),
    )
    offset = 72 if mic_for is None else 88
    places = []
    for value in fields:
        size = _size(value)
        places.append(struct.pack("<HHI", size, size, offset))
        offset += len(value)
    domain_at, user_at, workstation_at, lm_at, nt_at, key_at = places
    head = (
        SIGNATURE
        + struct.pack("<I", 3)
        + (lm_at + nt_at + domain_at + user_at + workstation_at + key_at)
        + struct.pack("<I", flags)
        + version
    )
    payload = b"".join(fields)
    if mic_for is None:
        return head + payload
    return head + message_integrity(exported_key, challenge.raw, head + b"\0" * 16 + payload) + payload


def message_integrity(exported_key: bytes, challenge: bytes, authenticate: bytes) -> bytes:
    """The MIC over CHALLENGE and AUTHENTICATE with its MIC zeroed: no NEGOTIATE in connectionless mode."""
    return _hmac_md5(exported_key, challenge + authenticate)


def parse_authenticate(token: bytes) -> Authenticate:
    """Read an AUTHENTICATE token. Raises NtlmError."""
    _check_kind(token, 3, 72)
    response = _field(token, 20)
    if len(response) < 44:
        raise NtlmError("the NTLM response is not of version 2")
    (av_flags,) = struct.unpack("<I", parse_av_pairs(response[44:]).get(AV_FLAGS, b"\0\0\0\0")[:4].ljust(4, b"\0"))
    has_mic = bool(av_flags & AV_FLAG_MIC)
    if has_mic and len(token) < 88:
        raise NtlmError("the NTLM token has no room for its MIC")
    (flags,) = struct.unpack_from("<I", token, 60)
    return Authenticate(
        raw=token,
        flags=flags,
        lm_response=_field(token, 12),
        nt_response=response,
        domain=_field(token, 28).decode("utf-16-le", "replace"),
        user=_field(token, 36).decode("utf-16-le", "replace"),
        workstation=_field(token, 44).decode("utf-16-le", "replace"),
        encrypted_key=_field(token, 52),
        mic=token[72:88] if has_mic else None,
    )


def accept_authenticate(challenge: Challenge, token: Authenticate, password: str) -> Optional[bytes]:
    """The exported session key if `token` answers `challenge` with this password, else None (a server's half)."""
    response_key = ntowf_v2(Credentials(token.user, token.domain, password))
    proof, temp = token.nt_response[:16], token.nt_response[16:]
    expected, base_key = nt_response(response_key, challenge.server_challenge, temp)
    if not hmac.compare_digest(proof, expected) or len(token.encrypted_key) != 16:
        return None
    sent = parse_av_pairs(challenge.target_info)
    got = parse_av_pairs(token.nt_response[44:])
    if any(got.get(kind) != value for kind, value in sent.items()):
        return None
    exported_key = rc4(base_key, token.encrypted_key)
    if token.mic is not None:
        zeroed = token.raw[:72] + b"\0" * 16 + token.raw[88:]
        if not hmac.compare_digest(token.mic, message_integrity(exported_key, challenge.raw, zeroed)):
            return None
    return exported_key


def _check_kind(token: bytes, kind: int, least: int) -> None:
    if len(token) > MAX_TOKEN:
        raise NtlmError("the NTLM token is too long")
    if len(token) < least or token[:8] != SIGNATURE or struct.unpack_from("<I", token, 8)[0] != kind:
        raise NtlmError(f"not an NTLM message of type {kind}")


def _field(token: bytes, at: int) -> bytes:
    length, _, offset = struct.unpack_from("<HHI", token, at)
    if offset + length > len(token):
        raise NtlmError("a field of the NTLM token points outside of it")
    return token[offset : offset + length]


def _size(value: bytes) -> int:
    if len(value) > 0xFFFF:
        raise NtlmError("a value is too long for its field of the NTLM token")
    return len(value)


def _upper(text: str) -> str:
    # As Windows does it, one letter for one letter: the sharp s has no capital there and stays.
    return "".join(char.upper() if len(char.upper()) == 1 else char for char in text)


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


@functools.lru_cache(maxsize=256)  # two for each sign-in
def _key_stream(sealing: bytes, number: bytes) -> int:
    # The sequence number never changes, so the RC4 key of a direction does not either: its set-up is paid once.
    return int.from_bytes(rc4(_md5(sealing + number), b"\0" * 8), "little")


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _fips_md5(data: bytes = b"") -> hashlib._Hash:
    # The protocol's choice, not ours: a system in FIPS mode lets MD5 through only when told so.
    return hashlib.md5(data, usedforsecurity=False)


def _hmac_md5(key: bytes, data: bytes) -> bytes:
    try:
        return hmac.digest(key, data, "md5")
    except ValueError:  # OpenSSL in FIPS mode knows MD5 only where it is said to protect nothing
        return hmac.new(key, data, _fips_md5).digest()
