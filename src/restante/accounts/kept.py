"""Accounts in a database of our own: the statements, and what they mean.

SQLite and PostgreSQL have the same tables, and share all of this. Each operation is a generator:
it yields a `Statement`, gets the rows, and returns its result. It knows no database. Whoever runs
it does so within one transaction, waiting or not; see `SqliteAccounts` and `DatabaseAccounts`.
"""

# ruff: noqa: S608 - what is put into statements are names of our own tables and columns

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar

from restante.accounts.account import Account, AccountRow, AppPassword, Quota
from restante.accounts.names import (
    AccountExists,
    Matching,
    NoSuchAccount,
    check_address,
    check_name,
    check_password,
    is_valid_name,
    name_key,
)
from restante.accounts.postgres_driver import UNICODE
from restante.accounts.rights import Rights
from restante.accounts.schemes import SCHEMES, hash_password, split_credential

T = TypeVar("T")

APP_SCHEME = "SSHA512"
"""The scheme of app passwords: they are long and random, so a quick hash is enough."""

ROW_VERSION = """
encode(sha256(convert_to(CAST(a AS TEXT) || coalesce((
    SELECT string_agg(CAST(ROW(c.app, c.scheme, c.credential) AS TEXT), ','
        ORDER BY c.app, c.scheme, c.credential)
    FROM {schema}.credentials AS c WHERE c.account = a.id
), ''), 'UTF8')), 'hex')
"""
"""PostgreSQL's text for `AccountRow.version` of the row `a`. That an app password was used changes
nothing."""

_NOTHING: Mapping[str, object] = MappingProxyType({})


class Statement(NamedTuple):
    """One statement. Its parameters are written `:name`; values: of each."""

    text: str
    values: Mapping[str, object] = _NOTHING


Rows: TypeAlias = Sequence[Sequence[Any]]
Steps: TypeAlias = Generator[Statement, Rows, T]
"""An operation: it yields statements, and gets their rows."""


@dataclass(frozen=True, slots=True)
class AppPasswordUse:
    """An app password's name, when it was made and last used, in seconds since 1970."""

    name: str
    made: float | None
    used: float | None


