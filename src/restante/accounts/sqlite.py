"""Accounts in an embedded SQLite database, managed while the server runs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from restante.accounts.contract import Account, AccountError, AccountStore, Done
from restante.accounts.kept import AccountTables, ManagedAccounts, Statement, Steps
from restante.accounts.names import Matching
from restante.accounts.schemes import slowest
from restante.accounts.sqlite_file import DatabaseFile, transaction
from restante.accounts.sqlite_schema import prepare
from restante.calls import OnThread
from restante.settings_fields import suggest_settings

T = TypeVar("T")


def _unusable(why: str) -> AccountError:
    return AccountError(f"accounts in {why}")


@suggest_settings
class SqliteAccounts(ManagedAccounts, AccountStore):
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
        self.path = Path(path).absolute()
        self.case_insensitive = case_insensitive
        self._tables = AccountTables(Matching.of(case_insensitive, domains), scram=scram)
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

    def lookup_address(self, address: str) -> Account | None:
        """The account that `address` belongs to, a disabled one too, or None.

        The rule is the one of `StaticAccounts`.
        """
        return self._read(self._tables.lookup_address(address))

    def held_schemes(self) -> frozenset[str]:
        """The schemes of the credentials by which somebody may log in."""
        return self._read(self._tables.held_schemes())

    def slowest_scheme(self) -> str | None:
        """The scheme of the slowest kind that the accounts hold; None when all are quick."""
        return slowest(self.held_schemes())

    def replace_credential(self, name: str, old: str, new: str) -> Done:
        """Keep `new` in place of `old` for an account; nothing if it doesn't hold `old`.

        Writing may wait for another process, so the change is made on a thread.
        """
        return OnThread(self._write, self._tables.replace_credential(name, old, new))

    def record_use(self, name: str, app_password: str) -> Done:
        """The account has logged in by that app password. Noted once a minute at most."""
        return OnThread(self._write, self._tables.record_use(name, app_password))

    def _read(self, steps: Steps[T]) -> T:
        with self._reading.use() as database:
            return _run(database, steps, None)

    def _write(self, steps: Steps[T]) -> T:
        """In a transaction. Whoever looks something up meanwhile doesn't wait for it."""
        first = next(steps)
        with self._writing.use() as database, transaction(database):
            return _run(database, steps, first)


def _run(database: sqlite3.Connection, steps: Steps[T], statement: Statement | None) -> T:
    """Run an operation's statements. statement: the first, if it has given that already."""
    try:
        statement = statement or next(steps)
        while True:
            text, values = statement
            statement = steps.send(database.execute(text, dict(values)).fetchall())
    except StopIteration as end:
        result: T = end.value
        return result
