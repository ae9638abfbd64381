"""Certificates of users in files, and the files that they are kept in."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

pytest.importorskip("OpenSSL", reason="comes with pip install 'check_lync_presence[tls-dsk]'")

from check_lync_presence.settings import SettingsError, UserCertificate
from check_lync_presence.user_certificates import MIN_LEFT, CertificateStore, from_pem, read_certificate, require_extra

from .certificates import NOW, user_certificate
from .commands import write_accounts
from .samples import ANN, BEN


@pytest.fixture(scope="module")
def ann() -> UserCertificate:
    return user_certificate("ann@contoso.example")


def both(certificate: UserCertificate) -> str:
    return certificate.certificate + certificate.key.reveal()


# ------------------------------------------------------------ files that were given


def test_certificate_and_key_may_stand_in_one_file_or_in_two(ann: UserCertificate, tmp_path: Path) -> None:
    one = write_accounts(tmp_path / "one.pem", ann.key.reveal() + ann.certificate)
    certificate, key = tmp_path / "ann.crt", write_accounts(tmp_path / "ann.key", ann.key.reveal())
    certificate.write_text(ann.certificate)
    for found in (
        read_certificate(str(one), None, "publisher", NOW),
        read_certificate(str(certificate), str(key), "publisher", NOW),
    ):
        assert (found.certificate, found.subject, found.ends) == (ann.certificate, "ann@contoso.example", ann.ends)
        assert found.key.reveal() == ann.key.reveal()
        assert "PRIVATE" not in repr(found)


def test_what_cannot_be_used_is_said_in_one_sentence(ann: UserCertificate, tmp_path: Path) -> None:
    valid = str(write_accounts(tmp_path / "valid.pem", both(ann)))
    expired = str(write_accounts(tmp_path / "expired.pem", both(user_certificate("ann@contoso.example", days=-1))))
    text = str(write_accounts(tmp_path / "text.pem", "Not a certificate"))
    public = str(write_accounts(tmp_path / "public.pem", both(ann), 0o644))
    locked = str(write_accounts(tmp_path / "encrypted.pem", both(ann).replace("BEGIN PRIV", "BEGIN ENCRYPTED PRIV")))
    missing = str(tmp_path / "none.pem")
    for path, key, words in (
        (expired, None, r"the publisher's certificate .*expired.pem expired on 20\d\d-\d\d-\d\d .* renew it"),
        (valid, expired, "do not belong together"),
        (valid, text, "no private key in PEM format"),
        (text, None, "no certificate in PEM format"),
        (text, valid, "no certificate in PEM format"),
        (public, None, "has mode 0644 and holds a private key"),
        (locked, None, "is encrypted"),
        (missing, None, "No such file"),
        (missing, valid, "No such file"),
        (valid, missing, "No such file"),
        (str(tmp_path), valid, "Is a directory"),
    ):
        with pytest.raises(SettingsError, match=words) as caught:
            read_certificate(path, key, "publisher", NOW)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["OpenSSL", "cryptography.x509", "spnego"])
def test_each_missing_package_is_the_missing_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_extra()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"^TLS-DSK needs pyOpenSSL and pyspnego: pip install pyOpenSSL pyspnego "):
        require_extra()


# ------------------------------------------------------------ what is kept


def test_what_is_kept_is_found_again_by_that_user_at_that_pool_alone(ann: UserCertificate, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    store = CertificateStore([str(folder)], "pool01")
    assert store.stored(ANN, NOW) is None
    assert not folder.exists()
    assert store.keep(ANN, ann)
    found = store.stored(ANN, NOW)
    assert found is not None
    assert both(found) == both(ann)
    assert store.stored(BEN, NOW) is None
    assert CertificateStore([str(folder)], "pool02").stored(ANN, NOW) is None
    (path,) = folder.iterdir()
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)


def test_shortly_before_its_end_it_is_not_shown_any_more(ann: UserCertificate, tmp_path: Path) -> None:
    store = CertificateStore([str(tmp_path / "state")], "pool01")
    store.keep(ANN, ann)
    assert store.stored(ANN, ann.ends - MIN_LEFT) is not None
    assert store.stored(ANN, ann.ends - MIN_LEFT + 1) is None


@pytest.mark.parametrize("text", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_file_is_as_good_as_none_and_is_replaced(ann: UserCertificate, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "state"
    store = CertificateStore([str(folder)], "pool01")
    store.keep(ANN, ann)
    (path,) = folder.iterdir()
    path.write_text(text)
    assert store.stored(ANN, NOW) is None
    assert store.keep(ANN, ann)
    assert store.stored(ANN, NOW) is not None


def test_a_file_that_others_can_read_and_a_link_are_not_believed(ann: UserCertificate, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    store = CertificateStore([str(folder)], "pool01")
    store.keep(ANN, ann)
    (path,) = folder.iterdir()
    path.chmod(0o640)
    assert store.stored(ANN, NOW) is None
    path.chmod(0o600)
    target = tmp_path / "elsewhere.pem"
    path.rename(target)
    path.symlink_to(target)
    assert store.stored(ANN, NOW) is None
    target.write_text("untouched")
    assert store.keep(ANN, ann)
    assert not path.is_symlink()
    assert target.read_text() == "untouched"


def test_a_link_where_the_new_file_is_written_is_not_followed(ann: UserCertificate, tmp_path: Path) -> None:
    folder, target = tmp_path / "state", tmp_path / "elsewhere"
    store = CertificateStore([str(folder)], "pool01")
    store.keep(ANN, ann)
    (path,) = folder.iterdir()
    target.write_text("untouched")
    Path(f"{path}.{os.getpid()}").symlink_to(target)
    assert store.keep(ANN, ann)
    assert target.read_text() == "untouched"
    assert list(folder.iterdir()) == [path]


def test_a_folder_that_others_can_write_to_is_passed_over(ann: UserCertificate, tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    shared.chmod(0o777)
    store = CertificateStore([str(shared), str(own)], "pool01")
    assert store.keep(ANN, ann)
    assert list(shared.iterdir()) == []
    assert len(list(own.iterdir())) == 1
    assert not CertificateStore([str(shared)], "pool01").keep(ANN, ann)
    assert not CertificateStore([], "pool01").keep(ANN, ann)


def test_a_full_disk_leaves_what_was_there(
    ann: UserCertificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "state"
    store = CertificateStore([str(folder)], "pool01")
    store.keep(ANN, ann)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not store.keep(ANN, user_certificate("ann@contoso.example"))
    found = store.stored(ANN, NOW)
    assert found is not None
    assert both(found) == both(ann)
    assert len(list(folder.iterdir())) == 1


def test_a_certificate_that_names_nobody_is_nobodys() -> None:
    nobody = user_certificate("")
    assert from_pem(nobody.certificate.encode(), nobody.key.reveal().encode()).subject == "nobody"
