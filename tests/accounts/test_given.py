"""What a program may give as its accounts, and what is said of everything else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from restante.accounts.contract import Account, AccountStore
from restante.accounts.given import as_accounts
from restante.accounts.schemes import hash_password
from restante.accounts.static import StaticAccounts


class Mine(AccountStore):
    def lookup(self, name: str) -> Account | None:
        return None


class Looks:
    def lookup(self, name: str) -> Account | None:
        return None


def test_a_store_is_taken_as_it_is() -> None:
    store = Mine()
    assert as_accounts(store) is store


def test_names_and_passwords_make_a_store() -> None:
    hashed = hash_password("geheim", "SSHA512")
    store = as_accounts({"joe": "secret", "ann": hashed, "kim": Account("kim", ("{PLAIN}x",))})
    assert isinstance(store, StaticAccounts)
    assert [account.name for account in store.list()] == ["joe", "ann", "kim"]
    assert store.lookup("JOE") is None
    assert as_accounts({"joe": "x"}, case_insensitive=True).lookup("JOE") is not None


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, "None was given"),
        (Mine, "the class Mine itself, without parentheses and arguments, was given"),
        (dict, "the class dict was given"),
        ([("joe", "secret")], r"a list of tuples, of which dict\(…\) makes a mapping"),
        ((("joe", "secret"),), "a tuple of tuples"),
        (["joe"], "an object of type list was given"),
        ("users.db", "an object of type str was given"),
        (Looks(), "an object of class Looks, which isn't derived from AccountStore, was given"),
        (SimpleNamespace(), "an object of type SimpleNamespace was given"),
    ],
)
def test_anything_else_is_refused(given: Any, shown: str) -> None:
    with pytest.raises(TypeError, match=shown) as caught:
        as_accounts(given)
    assert "derived from AccountStore" in str(caught.value)
    assert "{'joe': 'secret'}" in str(caught.value)
    assert "secret" not in str(caught.value).replace("'secret'", "", 1)


@pytest.mark.parametrize("password", [b"geheim", 4711, None, ("geheim",)])
def test_a_password_that_is_no_text_is_refused_but_not_quoted(password: Any) -> None:
    with pytest.raises(TypeError, match="account 'joe': a password must be text") as caught:
        as_accounts({"joe": password})
    assert "geheim" not in str(caught.value)
    assert "4711" not in str(caught.value)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="a name must be text"):
        as_accounts({7: "geheim"})


@pytest.mark.parametrize(
    ("hashed", "scheme"),
    [
        ("$6$salt$hash", "SHA512-CRYPT"),
        ("$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "BLF-CRYPT"),
        ("$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", "ARGON2ID"),
    ],
)
def test_a_hash_without_its_scheme_is_no_password(hashed: str, scheme: str) -> None:
    with pytest.raises(ValueError, match="account 'joe': the password looks like a hash") as caught:
        as_accounts({"joe": hashed})
    assert f"'{{{scheme}}}'" in str(caught.value)
    assert hashed not in str(caught.value)
    assert as_accounts({"joe": f"{{PLAIN}}{hashed}"}).lookup("joe") is not None
