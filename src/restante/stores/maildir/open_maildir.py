"""A Maildir opened for one session: its snapshot, and the way to files that others move."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from typing import ClassVar, Protocol

from restante.accounts.account import Account, Quota
from restante.calls import OnThread
from restante.protocol.facts import measure
from restante.protocol.listing import MessageNumber
from restante.stores.contract import (
    CommitFailed,
    Content,
    LeaseLost,
    Maildrop,
    MessageGone,
    StoreError,
)
from restante.stores.maildir import journal, size_file
from restante.stores.maildir.columns import COMPRESSED, IN_CUR, TWICE
from restante.stores.maildir.compressed import Decompressed, form_of
from restante.stores.maildir.file_names import base_name, moment
from restante.stores.maildir.files import Folder, as_store_error
from restante.stores.maildir.index import REVIEW, TICK, index_version, save
from restante.stores.maildir.lease import FolderLease
from restante.stores.maildir.measured import Measured, is_possible, measure_open
from restante.stores.maildir.removed import RemovedFolder
from restante.stores.maildir.scan import FEW, Place, Subfolders
from restante.stores.maildir.size_file import counted_size
from restante.stores.maildir.snapshot import Snapshot
from restante.stores.maildir.steps import Steps, begun
from restante.stores.room import quota_for

SMALL = 512 * 1024
"""Octets up to which a message is read at once instead of being handed over as a file."""

EARLIEST = 631_152_000
"""Seconds since 1970, at the end of 1989: what is earlier in a file's name is no time of delivery.
There were no Maildirs then, and `42.eml` is a number."""

LINE = 100
"""Octets that a line of a body is taken to have when TOP asks for some."""


_NOT_OPEN = (None, None)

_make_content = tuple.__new__  # quicker than Content(), at every RETR


class _Keeper(Protocol):
    """The store, as far as its maildrops need it."""

    fsync: bool
    quota: Quota
    undelete_days: float

    def forget(self, snapshot: Snapshot) -> None:
        """A file is not what the snapshot says of it."""


class OpenedMaildir(Maildrop):
    """One session's maildrop.

    Its methods do in place what is quick, and give the rest to be done on a thread.
    """

    __slots__ = (
        "_closed", "_moved", "_owner", "_read_from", "_saved", "_snapshot", "_stamp", "_store",
        "_subs", "lease", "listing",
    )  # fmt: skip

    blocking: ClassVar[bool] = False
    lease: FolderLease

    def __init__(
        self, snapshot: Snapshot, lease: FolderLease, store: _Keeper, owner: Account
    ) -> None:
        self.listing = snapshot.listing
        self.lease = lease
        self._snapshot = snapshot
        self._stamp = snapshot.stamp
        self._saved = snapshot.saved
        self._store = store
        self._owner = owner
        self._closed = False
        self._subs: Subfolders | None = None
        self._read_from: Sequence[Folder | None] = _NOT_OPEN
        self._moved: _Moved | None = None

    def _folders(self) -> Subfolders:
        if self._subs is None:
            self._subs = Subfolders(self._snapshot.folder)
            self._read_from = self._subs.opened
        return self._subs

    # Fetching

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Content | OnThread[Content]:
        """The message and its facts: read if it is small, else as an open file.

        A message that was changed in place since it was measured is measured again.
        """
        row = number - 1
        if lines is None:
            rows = self._snapshot.rows
            marks, size = rows.marks[row], rows.sizes[row]
            if size <= SMALL and not marks & COMPRESSED:
                folder = self._read_from[marks & IN_CUR]
                try:
                    if folder is None:
                        folder = self._folders().here(marks & IN_CUR)
                    data = folder.read_unchanged(rows.names[row], size, rows.mtimes[row])
                except OSError:
                    data = None
                if data is not None and is_possible(facts := rows.facts(row), size):
                    return _make_content(Content, (data, facts))
        return begun(self._fetched(row, lines))

    def _fetched(self, row: int, lines: int | None) -> Steps[Content]:
        rows = self._snapshot.rows
        with as_store_error("fetching"):
            if rows.marks[row] & COMPRESSED:
                yield
            fd, about, name = yield from self._opened(row)
            try:
                known = rows.measured(row)
                unchanged = (about.st_size, about.st_mtime_ns) == known[:2]
                compressed = known.compressed
                if not unchanged or not is_possible(known.facts, known.size, compressed=compressed):
                    if about.st_size > SMALL:
                        yield
                    known = measure_open(fd, about, name)
                    os.lseek(fd, 0, os.SEEK_SET)
                    self._review()
                return _content(fd, known, lines)
            except BaseException:
                os.close(fd)
                raise

    def _opened(self, row: int) -> Steps[tuple[int, os.stat_result, str]]:
        subs = self._folders()
        in_cur, name = self._snapshot.place(row)
        with suppress(FileNotFoundError):
            return (*subs.here(in_cur).open(name), name)
        yield
        if self._moved is None:
            self._moved = _Moved(self._snapshot, subs)
        self._moved.refresh()
        for in_cur, name in self._moved.elsewhere(row):
            with suppress(FileNotFoundError):
                return (*subs.here(in_cur).open(name), name)
        raise MessageGone(f"{name} of {self._snapshot.folder} is gone")

    def _review(self) -> None:
        """Have each file held against what is known of it when the maildrop is opened again."""
        self._stamp = self._stamp._replace(new=REVIEW)
        self._saved = False
        self._store.forget(self._snapshot)

    def arrived(self, number: MessageNumber) -> float:
        """The time in the file's name, or the file's own where the name has none that can be.

        No Maildir is older than 1990, and nothing arrives later than now.
        """
        row = number - 1
        rows = self._snapshot.rows
        named = moment(base_name(rows.names[row]))
        return named if EARLIEST <= named <= time.time() else rows.mtimes[row] / 1e9

    # Removing

    def commit(self, numbers: Sequence[MessageNumber]) -> OnThread[None] | None:
        """Remove the files of these messages, wherever other programs moved them.

        They are unlinked, or rest where `undelete` finds them.
        """
        if not numbers:
            return None
        if self.lease.lost:
            raise LeaseLost(f"{self._snapshot.folder}: the lease was lost")
        return begun(self._committed({number - 1 for number in numbers}))

    def _committed(self, rows: set[int]) -> Steps[None]:
        failures: dict[int, OSError] = {}
        missing = []
        names, marks = self._snapshot.rows.names, self._snapshot.rows.marks
        folder, fsync = self._snapshot.folder, self._store.fsync
        try:
            subs = self._folders()
            if len(rows) > FEW:
                yield
            with ExitStack() as stack:
                resting = None
                if self._store.undelete_days:
                    resting = stack.enter_context(RemovedFolder(folder, fsync))
                remover = _Remover(subs, resting, failures)
                for row in sorted(rows):
                    place = marks[row] & IN_CUR, names[row]
                    if not remover.remove(place, row) or marks[row] & TWICE:
                        missing.append(row)
                if missing:
                    yield
                    self._remove_moved(subs, missing, remover)
                if fsync:
                    yield
                    if resting is not None:
                        resting.sync()
                    changed = {0, 1} if missing else {marks[row] & IN_CUR for row in rows}
                    for in_cur in changed:
                        with suppress(FileNotFoundError):
                            subs.here(in_cur).sync()
            self._count(remover.removed)
        except OSError as error:
            raise CommitFailed(f"removal is not durable: {error}", len(failures)) from error
        except StoreError as error:
            raise CommitFailed(f"could not remove: {error}", len(rows)) from error
        if failures:
            first = next(iter(failures.values()))
            raise CommitFailed(f"could not remove: {first}", len(failures)) from first
        if len(rows) == len(marks):
            self._saved = True  # there is nothing left to be remembered
            journal.clear(self._snapshot.folder)

    def _count(self, removed: set[int]) -> None:
        """Make room in the quota for what is gone."""
        quota = quota_for(self._owner, self._store.quota)
        if quota is not None and removed:
            rows = self._snapshot.rows
            octets = sum(counted_size(rows.names[row], rows.sizes[row]) for row in removed)
            size_file.change(self._snapshot.folder, quota, -octets, -len(removed))

    def _remove_moved(self, subs: Subfolders, missing: list[int], remover: _Remover) -> None:
        moved = _Moved(self._snapshot, subs)
        for _ in range(2):  # a file renamed while we look may escape one look
            try:
                moved.scan()
            except OSError as error:
                remover.failures.update(dict.fromkeys(missing, error))
                return
            for row in missing:
                for place in moved.elsewhere(row):
                    remover.remove(place, row)

    # Closing

    def close(self) -> OnThread[None] | None:
        """Keep what was learnt, and give the lease back. Harmless when repeated."""
        if self._closed:
            return None
        self._closed = True
        if self._subs is not None:
            self._subs.close()
        if not self._saved:
            return OnThread(self._save_and_release)
        self.lease.release()
        return None

    def _save_and_release(self) -> None:
        snapshot = self._snapshot
        try:
            if not self.lease.lost:
                save(snapshot.folder, self._stamp, snapshot.rows)
                snapshot.version = index_version(snapshot.folder)
                journal.clear(snapshot.folder)
        except OSError:
            pass  # a file system that is full or not ours to write: we look again next time
        finally:
            snapshot.saved = True
            self.lease.release()


def _content(fd: int, known: Measured, lines: int | None) -> Content:
    """What an open message file holds; as much of it as TOP needs if `lines` is given."""
    size, facts = known.size, known.facts
    if known.compressed:
        form = form_of(os.read(fd, 16))
        os.lseek(fd, 0, os.SEEK_SET)
        if form is None:
            raise StoreError("a compressed message that isn't compressed any more")
        blocks = Decompressed(fd, form)
        return Content(b"".join(blocks) if facts.octets <= SMALL else blocks, facts)
    wanted = size
    if lines is not None:
        wanted = min(size, facts.header_end + LINE * lines)
    if wanted > SMALL:
        return Content(FileIO(fd), facts)
    data = _read(fd, wanted)
    if wanted < size and data.count(b"\n", facts.header_end) < (lines or 0):
        if size > SMALL:
            os.lseek(fd, 0, os.SEEK_SET)
            return Content(FileIO(fd), facts)
        data += _read(fd, size - wanted)
        wanted = size
    if wanted == size and (len(data) < size or (rest := os.read(fd, 1))):
        # It changes while we look. What is sent is what was read.
        data = data if len(data) < size else data + rest + os.read(fd, SMALL)
        facts = measure([data])
    os.close(fd)
    return Content(data, facts)


def _read(fd: int, size: int) -> bytes:
    """So many octets; fewer at the end of the file."""
    data = os.read(fd, size)
    while len(data) < size and (block := os.read(fd, size - len(data))):
        data += block
    return data


class _Remover:
    """Removes files, and notes of which messages, and which it couldn't.

    resting: where they are moved to; None: they are unlinked.
    """

    def __init__(
        self, subs: Subfolders, resting: RemovedFolder | None, failures: dict[int, OSError]
    ) -> None:
        self._subs = subs
        self._resting = resting
        self.failures = failures
        self.removed: set[int] = set()

    def remove(self, place: Place, row: int) -> bool:
        """Remove a file of message `row`; False if there is none."""
        in_cur, name = place
        try:
            if self._resting is None:
                self._subs.here(in_cur).unlink(name)
            else:
                self._resting.take(self._subs.here(in_cur), in_cur, name)
            self.removed.add(row)
        except FileNotFoundError:
            return False
        except OSError as error:
            self.failures[row] = error
        return True


class _Moved:
    """Where the messages' files lie, found again by base name when they were moved."""

    def __init__(self, snapshot: Snapshot, subs: Subfolders) -> None:
        self._snapshot = snapshot
        self._subs = subs
        self._times: tuple[int, ...] = ()
        self._by_base: dict[str, list[Place]] = {}
        self._shared: dict[str, list[int]] | None = None

    def elsewhere(self, row: int) -> Iterator[Place]:
        """Where files of the message were seen at the last scan, but for where it lay.

        A file with its base name is its own while size or time is the same; both, where
        several messages have that base name.
        """
        rows = self._snapshot.rows
        base = base_name(rows.names[row])
        namesakes = self._namesakes(base)
        others = {self._snapshot.place(other) for other in namesakes if other != row}
        for in_cur, name in self._by_base.get(base, ()):
            if (in_cur, name) in others:
                continue
            with suppress(FileNotFoundError):
                about = self._subs.stat(in_cur, name)
                size = about.st_size == rows.sizes[row]
                mtime = about.st_mtime_ns == rows.mtimes[row]
                same = (size and mtime) if namesakes else (size or mtime)
                if same and stat.S_ISREG(about.st_mode):
                    yield in_cur, name

    def _namesakes(self, base: str) -> list[int]:
        """The messages with this base name, if there are several."""
        if self._shared is None:
            rows_of: dict[str, list[int]] = {}
            for row, name in enumerate(self._snapshot.rows.names):
                rows_of.setdefault(base_name(name), []).append(row)
            self._shared = {base: rows for base, rows in rows_of.items() if len(rows) > 1}
        return self._shared.get(base, [])

    def refresh(self) -> None:
        """Scan, unless nothing can have moved since the last time."""
        times = self._subs.times()
        if times != self._times or max(times) > time.time_ns() - TICK:
            self.scan()
            self._times = times

    def scan(self) -> None:
        """Look where all files lie now; in new/ first, as that is the way they are moved."""
        self._by_base = {}
        for in_cur in (0, 1):
            for name in self._subs.names(in_cur):
                if not name.startswith("."):
                    self._by_base.setdefault(base_name(name), []).append((in_cur, name))