class AccountTables:
    """The operations.

    matching: which names are the same. scram: keep keys for SCRAM, too. schema: of the tables,
    where a database has several. place: of PostgreSQL's; with it, accounts have their `row`.
    """

    def __init__(
        self, matching: Matching, *, scram: bool, schema: str = "", place: bytes = b""
    ) -> None:
        self._matching = matching
        self._scram = scram
        prefix = f'"{schema}".' if schema else ""
        self.accounts, self.credentials = f"{prefix}accounts", f"{prefix}credentials"
        self._place = place
        unicode = UNICODE if place else ""  # for SQLite, we have a `lower` of our own
        self._fits = (
            f" WHERE lower((a.name || ' ' || a.email || ' ' || a.display_name){unicode})"
            f" LIKE lower(:pattern{unicode}) ESCAPE '\\'"
        )
        self._list = self._select("NULL")
        version = ROW_VERSION.replace("{schema}.", prefix) if place else "NULL"
        self._find = self._select(version)
        self._number_of = f"(SELECT id FROM {self.accounts} WHERE name_key = :key)"
        schemes = ", ".join(f"('{name}')" for name in SCHEMES)
        # Each is looked for in the index, which stays quick whatever the number of accounts.
        self._schemes_held = (
            f"SELECT s.column1 FROM (VALUES {schemes}) s WHERE EXISTS (SELECT 1"
            f" FROM {self.credentials} c JOIN {self.accounts} a ON a.id = c.account"
            " WHERE c.scheme = s.column1 AND c.app = '' AND a.disabled = 0)"
        )

    def _select(self, version: str) -> str:
        return (
            "SELECT a.id, a.name, a.maildrop, a.display_name, a.email, a.disabled, a.protocols,"
            " a.networks, a.expires, a.master, a.quota_octets, a.quota_messages, a.expire_days,"
            f" {version}, c.credential, c.app FROM {self.accounts} a"
            f" LEFT JOIN {self.credentials} c ON c.account = a.id"
        )

    # For servers

    def lookup(self, name: str) -> Steps[Account | None]:
        """The account that `name` logs in to, or None."""
        return (yield from self._by_key("name_key", name)) if is_valid_name(name) else None

    def lookup_address(self, address: str) -> Steps[Account | None]:
        """The account that `address` belongs to, a disabled one too, or None."""
        if not is_valid_name(address):
            return None
        account = yield from self._by_key("email_key", address)
        if account is None:
            account = yield from self._by_key("name_key", address)
        if account is None and (local := self._matching.local_key(address)):
            account = yield from self._by_key("name_key", local)
        return account

    def _by_key(self, column: str, name: str) -> Steps[Account | None]:
        query = f"{self._find} WHERE a.{column} = :key ORDER BY c.scheme"
        rows = yield Statement(query, {"key": name_key(name)})
        account = next(_accounts(rows, self._place), None)
        if account is None:
            return None
        # The key is in lower case in any case, and case may matter.
        found = account.name if column == "name_key" else account.email
        return account if self._matching.key(found) == self._matching.key(name) else None

    def held_schemes(self) -> Steps[frozenset[str]]:
        """The schemes of the credentials by which somebody may log in."""
        rows = yield Statement(self._schemes_held)
        return frozenset(name for (name,) in rows)

    def replace_credential(self, name: str, old: str, new: str) -> Steps[None]:
        """Keep `new` in place of `old` for an account; nothing if it doesn't hold `old`."""
        yield Statement(
            f"UPDATE {self.credentials} SET scheme = :scheme, credential = :new"
            f" WHERE credential = :old AND app = '' AND account = {self._number_of}",
            {"scheme": split_credential(new)[0], "new": new, "old": old, "key": name_key(name)},
        )

    def record_use(self, name: str, app_password: str) -> Steps[None]:
        """The account has logged in by that app password. Noted once a minute at most."""
        now = time.time()
        yield Statement(
            f"UPDATE {self.credentials} SET used = :now WHERE app = :app AND app <> ''"
            f" AND coalesce(used, 0) < :before AND account = {self._number_of}",
            {"now": now, "app": app_password, "before": now - 60, "key": name_key(name)},
        )

    # For whoever manages accounts: see `ManagedAccounts`

    def add(
        self,
        name: str,
        password: str | None,
        *,
        credentials: Sequence[str],
        display_name: str,
        email: str,
        maildrop: str | None,
        keep_secret: bool,
        rights: Rights,
    ) -> Steps[Account]:
        name, email = check_name(name), check_address(email)
        if display_name:
            check_name(display_name, "display name")
        if maildrop is not None:
            maildrop = check_name(maildrop, "maildrop")
        credentials = tuple(map(_check_credential, credentials))
        if password is not None:
            credentials += self.made_from(password, keep_secret)
        if not credentials:
            raise ValueError(f"account {name!r}: neither a password nor a credential")
        values = {
            **rights.columns(),
            "name": name,
            "name_key": name_key(name),
            "maildrop": maildrop,
            "display_name": display_name,
            "email": email,
            "email_key": name_key(email) or None,
        }
        rows = yield Statement(
            f"INSERT INTO {self.accounts} (name, name_key, maildrop, display_name, email,"
            " email_key, protocols, networks, expires, master, quota_octets,"
            " quota_messages, expire_days) VALUES (:name, :name_key, :maildrop,"
            " :display_name, :email, :email_key, :protocols, :networks, :expires,"
            " :master, :quota_octets, :quota_messages, :expire_days)"
            " ON CONFLICT DO NOTHING RETURNING id",
            values,
        )
        if not rows:
            raise AccountExists(f"account {name!r} or its e-mail address exists")
        yield from self._store(rows[0][0], credentials)
        return Account(
            name,
            credentials,
            maildrop,
            display_name,
            email,
            **{each.name: getattr(rights, each.name) for each in fields(rights)},
        )

    def set_credentials(self, account: Account, credentials: Sequence[str]) -> Steps[None]:
        number = yield from self._number(account)
        yield Statement(
            f"DELETE FROM {self.credentials} WHERE account = :account AND app = ''",
            {"account": number},
        )
        yield from self._store(number, credentials)

    def change(self, name: str, what: str, values: Mapping[str, object] = _NOTHING) -> Steps[None]:
        """Change columns of an account. what: as of SET."""
        account = yield from self.existing(name)
        rows = yield Statement(
            f"UPDATE {self.accounts} SET {what} WHERE name_key = :key RETURNING id",
            {**values, "key": name_key(account.name)},
        )
        if not rows:
            raise NoSuchAccount(f"no account {name!r}")

    def remove(self, name: str) -> Steps[None]:
        account = yield from self.existing(name)
        rows = yield Statement(
            f"DELETE FROM {self.accounts} WHERE name_key = :key RETURNING id",
            {"key": name_key(account.name)},
        )
        if not rows:
            raise NoSuchAccount(f"no account {name!r}")

    def remove_app_password(self, name: str, app: str) -> Steps[None]:
        account = yield from self.existing(name)
        rows = yield Statement(
            f"DELETE FROM {self.credentials} WHERE app = :app AND app <> ''"
            f" AND account = {self._number_of} RETURNING app",
            {"app": app, "key": name_key(account.name)},
        )
        if not rows:
            raise NoSuchAccount(f"account {name!r} has no app password {app!r}")

    def add_app_password(self, name: str, app: str, password: str) -> Steps[None]:
        app = check_name(app, "app password")
        credential = hash_password(check_password(password), APP_SCHEME)
        account = yield from self.existing(name)
        number = yield from self._number(account)
        rows = yield Statement(
            f"INSERT INTO {self.credentials} (account, scheme, credential, app, made)"
            " VALUES (:account, :scheme, :credential, :app, :made)"
            " ON CONFLICT DO NOTHING RETURNING account",
            {
                "account": number,
                "scheme": APP_SCHEME,
                "credential": credential,
                "app": app,
                "made": time.time(),
            },
        )
        if not rows:
            raise AccountExists(f"account {name!r} has an app password {app!r}")

    def app_passwords(self, name: str) -> Steps[Sequence[AppPasswordUse]]:
        account = yield from self.existing(name)
        rows = yield Statement(
            f"SELECT c.app, c.made, c.used FROM {self.credentials} c JOIN {self.accounts} a"
            " ON a.id = c.account WHERE a.name_key = :key AND c.app <> '' ORDER BY c.app",
            {"key": name_key(account.name)},
        )
        return [AppPasswordUse(*row) for row in rows]

    def list(self) -> Steps[tuple[Account, ...]]:
        rows = yield Statement(f"{self._list} ORDER BY a.name_key, c.scheme")
        return tuple(_accounts(rows))

    def search(self, text: str, first: int, most: int) -> Steps[tuple[Sequence[Account], int]]:
        """Only the accounts that are given are read with their credentials."""
        escaped = text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        values: dict[str, object] = {"pattern": f"%{escaped}%"} if text else {}
        fits = self._fits if text else ""
        (row,) = yield Statement(f"SELECT count(*) FROM {self.accounts} a{fits}", values)
        rows = yield Statement(
            f"{self._list} WHERE a.id IN (SELECT a.id FROM {self.accounts} a{fits}"
            " ORDER BY a.name_key LIMIT :most OFFSET :first) ORDER BY a.name_key, c.scheme",
            {**values, "most": most, "first": first},
        )
        return tuple(_accounts(rows)), row[0]

    def existing(self, name: str) -> Steps[Account]:
        account = yield from self.lookup(name)
        if account is None:
            raise NoSuchAccount(f"no account {name!r}")
        return account

    def _number(self, account: Account) -> Steps[int]:
        rows = yield Statement(
            f"SELECT id FROM {self.accounts} WHERE name_key = :key",
            {"key": name_key(account.name)},
        )
        if not rows:
            raise NoSuchAccount(f"no account {account.name!r}")
        number: int = rows[0][0]
        return number

    def _store(self, account: int, credentials: Iterable[str]) -> Steps[None]:
        for credential in credentials:
            yield Statement(
                f"INSERT INTO {self.credentials} (account, scheme, credential)"
                " VALUES (:account, :scheme, :credential)",
                {
                    "account": account,
                    "scheme": split_credential(credential)[0],
                    "credential": credential,
                },
            )

    def made_from(self, password: str, keep_secret: bool) -> tuple[str, ...]:
        """The credentials of a new password. Takes time."""
        credentials = [hash_password(check_password(password))]
        if self._scram:
            credentials.append(hash_password(password, "SCRAM-SHA-256"))
        if keep_secret:
            credentials.append(hash_password(password, "PLAIN"))
        return tuple(credentials)


