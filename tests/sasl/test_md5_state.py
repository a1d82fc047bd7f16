"""HMAC-MD5 from kept states, and CRAM-MD5 against a credential that holds them."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.sasl.cram_md5 import CramMd5Claim
from restante.sasl.md5_state import hmac_from_states, hmac_states


@given(key=st.binary(max_size=200), message=st.binary(max_size=300))
def test_states_answer_as_the_key_does(key: bytes, message: bytes) -> None:
    """RFC 2104, for keys and messages on either side of MD5's block of 64."""
    assert hmac_from_states(hmac_states(key), message) == hmac.digest(key, message, "md5")


@pytest.mark.parametrize("size", [55, 56, 63, 64, 65, 119, 120, 128])
def test_messages_that_end_near_a_block(size: int) -> None:
    message = b"m" * size
    assert hmac_from_states(hmac_states(b"key"), message) == hmac.digest(b"key", message, "md5")


def test_states_are_laid_out_as_dovecot_has_them() -> None:
    """Made by Dovecot 2.3.19 for "geheim": outer, then inner, words little-endian."""
    assert hmac_states(b"geheim").hex() == (
        "f16f9cd57afad6931bff9508ef68ea2db1b62513b604cf995e4f882bed6d4f1a"
    )


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_states_of_another_size_are_damaged(size: int) -> None:
    with pytest.raises(ValueError, match="states"):
        hmac_from_states(b"x" * size, b"message")


def claim(secret: str) -> CramMd5Claim:
    """What somebody says who knows `secret`."""
    challenge = b"<1.2@mail.example>"
    digest = hmac.digest(secret.encode(), challenge, "md5").hex()
    return CramMd5Claim("joe", challenge, digest)


def test_the_example_of_the_rfc_holds_for_states_too() -> None:
    """RFC 2195 §2."""
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    rfc = CramMd5Claim("tim", challenge, "b913a602c7eda7a495b4e6e7334d3890")
    states = hmac_states(b"tanstaaftanstaaf").hex()
    assert rfc.holds_for("CRAM-MD5", states) is True
    assert rfc.holds_for("CRAM-MD5", states.upper()) is True
    assert rfc.holds_for("PLAIN", "tanstaaftanstaaf") is True
    assert rfc.holds_for("PLAIN", states) is False


@pytest.mark.parametrize("secret", ["geheim", "пароль", "x" * 65])
def test_states_hold_for_their_secret_only(secret: str) -> None:
    states = hmac_states(secret.encode()).hex()
    assert claim(secret).holds_for("CRAM-MD5", states) is True
    assert claim(secret + "!").holds_for("CRAM-MD5", states) is False


@pytest.mark.parametrize("data", ["", "-", "geheim", "f16f", "g" * 64, "0" * 63, "0" * 65])
def test_damaged_states_are_an_error(data: str) -> None:
    with pytest.raises(ValueError, match="states"):
        claim("geheim").holds_for("CRAM-MD5", data)


def test_no_error_quotes_what_is_kept() -> None:
    with pytest.raises(ValueError) as raised:
        claim("geheim").holds_for("CRAM-MD5", "geheim")
    assert "geheim" not in str(raised.value)
