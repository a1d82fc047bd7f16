"""Who may log in: what an account is, and what a store of accounts must offer.

Accounts know nothing of POP3. A store finds an account by name; the account holds its
credentials in schemes, written as `{SCHEME}data`, and `restante.accounts.verify` holds
a login's claim against them. Everything fails closed: no account, no credential of a
fitting scheme, or any doubt, is a no.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

PasswordCheck: TypeAlias = Callable[[str], bool | Awaitable[bool]]
"""Whether a password is right: plain (called on a worker thread) or async. AccountError when
it can't be told; only True is a yes."""


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A further password of an account, for one device or program; may be revoked alone.

    name: what its owner calls it. credential: in a scheme, as an account's.
    """

    name: str
    credential: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """One account.

    name: what the user logs in with, in the spelling the store keeps.
    credentials: secrets in schemes: `{ARGON2ID}$argon2id$…`, `{PLAIN}secret` …
    maildrop: name of the maildrop, when it is another than the account's own name.
    display_name, email: for people and for mail addressed to this account.
    disabled: may not log in and gets no mail.
    protocols: by which it may log in, of `pop3` and `smtp`; None: by all.
    networks: from where it may log in, as `192.0.2.0/24`; empty: from everywhere.
    expires: when logging in ends, in seconds since 1970; None: never.
    master: may act as any other account.
    app_passwords: further passwords, each with a name.
    check_password: asks somebody else (a directory, the system) whether a password is right,
        after `credentials` and `app_passwords`, if there are any, didn't say so.
    version: another text whenever what `check_password` would say may have changed; empty:
        nobody can tell, and what it said isn't remembered.
    assumed: the store has an account for every name: that there is one proves nothing, and
        only a password lets in.
    upgradable: the store may be given a better hash, if it `UpgradesCredentials`.
    """

    name: str
    credentials: tuple[str, ...] = ()
    maildrop: str | None = None
    display_name: str = ""
    email: str = ""
    disabled: bool = False
    protocols: frozenset[str] | None = None
    networks: tuple[str, ...] = ()
    expires: float | None = None
    master: bool = False
    app_passwords: tuple[AppPassword, ...] = ()
    check_password: PasswordCheck | None = field(default=None, compare=False)
    version: str = ""
    assumed: bool = False
    upgradable: bool = True

    @property
    def maildrop_name(self) -> str:
        """The maildrop's name: `maildrop` if one is given, else the account's name."""
        return self.maildrop or self.name

    def __repr__(self) -> str:  # credentials stay out of every log and traceback
        return f"Account({self.name!r})"


Found: TypeAlias = Account | Awaitable[Account | None] | None
"""What a look-up gives: at once from a plain function, awaited from a coroutine function."""


class AccountError(Exception):
    """A store of accounts can't answer now. Becomes `-ERR [SYS/TEMP]`, never a refusal."""


@runtime_checkable
class AccountStore(Protocol):
    """The contract of every store of accounts. Plain function or coroutine function."""

    def lookup(self, name: str) -> Found:
        """The account that `name` logs in to, or None.

        Raises AccountError when the store can't tell.
        """


@runtime_checkable
class KnowsSchemes(Protocol):
    """Add-on: the store can say which kinds of credential its accounts hold.

    Mechanisms that no account could use are then not announced. A store without this
    is taken to serve passwords only, no challenge-response.
    """

    def held_schemes(self) -> frozenset[str]:
        """The schemes, in upper case, of the credentials by which somebody may log in.

        Asked once a second. Raises AccountError when the store can't tell.
        """


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
class KnowsAliases(Protocol):
    """Add-on: a rule says which names log in to the same account, as when domains don't count.

    Failed logins with such names are then counted as one account's. A store without this is
    taken to heed all of a name but, if it says `case_insensitive`, its case.
    """

    def name_key(self, name: str) -> str:
        """The same for all names that log in to one account, whether or not there is one.

        A plain function that answers at once, without a look-up.
        """


@runtime_checkable
class Addressable(Protocol):
    """Add-on for mail coming in: finds the account that an address belongs to."""

    def lookup_address(self, address: str) -> Found:
        """The account that `address` (`local@domain`, or bare `local`) belongs to, or None.

        A disabled one too: its mail must be refused, not go to a catch-all.
        """


@runtime_checkable
class UpgradesCredentials(Protocol):
    """Add-on: an old hash can be replaced at login, when its password is known for a moment.

    A plain function is called on a worker thread, also of a store that says `blocking = False`.
    """

    def replace_credential(self, name: str, old: str, new: str) -> Awaitable[None] | None:
        """Keep `new` in place of `old` for an account; nothing if it doesn't hold `old`."""


@runtime_checkable
class ChecksElsewhere(Protocol):
    """Add-on: somebody else checks passwords; an unknown name can be made to take as long."""

    async def check_decoy(self, name: str, password: str) -> None:
        """Take as long as a wrong password does. Raises AccountError."""


@runtime_checkable
class RecordsUse(Protocol):
    """Add-on: the store remembers when an app password was last used.

    A plain function is called on a worker thread, also of a store that says `blocking = False`.
    """

    def record_use(self, name: str, app_password: str) -> Awaitable[None] | None:
        """The account of that name has logged in by the app password of that name."""


@runtime_checkable
class Closes(Protocol):
    """Add-on: the store holds connections that are to be closed in the end."""

    async def aclose(self) -> None:
        """Close them, in the event loop in which they were opened. Harmless when repeated."""
