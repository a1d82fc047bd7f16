"""What a store of accounts must offer: a base class, of which only `lookup` must be written.

Accounts know nothing of POP3. A store finds an account by name; the account holds its
credentials in schemes, written as `{SCHEME}data`, and `restante.accounts.verify` checks a
login's claim against them. Everything fails closed: no account, no credential of a fitting
scheme, or any doubt, is a no.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from typing import Any, TypeAlias

from restante.accounts.account import Account, AccountError, AppPassword, PasswordCheck
from restante.accounts.names import name_key
from restante.accounts.schemes import default_scheme
from restante.calls import OnThread

__all__ = [
    "Account",
    "AccountError",
    "AccountStore",
    "AppPassword",
    "Done",
    "Found",
    "PasswordCheck",
]

Found: TypeAlias = "Account | OnThread[Any] | Awaitable[Account | None] | None"
"""What a look-up gives: an account or None at once, or what these come from."""

Done: TypeAlias = "OnThread[Any] | Awaitable[None] | None"
"""What a method gives that has nothing to tell."""


class AccountStore(ABC):
    """A store of accounts. Write `lookup`; everything else has a default.

    Every method may be plain or async, but for those whose docstring says which. All raise
    AccountError when the store can't tell.
    """

    blocking: bool = True
    """Whether plain methods may wait; they are then called on worker threads. Otherwise they are
    called on the event loop, and return `OnThread(function, *args)` where they would wait."""

    case_insensitive: bool = True
    """Whether names that differ only in case may be one account's, for the default `name_key`."""

    upgrades: bool = False
    """Whether `replace_credential` replaces anything."""

    has_rows: bool = False
    """Whether `lookup` would find the same account again as long as its `row` is unchanged.

    A subclass that has a `lookup` of its own must say so anew.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "lookup" in vars(cls) and "has_rows" not in vars(cls):
            cls.has_rows = False

    @abstractmethod
    def lookup(self, name: str) -> Found:
        """The account that `name` logs in to, or None."""

    def lookup_address(self, address: str) -> Found:
        """The account that mail for `address` (`local@domain`, or `local`) belongs to, or None.

        A disabled account too: its mail must be refused, not go to a catch-all. By default it
        is the account of that very name.
        """
        return self.lookup(address)

    def held_schemes(self) -> frozenset[str] | OnThread[Any] | Awaitable[frozenset[str]]:
        """The schemes, in upper case, of the credentials by which somebody may log in.

        Asked once a second: mechanisms that no account could use are not announced. By default
        there are none, so only those are announced that take a password.
        """
        return frozenset()

    def slowest_scheme(self) -> str | None:
        """The scheme that takes longest to check of those that accounts hold; None: all are quick.

        A login with an unknown name is made as slow. Plain, and answers at once: it is asked at
        each failed login. By default it is the scheme of new passwords.
        """
        return default_scheme()

    def name_key(self, name: str) -> str:
        """The same for all names that log in to one account, whether or not it exists.

        Failed logins with such names are counted as one account's. Plain, and answers at once,
        without a look-up.
        """
        return name_key(name, self.case_insensitive)

    def check_decoy(self, name: str, password: str) -> Done:
        """Take as long as a wrong password does that somebody else checks; `name` is unknown."""
        return None

    def record_use(self, name: str, app_password: str) -> Done:
        """The account of that name has logged in by the app password of that name."""
        return None

    def replace_credential(self, name: str, old: str, new: str) -> Done:
        """Keep `new` in place of `old` for an account; nothing if it doesn't hold `old`.

        Called at login when a better hash can be made, of stores whose `upgrades` is true.
        """
        return None

    def list(self) -> Sequence[Account]:
        """All accounts. Plain. Raises AccountError where they can't be listed."""
        raise AccountError(f"{type(self).__name__} can't list its accounts")

    def search(self, text: str, first: int, most: int) -> tuple[Sequence[Account], int]:
        """Accounts that have `text` in name, address or display name, by name, and how many do.

        first: how many of them are passed over. most: how many are given. Case doesn't matter, and
        with no text all of them fit. Plain. By default `list` is looked through. Raises
        AccountError where accounts can't be listed.
        """
        wanted = text.lower()
        found = [
            each
            for each in self.list()
            if wanted in f"{each.name} {each.email} {each.display_name}".lower()
        ]
        found.sort(key=lambda each: each.name.lower())
        return found[first : first + most], len(found)

    async def aclose(self) -> None:  # noqa: B027 - most stores have nothing to close
        """Close what is open, in the event loop in which it was opened. Harmless when repeated."""
