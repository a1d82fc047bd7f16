"""A Maildir opened for one session: its snapshot, and the way to files that others move."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from io import FileIO
from pathlib import Path

from restante.protocol.listing import MessageNumber
from restante.stores.contract import CommitFailed, Content, Maildrop, MessageGone
from restante.stores.maildir import journal
from restante.stores.maildir.columns import IN_CUR, TWICE
from restante.stores.maildir.file_names import SUBFOLDERS, base_name
from restante.stores.maildir.files import as_store_error, open_regular, read_unchanged, sync_folder
from restante.stores.maildir.index import REVIEW, TICK, index_version, save
from restante.stores.maildir.lease import Lease
from restante.stores.maildir.scan import FEW, scan
from restante.stores.maildir.snapshot import Snapshot

SMALL = 512 * 1024
"""Octets up to which a message is read at once instead of being handed over as a file."""


class OpenedMaildir(Maildrop):
    """One session's maildrop.

    forget: called with the snapshot when a file is not what the snapshot says of it.
    """

    __slots__ = (
        "_files",
        "_forget",
        "_fsync",
        "_gone",
        "_lease",
        "_saved",
        "_snapshot",
        "_stamp",
        "listing",
    )

    def __init__(
        self,
        snapshot: Snapshot,
        lease: Lease,
        forget: Callable[[Snapshot], None],
        *,
        fsync: bool,
    ) -> None:
        self.listing = snapshot.listing
        self._snapshot = snapshot
        self._stamp = snapshot.stamp
        self._saved = snapshot.saved
        self._lease = lease
        self._forget = forget
        self._fsync = fsync
        self._gone: AbstractSet[int] = frozenset()  # rows whose files are removed already
        self._files: _Files | None = None

    def fetch(self, number: MessageNumber, lines=None) -> Content:
        """The message, and its facts unless its file has been changed since."""
        row = number - 1
        with as_store_error("fetching"):
            return self._content(row, *self._open(row))

    def fetch_at_once(self, number: MessageNumber) -> Content | None:
        """The message, if its file lies where it lay: read if it is small, else opened."""
        row = number - 1
        path, rows = self._snapshot.path(row), self._snapshot.rows
        try:
            if (size := rows.sizes[row]) <= SMALL:
                data = read_unchanged(path, size, rows.mtimes[row])
                if data is not None:
                    return Content(data, rows.facts(row))
            return self._content(row, *open_regular(path))
        except OSError:
            return None

    def _content(self, row: int, fd: int, about: os.stat_result) -> Content:
        rows, size = self._snapshot.rows, about.st_size
        unchanged = size == rows.sizes[row] and about.st_mtime_ns == rows.mtimes[row]
        source: bytes | FileIO
        if size > SMALL:
            source = FileIO(fd)
        else:
            source = _read_all(fd, size)
            unchanged = unchanged and len(source) == size
        if unchanged:
            return Content(source, rows.facts(row))
        self._stamp = self._stamp._replace(new=REVIEW)
        self._saved = False
        self._forget(self._snapshot)
        return Content(source)

    def close_at_once(self) -> bool:
        """Give the lease back, if nothing was learnt that is to be kept."""
        if self._saved:
            self._lease.release()
        return self._saved

    def _open(self, row: int) -> tuple[int, os.stat_result]:
        path = self._snapshot.path(row)
        with suppress(FileNotFoundError):
            return open_regular(path)
        files = self._moved()
        files.refresh()
        for other in files.elsewhere(row):
            with suppress(FileNotFoundError):
                return open_regular(other)
        raise MessageGone(f"{path} is gone")

    def _moved(self) -> _Files:
        if self._files is None:
            self._files = _Files(self._snapshot)
        return self._files

    def begin_commit(self, numbers: Sequence[MessageNumber]) -> None:
        """Unlink a few files where they lay. What that doesn't do is left to `commit`."""
        if len(numbers) > FEW or not self._lease.holds():
            return
        snapshot = self._snapshot
        self._gone = gone = set(self._gone)
        for number in numbers:
            row = number - 1
            if not snapshot.rows.marks[row] & TWICE:
                with suppress(OSError):
                    os.unlink(snapshot.path(row))  # noqa: PTH108
                    gone.add(row)

    def commit(self, numbers: Sequence[MessageNumber]) -> None:
        """Unlink the files of these messages, wherever other programs moved them."""
        rows = {number - 1 for number in numbers}
        left = sorted(rows - self._gone)
        if left and not self._lease.holds():
            raise CommitFailed(f"{self._snapshot.folder}: the lease was lost", len(left))
        failures: dict[int, OSError] = {}
        missing = []
        for row in left:
            gone = _unlink(self._snapshot.path(row), row, failures)
            if gone or self._snapshot.rows.marks[row] & TWICE:
                missing.append(row)
        self._unlink_moved(missing, failures)
        try:
            self._sync(rows, everywhere=bool(missing))
        except OSError as error:
            raise CommitFailed(f"removal is not durable: {error}", len(failures)) from error
        if failures:
            first = next(iter(failures.values()))
            raise CommitFailed(f"could not remove: {first}", len(failures)) from first
        if len(rows) == len(self._snapshot.rows):
            self._saved = True  # there is nothing left to be remembered
            journal.clear(self._snapshot.folder)

    def _unlink_moved(self, missing: list[int], failures: dict[int, OSError]) -> None:
        if not missing:
            return
        files = self._moved()
        for _ in range(2):  # a file renamed while we look may escape one look
            try:
                files.scan()
            except OSError as error:
                failures.update(dict.fromkeys(missing, error))
                return
            for row in missing:
                for path in files.elsewhere(row):
                    _unlink(path, row, failures)

    def _sync(self, rows: Iterable[int], *, everywhere: bool) -> None:
        """Make it last that the files of `rows` are gone from where they lay, or everywhere."""
        if not self._fsync:
            return
        marks = self._snapshot.rows.marks
        changed = {0, 1} if everywhere else {marks[row] & IN_CUR for row in rows}
        for in_cur in changed:
            with suppress(FileNotFoundError):
                sync_folder(f"{self._snapshot.folder}/{SUBFOLDERS[in_cur]}")

    def close(self) -> None:
        """Keep what was learnt, and give the lease back. Harmless when repeated."""
        try:
            if not self._saved and self._lease.holds():
                folder = Path(self._snapshot.folder)
                save(folder, self._stamp, self._snapshot.rows)
                self._snapshot.version = index_version(folder)
                journal.clear(folder)
        except OSError:
            pass  # a file system that is full or not ours to write: we look again next time
        finally:
            self._saved = self._snapshot.saved = True
            self._lease.release()


