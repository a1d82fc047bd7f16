"""Accounts in memory: the forms they are given in."""

from __future__ import annotations

import pytest

from restante.accounts.contract import Account
from restante.accounts.names import AccountExists
from restante.accounts.schemes import hash_password
from restante.accounts.static import StaticAccounts
from restante.accounts.verify import Verifier
from restante.protocol.claims import PasswordClaim

pytestmark = pytest.mark.usefixtures("cheap_hashes")


def logs_in(store: StaticAccounts, name: str, password: str) -> bool:
    return Verifier(store).check(store.lookup(name), PasswordClaim(name, password))


def test_a_mapping_of_names_to_passwords() -> None:
    store = StaticAccounts({"CleverTester": "clevertester", "ann": " two  words "})
    assert logs_in(store, "CleverTester", "clevertester")
    assert logs_in(store, "ann", " two  words ")
    assert not logs_in(store, "ann", "two  words")
    assert not logs_in(store, "clevertester", "clevertester")
    assert "PLAIN" in store.held_schemes()
    assert store.blocking is False


def test_a_mapping_of_names_to_credentials() -> None:
    store = StaticAccounts(
        {
            "ann": hash_password("geheim", "SCRYPT"),
            "bob": hash_password("geheim", "ARGON2ID"),
            "cleo": "{PLAIN}{word}",
        }
    )
    assert logs_in(store, "ann", "geheim")
    assert logs_in(store, "bob", "geheim")
    assert logs_in(store, "cleo", "{word}")
    assert not logs_in(store, "ann", hash_password("geheim", "SCRYPT"))
    assert store.slowest_scheme() == "ARGON2ID"


def test_a_mapping_of_names_to_accounts_and_a_list_of_accounts() -> None:
    joe = Account("joe", ("{PLAIN}geheim",), maildrop="office", display_name="Joe")
    for store in (StaticAccounts({"joe": joe}), StaticAccounts([joe])):
        assert store.lookup("joe") is joe


@pytest.mark.parametrize(
    ("accounts", "says"),
    [
        ({"joe": ""}, "empty"),
        ({"joe": "{MD5}5f4dcc3b5aa765d61d8327deb882cf99"}, r"unknown password scheme \{MD5\}"),
        ({"joe": "{ARGON2}$argon2id$"}, "unknown password scheme"),
        ({"joe": "{PLAIN}"}, "nothing follows"),
        ({"joe": "a\nb"}, "CR, LF or NUL"),
        ({"": "geheim"}, "name"),
        ({"jo\ne": "geheim"}, "name"),
        ({"ann": Account("joe")}, "listed as 'ann'"),
        ([Account("joe"), Account("joe")], "exists"),
        ([Account("a", email="x@y"), Account("b", email="x@Y")], "belongs"),
        ([Account("a", email="nowhere")], "e-mail"),
    ],
)
def test_mistakes_are_told_at_once(
    accounts: dict[str, str | Account] | list[Account], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        StaticAccounts(accounts)


def test_a_mistake_never_quotes_the_password() -> None:
    """A11"""
    with pytest.raises(ValueError) as caught:
        StaticAccounts({"joe": "{NOSCHEME}geheim"})
    assert "geheim" not in str(caught.value)


def test_an_account_that_is_refused_leaves_nothing_behind() -> None:
    store = StaticAccounts({"joe": "geheim"})
    with pytest.raises(AccountExists):
        store.add(Account("joe", ("{SCRYPT}x",), email="new@example.org"))
    assert store.lookup_address("new@elsewhere.example") is None
    assert store.slowest_scheme() is None
