"""A history in an SQLite file: its schema, how it is opened, bounded, and begun anew.

Nothing in it is needed to serve mail. Whatever is wrong with it costs history only.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from restante.accounts.sqlite_file import DatabaseFile, schema_version, transaction, use_wal
from restante.observing.history_place import (
    DAY,
    PRUNE_SECONDS,
    TABLES,
    Bounds,
    Dialect,
    HistoryError,
    HistoryPlace,
    Table,
    Tables,
    cleaned,
)

VERSION = 2
"""Of the schema, as `PRAGMA user_version`."""

MOST_ROWS = 32
"""Rows that are inserted by one statement: SQLite before 3.32 takes no more than 999 values."""

HARD_SHARE = 8
"""The file may grow by an eighth beyond its bound before the next look at its size."""

_SCHEMA = (
    """CREATE TABLE sessions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL,
        account TEXT NOT NULL,
        maildrop TEXT NOT NULL,
        address TEXT NOT NULL,
        tls INTEGER NOT NULL,
        mechanism TEXT NOT NULL,
        greeting TEXT NOT NULL,
        since REAL NOT NULL,
        until REAL NOT NULL,
        times INTEGER NOT NULL,
        ended TEXT NOT NULL,
        commands TEXT NOT NULL,
        retrieved INTEGER NOT NULL,
        deleted INTEGER NOT NULL,
        octets INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        listing INTEGER,
        sent TEXT,
        removed TEXT,
        removed_at REAL
    )""",
    "CREATE INDEX sessions_by_account ON sessions (account, number)",
    "CREATE INDEX sessions_by_maildrop ON sessions (maildrop, number)",
    "CREATE INDEX sessions_by_address ON sessions (address, number)",
    "CREATE INDEX sessions_by_time ON sessions (until)",
    """CREATE TABLE listings (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        maildrop TEXT NOT NULL,
        at REAL NOT NULL,
        session TEXT NOT NULL,
        digest BLOB NOT NULL,
        messages INTEGER NOT NULL,
        octets INTEGER NOT NULL,
        come BLOB,
        gone BLOB,
        whole BLOB
    )""",
    "CREATE INDEX listings_by_maildrop ON listings (maildrop, number)",
    """CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        outcome TEXT NOT NULL,
        recipient TEXT NOT NULL,
        sender TEXT NOT NULL,
        octets INTEGER NOT NULL,
        unique_id TEXT NOT NULL,
        peer TEXT NOT NULL,
        protocol TEXT NOT NULL,
        tls TEXT NOT NULL,
        queue_id TEXT NOT NULL,
        reason TEXT NOT NULL
    )""",
    "CREATE INDEX deliveries_by_message ON deliveries (unique_id)",
    "CREATE INDEX deliveries_by_outcome ON deliveries (outcome, number)",
    "CREATE INDEX deliveries_by_time ON deliveries (at)",
    """CREATE TABLE refusals (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        since REAL NOT NULL,
        until REAL NOT NULL,
        times INTEGER NOT NULL,
        account TEXT NOT NULL,
        address TEXT NOT NULL,
        mechanism TEXT NOT NULL,
        reason TEXT NOT NULL
    )""",
    "CREATE INDEX refusals_by_account ON refusals (account, number)",
    "CREATE INDEX refusals_by_time ON refusals (until)",
    """CREATE TABLE counts (
        minute INTEGER NOT NULL,
        name TEXT NOT NULL,
        count REAL NOT NULL,
        PRIMARY KEY (minute, name)
    ) WITHOUT ROWID""",
    f"PRAGMA user_version = {VERSION}",
)

_DAMAGED = (11, 26)
"""SQLITE_CORRUPT and SQLITE_NOTADB; not every Python's sqlite3 has these names."""
_CUT_SHORT = 522
"""SQLITE_IOERR_SHORT_READ: the file ends before it should."""
_DAMAGED_TEXTS = ("malformed", "not a database", "no such table", "no such column")

log = logging.getLogger("restante.observing")


class OtherVersion(sqlite3.DatabaseError):
    """The file was made by another version of Restante."""


def _given(columns: Mapping[str, str]) -> str:
    found = (f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(columns))
    return f"(SELECT {', '.join(found)} FROM json_each(?))"  # noqa: S608


