"""Which Kerberos realm a logon name belongs to, by krb5.conf."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.realms import realm_of

from .strategies import many

PLAIN = """\
# a comment
; another = one
[libdefaults]
  default_realm = CONTOSO.EXAMPLE
  dns_lookup_kdc = true
[realms]
  FABRIKAM.EXAMPLE = {
    kdc = dc01.fabrikam.example
    auth_to_local_names = {
      NESTED.EXAMPLE = x
    }
  }
  Odd.Example = {
    kdc = x
  }
  EMEA.CONTOSO.EXAMPLE = { kdc = y }
[domain_realm]
  .sub.contoso.example = SUB.EXAMPLE
[appdefaults]
  other = ELSEWHERE.EXAMPLE
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "krb5.conf"
    path.write_text(PLAIN)
    return path


@pytest.mark.parametrize(
    ("user", "realm"),
    [
        ("ann@contoso.example", "CONTOSO.EXAMPLE"),
        ("ann@CONTOSO.EXAMPLE", "CONTOSO.EXAMPLE"),
        ("CONTOSO\\ann", "CONTOSO.EXAMPLE"),
        ("contoso\\ann", "CONTOSO.EXAMPLE"),
        ("CONTOSO.EXAMPLE\\ann", "CONTOSO.EXAMPLE"),
        ("FABRIKAM\\ann", "FABRIKAM.EXAMPLE"),
        ("ann@odd.example", "Odd.Example"),
        ("ann@sub.example", "SUB.EXAMPLE"),
        ("EMEA\\ann", "EMEA.CONTOSO.EXAMPLE"),
        ("ann@nested.example", ""),
        ("ann@elsewhere.example", ""),
        ("ann@contoso", ""),
        ("CONT\\ann", ""),
        ("ann", ""),
        ("\\ann", ""),
        ("ann@", ""),
        ("", ""),
    ],
)
def test_a_logon_name_belongs_to_the_realm_that_it_names(conf: Path, user: str, realm: str) -> None:
    assert realm_of(user, [str(conf)]) == realm


def test_a_short_name_that_two_realms_begin_with_belongs_to_neither(conf: Path) -> None:
    conf.write_text(PLAIN + "[realms]\nCONTOSO.TEST = {\n}\n")
    assert realm_of("CONTOSO\\ann", [str(conf)]) == ""
    assert realm_of("ann@contoso.test", [str(conf)]) == "CONTOSO.TEST"


def test_without_files_there_is_no_realm(tmp_path: Path) -> None:
    assert realm_of("ann@contoso.example", []) == ""
    assert realm_of("ann@contoso.example", [str(tmp_path / "none"), str(tmp_path)]) == ""


def test_included_files_and_folders_count(tmp_path: Path) -> None:
    folder = tmp_path / "krb5.conf.d"
    folder.mkdir()
    (folder / "contoso").write_text("[libdefaults]\ndefault_realm = CONTOSO.EXAMPLE\n")
    (folder / "fabrikam.conf").write_text("[realms]\nFABRIKAM.EXAMPLE = {\n}\n")
    (folder / "gone.rpmsave").write_text("[realms]\nGONE.EXAMPLE = {\n}\n")
    (tmp_path / "one").write_text("[realms]\nONE.EXAMPLE = {\n}\n")
    main = tmp_path / "krb5.conf"
    main.write_text(f"includedir {folder}\ninclude {tmp_path}/one\ninclude {main}\nincludedir /nowhere\n")
    found = [realm_of(f"ann@{name}.example", [str(main)]) for name in ("contoso", "fabrikam", "one", "gone")]
    assert found == ["CONTOSO.EXAMPLE", "FABRIKAM.EXAMPLE", "ONE.EXAMPLE", ""]


@many
@given(st.binary(max_size=200))
def test_no_file_makes_an_error(tmp_path_factory: pytest.TempPathFactory, octets: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_bytes(octets)
    assert isinstance(realm_of("ann@contoso.example", [str(path)]), str)
