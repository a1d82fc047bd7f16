"""Accounts in an embedded SQLite database, managed while the server runs."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from restante.accounts.account import Quota
from restante.accounts.contract import Account, AccountError, AccountStore, AppPassword, Done
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
from restante.accounts.rights import Rights
from restante.accounts.schemes import SCHEMES, hash_password, slowest, split_credential
from restante.accounts.sqlite_file import DatabaseFile, transaction
from restante.accounts.sqlite_schema import prepare
from restante.calls import OnThread
from restante.settings_fields import suggest_settings

APP_SCHEME = "SSHA512"
"""The scheme of app passwords: they are long and random, so a quick hash is enough."""

_SELECT = """SELECT a.id, a.name, a.maildrop, a.display_name, a.email, a.disabled, a.protocols,
    a.networks, a.expires, a.master, a.quota_octets, a.quota_messages, a.expire_days,
    c.credential, c.app
    FROM accounts a LEFT JOIN credentials c ON c.account = a.id """

# Each is looked for in the index, which stays quick whatever the number of accounts.
_SCHEMES_HELD = f"""SELECT s.column1 FROM (VALUES {", ".join(f"('{name}')" for name in SCHEMES)}) s
    WHERE EXISTS (SELECT 1 FROM credentials c JOIN accounts a ON a.id = c.account
    WHERE c.scheme = s.column1 AND c.app = '' AND NOT a.disabled)"""  # noqa: S608 - our own names


@dataclass(frozen=True, slots=True)
class AppPasswordUse:
    """An app password's name, when it was made and last used, in seconds since 1970."""

    name: str
    made: float | None
    used: float | None


def _unusable(why: str) -> AccountError:
    return AccountError(f"accounts in {why}")


