"""Certificates of users, made by hand: what a pool would have issued."""

from __future__ import annotations

import datetime
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from check_lync_presence.settings import Secret, UserCertificate

NOW = float(int(time.time()))


def user_certificate(name: str, days: int = 30) -> UserCertificate:
    """A certificate for `name`, ``""`` for nobody, that has so many days left; its key signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    end = datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc) + datetime.timedelta(days=days)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(end - datetime.timedelta(days=90)).not_valid_after(end)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return UserCertificate(pem, Secret(secret.decode()), name, end.timestamp())
