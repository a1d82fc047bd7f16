"""The file of the history: its schema, how it is opened, bounded, and begun anew.

Nothing in it is needed to serve mail. Whatever is wrong with it costs history only.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from restante.accounts.sqlite_file import DatabaseFile, schema_version, transaction, use_wal

VERSION = 2
"""Of the schema, as `PRAGMA user_version`."""

MAX_REFUSALS = 20_000
"""Rows of refused logins and of refused mail that are kept, each: whoever knocks at the door all
day long must not push out what is known of sessions."""

REBASE = 64
"""Listings of one maildrop after which its unique-ids are written whole again."""

HARD_SHARE = 8
"""The file may grow by an eighth beyond its bound before the next look at its size."""

DAY = 86_400.0
PRUNE_SECONDS = 600.0
"""How often what is too old is removed."""

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


class HistoryError(Exception):
    """The history can't be read or written; the text says why."""


class OtherVersion(sqlite3.DatabaseError):
    """The file was made by another version of Restante."""


class HistoryFile:
    """The SQLite database at `path`, for writing. For one thread.

    max_octets: how large it may become; what is oldest is removed before. Its journal, some
        MiB, comes on top. days: how long anything is kept.

    A file that is damaged, or made by another version, is set aside as `<name>.damaged`.
    """

    def __init__(self, path: Path, *, max_octets: int, days: float) -> None:
        self.path = path
        self._max_octets = max_octets
        self._days = days
        self._database = DatabaseFile(path, self._prepare, HistoryError, watched=True)
        self._pruned = 0.0

    def close(self) -> None:
        """Close it. The next use opens it again."""
        self._database.close()

    def write(self, add: Callable[[sqlite3.Connection], None]) -> None:
        """Have `add` write, in one transaction. Raises HistoryError; then nothing is written."""
        for last in (False, True):
            try:
                with self._database.use() as database:
                    self._write(database, add)
                return
            except HistoryError as error:
                if last or not self._mended(error):
                    raise

    def _write(
        self, database: sqlite3.Connection, add: Callable[[sqlite3.Connection], None]
    ) -> None:
        now = time.time()
        if now - self._pruned >= PRUNE_SECONDS:
            self._pruned = now
            with transaction(database):
                _remove_before(database, now - self._days * DAY)
        with transaction(database):
            add(database)
        if _octets(database) > self._max_octets:
            self._shrink(database, now, self._max_octets * 4 // 5)

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
        most = (self._max_octets + self._max_octets // HARD_SHARE) // page
        database.execute(f"PRAGMA max_page_count = {most}").fetchall()

    def _mended(self, error: HistoryError) -> bool:
        """Put right what can be: then it is worth trying once more."""
        cause = error.__cause__
        if _is_damage(cause):
            return self._set_aside(error)
        if isinstance(cause, sqlite3.Error) and "full" in str(cause):
            with suppress(HistoryError), self._database.use() as database:
                if _octets(database) > self._max_octets // 2:
                    self._shrink(database, time.time(), self._max_octets // 2)
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


# What is written


def count(database: sqlite3.Connection, counts: Mapping[tuple[int, str], float]) -> None:
    """Add to the counts of minutes."""
    database.executemany(
        "INSERT INTO counts (minute, name, count) VALUES (?, ?, ?)"
        " ON CONFLICT (minute, name) DO UPDATE SET count = count + excluded.count",
        [(minute, name, number) for (minute, name), number in counts.items()],
    )


def keep_newest(database: sqlite3.Connection, table: str, where: str = "1") -> None:
    """Remove all rows but the newest `MAX_REFUSALS`."""
    database.execute(
        f"DELETE FROM {table} WHERE {where} AND number <= (SELECT number FROM {table}"  # noqa: S608
        f" WHERE {where} ORDER BY number DESC LIMIT 1 OFFSET {MAX_REFUSALS})"
    )


# Listings


def packed(messages: Iterable[tuple[str, int]]) -> bytes:
    """Unique-ids with their octets, compressed."""
    return zlib.compress("\n".join(f"{octets} {each}" for each, octets in messages).encode(), 1)


def unpacked(block: bytes | None) -> list[tuple[str, int]]:
    """The same again. Raises sqlite3.DatabaseError for what can't be that."""
    if not block:
        return []
    try:
        lines = zlib.decompress(block).decode().splitlines()
        found = (line.partition(" ") for line in lines)
        return [(unique_id, int(octets)) for octets, _, unique_id in found]
    except (zlib.error, ValueError) as error:
        raise sqlite3.DatabaseError(f"a malformed listing: {error}") from error


def listed(database: sqlite3.Connection, maildrop: str, number: int) -> dict[str, int]:
    """Octets by unique-id of the messages that listing `number` had.

    They are made up from the last listing that was written whole, and the differences since.
    """
    rows = database.execute(
        "SELECT come, gone, whole FROM listings WHERE maildrop = ? AND number <= ?"
        " AND number >= (SELECT max(number) FROM listings WHERE maildrop = ? AND number <= ?"
        " AND whole IS NOT NULL) ORDER BY number",
        (maildrop, number, maildrop, number),
    ).fetchall()
    messages: dict[str, int] = {}
    for come, gone, whole in rows:
        if whole is not None:
            messages = dict(unpacked(whole))
            continue
        for unique_id, _ in unpacked(gone):
            messages.pop(unique_id, None)
        messages.update(unpacked(come))
    return messages


# What sessions were sent, and what they removed


def sent_text(
    sent: Sequence[tuple[int, int | None]], unique_ids: Sequence[str], octets: Sequence[int]
) -> str | None:
    """A line for each message: its unique-id, its octets, and TOP's lines if it was TOP.

    sent: numbers and lines. None for no message.
    """
    if not sent:
        return None
    return "\n".join([
        f"{unique_ids[number - 1]} {octets[number - 1]}"
        if lines is None
        else f"{unique_ids[number - 1]} {octets[number - 1]} {lines}"
        for number, lines in sent
    ])  # fmt: skip


def sent_messages(text: str) -> Iterator[tuple[str, int, int | None]]:
    """The same again: unique-id, octets, TOP's lines or None.

    Raises sqlite3.DatabaseError for what can't be that.
    """
    for line in text.split("\n"):
        unique_id, *numbers = line.split(" ")
        try:
            octets, lines = int(numbers[0]), int(numbers[1]) if numbers[1:] else None
        except (ValueError, IndexError) as error:
            raise sqlite3.DatabaseError(f"a malformed line of a session: {error}") from error
        yield unique_id, octets, lines
