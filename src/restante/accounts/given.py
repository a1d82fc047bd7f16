"""Accounts as a program gives them: a store, or names with passwords."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restante.accounts.account import Account
from restante.accounts.contract import AccountStore
from restante.accounts.schemes.crypts import scheme_of_crypt
from restante.accounts.static import StaticAccounts

EXPECTED = (
    "accounts must be a store of accounts (an object of a class derived from AccountStore), or a"
    " mapping of names to passwords, such as {'joe': 'secret'}"
)


def as_accounts(given: Any, *, case_insensitive: bool = False) -> AccountStore:
    """The store of accounts that `given` is, or a new one with the names and passwords in it.

    given: an `AccountStore`, or a mapping of names to passwords, credentials `{SCHEME}data` or
        `Account`s. case_insensitive: of a mapping: names that differ only in case are the same.

    Raises TypeError for anything else, and ValueError for a name, password or credential that
    can't be. Both say what was given and what is expected; neither quotes a password.
    """
    if isinstance(given, AccountStore):
        return given
    if isinstance(given, Mapping):
        for name, password in given.items():
            _check_entry(name, password)
        return StaticAccounts(given, case_insensitive=case_insensitive)
    raise TypeError(f"{EXPECTED}; {_shown(given)} was given")


def _check_entry(name: object, password: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"accounts: a name must be text; {_shown(name)} was given")
    if isinstance(password, Account):
        return
    if not isinstance(password, str):
        raise TypeError(
            f"account {name!r}: a password must be text, or an Account must be given;"
            f" {_shown(password)} was given"
        )
    scheme = scheme_of_crypt(password) or ("ARGON2ID" if password.startswith("$argon2id$") else "")
    if scheme:
        raise ValueError(
            f"account {name!r}: the password looks like a hash without its scheme. Write"
            f" '{{{scheme}}}' before it; if it is the password itself, write '{{PLAIN}}' before it"
        )


def _shown(given: object) -> str:
    """What was given, for a message: no more than its kind, as it may hold passwords."""
    if given is None:
        return "None"
    if isinstance(given, type):
        if issubclass(given, AccountStore):
            return f"the class {given.__name__} itself, without parentheses and arguments,"
        return f"the class {given.__name__}"
    kind = type(given)
    kinds = {type(each) for each in given} if isinstance(given, list | tuple | set) else set()
    if kinds == {tuple}:
        return f"a {kind.__name__} of tuples, of which dict(…) makes a mapping,"
    if kinds == {Account}:
        return f"a {kind.__name__} of accounts, of which StaticAccounts(…) makes a store,"
    if callable(getattr(given, "lookup", None)):
        return f"an object of class {kind.__name__}, which isn't derived from AccountStore,"
    return f"an object of type {kind.__name__}"
