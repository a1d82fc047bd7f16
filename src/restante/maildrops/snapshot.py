"""A Maildir as it was found, kept from one session to the next."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR

from restante.maildrops.index import IN_CUR, Rows, Stamp
from restante.maildrops.pins import PINS_FILE


class Snapshot:
    """What is in a maildrop, and how to see that nothing has changed since.

    Sessions share it, one after the other; what is altered is `saved` alone.

    listing: of the rows; its blocks are made once for all sessions.
    saved: the index on the disk says the same, or can't.
    """

    __slots__ = ("_cur", "_new", "_pins", "folder", "listing", "rows", "saved", "stamp")

    def __init__(self, folder: Path, stamp: Stamp, rows: Rows, *, saved: bool) -> None:
        self.folder = str(folder)
        self.stamp = stamp
        self.rows = rows
        self.saved = saved
        self.listing = rows.listing()
        # Joined once: every poll comes by here.
        self._new = f"{folder}/new"
        self._cur = f"{folder}/cur"
        self._pins = f"{folder}/{PINS_FILE}"

    def is_current(self) -> bool:
        """Whether the folder still has the times of the stamp. Raises OSError."""
        stamp, lstat = self.stamp, os.lstat
        about = lstat(self._new)
        if about.st_mtime_ns != stamp.new or not S_ISDIR(about.st_mode):
            return False
        about = lstat(self._cur)
        if about.st_mtime_ns != stamp.cur or not S_ISDIR(about.st_mode):
            return False
        try:
            about = lstat(self._pins)
        except FileNotFoundError:
            return stamp.pins_time == 0
        return about.st_mtime_ns == stamp.pins_time and about.st_size == stamp.pins_size

    def path(self, row: int) -> str:
        """Where the file of message `row`, counted from 0, lay."""
        rows = self.rows
        return f"{self._cur if rows.marks[row] & IN_CUR else self._new}/{rows.names[row]}"
