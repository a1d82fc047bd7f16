"""What an account is: a name, credentials, and what it may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from restante.networks import parse_network
from restante.settings_fields import bounded, check, described, items, suggest_settings


class AccountError(Exception):
    """A store of accounts can't answer now. Becomes `-ERR [SYS/TEMP]`, never a refusal."""


PasswordCheck: TypeAlias = Callable[[str], bool | Awaitable[bool]]
"""Whether a password is right: plain (called on a worker thread) or async. AccountError when
it can't be told; only True is a yes."""


@suggest_settings
@dataclass(frozen=True, slots=True)
class AppPassword:
    """A further password of an account, for one device or program; may be revoked alone.

    name: what its owner calls it. credential: in a scheme, as an account's.

    Raises TypeError for what is no text.
    """

    name: str
    credential: str = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.credential, str):  # `check` would quote it
            raise TypeError(f"credential: allowed is text; {_type(self.credential)} was given")
        check(self)


@suggest_settings
@dataclass(frozen=True, slots=True)
class Quota:
    """How much mail a maildrop may hold.

    octets: of all its messages together. messages: how many.
    0 is no limit. None is whatever applies otherwise: to an account the store's quota, to a
    store no limit.

    Raises TypeError and ValueError for what is no whole number, 0 or more.
    """

    octets: int | None = bounded(None, 0, unit="octets")
    messages: int | None = bounded(None, 0, unit="messages")

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, octets: int | None, messages: int | None) -> Quota | None:
        """A quota of this, or None if neither is said."""
        return None if octets is None and messages is None else cls(octets, messages)

    def over(self, other: Quota) -> Quota:
        """This one, with what `other` says where this one says nothing."""
        octets = other.octets if self.octets is None else self.octets
        messages = other.messages if self.messages is None else self.messages
        return Quota(octets, messages)


class AccountRow(NamedTuple):
    """Where a database has an account, for a store of mail in the same database.

    place: tells this database's tables from others. key: of the row.
    version: another text whenever anything of the account has changed, credentials included.
    """

    place: bytes
    key: str
    version: str


@suggest_settings
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
    upgradable: the store may be given a better hash, if it `upgrades` them.
    quota: how much mail its maildrop may hold; None: what the store of maildrops says.
    expire_days: after how many days its mail is removed; 0: never; None: what the store of
        maildrops says.
    row: where a database has it; a store of mail in there can see whether it has changed.

    Lists are made tuples, a set a frozenset. Raises TypeError for a value of a wrong type and
    ValueError for a network that is none. Both name the account, the field and what is allowed,
    and the value where it is no secret.
    """

    name: str
    credentials: tuple[str, ...] = ()
    maildrop: str | None = None
    display_name: str = ""
    email: str = ""
    disabled: bool = False
    protocols: frozenset[str] | None = described(None, "a frozenset of pop3 and smtp, or none")
    networks: tuple[str, ...] = items((), "networks, as 192.0.2.0/24", parse_network)
    expires: float | None = None
    master: bool = False
    app_passwords: tuple[AppPassword, ...] = ()
    check_password: PasswordCheck | None = described(  # noqa: RUF009 - it makes a field
        None, "a function of a password, or none", compare=False
    )
    version: str = ""
    assumed: bool = False
    upgradable: bool = True
    quota: Quota | None = described(None, "a Quota, or none")  # noqa: RUF009 - it makes a field
    expire_days: int | None = bounded(None, 0, unit="days")
    row: AccountRow | None = described(  # noqa: RUF009 - it makes a field
        None, "an AccountRow, or none", compare=False
    )

    def __post_init__(self) -> None:
        try:
            _check_secrets("credentials", self.credentials, str, _CREDENTIALS)
            _check_secrets("app_passwords", self.app_passwords, AppPassword, _APP_PASSWORDS)
            if isinstance(self.protocols, set):
                object.__setattr__(self, "protocols", frozenset(self.protocols))
            check(self)
        except (TypeError, ValueError) as error:
            raise type(error)(f"account {self.name!r}: {error}") from None

    @property
    def maildrop_name(self) -> str:
        """The maildrop's name: `maildrop` if one is given, else the account's name."""
        return self.maildrop or self.name

    def __repr__(self) -> str:  # credentials stay out of every log and traceback
        return f"Account({self.name!r})"


_CREDENTIALS = "a tuple of texts, as in credentials=('{PLAIN}secret',)"
_APP_PASSWORDS = "a tuple of AppPassword, as in app_passwords=(AppPassword('phone', '{PLAIN}…'),)"


def _type(given: object) -> str:
    return f"an object of type {type(given).__name__}"


def _check_secrets(name: str, given: object, kind: type, words: str) -> None:
    """What is wrong is named by its type: it may be a secret."""
    if not isinstance(given, tuple | list):
        what = "one text" if isinstance(given, str) else _type(given)
        raise TypeError(f"{name} must be {words}; {what} was given")
    for each in given:
        if not isinstance(each, kind):
            raise TypeError(f"{name} must be {words}; {_type(each)} is among them")
