"""MD4 and NT hashes against published vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.sasl.md4 import md4, nt_hash


@pytest.mark.parametrize(
    ("data", "digest"),
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
def test_rfc_1320_suite(data: bytes, digest: str) -> None:
    assert md4(data).hex() == digest


def test_nt_hash_of_the_specification() -> None:
    """MS-NLMP §4.2.2.1.2"""
    assert nt_hash("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"


@given(st.binary(max_size=300))
def test_any_length_gives_16_octets(data: bytes) -> None:
    assert len(md4(data)) == 16


@given(st.text(st.characters(), max_size=40))
def test_any_password_has_a_hash(password: str) -> None:
    assert len(nt_hash(password)) == 16
