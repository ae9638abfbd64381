"""What the certificate says that we show."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest
import trustme

from check_lync_presence.net.client_certificate import client_certificate
from check_lync_presence.settings import SettingsError, TlsSettings

NOW = time.time()
DAY = 86400.0


def written(path: Path, *names: str, common_name: str = "", days: float = 30.0) -> TlsSettings:
    """Settings with a certificate that ends in so many days."""
    end = datetime.datetime.fromtimestamp(NOW + days * DAY, datetime.timezone.utc)
    issued = trustme.CA().issue_cert(*names, common_name=common_name or None, not_after=end)
    path.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return TlsSettings(client_cert=str(path))


def test_without_a_certificate_there_is_nothing_to_say() -> None:
    assert client_certificate(TlsSettings(), NOW) is None


def test_it_says_its_names_and_its_end(tmp_path: Path) -> None:
    told = written(tmp_path / "c.pem", "app01.contoso.example", "x@contoso.example", common_name="apps.contoso.example")
    certificate = client_certificate(told, NOW)
    assert certificate is not None
    assert certificate.names == ("app01.contoso.example", "apps.contoso.example")
    assert abs(certificate.ends - (NOW + 30 * DAY)) < 2
    assert certificate.begins < NOW


def test_an_expired_one_is_a_settings_error_that_tells_the_day(tmp_path: Path) -> None:
    told = written(tmp_path / "c.pem", "app01.contoso.example", days=-1.0)
    day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(NOW - DAY))
    with pytest.raises(SettingsError, match=f"the client certificate {told.client_cert} expired on {day}: renew it"):
        client_certificate(told, NOW)


def test_one_that_is_not_valid_yet_is_a_settings_error(tmp_path: Path) -> None:
    told = written(tmp_path / "c.pem", "app01.contoso.example")
    with pytest.raises(SettingsError, match=r"is not valid before 20.*: check this host's clock"):
        client_certificate(told, 1.0)
