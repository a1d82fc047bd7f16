"""A Maildir as it was found, kept from one session to the next."""

from __future__ import annotations

from os import F_OK, access, lstat
from stat import S_IFDIR, S_IFMT

from restante.stores.maildir.columns import IN_CUR, Rows
from restante.stores.maildir.files import names_in
from restante.stores.maildir.index import TICK, UNTRUSTED, Stamp, Version
from restante.stores.maildir.lease import FolderLease
from restante.stores.maildir.pins import PINS_FILE
from restante.stores.maildir.scan import FEW


class Snapshot:
    """What is in a maildrop, and how to see that nothing has changed since.

    Sessions share it, one after the other; what is altered is how it was saved, and the stamp
    when its times have become old enough to be trusted.

    times: the folders', when it was seen; the stamp has those of them that are trusted.
    listing: of the rows; its blocks are made once for all sessions.
    version: of the index on the disk that says the same; None if none does.
    saved: there is such an index, or it can't be written.
    cleaned: when tmp/ was, in seconds since 1970; 0 if never by this process.
    """

    __slots__ = (
        "_cur", "_new", "_pins", "_times", "cleaned", "folder", "listing", "rows", "saved", "stamp",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        folder: str,
        stamp: Stamp,
        rows: Rows,
        version: Version | None,
        times: tuple[int, int],
    ) -> None:
        self.folder = folder
        self.cleaned = 0.0
        self.stamp = stamp
        self.rows = rows
        self.version = version
        self.saved = version is not None
        self.listing = rows.listing()
        self._times = times
        # Joined once: every poll comes by here.
        self._new = f"{folder}/new"
        self._cur = f"{folder}/cur"
        self._pins = f"{folder}/{PINS_FILE}"

    def is_current(self, lease: FolderLease) -> bool:
        """Whether the folder still holds what the rows say. Raises OSError.

        Three system calls tell, by the times of the stamp. A folder whose time isn't trusted
        yet is listed, if that is quick. lease: of the session that asks.
        """
        new, cur = self._times
        about = lstat(self._new)
        if about.st_mtime_ns != new or S_IFMT(about.st_mode) != S_IFDIR:
            return False
        about = lstat(self._cur)
        if about.st_mtime_ns != cur or S_IFMT(about.st_mode) != S_IFDIR:
            return False
        then_new, then_cur, pins_time, pins_size, _ = self.stamp
        if not pins_time:  # most have none, and an exception takes its time
            if access(self._pins, F_OK):
                return False
        else:
            about = lstat(self._pins)
            if about.st_mtime_ns != pins_time or about.st_size != pins_size:
                return False
        return (new == then_new and cur == then_cur) or self._is_listed(lease)

    def _is_listed(self, lease: FolderLease) -> bool:
        """Whether folders whose times aren't trusted hold the files of the rows, and no others.

        Then the rows are what there was at these times, seen now.
        """
        rows = self.rows
        if len(rows) > FEW:
            return False
        before = lease.clock() - TICK  # asked before listing: what changes later shows
        stamp = self.stamp
        new, cur = self._times
        names, marks = rows.names.all(), rows.marks
        if stamp.new == UNTRUSTED:
            there = {name for name in names_in(self._new, FEW) if name[0] != "."}
            if there != {
                name for name, mark in zip(names, marks, strict=True) if not mark & IN_CUR
            }:
                return False
            if new < before:
                stamp = stamp._replace(new=new)
        if stamp.cur == UNTRUSTED:
            there = {name for name in names_in(self._cur, FEW) if name[0] != "."}
            if there != {name for name, mark in zip(names, marks, strict=True) if mark & IN_CUR}:
                return False
            if cur < before:
                stamp = stamp._replace(cur=cur)
        self.stamp = stamp
        return True

    def place(self, row: int) -> tuple[int, str]:
        """Where the file of message `row`, counted from 0, lay: 1 in cur/, 0 in new/; its name."""
        rows = self.rows
        return rows.marks[row] & IN_CUR, rows.names[row]
