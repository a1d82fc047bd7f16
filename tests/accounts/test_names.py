"""Names and addresses: what is fit, and what is the same."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts.names import (
    Matching,
    check_address,
    check_name,
    check_password,
    domain_key,
    is_valid_name,
    name_key,
    spellings,
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
    assert Matching(True).key("JÜRGEN") == Matching(True).key("jürgen")


def test_case_of_domains_never_counts() -> None:
    assert Matching(False).key("Joe@Example.ORG") == "Joe@example.org"
    assert Matching(False).key("a@b@Example.ORG") == "a@b@example.org"


@given(st.text())
def test_a_key_is_its_own_key(text: str) -> None:
    assert name_key(name_key(text)) == name_key(text)
    assert name_key(Matching(False).key(text)) == name_key(text)


def test_sharp_s_and_double_s_are_two() -> None:
    """RFC 8265 §3.3.2: lower case, and no case folding."""
    assert name_key("Strauß") == "strauß" != name_key("STRAUSS")
    assert domain_key("straße.example") != domain_key("strasse.example")


@pytest.mark.parametrize(
    "domain",
    ["münchen.example", "MÜNCHEN.Example", "mu\u0308nchen.example", "xn--mnchen-3ya.example",
     "XN--MNCHEN-3YA.EXAMPLE", "münchen。example"],
)  # fmt: skip
def test_all_spellings_of_a_domain_are_one(domain: str) -> None:
    assert domain_key(domain) == "xn--mnchen-3ya.example"
    assert Matching.of(False, ["München.example"]).local_key(f"joe@{domain}") == "joe"
    assert Matching(False).key(f"Joe@{domain}") == "Joe@xn--mnchen-3ya.example"


@pytest.mark.parametrize("domain", ["-ü-.example", "a_b.exämple\u2028", "ü" * 300, "ü..example"])
def test_what_idna_does_not_allow_is_compared_by_lower_case(domain: str) -> None:
    assert domain_key(domain.upper()) == domain


def test_without_idna_only_domains_in_ascii_are_compared_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "idna", None)
    assert domain_key("Münster.example") == "münster.example"
    assert domain_key("XN--MNSTER-KVA.example") == "xn--mnster-kva.example"
    assert spellings("joe@xn--mnster-kva.example") == ("joe@xn--mnster-kva.example",)


def test_spellings_under_which_others_may_keep_a_name() -> None:
    assert spellings("joe@example.org") == ("joe@example.org",)
    assert spellings("xn--mnchen-3ya") == ("xn--mnchen-3ya",)
    assert spellings("joe@xn--mnchen-3ya.example") == (
        "joe@münchen.example",
        "joe@xn--mnchen-3ya.example",
    )
    assert spellings("joe@xn--a.example") == ("joe@xn--a.example",)
