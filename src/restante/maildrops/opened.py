"""A Maildir opened for one session: its snapshot, and the way to files that others move."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from restante.maildrops import journal
from restante.maildrops.contract import CommitFailed, Content, Maildrop, MessageGone
from restante.maildrops.files import as_store_error, open_regular, sync_folder
from restante.maildrops.index import IN_CUR, REVIEW, TWICE, Rows, Stamp, save
from restante.maildrops.leases import Lease
from restante.maildrops.names import base_name
from restante.maildrops.survey import SUBFOLDERS, list_files
from restante.protocol.listing import Listing, MessageNumber

SMALL = 64 * 1024
"""Octets up to which a message is read at once instead of being handed over as a file."""


class OpenedMaildir(Maildrop):
    """One session's maildrop.

    saved: the index on the disk says what `rows` and `stamp` say.
    changed_in_place: called when a file is not what the index says of it.
    """

    def __init__(
        self,
        folder: Path,
        lease: Lease,
        rows: Rows,
        listing: Listing,
        stamp: Stamp,
        *,
        saved: bool,
        fsync: bool,
        changed_in_place: Callable[[], None],
    ) -> None:
        self.listing = listing
        self._folder = folder
        self._lease = lease
        self._rows = rows
        self._stamp = stamp
        self._saved = saved
        self._fsync = fsync
        self._changed_in_place = changed_in_place
        self._moved = _Moved(folder, rows)

    def fetch(self, number: MessageNumber) -> Content:
        """The message, and its facts unless its file has been changed since."""
        row = number - 1
        with as_store_error("fetching"):
            fd, about = self._open(row)
            with suppress_nothing(os.fdopen(fd, "rb")) as file:
                pass
        return Content(file)

    def close(self) -> None:
        """Keep what was learnt, and give the lease back. Harmless when repeated."""