class HistoryFile(HistoryPlace):
    """A history in the SQLite file at `path`. Several processes may write it.

    How large it may become doesn't count its journal, some MiB. A file that is damaged, or made
    by another version, is set aside as `<name>.damaged` by who writes.
    """

    dialect = Dialect(
        table="{}",
        position="instr",
        among="IN (SELECT value FROM json_each(?))",
        given=_given,
        mark=lambda number: "?",
        node="''",
    )

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._bounds = Bounds(2**20, 1.0)
        self._database = DatabaseFile(self.path, self._prepare, HistoryError, watched=True)
        self._pruned = 0.0

    def close(self) -> None:
        self._database.close()

    def octets(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def rows(self, statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        if not self.path.exists():
            return []
        try:
            with closing(self._open()) as database:
                version = schema_version(database)
                if version not in (0, VERSION):
                    raise HistoryError(f"{self.path}: made by another version of Restante")
                return _ask(database, self.dialect.text(statement), values) if version else []
        except (sqlite3.Error, OSError, ValueError) as error:
            raise HistoryError(f"{self.path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        """A connection that can only read: who writes may be another user."""
        address = f"{self.path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(address, uri=True, timeout=5.0, isolation_level=None)
        database.create_function("lower", 1, _lower, deterministic=True)
        return database

    def write(self, add: Callable[[Tables], Awaitable[None]], bounds: Bounds) -> None:
        self._bounds = bounds
        for last in (False, True):
            try:
                with self._database.use() as database:
                    self._write(database, add)
                return
            except HistoryError as error:
                if last or not self._mended(error):
                    raise

    def _write(
        self, database: sqlite3.Connection, add: Callable[[Tables], Awaitable[None]]
    ) -> None:
        now = time.time()
        if now - self._pruned >= PRUNE_SECONDS:
            self._pruned = now
            with transaction(database):
                _remove_before(database, now - self._bounds.days * DAY)
        with transaction(database):
            _run(_write_into(database, add))
        if _octets(database) > self._bounds.max_octets:
            self._shrink(database, now, self._bounds.max_octets * 4 // 5)

    def _shrink(self, database: sqlite3.Connection, now: float, wanted: int) -> None:
        """Remove what is oldest until so many octets are left."""
        for _ in range(64):
            until = _eighth(database)
            if until is None or _octets(database) <= wanted:
                break
            with transaction(database):
                _remove_before(database, until)
        database.execute("PRAGMA incremental_vacuum").fetchall()
        database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _prepare(self, database: sqlite3.Connection) -> None:
        # What a crash of the machine loses is history only.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA journal_size_limit = 4194304").fetchall()
        if schema_version(database) == 0:
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            use_wal(database)
            with transaction(database):
                if schema_version(database) == 0:
                    for statement in _SCHEMA:
                        database.execute(statement)
        if schema_version(database) != VERSION:
            raise OtherVersion("made by another version of Restante")
        [(page,)] = database.execute("PRAGMA page_size").fetchall()
        most = self._bounds.max_octets
        most = (most + most // HARD_SHARE) // page
        database.execute(f"PRAGMA max_page_count = {most}").fetchall()

    def _mended(self, error: HistoryError) -> bool:
        """Put right what can be: then it is worth trying once more."""
        cause = error.__cause__
        if _is_damage(cause):
            return self._set_aside(error)
        if isinstance(cause, sqlite3.Error) and "full" in str(cause):
            with suppress(HistoryError), self._database.use() as database:
                if _octets(database) > self._bounds.max_octets // 2:
                    self._shrink(database, time.time(), self._bounds.max_octets // 2)
                    return True
        return False

    def _set_aside(self, error: HistoryError) -> bool:
        aside = self.path.with_name(self.path.name + ".damaged")
        self._database.close()
        try:
            for end in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + end).unlink()
            self.path.replace(aside)
        except FileNotFoundError:  # another process was quicker
            return True
        except OSError as problem:
            log.error("%s, and it can't be set aside: %s", error, problem)
            return False
        log.error("%s; it was set aside as %s, and the history begins anew", error, aside.name)
        return True


class _FileTables(Tables):
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        numbers = database.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
        self._numbers = dict.fromkeys(TABLES, 0) | dict(numbers)

    async def rows(self, statement: str, *values: Any) -> Sequence[Sequence[Any]]:
        return _ask(self._database, HistoryFile.dialect.text(statement), values)

    async def run(self, statement: str, *values: Any) -> None:
        _ask(self._database, HistoryFile.dialect.text(statement), values)

    async def insert(
        self, table: Table, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]
    ) -> None:
        # Out of a JSON text, rows would take three times as long. Row by row, other threads would
        # have their turn after each, and on a busy server there would be no end.
        at = 0
        row = f"({', '.join('?' * len(columns))})"
        while at < len(rows):
            # The numbers are few, so that the statements are known to SQLite by then.
            number = min(MOST_ROWS, 1 << (len(rows) - at).bit_length() - 1)
            marks = ", ".join([row] * number)
            some = rows[at : at + number]
            statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {marks}"  # noqa: S608
            try:
                self._database.execute(statement, list(chain.from_iterable(some)))
            except UnicodeEncodeError:  # nothing of them has been inserted
                self._database.execute(statement, list(chain.from_iterable(cleaned(some))))
            at += number

    async def run_each(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        self._database.executemany(HistoryFile.dialect.text(statement), values)

    async def remove(self, table: Table, where: str, *values: Any) -> None:
        await self.run(f"DELETE FROM {{{table}}} WHERE {where}", *values)  # noqa: S608

    def number(self, table: Table) -> int:
        self._numbers[table] += 1
        return self._numbers[table]


def _ask(
    database: sqlite3.Connection, statement: str, values: Sequence[Any]
) -> list[tuple[Any, ...]]:
    plain = [json.dumps(each) if isinstance(each, list) else each for each in values]
    return database.execute(statement, plain).fetchall()


async def _write_into(
    database: sqlite3.Connection, add: Callable[[Tables], Awaitable[None]]
) -> None:
    await add(_FileTables(database))


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run what never waits: SQLite has done its work when it returns."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("what is written into a file waits for something else")


def _lower(text: str) -> str:
    """SQLite's own lowers ASCII only, and its LIKE sees no further than a zero."""
    return text.lower().replace("\0", "\ufffd")


def _is_damage(error: BaseException | None) -> bool:
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and (code & 0xFF in _DAMAGED or code == _CUT_SHORT):
        return True
    return isinstance(error, OtherVersion) or any(text in str(error) for text in _DAMAGED_TEXTS)


def _octets(database: sqlite3.Connection) -> int:
    [(pages,)] = database.execute("PRAGMA page_count").fetchall()
    [(free,)] = database.execute("PRAGMA freelist_count").fetchall()
    [(page,)] = database.execute("PRAGMA page_size").fetchall()
    return int(pages - free) * int(page)


_EVENTS = (
    "(SELECT until AS at FROM sessions UNION ALL SELECT at FROM deliveries"
    " UNION ALL SELECT until FROM refusals)"
)


def _eighth(database: sqlite3.Connection) -> float | None:
    """A time before which an eighth of all records lies, or one of them; None if there is none."""
    [(rows,)] = database.execute(f"SELECT count(*) FROM {_EVENTS}").fetchall()  # noqa: S608
    found = database.execute(
        f"SELECT at FROM {_EVENTS} ORDER BY at LIMIT 1 OFFSET ?",  # noqa: S608
        (rows // 8,),
    ).fetchall()
    # Whatever has that very time goes with it, so that there is an end.
    return float(found[0][0]) + 0.001 if found else None


def _remove_before(database: sqlite3.Connection, at: float) -> None:
    """Remove what is older."""
    database.execute("DELETE FROM sessions WHERE until < ?", (at,))
    # Listings are differences: what the newest ones are made up from stays.
    database.execute(
        "DELETE FROM listings WHERE at < ? AND (maildrop NOT IN (SELECT maildrop FROM sessions)"
        " OR number < (SELECT max(number) FROM listings AS base"
        " WHERE base.maildrop = listings.maildrop AND base.whole IS NOT NULL))",
        (at,),
    )
    database.execute("DELETE FROM deliveries WHERE at < ?", (at,))
    database.execute("DELETE FROM refusals WHERE until < ?", (at,))
    database.execute("DELETE FROM counts WHERE minute < ?", (at / 60,))
