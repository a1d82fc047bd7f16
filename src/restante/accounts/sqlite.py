"""Accounts in an embedded SQLite database, managed while the server runs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, ClassVar, Self

from restante.accounts.contract import Account, AccountError
from restante.accounts.names import (
    AccountExists,
    Matching,
    NoSuchAccount,
    check_address,
    check_name,
    check_password,
    fold,
    is_valid_name,
)
from restante.accounts.schemes import SCHEMES, hash_password, slowest, split_credential

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE accounts (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            name_key TEXT NOT NULL UNIQUE,
            maildrop TEXT,
            display_name TEXT NOT NULL,
            email TEXT NOT NULL,
            email_key TEXT UNIQUE,
            disabled INTEGER NOT NULL DEFAULT 0
        )""",
        """CREATE TABLE credentials (
            account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
            scheme TEXT NOT NULL,
            credential TEXT NOT NULL,
            PRIMARY KEY (account, scheme, credential)
        ) WITHOUT ROWID""",
        "CREATE INDEX credentials_by_scheme ON credentials (scheme)",
    ),
)
"""The schema, step by step. `PRAGMA user_version` says how many steps were taken; a step
that has been released is never changed."""

_BUSY_SECONDS = 5.0

_SELECT = """SELECT a.id, a.name, a.maildrop, a.display_name, a.email, a.disabled, c.credential
    FROM accounts a LEFT JOIN credentials c ON c.account = a.id """

_SCHEME_HELD = """SELECT EXISTS (SELECT 1 FROM credentials c JOIN accounts a ON a.id = c.account
    WHERE c.scheme = ? AND NOT a.disabled)"""

# SQLite must not be given up in a process that a connection was inherited by, nor used
# there, so inherited ones are kept from being closed.
_inherited: list[sqlite3.Connection] = []


