"""The file that accounts in SQLite are in: opened when it is wanted, once in each process."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from restante.accounts.contract import AccountError
from restante.accounts.sqlite_schema import prepare

_BUSY_SECONDS = 5.0

# SQLite must not be given up in a process that a connection was inherited by, nor used
# there, so inherited ones are kept from being closed.
_inherited: list[sqlite3.Connection] = []


class DatabaseFile:
    """A connection to the database at `path`, for one thread at a time.

    The file is made if it isn't there, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. An error of SQLite's becomes AccountError."""
        with self._lock:
            try:
                yield self._open()
            except (sqlite3.Error, OSError) as error:
                self._close()  # what is wrong may be put right before the next use
                raise AccountError(f"accounts in {self._path}: {error}") from error

    def close(self) -> None:
        """Close the connection. The next use opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._process == os.getpid():
            return self._connection
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None
        self._make()
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._process = connection, os.getpid()
        return connection

    def _make(self) -> None:
        """Make the file, for its owner only; SQLite gives its journal the same mode.

        A file that is there is left alone: to open and close it would drop the locks
        that another connection of this process may hold on it.
        """
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
