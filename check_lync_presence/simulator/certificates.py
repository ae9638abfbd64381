"""The TLS side of the simulator: a throw-away CA, and the certificate that a fault asks for.

Owns what stands in the certificate. trustme comes with the extra ``simulator`` and is imported only when it is needed.
"""

from __future__ import annotations

import datetime
import ssl
from typing import Iterable, NamedTuple, Optional

from .faults import Faults


class MissingExtra(Exception):
    """A package that comes with the extra ``simulator`` is not installed."""


class Identity(NamedTuple):
    """How the simulator proves itself, and the CA that vouches for it (PEM; None for a certificate of the user's)."""

    context: ssl.SSLContext
    ca: Optional[bytes]


def load(cert_file: str, key_file: str) -> Identity:
    """A certificate from files. Raises OSError (ssl.SSLError is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return Identity(context, None)


def issue(names: Iterable[str], faults: Faults, now: datetime.datetime) -> Identity:
    """A certificate for `names`, by a CA that nobody knows yet. Raises MissingExtra."""
    try:
        import trustme
    except ImportError as error:
        raise MissingExtra(error.name or "trustme") from None
    ca = trustme.CA()
    if "certificate-other-name" in faults:
        # The loopback address is in it: the name counts that was asked for, not the address that was connected to.
        names = ("other.simulator.example", "127.0.0.1")
    if "certificate-expired" in faults:
        yesterday = now - datetime.timedelta(days=1)
        certificate = ca.issue_cert(*names, not_after=yesterday)
    else:
        certificate = ca.issue_cert(*names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return Identity(context, ca.cert_pem.bytes())
