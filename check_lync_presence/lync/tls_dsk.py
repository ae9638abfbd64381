"""TLS-DSK: a TLS handshake inside the headers of REGISTER, with a certificate of the user's (MS-SIPAE 3.2.4, 2.2.2).

Owns the client's side of that handshake and the keys that follow from it, for both ends. Must not know where the
certificate comes from. pyOpenSSL and cryptography come with the extra ``tls-dsk`` and are imported with this module.
"""

from __future__ import annotations

import hmac
from typing import Any, Optional, Sequence, Tuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from ..net.deadline import Deadline
from ..outcome import Cause, PresenceError
from ..settings import Secret
from ..value import NamedTuple
from .association import AuthHeader, SignatureKeys
from .mechanism import GetCertificate

LABEL = b"client EAP encryption"  # RFC 5216 2.3, which MS-SIPAE takes its derivation from
BLOCK = 128
MAX_TOKEN = 64 * 1024
# No secret travels in this handshake and it runs inside of another one that was verified, so what old pools speak is
# good enough: TLS 1.0 and SHA-1. The derivation of the keys is that of TLS 1.2 and before.
OLDEST, NEWEST = SSL.TLS1_VERSION, SSL.TLS1_2_VERSION
CIPHERS = b"DEFAULT:@SECLEVEL=0"


class DskKey(NamedTuple):
    """One direction's key, 32 octets, and the MAC hash of the negotiated cipher suite."""

    key: bytes
    digest: str

    def mac(self, text: bytes) -> bytes:
        """The HMAC of `text`."""
        return hmac.digest(self.key, text, self.digest)

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is that of `text` under this key."""
        return hmac.compare_digest(self.mac(text), signature)


class TlsDsk:
    """ClientHello, our certificate and Finished, and then the keys."""

    scheme = "TLS-DSK"

    def __init__(self, user: str, get_certificate: GetCertificate) -> None:
        self.keys: Optional[Tuple[SignatureKeys, SignatureKeys]] = None
        self.shown: Optional[Cause] = None
        self._user = user
        self._get_certificate = get_certificate
        self._whose = ""
        self._handshake: Optional[Handshake] = None

    async def token(self, challenge: AuthHeader, data: bytes, deadline: Deadline) -> Optional[bytes]:
        """The records that are next, None behind the server's Finished. Raises PresenceError."""
        if self._handshake is None:
            certificate = await self._get_certificate(challenge, deadline)
            mine = f"sip:{certificate.subject}".lower() == self._user.lower()
            self._whose = "" if mine else f" of {certificate.subject}"
            try:
                self._handshake = Handshake(context(certificate.certificate, certificate.key), server=False)
            except UnusableCertificate as fault:
                text = f"Certificate not usable: {fault}."
                raise PresenceError(Cause.CERTIFICATE, text, detail="unusable") from None
        try:
            records = self._handshake.feed(data)
        except HandshakeError as fault:
            raise self._refused(fault) from None
        if data:
            self.shown = Cause.CERTIFICATE
        block = self._handshake.block
        if block is not None:
            self.keys = client_to_server(block), server_to_client(block)
        return records or None

    def _refused(self, fault: HandshakeError) -> PresenceError:
        if fault.alert:
            text = f"Certificate{self._whose} refused: {fault}."
            return PresenceError(Cause.CERTIFICATE, text, 401, detail="refused")
        return PresenceError(Cause.PROTOCOL, f"The TLS-DSK handshake failed: {fault}.", 401)


class UnusableCertificate(ValueError):
    """Certificate and key cannot be used; the text says why."""


class HandshakeError(ValueError):
    """The handshake came to nothing. `alert`: because the peer said so; `records` are what to tell the peer of it."""

    def __init__(self, text: str, alert: bool, records: bytes = b"") -> None:
        super().__init__(text)
        self.alert = alert
        self.records = records


class Block(NamedTuple):
    """What both ends derive: 128 octets, and the MAC hash of the cipher suite."""

    octets: bytes
    digest: str


def client_to_server(block: Block) -> DskKey:
    """The key that the client signs with."""
    return DskKey(block.octets[64:96], block.digest)


def server_to_client(block: Block) -> DskKey:
    """The key that the server signs with."""
    return DskKey(block.octets[96:128], block.digest)


def load(certificate: bytes, key: bytes) -> Tuple[Sequence[x509.Certificate], Any]:
    """The certificates of a PEM text, the user's first, and the private key in another one. Raises UnusableCertificate.

    Either may have more in it than is wanted here.
    """
    try:
        chain = x509.load_pem_x509_certificates(certificate)
    except ValueError:
        raise UnusableCertificate("there is no certificate in PEM format in it") from None
    begin = key.rfind(b"-----BEGIN", 0, key.find(b"PRIVATE KEY-----"))
    try:
        # Whether its numbers are prime takes 100 ms to find out; what does not fit the certificate shows below.
        private = serialization.load_pem_private_key(key[max(0, begin) :], None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableCertificate("there is no private key in PEM format in it") from None
    if _public(private.public_key()) != _public(chain[0].public_key()):
        raise UnusableCertificate("certificate and key do not belong together")
    return chain, private


def _public(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def context(certificate: str, key: Secret) -> SSL.Context:
    """A context that shows a certificate; both are PEM. Raises UnusableCertificate.

    The peer's certificate is not looked at: a server is verified by the TLS connection around this handshake, without
    which there is no TLS-DSK (cli). Here the certificate is one of the front end's own, with whatever names.
    """
    chain, private = load(certificate.encode(), key.reveal().encode())
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_min_proto_version(OLDEST)
    made.set_max_proto_version(NEWEST)
    made.set_cipher_list(CIPHERS)
    made.set_options(SSL.OP_NO_TICKET)
    made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    try:
        made.use_certificate(chain[0])
        for other in chain[1:]:
            made.add_extra_chain_cert(other)
        made.use_privatekey(private)
    except (SSL.Error, TypeError):
        raise UnusableCertificate("certificate or key are of a kind that TLS does not know") from None
    return made


class Handshake:
    """One end of a TLS handshake in memory. `block` is there when it is complete."""

    def __init__(self, settings: SSL.Context, server: bool) -> None:
        self.block: Optional[Block] = None
        self._connection = SSL.Connection(settings, None)
        if server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()

    def feed(self, records: bytes) -> bytes:
        """What to send the peer for its records, empty where there is nothing to say. Raises HandshakeError."""
        if len(records) > MAX_TOKEN:
            raise HandshakeError("a token is too long", alert=False)
        connection = self._connection
        try:
            if records:
                connection.bio_write(records)
            connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            reason = _reason(error)
            _, alert, said = reason.rpartition(" alert ")
            raise HandshakeError(said, bool(alert), self._records()) from None
        else:
            octets = connection.export_keying_material(LABEL, BLOCK)
            self.block = Block(octets, mac_hash(connection.get_cipher_name() or ""))
        return self._records()

    def _records(self) -> bytes:
        try:
            return self._connection.bio_read(MAX_TOKEN)
        except SSL.WantReadError:
            return b""

    def peer_certificate(self) -> Optional[x509.Certificate]:
        return self._connection.get_peer_certificate(as_cryptography=True)


def mac_hash(suite: str) -> str:
    """The hash of a cipher suite's MAC, from OpenSSL's name of the suite."""
    return {"MD5": "md5", "SHA": "sha1", "SHA384": "sha384"}.get(suite.rpartition("-")[2], "sha256")


def _reason(error: SSL.Error) -> str:
    try:
        return str(error.args[0][-1][2]) or "it is no TLS"
    except (IndexError, TypeError):
        return "it is no TLS"
