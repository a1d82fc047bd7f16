"""Password schemes: what is kept of a password, and what verifies it."""

from __future__ import annotations

import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import scrypt

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts import schemes
from restante.accounts.contract import AccountError
from restante.accounts.schemes import (
    SCHEMES,
    default_scheme,
    hash_password,
    is_slow,
    needs_rehash,
    split_credential,
    verify,
)


@pytest.fixture
def without_argon2(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where argon2-cffi isn't installed."""
    monkeypatch.setitem(sys.modules, "argon2", None)
    schemes.default_scheme.cache_clear()
    schemes._argon2.cache_clear()
    yield
    schemes.default_scheme.cache_clear()
    schemes._argon2.cache_clear()


@pytest.mark.usefixtures("cheap_hashes")
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("password", ["secret", " blanks ", "пароль🔑", "{PLAIN}x", "$", "x" * 255])
def test_a_password_matches_its_own_credential_only(scheme: str, password: str) -> None:
    """A1: to the last blank."""
    credential = hash_password(password, scheme)
    assert credential.startswith(f"{{{scheme}}}")
    assert verify(credential, password) is True
    for wrong in (password + " ", password[:-1], password.swapcase() + "!", ""):
        assert verify(credential, wrong) is False
    assert not needs_rehash(credential)


@pytest.mark.usefixtures("cheap_hashes")
@pytest.mark.parametrize("scheme", ["ARGON2ID", "SCRYPT"])
def test_hashes_are_salted_and_hide_the_password(scheme: str) -> None:
    one, two = hash_password("geheim", scheme), hash_password("geheim", scheme)
    assert one != two
    assert "geheim" not in one
    assert is_slow(one)


def test_plain_is_quick() -> None:
    assert not is_slow("{PLAIN}geheim")
    assert not is_slow("{UNKNOWN}geheim")
    assert not is_slow("geheim")


def test_default_is_argon2id_where_it_is_installed() -> None:
    assert default_scheme() == "ARGON2ID"
    assert hash_password("x").startswith("{ARGON2ID}$argon2id$")


@pytest.mark.usefixtures("without_argon2")
def test_default_is_scrypt_elsewhere() -> None:
    assert default_scheme() == "SCRYPT"
    credential = hash_password("geheim")
    assert credential.startswith("{SCRYPT}$ln=")
    assert verify(credential, "geheim")


def test_a_missing_library_is_an_error_that_names_the_extra(
    request: pytest.FixtureRequest,
) -> None:
    credential = hash_password("geheim", "ARGON2ID")
    request.getfixturevalue("without_argon2")
    with pytest.raises(AccountError, match=r"restante\[argon2\]"):
        verify(credential, "geheim")
    with pytest.raises(AccountError, match=r"restante\[argon2\]"):
        hash_password("geheim", "ARGON2ID")


def test_scrypt_is_the_standard_librarys() -> None:
    """Salt and hash are in base64 without padding; `salt` and the RFC 7914 function agree."""
    hashed = scrypt(b"geheim", salt=b"0123456789abcdef", n=4, r=1, p=1, dklen=16)
    encoded = b64encode(hashed).decode().rstrip("=")
    credential = "{SCRYPT}$ln=2,r=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$" + encoded
    assert verify(credential, "geheim")
    assert not verify(credential, "Geheim")
    assert needs_rehash(credential)


def test_other_costs_want_a_new_hash() -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    credential = "{ARGON2ID}" + hasher.hash("geheim")
    assert verify(credential, "geheim")
    assert needs_rehash(credential)


def test_scheme_names_are_read_in_either_case() -> None:
    assert verify("{plain}geheim", "geheim")


@pytest.mark.parametrize(
    "credential",
    [
        "",
        "geheim",
        "{}geheim",
        "{PLAIN geheim",
        "{PLAIN}",
        "{MD5}geheim",
        "{SCRAM-SHA-256}geheim",
        "{ARGON2ID}",
        "{ARGON2ID}geheim",
        "{ARGON2ID}$argon2id$",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$AAAA",
        "{ARGON2ID}$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}",
        "{SCRYPT}geheim",
        "{SCRYPT}$ln=14,r=8,p=5$",
        "{SCRYPT}$ln=14,r=8,p=5$AAAA$",
        "{SCRYPT}$ln=2,r=1,p=1$AAAA$AA",
        "{SCRYPT}$ln=2,r=1,p=1$A$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}$ln=0,r=1,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}$ln=14,r=0,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}$ln=30,r=8,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        "{SCRYPT}$ln=99,r=999,p=999$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
    ],
)
def test_what_is_no_credential_lets_nobody_in(credential: str) -> None:
    for password in ("geheim", credential, "", "\udce9", "\ud800"):
        assert verify(credential, password) is False
    needs_rehash(credential)  # whatever the answer, it is one


def test_octets_that_were_not_utf8_are_compared_as_octets() -> None:
    password = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert verify("{PLAIN}" + password, password)
    assert not verify("{PLAIN}café", password)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_an_empty_password_is_never_kept(scheme: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        hash_password("", scheme)


def test_real_costs_are_felt() -> None:
    """A hash that is made at once is guessed at once."""
    for scheme in ("ARGON2ID", "SCRYPT"):
        begun = time.process_time()
        hash_password("geheim", scheme)
        assert time.process_time() - begun > 0.02


def test_an_unknown_scheme_makes_no_credential() -> None:
    with pytest.raises(ValueError, match="ARGON2ID, SCRYPT, PLAIN"):
        hash_password("geheim", "MD5")


@given(st.text(), st.text())
def test_plain_matches_exactly_equals(kept: str, given_password: str) -> None:
    expected = kept == given_password != ""
    assert verify("{PLAIN}" + kept, given_password) is expected


@given(st.text())
def test_any_text_splits(text: str) -> None:
    scheme, data = split_credential(text)
    assert data == text or text.upper().startswith(f"{{{scheme}}}")
