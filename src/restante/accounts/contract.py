"""Who may log in: what an account is, and what a store of accounts must offer.

Accounts know nothing of POP3. A store finds an account by name; the account holds its
credentials in schemes, written as `{SCHEME}data`, and `restante.accounts.verify` holds
a login's claim against them. Everything fails closed: no account, no credential of a
fitting scheme, or any doubt, is a no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Account:
    """One account.

    name: what the user logs in with, in the spelling the store keeps.
    credentials: secrets in schemes: `{ARGON2ID}$argon2id$…`, `{PLAIN}secret` …
    maildrop: name of the maildrop, when it is another than the account's own name.
    display_name, email: for people and for mail addressed to this account.
    disabled: may not log in and gets no mail.
    """

    name: str
    credentials: tuple[str, ...] = ()
    maildrop: str | None = None
    display_name: str = ""
    email: str = ""
    disabled: bool = False

    @property
    def maildrop_name(self) -> str:
        """The maildrop's name: `maildrop` if one is given, else the account's name."""
        return self.maildrop or self.name

    def __repr__(self) -> str:  # credentials stay out of every log and traceback
        return f"Account({self.name!r})"


class AccountError(Exception):
    """A store of accounts can't answer now. Becomes `-ERR [SYS/TEMP]`, never a refusal."""


@runtime_checkable
class AccountStore(Protocol):
    """The contract of every store of accounts. Plain function or coroutine function."""

    def lookup(self, name: str) -> Account | None:
        """The account that `name` logs in to, or None.

        Raises AccountError when the store can't tell.
        """


@runtime_checkable
class KnowsSchemes(Protocol):
    """Add-on: the store can say which kinds of credential its accounts hold.

    Mechanisms that no account could use are then not announced. A store without this
    is taken to serve passwords only, no challenge-response.
    """

    def has_shared_secrets(self) -> bool:
        """Whether some account may hold a secret for APOP and CRAM-MD5 (`{PLAIN}`)."""


@runtime_checkable
class KnowsHashing(Protocol):
    """Add-on: the store can say how slow a check of its passwords is.

    A login with an unknown name is then made as slow. A store without this is taken to
    hold credentials of the default scheme.
    """

    def slowest_scheme(self) -> str | None:
        """The scheme of the slowest kind that accounts hold; None when all are quick.

        A plain function that answers at once: it is asked at each failing login.
        """


@runtime_checkable
class Addressable(Protocol):
    """Add-on for mail coming in: finds the account that an address belongs to."""

    def lookup_address(self, address: str) -> Account | None:
        """The account that `address` (`local@domain`, or bare `local`) belongs to, or None.

        A disabled one too: its mail must be refused, not go to a catch-all.
        """
