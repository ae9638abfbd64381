"""Certificates of users for TLS-DSK: those in files, and those that a pool has given and that are kept between runs.

Owns the reading of certificates and the files that they are kept in: private, whole at every moment, and harmless if
they cannot be written. Must not know how a certificate is fetched or shown. cryptography comes with the extra
``tls-dsk`` and is imported only when it is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import stat
import time
from typing import Any, Optional, Sequence

from .lockout import folder_of, is_ours
from .settings import MAX_FILE, Account, Secret, SettingsError, UserCertificate, read_private_octets

MIN_LEFT = 3600.0  # seconds that a kept certificate must have left to be shown: an association ends with it


class MissingExtra(SettingsError):
    """The packages of the extra ``tls-dsk`` are not installed."""


def require_extra() -> None:
    """Raises MissingExtra."""
    try:
        for name in ("OpenSSL", "cryptography.x509"):
            importlib.import_module(name)
        if importlib.util.find_spec("spnego") is None:  # wanted only where a certificate is fetched
            raise ImportError
    except ImportError:
        text = "TLS-DSK needs pyOpenSSL and pyspnego: pip install pyOpenSSL pyspnego with the check's own pip"
        raise MissingExtra(text) from None


def read_certificate(path: str, key_path: Optional[str], role: str, now: float) -> UserCertificate:
    """A user's certificate from a file; without `key_path` the key is in the same one. Raises SettingsError."""
    require_extra()
    octets = read_private_octets(key_path or path, f"{role}'s key", "holds a private key")
    try:
        certificate = _read(path) if key_path else octets
    except OSError as error:
        raise SettingsError(f"cannot read the {role}'s certificate {path}: {error.strerror}") from None
    if b"ENCRYPTED" in octets:
        raise SettingsError(
            f"the key in {key_path or path} is encrypted, and nobody is there to type its passphrase: store it "
            "without one (openssl pkey -in … -out …, mode 0600)"
        )
    try:
        found = from_pem(certificate, octets)
    except ValueError as fault:
        files = path + (f" with {key_path}" if key_path else "")
        raise SettingsError(f"cannot use the {role}'s certificate {files}: {fault}") from None
    if found.ends <= now:
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found.ends))
        raise SettingsError(
            f"the {role}'s certificate {path} expired on {day}: renew it, or leave it out and give a password, with "
            "which the check gets new ones"
        )
    return found


def from_pem(certificate: bytes, key: bytes) -> UserCertificate:
    """The first certificate of a PEM text, with its key. Raises ValueError; the text says what is wrong."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import NameOID

    from .lync.tls_dsk import load

    chain, private = load(certificate, key)
    names = chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    subject = str(names[0].value) if names else "nobody"
    pem = b"".join(item.public_bytes(serialization.Encoding.PEM) for item in chain)
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return UserCertificate(pem.decode(), Secret(secret.decode()), subject, _end(chain[0]))


class CertificateStore:
    """The certificates that a pool has given, one file a user, in the first of `folders` that is ours alone.

    `place` is the pool: what another one has given is worth nothing there.
    """

    def __init__(self, folders: Sequence[str], place: str) -> None:
        self._folders = folders
        self._place = place

    def stored(self, account: Account, now: float) -> Optional[UserCertificate]:
        """What is kept for this user and can still be shown."""
        name = self._file_name(account)
        for folder in filter(is_ours, self._folders):
            try:
                octets = _read_ours(os.path.join(folder, name))
                found = from_pem(octets, octets)
            except (OSError, ValueError):
                continue
            if found.ends - now >= MIN_LEFT:
                return found
        return None

    def keep(self, account: Account, certificate: UserCertificate) -> bool:
        """Keep a certificate in the place of the one before; False where there is no place for it."""
        folder = folder_of(self._folders)
        if folder is None:
            return False
        path = os.path.join(folder, self._file_name(account))
        new = f"{path}.{os.getpid()}"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)  # of a process with this number that was killed
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(new, flags, 0o600), "wb") as file:
                file.write((certificate.certificate + certificate.key.reveal()).encode())
            os.replace(new, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            return False
        return True

    def _file_name(self, account: Account) -> str:
        key = "\0".join((account.uri.lower(), self._place))
        return f"certificate-{hashlib.sha256(key.encode()).hexdigest()[:12]}.pem"


def _read(path: str) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(MAX_FILE)


def _read_ours(path: str) -> bytes:
    """What stands in a file that is ours alone. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(path)
        return file.read(MAX_FILE)


def _end(certificate: Any) -> float:
    utc = getattr(certificate, "not_valid_after_utc", None)  # from cryptography 42 on
    if utc is not None:
        return float(utc.timestamp())
    import datetime

    naive: datetime.datetime = certificate.not_valid_after
    return naive.replace(tzinfo=datetime.timezone.utc).timestamp()
