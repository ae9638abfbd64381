"""The TLS side of the simulator: a throw-away CA, and the certificate that a fault asks for.

Owns what stands in the certificate. trustme comes with the extra ``simulator`` and is imported only when it is needed.
"""

from __future__ import annotations

import datetime
import ssl
from typing import List, NamedTuple, Optional, Sequence, Tuple

from .faults import Faults


class MissingExtra(Exception):
    """A package that comes with the extra ``simulator`` is not installed."""


class Identity(NamedTuple):
    """How each front end proves itself, and the CA that vouches for all (PEM; None for a certificate of the user's)."""

    contexts: Tuple[ssl.SSLContext, ...]
    ca: Optional[bytes]


def load(cert_file: str, key_file: str, front_ends: int) -> Identity:
    """A certificate from files, for all front ends. Raises OSError (ssl.SSLError is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return Identity((context,) * front_ends, None)


def issue(names: Sequence[str], front_ends: Sequence[Faults], now: datetime.datetime) -> Identity:
    """A certificate for `names` with the faults of each front end, by a CA of our own. Raises MissingExtra."""
    try:
        import trustme
    except ImportError as error:
        raise MissingExtra(error.name or "trustme") from None
    ca = trustme.CA()
    contexts: List[ssl.SSLContext] = []
    for faults in front_ends:
        # The loopback address is in it: the name counts that was asked for, not the address that was connected to.
        told = ["other.simulator.example", "127.0.0.1"] if "certificate-other-name" in faults else names
        end = now - datetime.timedelta(days=1) if "certificate-expired" in faults else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(*told, not_after=end).configure_cert(context)
        contexts.append(context)
    return Identity(tuple(contexts), ca.cert_pem.bytes())
