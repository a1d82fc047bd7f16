"""What the guard keeps over restarts, shared by the processes of one server and by its operator.

Rows are numbered as they are written, and never changed: what replaces a row is written as a
new one, so that each reader asks for the numbers it hasn't seen.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from restante.accounts.sqlite_file import (
    DatabaseFile,
    Identity,
    schema_version,
    transaction,
    use_wal,
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

KEPT = 100_000
"""Rows of each kind that are kept and read, the newest."""


@dataclass(frozen=True, slots=True)
class Ban:
    """A network that is turned away.

    network: or a single address. since, until: seconds since 1970; until None: for good.
    times: how often in a row the guard banned it by itself; 0: an operator did.
    """

    network: str
    since: float
    until: float | None
    reason: str = ""
    times: int = 0

    def in_force(self, now: float) -> bool:
        """Whether it holds at this time."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed login. address: as the guard counts it. at: seconds since 1970."""

    address: str
    account: str
    at: float


Known: TypeAlias = dict[tuple[str, str], float]
"""When an address (first) last logged in to an account (second)."""


@dataclass(slots=True)
class News:
    """What has happened since the last time."""

    bans: dict[str, Ban] = field(default_factory=dict)
    known: Known = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Old:
    """Bans that ended, logins and failures before these times are of no use any more."""

    bans: float
    known: float
    failures: float


def new_writer() -> int:
    """A number that no other writer has."""
    return int.from_bytes(os.urandom(7), "big")


class BanStoreError(Exception):
    """The ban store can't be read or written; the text says why."""


class BanStore:
    """The SQLite database at `path`. Safe to use from several threads.

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
        """Write what is new here, and get what others have written since the last time.

        What is old is removed with the next writing.
        """
        with self._database.use() as database:
            if self._read_from != self._database.opened:
                self._read_from = self._database.opened
                self._seen, self._unread = dict.fromkeys(self._seen, 0), True
            heard = self._read(database)
            if written.bans or written.known or written.failures:
                with transaction(database):
                    self._write(database, written, old)
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

    def _read(self, database: sqlite3.Connection) -> News:
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
        self._seen, self._unread = seen, False
        return news


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
