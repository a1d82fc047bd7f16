"""Names and addresses: what is fit, and what is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts.names import (
    Matching,
    check_address,
    check_name,
    check_password,
    fold,
    is_valid_name,
)


@pytest.mark.parametrize("name", ["a", "joe@example.org", "Jürgen Ö", "山田", "x" * 255, "../x"])
def test_fit_names(name: str) -> None:
    assert is_valid_name(name)
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", " joe", "joe ", "joe\n", "j\0oe", "j\roe", "j\x7foe", "j\x85oe"),
        *("j\u2028oe", "j\ud800oe", "x" * 256),
    ],
)
def test_unfit_names(name: str) -> None:
    assert not is_valid_name(name)
    with pytest.raises(ValueError, match="maildrop"):
        check_name(name, "maildrop")


@pytest.mark.parametrize("address", ["joe", "@example.org", "joe@", "@", "jo\ne@example.org"])
def test_unfit_addresses(address: str) -> None:
    with pytest.raises(ValueError, match="e-mail address"):
        check_address(address)


@pytest.mark.parametrize("password", ["", "a\nb", "a\rb", "a\0b", "x" * 256, "ö" * 128, "\ud800ab"])
def test_unfit_passwords_are_not_quoted(password: str) -> None:
    """A11"""
    with pytest.raises(ValueError) as caught:
        check_password(password)
    assert caught.value.args[0].startswith("password: ")
    assert not password or password not in str(caught.value)


def test_names_compare_in_one_composition() -> None:
    assert check_name("Zoe\u0308") == "Zo\u00eb"
    for matching in (Matching(False), Matching(True)):
        assert matching.key("Zoe\u0308") == matching.key("Zo\u00eb")


def test_case_counts_unless_told_otherwise() -> None:
    assert Matching(False).key("Joe") != Matching(False).key("joe")
    assert Matching(True).key("STRASSE") == Matching(True).key("straße")


def test_case_of_domains_never_counts() -> None:
    assert Matching(False).key("Joe@Example.ORG") == "Joe@example.org"
    assert Matching(False).key("a@b@Example.ORG") == "a@b@example.org"


@given(st.text())
def test_folding_is_done_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert fold(Matching(False).key(text)) == fold(text)