class ManagedAccounts(ABC):
    """Accounts that are changed from here, by plain methods which wait for the database.

    Every method raises AccountError when the database can't be used.
    """

    _tables: AccountTables

    @abstractmethod
    def _read(self, steps: Steps[T]) -> T:
        """Run an operation that changes nothing."""

    @abstractmethod
    def _write(self, steps: Steps[T]) -> T:
        """Run an operation in one transaction, which an exception rolls back.

        What it does before its first statement takes time, and is done before the transaction.
        """

    def add(
        self,
        name: str,
        password: str | None = None,
        *,
        credentials: Sequence[str] = (),
        display_name: str = "",
        email: str = "",
        maildrop: str | None = None,
        keep_secret: bool = False,
        rights: Rights | None = None,
    ) -> Account:
        """Add an account and give it back.

        password: kept as a hash, and as keys for SCRAM. credentials: kept as they are,
            in place of a password or beside it.
        keep_secret: keep the password itself as well, which APOP and CRAM-MD5 need.

        Raises AccountExists when the name or the address is taken, ValueError for what
        can't be a name, address, password or credential.
        """
        return self._write(
            self._tables.add(
                name,
                password,
                credentials=credentials,
                display_name=display_name,
                email=email,
                maildrop=maildrop,
                keep_secret=keep_secret,
                rights=rights or Rights(),
            )
        )

    def set_password(self, name: str, password: str, *, keep_secret: bool | None = None) -> None:
        """Replace an account's password and credentials; app passwords stay.

        keep_secret: as for `add`; None keeps the password itself only if the account's
            last one was kept.

        Raises NoSuchAccount, and ValueError for what can't be a password.
        """
        account = self._read(self._tables.existing(name))
        if keep_secret is None:
            keep_secret = any(split_credential(c)[0] == "PLAIN" for c in account.credentials)
        credentials = self._tables.made_from(password, keep_secret)
        self._write(self._tables.set_credentials(account, credentials))

    def remove(self, name: str) -> None:
        """Remove an account; its maildrop stays. Raises NoSuchAccount."""
        self._write(self._tables.remove(name))

    def disable(self, name: str) -> None:
        """Keep an account from logging in and from getting mail. Raises NoSuchAccount."""
        self._write(self._tables.change(name, "disabled = 1"))

    def enable(self, name: str) -> None:
        """Undo `disable`. Raises NoSuchAccount."""
        self._write(self._tables.change(name, "disabled = 0"))

    def set_rights(self, name: str, rights: Rights) -> None:
        """Change an account's rights. Raises NoSuchAccount, and ValueError for wrong ones."""
        columns = rights.columns()
        what = ", ".join(f"{column} = :{column}" for column in columns)
        self._write(self._tables.change(name, what, columns))

    def add_app_password(self, name: str, app: str, password: str) -> None:
        """Add an app password, named `app`, to an account.

        password: long and random, since it is kept as a quick hash.
        Raises NoSuchAccount, AccountExists when `app` is there already, ValueError.
        """
        self._write(self._tables.add_app_password(name, app, password))

    def app_passwords(self, name: str) -> Sequence[AppPasswordUse]:
        """An account's app passwords, by name. Raises NoSuchAccount."""
        return self._read(self._tables.app_passwords(name))

    def remove_app_password(self, name: str, app: str) -> None:
        """Remove an app password. Raises NoSuchAccount."""
        self._write(self._tables.remove_app_password(name, app))

    # The same as of an `AccountStore`

    def lookup(self, name: str) -> Account | None:
        """The account that `name` logs in to, or None."""
        return self._read(self._tables.lookup(name))

    def list(self) -> tuple[Account, ...]:
        """All accounts, by name."""
        return self._read(self._tables.list())

    def search(self, text: str, first: int, most: int) -> tuple[Sequence[Account], int]:
        """Accounts that have `text` in name, address or display name, by name, and how many do.

        first: how many of them are passed over. most: how many are given.
        """
        return self._read(self._tables.search(text, first, most))


def _check_credential(credential: str) -> str:
    scheme, data = split_credential(credential)
    if scheme not in SCHEMES or not data:
        raise ValueError(
            f"credential: not of the form {{SCHEME}}data, with one of {', '.join(SCHEMES)}"
        )
    return credential


def _accounts(rows: Rows, place: bytes = b"") -> Iterator[Account]:
    """The accounts of rows that `_select` asks for, rows of one account side by side."""
    for _, group in groupby(rows, key=itemgetter(0)):
        several = [*group]
        (_, name, maildrop, display_name, email, disabled, protocols, networks, expires, master) = (
            several[0][:10]
        )
        octets, messages, expire_days, version = several[0][10:14]
        held = [row[14:] for row in several if row[14] is not None]
        yield Account(
            name,
            tuple(credential for credential, app in held if not app),
            maildrop,
            display_name,
            email,
            bool(disabled),
            None if protocols is None else frozenset(protocols.split()),
            tuple(networks.split()),
            expires,
            bool(master),
            tuple(AppPassword(app, credential) for credential, app in held if app),
            quota=Quota.of(octets, messages),
            expire_days=expire_days,
            row=AccountRow(place, name_key(name), version) if version else None,
        )
