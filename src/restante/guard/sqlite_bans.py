"""A ban store in an SQLite file: for the processes of one server and its operator."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from restante.accounts.sqlite_file import (
    DatabaseFile,
    Identity,
    schema_version,
    transaction,
    use_wal,
)
from restante.guard.ban_store import (
    KEPT,
    Ban,
    BanStore,
    BanStoreError,
    Failure,
    News,
    Old,
    new_writer,
)

VERSION = 1
"""Of the schema, as `PRAGMA user_version`."""

_SCHEMA = (
    """CREATE TABLE bans (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        network TEXT NOT NULL UNIQUE,
        since REAL NOT NULL,
        until REAL,
        reason TEXT NOT NULL,
        times INTEGER NOT NULL
    )""",
    """CREATE TABLE known (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        address TEXT NOT NULL,
        account TEXT NOT NULL,
        at REAL NOT NULL,
        UNIQUE (address, account)
    )""",
    """CREATE TABLE failures (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        writer INTEGER NOT NULL,
        address TEXT NOT NULL,
        account TEXT NOT NULL,
        at REAL NOT NULL
    )""",
    f"PRAGMA user_version = {VERSION}",
)


class SqliteBanStore(BanStore):
    """The SQLite database at `path`.

    The file is made at the first use, readable by its owner only; its folder must exist. It
    holds addresses with the names of accounts: whoever logged in from where, for as long as
    that is remembered.

    writer: a number, the same in processes that tell each other of failures themselves: the
        others don't read here what one of them has written. It must be new at each start.

    Every method raises BanStoreError when the database can't be used.
    """

    def __init__(self, path: str | os.PathLike[str], writer: int | None = None) -> None:
        self.path = Path(path).absolute()
        self._writer = new_writer() if writer is None else writer
        self._database = DatabaseFile(self.path, _prepare, BanStoreError, watched=True)
        self._read_from: Identity = ()
        self._seen = {"bans": 0, "known": 0, "failures": 0}
        self._unread = True

    def close(self) -> None:
        """Close the database. The next use opens it again."""
        self._database.close()

    def exchange(self, written: News, old: Old) -> News:
        """Write what is new here, and get what others have written since the last time."""
        with self._database.use() as database:
            if self._read_from != self._database.opened:
                self._read_from = self._database.opened
                self._seen, self._unread = dict.fromkeys(self._seen, 0), True
            heard, seen = self._read(database)
            if written.bans or written.known or written.failures:
                with transaction(database):
                    self._write(database, written, old)
            self._seen, self._unread = seen, False
            return heard

    def _write(self, database: sqlite3.Connection, news: News, old: Old) -> None:
        database.executemany(
            "INSERT OR REPLACE INTO bans (network, since, until, reason, times)"
            " VALUES (?, ?, ?, ?, ?)",
            [(b.network, b.since, b.until, b.reason, b.times) for b in news.bans.values()],
        )
        database.executemany(
            "INSERT OR REPLACE INTO known (address, account, at) VALUES (?, ?, ?)",
            [(*pair, at) for pair, at in news.known.items()],
        )
        database.executemany(
            "INSERT INTO failures (writer, address, account, at) VALUES (?, ?, ?, ?)",
            [(self._writer, f.address, f.account, f.at) for f in news.failures],
        )
        database.execute("DELETE FROM bans WHERE until < ?", (old.bans,))
        database.execute("DELETE FROM known WHERE at < ?", (old.known,))
        database.execute("DELETE FROM failures WHERE at < ?", (old.failures,))
        for table in self._seen:
            database.execute(
                f"DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - ?",  # noqa: S608
                (KEPT,),
            )

    def _read(self, database: sqlite3.Connection) -> tuple[News, dict[str, int]]:
        """What wasn't read yet, and the numbers that are read then."""
        news, seen = News(), dict(self._seen)
        rows = database.execute(
            "SELECT number, network, since, until, reason, times FROM bans"
            " WHERE number > ? ORDER BY number",
            (seen["bans"],),
        )
        for number, *values in rows:
            news.bans[values[0]] = Ban(*values)
            seen["bans"] = number
        rows = database.execute(
            "SELECT number, address, account, at FROM known WHERE number > ? ORDER BY number",
            (seen["known"],),
        )
        for number, address, account, at in rows:
            news.known[address, account] = at
            seen["known"] = number
        rows = database.execute(
            "SELECT number, writer, address, account, at FROM failures"
            " WHERE number > ? ORDER BY number",
            (seen["failures"],),
        )
        for number, writer, *values in rows:
            seen["failures"] = number
            if writer != self._writer or self._unread:
                news.failures.append(Failure(*values))
        return news, seen


def _prepare(database: sqlite3.Connection) -> None:
    """Make the schema, if it isn't there. What is lost in a crash of the machine may be lost."""
    database.execute("PRAGMA synchronous = NORMAL")
    if schema_version(database) == 0:
        use_wal(database)
        with transaction(database):
            if schema_version(database) == 0:
                for statement in _SCHEMA:
                    database.execute(statement)
    if schema_version(database) != VERSION:
        raise sqlite3.DatabaseError("made by another version of Restante")
