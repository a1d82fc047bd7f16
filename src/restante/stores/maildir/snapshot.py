"""A Maildir as it was found, kept from one session to the next."""

from __future__ import annotations

from os import F_OK, access, lstat
from stat import S_IFDIR, S_IFMT

from restante.stores.maildir.columns import IN_CUR, Rows
from restante.stores.maildir.index import Stamp, Version
from restante.stores.maildir.pins import PINS_FILE


class Snapshot:
    """What is in a maildrop, and how to see that nothing has changed since.

    Sessions share it, one after the other; what is altered is how it was saved.

    listing: of the rows; its blocks are made once for all sessions.
    version: of the index on the disk that says the same; None if none does.
    saved: there is such an index, or it can't be written.
    cleaned: when tmp/ was, in seconds since 1970; 0 if never by this process.
    """

    __slots__ = (
        "_cur", "_new", "_pins", "cleaned", "folder", "listing", "rows", "saved", "stamp",
        "version",
    )  # fmt: skip

    def __init__(self, folder: str, stamp: Stamp, rows: Rows, version: Version | None) -> None:
        self.folder = folder
        self.cleaned = 0.0
        self.stamp = stamp
        self.rows = rows
        self.version = version
        self.saved = version is not None
        self.listing = rows.listing()
        # Joined once: every poll comes by here.
        self._new = f"{folder}/new"
        self._cur = f"{folder}/cur"
        self._pins = f"{folder}/{PINS_FILE}"

    def is_current(self) -> bool:
        """Whether the folder still has the times of the stamp. Raises OSError.

        Three system calls: nothing else tells whether mail has come.
        """
        stamp = self.stamp
        about = lstat(self._new)
        if about.st_mtime_ns != stamp.new or S_IFMT(about.st_mode) != S_IFDIR:
            return False
        about = lstat(self._cur)
        if about.st_mtime_ns != stamp.cur or S_IFMT(about.st_mode) != S_IFDIR:
            return False
        if not stamp.pins_time:  # most have none, and an exception takes its time
            return not access(self._pins, F_OK)
        try:
            about = lstat(self._pins)
        except FileNotFoundError:
            return False
        return about.st_mtime_ns == stamp.pins_time and about.st_size == stamp.pins_size

    def place(self, row: int) -> tuple[int, str]:
        """Where the file of message `row`, counted from 0, lay: 1 in cur/, 0 in new/; its name."""
        rows = self.rows
        return rows.marks[row] & IN_CUR, rows.names[row]
