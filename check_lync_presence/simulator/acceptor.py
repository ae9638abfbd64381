"""The server's side of a scheme: tokens of a client in, tokens for it out, until both have keys (MS-SIPAE 3.3.4).

Owns the interface that every scheme has, and NTLM's side of it. Must not know SIP messages (authenticator).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, List, Optional, Protocol, Tuple

from ..lync import ntlm
from ..lync.association import SignatureKeys
from .faults import Faults
from .pool import Pool, User

if TYPE_CHECKING:
    from OpenSSL import SSL

# What a real Lync Server 2013 says in its challenge, MS-NLMP 2.2.2.5.
CHALLENGE_FLAGS = 0xE29882F3
_NEEDED = ntlm.UNICODE | ntlm.NTLM | ntlm.ALWAYS_SIGN | ntlm.EXTENDED_SESSIONSECURITY | ntlm.KEY_EXCH | ntlm.KEY_128

_HANDSHAKE = b"\x16"  # the kind of a TLS record (RFC 5246 6.2.1)
_LONGEST_RECORD = 2**14


class Refused(Exception):
    """The token proves nothing. `skewed`: the clocks differ too much to tell."""

    def __init__(self, skewed: bool = False) -> None:
        super().__init__()
        self.skewed = skewed


class Acceptor(Protocol):
    """One sign-in with one scheme.

    `keys` are those of the two directions, server to client and client to server; None until we have them. From then on
    `accounts` are the users whose credentials they were.
    """

    keys: Optional[Tuple[SignatureKeys, SignatureKeys]]
    accounts: List[User]

    def accept(self, data: bytes) -> bytes:
        """What to send the client for its token, empty where it needs no more. Raises Refused."""
        ...


class NtlmAcceptor:
    """Connectionless NTLM: an empty token is answered with `challenge`, AUTHENTICATE is the end."""

    def __init__(self, pool: Pool, faults: Faults, challenge: ntlm.Challenge) -> None:
        self.keys: Optional[Tuple[SignatureKeys, SignatureKeys]] = None
        self.accounts: List[User] = []
        self._pool = pool
        self._faults = faults
        self._challenge = challenge

    def accept(self, data: bytes) -> bytes:
        """CHALLENGE, then nothing. Raises Refused."""
        if not data:
            return self._challenge.raw
        try:
            token = ntlm.parse_authenticate(data)
            accounts = self._pool.by_logon(token.user, token.domain)
            if (
                not accounts
                or not accounts[0].password
                or token.flags & _NEEDED != _NEEDED
                or ("require-mic" in self._faults and not token.mic)
            ):
                raise Refused
            key = ntlm.accept_authenticate(self._challenge, token, accounts[0].password.reveal())
        except ntlm.NtlmError:
            raise Refused from None
        if key is None:
            raise Refused
        self.keys = ntlm.session_keys(key, "server-to-client"), ntlm.session_keys(key, "client-to-server")
        self.accounts = accounts
        return b""


class KerberosAcceptor:
    """One token of one leg (AP-REQ), for a service whose key is in the `keytab`."""

    def __init__(self, pool: Pool, faults: Faults, keytab: str) -> None:
        from ..lync.kerberos import gss_api

        self.keys: Optional[Tuple[SignatureKeys, SignatureKeys]] = None
        self.accounts: List[User] = []
        self._pool = pool
        self._faults = faults
        self._keytab = keytab
        self._api: Any = gss_api()

    def accept(self, data: bytes) -> bytes:
        """Nothing more to say. Raises Refused."""
        from ..lync.kerberos import SKEW, ContextKeys, error_number

        api = self._api
        if "kerberos-skew" in self._faults:
            raise Refused(skewed=True)
        try:
            credentials = api.Credentials(usage="accept", store={"keytab": f"FILE:{self._keytab}"})
            context = api.SecurityContext(creds=credentials, usage="accept")
            context.__DEFER_STEP_ERRORS__ = False  # else a refusal that has a token for the client is no exception
            context.step(data)
            name, _, realm = str(context.initiator_name).partition("@")
        except api.exceptions.GSSError as error:
            raise Refused(skewed=error_number(error) == SKEW) from None
        self.accounts = self._pool.by_principal(name, realm)
        if not self.accounts:
            raise Refused
        keys = ContextKeys(api, context)
        self.keys = keys, keys
        return b""


class TlsDskAcceptor:
    """TLS-DSK: the records of a handshake in which the client shows a certificate of a user."""

    def __init__(self, pool: Pool, settings: SSL.Context) -> None:
        from ..lync.tls_dsk import Handshake

        self.keys: Optional[Tuple[SignatureKeys, SignatureKeys]] = None
        self.accounts: List[User] = []
        self._pool = pool
        self._handshake = Handshake(settings, server=True)
        self._over = False

    def accept(self, data: bytes) -> bytes:
        """Records, until both have finished or we have said what is wrong. Raises Refused."""
        from ..lync import tls_dsk
        from .user_ca import common_name

        if self._over or not data:
            raise Refused
        try:
            records = self._handshake.feed(data)
        except tls_dsk.HandshakeError as fault:
            self._over = True
            if not fault.records:
                raise Refused from None
            return fault.records
        block = self._handshake.block
        if block is not None:
            user = self._pool.find(f"sip:{common_name(self._handshake.peer_certificate())}")
            if user is None:
                raise Refused
            self.accounts = [user]
            self.keys = tls_dsk.server_to_client(block), tls_dsk.client_to_server(block)
        return _joined(records)


def _joined(records: bytes) -> bytes:
    """The same with all plain handshake messages in one TLS record, as Windows writes them and pidgin-sipe wants it."""
    messages, rest = b"", records
    while rest[:1] == _HANDSHAKE:
        end = 5 + int.from_bytes(rest[3:5], "big")
        messages, rest = messages + rest[5:end], rest[end:]
    if not messages or len(messages) > _LONGEST_RECORD:
        return records
    return records[:3] + len(messages).to_bytes(2, "big") + messages + rest


def ntlm_challenge(name: str, faults: Faults, rng: random.Random, now: float) -> ntlm.Challenge:
    """What the server `name` begins with."""
    flags = CHALLENGE_FLAGS
    if "weak-ntlm" in faults:
        flags &= ~ntlm.KEY_128
    return ntlm.build_challenge(flags, rng.getrandbits(64).to_bytes(8, "big"), _target_info(name, now))


def _target_info(name: str, now: float) -> bytes:
    """What the challenge tells of the server, in the order of a real one (MS-NLMP 2.2.2.1)."""
    host, _, domain = name.partition(".")
    domain = domain or host
    pairs = {
        ntlm.AV_NB_DOMAIN: domain.partition(".")[0].upper()[:15].encode("utf-16-le"),
        ntlm.AV_NB_COMPUTER: host.upper()[:15].encode("utf-16-le"),
        ntlm.AV_DNS_DOMAIN: domain.encode("utf-16-le"),
        ntlm.AV_DNS_COMPUTER: name.encode("utf-16-le"),
        ntlm.AV_DNS_TREE: domain.encode("utf-16-le"),
        ntlm.AV_TIMESTAMP: ntlm.filetime(now),
    }
    return ntlm.build_av_pairs(pairs)
