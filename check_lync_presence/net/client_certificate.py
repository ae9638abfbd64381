"""What a client certificate says: for the days that it has left, and for the name that a server must know.

Owns the reading of that one file. Must not know keys (transport) nor who is shown the certificate.
"""

from __future__ import annotations

import ssl
import time
from typing import Optional

from ..settings import ClientCertificate, SettingsError, TlsSettings
from .transport import certificate_time


def client_certificate(settings: TlsSettings, now: float) -> Optional[ClientCertificate]:
    """The certificate that would be shown, None where there is none. Raises SettingsError where it is not valid now."""
    path = settings.client_cert
    if path is None:
        return None
    # The one reader of a certificate that Python has without a handshake. It is not public, and there in every CPython
    # from 2.6 on: it serves ssl's own tests. What a file has that is no certificate, tls_context has said already.
    told = ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined]
    begins, ends = certificate_time(told["notBefore"]), certificate_time(told["notAfter"])
    if ends < now:
        raise SettingsError(f"the client certificate {path} expired on {_day(ends)}: renew it")
    if begins > now:
        raise SettingsError(
            f"the client certificate {path} is not valid before {_day(begins)}: check this host's clock"
        )
    names = [value for kind, value in told.get("subjectAltName", ()) if kind == "DNS"]
    names += [value for part in told["subject"] for key, value in part if key == "commonName"]
    return ClientCertificate(path, tuple(dict.fromkeys(names)), begins, ends)


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
