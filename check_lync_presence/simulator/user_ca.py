"""The CA of a pool that issues the certificates of users, and what TLS-DSK needs of it.

Owns the certificates of this CA. cryptography and pyOpenSSL come with the extra ``tls-dsk`` and are imported only when
they are needed.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from ..settings import Secret

if TYPE_CHECKING:
    from OpenSSL import SSL

DAYS = 180  # what Lync gives
_HOUR = datetime.timedelta(hours=1)


class UserCa:
    """Issues certificates of users, and judges them: `trusted` (PEM) are further CAs whose certificates are good."""

    def __init__(self, trusted: bytes = b"") -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._issue("Communications Server", self._key.public_key(), DAYS, ca=True)
        # RSA, because old clients know no other key exchange.
        key = rsa.generate_private_key(65537, 2048)
        self._shown = self._pem(self._issue("Front End", key.public_key(), DAYS))
        self._shown_key = Secret(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode()
        )
        self._trusted = trusted

    def issue(self, request: bytes, user: str, expired: bool) -> bytes:
        """A certificate (DER) for `user` with the key of a certificate request (DER). Raises ValueError."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        asked = x509.load_der_x509_csr(request)
        if not asked.is_signature_valid:
            raise ValueError("the request is not signed with its key")
        issued: bytes = self._issue(user, asked.public_key(), -1 if expired else DAYS).public_bytes(
            serialization.Encoding.DER
        )
        return issued

    def context(self, nobody: bool) -> SSL.Context:
        """The server's side of a handshake that demands a certificate of this CA; of `nobody` one is good."""
        from cryptography import x509
        from OpenSSL import SSL, crypto

        from ..lync import tls_dsk

        context = tls_dsk.context(self._shown, self._shown_key)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _as_verified)
        store = context.get_cert_store()
        assert store is not None
        further = x509.load_pem_x509_certificates(self._trusted) if self._trusted else []
        for certificate in [] if nobody else [self._certificate, *further]:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        return context

    def _issue(self, name: str, key: Any, days: int, ca: bool = False) -> Any:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import NameOID

        def named(text: str) -> Any:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        now = datetime.datetime.now(datetime.timezone.utc)
        begin, end = sorted((now - _HOUR, now + datetime.timedelta(days=days)))
        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("Communications Server"))
        builder = builder.public_key(key).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(begin).not_valid_after(end)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        return builder.sign(self._key, hashes.SHA256())

    @staticmethod
    def _pem(certificate: Any) -> str:
        from cryptography.hazmat.primitives import serialization

        text: str = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return text


def _as_verified(_connection: Any, _certificate: Any, _number: int, _depth: int, good: int) -> bool:
    return bool(good)


def common_name(certificate: Any) -> str:
    """Whom a certificate names."""
    from cryptography.x509.oid import NameOID

    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