def _read_all(fd: int, size: int) -> bytes:
    """All of a file that had `size` octets a moment ago; closes it."""
    try:
        data = os.read(fd, size + 1)
        if len(data) == size:  # as nearly always
            return data
        while block := os.read(fd, SMALL):
            data += block
        return data
    finally:
        os.close(fd)


def _unlink(path: str, row: int, failures: dict[int, OSError]) -> bool:
    """Remove a file; whether it was gone. Other failures are put down under `row`."""
    try:
        os.unlink(path)  # noqa: PTH108 - for 100,000 files the plain call is worth it
    except FileNotFoundError:
        return True
    except OSError as error:
        failures[row] = error
    return False


class _Files:
    """Where the messages' files lie, found again by base name when they were moved."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._folder = Path(snapshot.folder)
        self._snapshot = snapshot
        self._rows = snapshot.rows
        self._times: tuple[int, ...] = ()
        self._by_base: dict[str, list[str]] = {}
        self._shared: dict[str, list[int]] | None = None

    def elsewhere(self, row: int) -> list[str]:
        """Where files with the message's base name were seen at the last scan."""
        base = base_name(self._rows.names[row])
        others = {self._snapshot.path(other) for other in self._namesakes(base) if other != row}
        return [path for path in self._by_base.get(base, ()) if path not in others]

    def _namesakes(self, base: str) -> list[int]:
        """The messages with this base name, if there are several."""
        if self._shared is None:
            rows_of: dict[str, list[int]] = {}
            for row, name in enumerate(self._rows.names):
                rows_of.setdefault(base_name(name), []).append(row)
            self._shared = {base: rows for base, rows in rows_of.items() if len(rows) > 1}
        return self._shared.get(base, [])

    def refresh(self) -> None:
        """Scan, unless nothing can have moved since the last time."""
        times = self._folder_times()
        if times != self._times or max(times, default=0) > time.time_ns() - TICK:
            self.scan()
            self._times = times

    def scan(self) -> None:
        """Look where all files lie now."""
        self._by_base = {}
        for in_cur, name in scan(self._folder):
            path = f"{self._folder}/{SUBFOLDERS[in_cur]}/{name}"
            self._by_base.setdefault(base_name(name), []).append(path)

    def _folder_times(self) -> tuple[int, ...]:
        with suppress(FileNotFoundError):
            return tuple((self._folder / sub).stat().st_mtime_ns for sub in SUBFOLDERS)
        return ()
