from __future__ import annotations

import pytest

from check_lync_presence.lync.md4 import md4


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "043f8582f241db351ce627e153e7f0e4",
        ),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_the_suite_of_rfc_1320_is_reproduced(text: bytes, digest: str) -> None:
    assert md4(text).hex() == digest


@pytest.mark.parametrize(
    ("length", "digest"),
    [
        (55, "92f32bb82c95ad10e8f87ae58ab06807"),
        (56, "374d5f08103b7092c83b4626ebceffab"),
        (63, "2870452596e98fffd48332289b3472b9"),
        (64, "b1abf956a5ae6f3221e5fe85e300fbb0"),
        (65, "afc1a3308fc176a53238a09aeddec2e6"),
        (119, "b55ae15e41e55643b0c3daad5e05c905"),
        (120, "d8f9adfc41ec43552619606c70cfd287"),
        (1000, "4b4cacfefc79bf951c60620df38532dc"),
    ],
)
def test_lengths_around_the_end_of_a_block_are_padded_as_openssl_pads_them(length: int, digest: str) -> None:
    assert md4(b"x" * length).hex() == digest