@suggest_settings
class SqliteAccounts(AccountStore):
    """Accounts in the SQLite database at `path`. Safe to use from several threads.

    The file is opened at the first use, and then made if it isn't there, readable by its
    owner only; its folder must exist. Changes by another process are seen at once.

    case_insensitive: names that differ only in case are the same. Whether or not, a
        second account whose name differs only in case can't be added, so this may be
        changed at any time.
    domains: whose mail the accounts get, as for `StaticAccounts`.
    scram: keep keys for SCRAM-SHA-256 of each new password, beside its hash.

    A look-up takes some 20 µs and doesn't wait for whoever writes (WAL), so servers may do
    it in place.

    Every method raises AccountError when the database can't be used: locked for more
    than 5 seconds, damaged, unreadable, or made by a newer version.
    """

    blocking = False
    upgrades = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        case_insensitive: bool = True,
        domains: Sequence[str] = (),
        scram: bool = True,
    ) -> None:
        self._scram = scram
        self.path = Path(path).absolute()
        self.case_insensitive = case_insensitive
        self._matching = Matching.of(case_insensitive, domains)
        self._reading = DatabaseFile(self.path, prepare, _unusable)
        self._writing = DatabaseFile(self.path, prepare, _unusable)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. The next use opens it again."""
        self._writing.close()
        self._reading.close()

    async def aclose(self) -> None:
        """Close the database. The next use opens it again."""
        self.close()

    def lookup(self, name: str) -> Account | None:
        """The account that `name` logs in to, or None."""
        return self._by_key("name_key", name) if is_valid_name(name) else None

    def lookup_address(self, address: str) -> Account | None:
        """The account that `address` belongs to, a disabled one too, or None.

        The rule is the one of `StaticAccounts`.
        """
        if not is_valid_name(address):
            return None
        account = self._by_key("email_key", address) or self._by_key("name_key", address)
        if account is None and (local := self._matching.local_key(address)):
            account = self._by_key("name_key", local)
        return account

    def held_schemes(self) -> frozenset[str]:
        """The schemes of the credentials by which somebody may log in."""
        with self._reading.use() as database:
            return frozenset(name for (name,) in database.execute(_SCHEMES_HELD))

    def slowest_scheme(self) -> str | None:
        """The scheme of the slowest kind that the accounts hold; None when all are quick."""
        return slowest(self.held_schemes())

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
        name, email = check_name(name), check_address(email)
        if display_name:
            check_name(display_name, "display name")
        if maildrop is not None:
            maildrop = check_name(maildrop, "maildrop")
        credentials = tuple(map(_check_credential, credentials))
        if password is not None:
            credentials += self._made_from(password, keep_secret)
        if not credentials:
            raise ValueError(f"account {name!r}: neither a password nor a credential")
        rights = rights or Rights()
        values = {
            **rights.columns(),
            "name": name,
            "name_key": name_key(name),
            "maildrop": maildrop,
            "display_name": display_name,
            "email": email,
            "email_key": name_key(email) or None,
        }
        with self._changing() as database:
            try:
                row = database.execute(
                    "INSERT INTO accounts (name, name_key, maildrop, display_name, email,"
                    " email_key, protocols, networks, expires, master, quota_octets,"
                    " quota_messages, expire_days) VALUES (:name, :name_key, :maildrop,"
                    " :display_name, :email, :email_key, :protocols, :networks, :expires,"
                    " :master, :quota_octets, :quota_messages, :expire_days)",
                    values,
                )
            except sqlite3.IntegrityError:
                raise AccountExists(f"account {name!r} or its e-mail address exists") from None
            _store(database, row.lastrowid, credentials)
        return Account(
            name,
            credentials,
            maildrop,
            display_name,
            email,
            **{each.name: getattr(rights, each.name) for each in fields(rights)},
        )

    def set_password(self, name: str, password: str, *, keep_secret: bool | None = None) -> None:
        """Replace an account's password and credentials; app passwords stay.

        keep_secret: as for `add`; None keeps the password itself only if the account's
            last one was kept.

        Raises NoSuchAccount, and ValueError for what can't be a password.
        """
        account = self._existing(name)
        if keep_secret is None:
            keep_secret = any(split_credential(c)[0] == "PLAIN" for c in account.credentials)
        credentials = self._made_from(password, keep_secret)
        with self._changing() as database:
            key = name_key(account.name)
            found = database.execute("SELECT id FROM accounts WHERE name_key = ?", (key,))
            rows = found.fetchall()
            if not rows:
                raise NoSuchAccount(f"no account {name!r}")
            database.execute("DELETE FROM credentials WHERE account = ? AND app = ''", rows[0])
            _store(database, rows[0][0], credentials)

    def remove(self, name: str) -> None:
        """Remove an account; its maildrop stays. Raises NoSuchAccount."""
        self._change(name, "DELETE FROM accounts WHERE name_key = :key")

    def disable(self, name: str) -> None:
        """Keep an account from logging in and from getting mail. Raises NoSuchAccount."""
        self._change(name, "UPDATE accounts SET disabled = 1 WHERE name_key = :key")

    def enable(self, name: str) -> None:
        """Undo `disable`. Raises NoSuchAccount."""
        self._change(name, "UPDATE accounts SET disabled = 0 WHERE name_key = :key")

    def set_rights(self, name: str, rights: Rights) -> None:
        """Change an account's rights. Raises NoSuchAccount, and ValueError for wrong ones."""
        self._change(
            name,
            "UPDATE accounts SET protocols = :protocols, networks = :networks,"
            " expires = :expires, master = :master, quota_octets = :quota_octets,"
            " quota_messages = :quota_messages, expire_days = :expire_days WHERE name_key = :key",
            rights.columns(),
        )

    def add_app_password(self, name: str, app: str, password: str) -> None:
        """Add an app password, named `app`, to an account.

        password: long and random, since it is kept as a quick hash.
        Raises NoSuchAccount, AccountExists when `app` is there already, ValueError.
        """
        account, app = self._existing(name), check_name(app, "app password")
        credential = hash_password(check_password(password), APP_SCHEME)
        with self._changing() as database:
            try:
                database.execute(
                    "INSERT INTO credentials (account, scheme, credential, app, made)"
                    " SELECT id, ?, ?, ?, ? FROM accounts WHERE name_key = ?",
                    (APP_SCHEME, credential, app, time.time(), name_key(account.name)),
                )
            except sqlite3.IntegrityError:
                raise AccountExists(f"account {name!r} has an app password {app!r}") from None

    def app_passwords(self, name: str) -> Sequence[AppPasswordUse]:
        """An account's app passwords, by name. Raises NoSuchAccount."""
        key = name_key(self._existing(name).name)
        with self._reading.use() as database:
            rows = database.execute(
                "SELECT c.app, c.made, c.used FROM credentials c JOIN accounts a"
                " ON a.id = c.account WHERE a.name_key = ? AND c.app <> '' ORDER BY c.app",
                (key,),
            ).fetchall()
        return [AppPasswordUse(*row) for row in rows]

    def remove_app_password(self, name: str, app: str) -> None:
        """Remove an app password. Raises NoSuchAccount."""
        self._change(
            name,
            "DELETE FROM credentials WHERE app = :app AND app <> ''"
            " AND account = (SELECT id FROM accounts WHERE name_key = :key)",
            {"app": app},
            f"account {name!r} has no app password {app!r}",
        )

    def replace_credential(self, name: str, old: str, new: str) -> Done:
        """Keep `new` in place of `old` for an account; nothing if it doesn't hold `old`.

        Writing may wait for another process, so the change is made on a thread.
        """
        return OnThread(
            self._execute,
            "UPDATE credentials SET scheme = ?, credential = ? WHERE credential = ? AND"
            " app = '' AND account = (SELECT id FROM accounts WHERE name_key = ?)",
            (split_credential(new)[0], new, old, name_key(name)),
        )

    def record_use(self, name: str, app_password: str) -> Done:
        """The account has logged in by that app password. Noted once a minute at most."""
        now = time.time()
        return OnThread(
            self._execute,
            "UPDATE credentials SET used = ? WHERE app = ? AND app <> ''"
            " AND coalesce(used, 0) < ?"
            " AND account = (SELECT id FROM accounts WHERE name_key = ?)",
            (now, app_password, now - 60, name_key(name)),
        )

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        with self._changing() as database:
            database.execute(statement, values)

    def list(self) -> tuple[Account, ...]:
        """All accounts, by name."""
        with self._reading.use() as database:
            rows = database.execute(_SELECT + "ORDER BY a.name_key, c.scheme").fetchall()
        return tuple(_accounts(rows))

    def _existing(self, name: str) -> Account:
        account = self.lookup(name)
        if account is None:
            raise NoSuchAccount(f"no account {name!r}")
        return account

    def _change(
        self,
        name: str,
        statement: str,
        values: Mapping[str, object] = MappingProxyType({}),
        missing: str = "",
    ) -> None:
        named = {**values, "key": name_key(self._existing(name).name)}
        with self._changing() as database:
            if database.execute(statement, named).rowcount == 0:
                raise NoSuchAccount(missing or f"no account {name!r}")

    def _made_from(self, password: str, keep_secret: bool) -> tuple[str, ...]:
        credentials = [hash_password(check_password(password))]
        if self._scram:
            credentials.append(hash_password(password, "SCRAM-SHA-256"))
        if keep_secret:
            credentials.append(hash_password(password, "PLAIN"))
        return tuple(credentials)

    def _by_key(self, column: str, name: str) -> Account | None:
        with self._reading.use() as database:
            query = f"{_SELECT} WHERE a.{column} = ? ORDER BY c.scheme"
            rows = database.execute(query, (name_key(name),)).fetchall()
        account = next(_accounts(rows), None)
        if account is None:
            return None
        # The key is in lower case in any case, and case may matter.
        found = account.name if column == "name_key" else account.email
        return account if self._matching.key(found) == self._matching.key(name) else None

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, rolled back by an exception. Whoever looks something up meanwhile
        doesn't wait for it."""
        with self._writing.use() as database, transaction(database):
            yield database


def _check_credential(credential: str) -> str:
    scheme, data = split_credential(credential)
    if scheme not in SCHEMES or not data:
        raise ValueError(
            f"credential: not of the form {{SCHEME}}data, with one of {', '.join(SCHEMES)}"
        )
    return credential


def _store(database: sqlite3.Connection, account: int | None, credentials: Iterable[str]) -> None:
    database.executemany(
        "INSERT INTO credentials (account, scheme, credential) VALUES (?, ?, ?)",
        [(account, split_credential(credential)[0], credential) for credential in credentials],
    )


def _accounts(rows: Iterable[tuple[Any, ...]]) -> Iterator[Account]:
    """The accounts of rows that `_SELECT` gave, rows of one account side by side."""
    for _, group in groupby(rows, key=itemgetter(0)):
        several = [*group]
        (_, name, maildrop, display_name, email, disabled, protocols, networks, expires, master) = (
            several[0][:10]
        )
        octets, messages, expire_days = several[0][10:13]
        held = [row[13:] for row in several if row[13] is not None]
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
        )
