"""An SQLite database file: opened at its first use, once in each process."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TypeAlias

_BUSY_SECONDS = 5.0

# SQLite must not be given up in a process that a connection was inherited by, nor used
# there, so inherited ones are kept from being closed.
_inherited: list[sqlite3.Connection] = []

Identity: TypeAlias = tuple[int, ...]


class DatabaseFile:
    """A connection to the database at `path`, for one thread at a time.

    The file is made if it isn't there, readable by its owner only.

    prepare: called with a new connection, to make or check the schema. error: makes the
    exception that SQLite's errors become, from a text. watched: a file that was put in the
    place of this one is opened at the next use; without that it is used at the next start.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[sqlite3.Connection], None],
        error: Callable[[str], Exception],
        *,
        watched: bool = False,
    ) -> None:
        self._path = path
        self._prepare = prepare
        self._error = error
        self._watched = watched
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self.opened: Identity = ()
        """Process, device and inode of the file in use. Others: what was read has to be read
        again."""

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone."""
        with self._lock:
            try:
                yield self._open()
            except (sqlite3.Error, OSError, OverflowError, UnicodeEncodeError) as error:
                self._close()  # what is wrong may be put right before the next use
                raise self._error(f"{self._path}: {error}") from error

    def __del__(self) -> None:
        # From Python 3.13 on, connections that are left to the garbage collector are warned of.
        self._close()

    def close(self) -> None:
        """Close the connection. The next use opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self.opened[0] == os.getpid():
            connection.close()
        else:
            _inherited.append(connection)

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._is_current():
            return self._connection
        self._close()
        self._make()
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
            found = self._identity()
            if not found:
                raise FileNotFoundError("removed while it was opened")
        except BaseException:
            connection.close()
            raise
        self._connection, self.opened = connection, found
        return connection

    def _is_current(self) -> bool:
        if self._watched:
            return self.opened == self._identity()
        return self.opened[0] == os.getpid()

    def _identity(self) -> Identity:
        """Identifies this process and the file at the path; () if there is none."""
        try:
            about = self._path.stat()
        except FileNotFoundError:
            return ()
        return os.getpid(), about.st_dev, about.st_ino

    def _make(self) -> None:
        """Make the file, for its owner only; SQLite gives its journal the same mode.

        A file that is there is left alone: to open and close it would drop the locks
        that another connection of this process may hold on it.
        """
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """A transaction: committed at its end, rolled back by an exception."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def schema_version(database: sqlite3.Connection) -> int:
    """What `PRAGMA user_version` says: 0 in a new file."""
    [(version,)] = database.execute("PRAGMA user_version").fetchall()
    return int(version)


def use_wal(database: sqlite3.Connection) -> None:
    """Let others read while one writes, from now on."""
    # Its answer is fetched: a statement that has rows left holds its lock, and not every Python
    # ends it when nobody refers to it.
    database.execute("PRAGMA journal_mode = WAL").fetchall()
