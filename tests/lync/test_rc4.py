from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.lync.rc4 import rc4

from ..strategies import few

SHORT = bytes.fromhex("0102030405")
LONG = bytes.fromhex("0102030405060708090a0b0c0d0e0f10")


@pytest.mark.parametrize(
    ("key", "offset", "stream"),
    [
        (SHORT, 0, "b2396305f03dc027ccc3524a0a1118a8"),
        (SHORT, 16, "6982944f18fc82d589c403a47a0d0919"),
        (SHORT, 240, "28cb1132c96ce286421dcaadb8b69eae"),
        (SHORT, 1536, "d8729db41882259bee4f825325f5a130"),
        (SHORT, 4096, "ff25b58995996707e51fbdf08b34d875"),
        (LONG, 0, "9ac7cc9a609d1ef7b2932899cde41b97"),
        (LONG, 16, "5248c4959014126a6e8a84f11d1a9e1c"),
        (LONG, 240, "065902e4b620f6cc36c8589f66432f2b"),
        (LONG, 1536, "ffa0b514647ec04f6306b892ae661181"),
        (LONG, 4096, "a36a4c301ae8ac13610ccbc12256cacc"),
    ],
)
def test_the_key_streams_of_rfc_6229_are_reproduced(key: bytes, offset: int, stream: str) -> None:
    assert rc4(key, bytes(offset + 16))[offset:].hex() == stream


def test_nothing_encrypts_to_nothing() -> None:
    assert rc4(SHORT, b"") == b""


@few
@given(st.binary(min_size=1, max_size=32), st.binary(max_size=64))
def test_what_was_encrypted_is_decrypted_by_the_same_key(key: bytes, data: bytes) -> None:
    assert rc4(key, rc4(key, data)) == data