class SqliteAccounts:
    """Accounts in the SQLite database at `path`. Safe to use from several threads.

    The file is opened at the first use, and then made if it isn't there, readable by its
    owner only; its folder must exist. Changes by another process are seen at once.

    case_insensitive: names that differ only in case are the same. Whether or not, a
        second account whose name differs only in case can't be added, so this may be
        changed at any time.
    domains: whose mail the accounts get, as for `StaticAccounts`.

    A look-up takes some 20 µs and doesn't wait for whoever writes (WAL), so servers may do
    it in place.

    Every method raises AccountError when the database can't be used: locked for more
    than 5 seconds, damaged, unreadable, or made by a newer version.
    """

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        case_insensitive: bool = True,
        domains: Sequence[str] = (),
    ) -> None:
        self.path = Path(path).absolute()
        self._matching = Matching(case_insensitive, frozenset(map(fold, domains)))
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

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
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
                self._connection = None

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

    def has_shared_secrets(self) -> bool:
        """Whether some account that may log in holds a `{PLAIN}` secret."""
        with self._database() as database:
            return _holds(database, "PLAIN")

    def slowest_scheme(self) -> str | None:
        """The scheme of the slowest kind that the accounts hold; None when all are quick."""
        with self._database() as database:
            return slowest(name for name in SCHEMES if _holds(database, name))

    def add(
        self,
        name: str,
        password: str,
        *,
        display_name: str = "",
        email: str = "",
        maildrop: str | None = None,
        keep_secret: bool = False,
    ) -> Account:
        """Add an account and give it back.

        keep_secret: keep the password itself as well, which APOP and CRAM-MD5 need.

        Raises AccountExists when the name or the address is taken, ValueError for what
        can't be a name, address or password.
        """
        name, email = check_name(name), check_address(email)
        if display_name:
            check_name(display_name, "display name")
        if maildrop is not None:
            maildrop = check_name(maildrop, "maildrop")
        credentials = _credentials(password, keep_secret)
        values = (name, fold(name), maildrop, display_name, email, fold(email) or None)
        with self._changing() as database:
            try:
                row = database.execute(
                    "INSERT INTO accounts (name, name_key, maildrop, display_name, email,"
                    " email_key) VALUES (?, ?, ?, ?, ?, ?)",
                    values,
                )
            except sqlite3.IntegrityError:
                raise AccountExists(f"account {name!r} or its e-mail address exists") from None
            _store(database, row.lastrowid, credentials)
        return Account(name, credentials, maildrop, display_name, email)

    def set_password(self, name: str, password: str, *, keep_secret: bool | None = None) -> None:
        """Give an account a new password in place of all it had.

        keep_secret: as for `add`; None keeps the password itself only if the account's
            last one was kept.

        Raises NoSuchAccount, and ValueError for what can't be a password.
        """
        account = self._existing(name)
        if keep_secret is None:
            keep_secret = any(split_credential(c)[0] == "PLAIN" for c in account.credentials)
        credentials = _credentials(password, keep_secret)
        with self._changing() as database:
            key = fold(account.name)
            row = database.execute("SELECT id FROM accounts WHERE name_key = ?", (key,)).fetchone()
            if row is None:
                raise NoSuchAccount(f"no account {name!r}")
            database.execute("DELETE FROM credentials WHERE account = ?", row)
            _store(database, row[0], credentials)

    def remove(self, name: str) -> None:
        """Remove an account; its maildrop stays. Raises NoSuchAccount."""
        self._change(name, "DELETE FROM accounts WHERE name_key = ?")

    def disable(self, name: str) -> None:
        """Keep an account from logging in and from getting mail. Raises NoSuchAccount."""
        self._change(name, "UPDATE accounts SET disabled = 1 WHERE name_key = ?")

    def enable(self, name: str) -> None:
        """Take `disable` back. Raises NoSuchAccount."""
        self._change(name, "UPDATE accounts SET disabled = 0 WHERE name_key = ?")

    def list(self) -> tuple[Account, ...]:
        """All accounts, by name."""
        with self._database() as database:
            rows = database.execute(_SELECT + "ORDER BY a.name_key, c.scheme").fetchall()
        return tuple(_accounts(rows))

    def _existing(self, name: str) -> Account:
        account = self.lookup(name)
        if account is None:
            raise NoSuchAccount(f"no account {name!r}")
        return account

    def _change(self, name: str, statement: str) -> None:
        key = fold(self._existing(name).name)
        with self._changing() as database:
            if database.execute(statement, (key,)).rowcount == 0:
                raise NoSuchAccount(f"no account {name!r}")

    def _by_key(self, column: str, name: str) -> Account | None:
        with self._database() as database:
            query = f"{_SELECT} WHERE a.{column} = ? ORDER BY c.scheme"
            rows = database.execute(query, (fold(name),)).fetchall()
        account = next(_accounts(rows), None)
        if account is None:
            return None
        # The key is case-folded in any case; what matters may be more.
        found = account.name if column == "name_key" else account.email
        return account if self._matching.key(found) == self._matching.key(name) else None

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. An error of SQLite's becomes AccountError."""
        with self._lock:
            try:
                yield self._open()
            except (sqlite3.Error, OSError) as error:
                self.close()  # what is wrong may be put right before the next use
                raise AccountError(f"accounts in {self.path}: {error}") from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """As `_database`, in a transaction that an exception takes back."""
        with self._database() as database, _transaction(database):
            yield database

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._process == os.getpid():
            return self._connection
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None
        self._make_file()
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._process = connection, os.getpid()
        return connection

    def _make_file(self) -> None:
        """Make the file, for its owner only; SQLite gives its journal the same mode.

        A file that is there is left alone: to open and close it would drop the locks
        that another connection of this process may hold on it.
        """
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _prepare(database: sqlite3.Connection) -> None:
    """Bring the schema up to date."""
    database.execute("PRAGMA foreign_keys = ON")
    if _version(database) < len(MIGRATIONS):
        database.execute("PRAGMA journal_mode = WAL")
        with _transaction(database):
            for number in range(_version(database), len(MIGRATIONS)):
                for statement in MIGRATIONS[number]:
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {number + 1}")
    elif _version(database) > len(MIGRATIONS):
        raise AccountError("the database of accounts was made by a newer version of Restante")


def _version(database: sqlite3.Connection) -> int:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    return version


def _holds(database: sqlite3.Connection, scheme: str) -> bool:
    return bool(database.execute(_SCHEME_HELD, (scheme,)).fetchone()[0])


def _credentials(password: str, keep_secret: bool) -> tuple[str, ...]:
    credentials = (hash_password(check_password(password)),)
    return (*credentials, hash_password(password, "PLAIN")) if keep_secret else credentials


def _store(database: sqlite3.Connection, account: int | None, credentials: Iterable[str]) -> None:
    database.executemany(
        "INSERT INTO credentials (account, scheme, credential) VALUES (?, ?, ?)",
        [(account, split_credential(credential)[0], credential) for credential in credentials],
    )


def _accounts(rows: Iterable[tuple[Any, ...]]) -> Iterator[Account]:
    """The accounts of rows that `_SELECT` gave, rows of one account side by side."""
    for _, group in groupby(rows, key=itemgetter(0)):
        several = [*group]
        _, name, maildrop, display_name, email, disabled, _ = several[0]
        credentials = tuple(row[6] for row in several if row[6] is not None)
        yield Account(name, credentials, maildrop, display_name, email, bool(disabled))
