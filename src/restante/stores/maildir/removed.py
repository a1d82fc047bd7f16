"""Messages that sessions have removed: they rest in a folder of ours until their time is over.

The folder `restante.removed` lies beside new/ and cur/. No other program looks for mail there.
A file in it is named `<time>.<place>.<name>`: when it was removed, in nanoseconds since 1970 and
hexadecimal digits; 0 for new/ and 1 for cur/; and the name that it had. So one rename removes a
message, one puts it back, and its unique-id, which comes from its name, is the same as before.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from restante.stores.maildir.files import Folder, make_folder
from restante.stores.maildir.size_file import counted_size

REMOVED_FOLDER = "restante.removed"

_NAME = re.compile(r"([0-9a-f]{15,16})\.([01])\.(.+)", re.ASCII | re.DOTALL)

# A full disk must not keep anybody from making room; a name may be too long for a longer one.
_NO_REST = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.ENAMETOOLONG)


class Resting(NamedTuple):
    """A removed message. file: its name now. removed: when, in ns. in_cur, name: as it lay."""

    file: str
    removed: int
    in_cur: int
    name: str


class RemovedFolder:
    """Where removed messages rest. Made when it is needed; closed as a context manager.

    Raises OSError, StoreError when somebody has put something else in its place.
    """

    def __init__(self, folder: str, fsync: bool) -> None:
        self._folder = folder
        self._fsync = fsync
        self._open: Folder | None = None
        self._time = time.time_ns()

    def __enter__(self) -> RemovedFolder:
        return self

    def __exit__(self, *error: object) -> None:
        if self._open is not None:
            self._open.close()

    def take(self, source: Folder, in_cur: int, name: str) -> None:
        """Move a file here. It is unlinked where there is no room.

        Raises FileNotFoundError when there is none, OSError.
        """
        try:
            if self._open is None:
                path = f"{self._folder}/{REMOVED_FOLDER}"
                try:
                    self._open = Folder(path)
                except FileNotFoundError:
                    make_folder(Path(path), self._fsync, below=Path(self._folder))
                    self._open = Folder(path)
            source.rename_to(name, self._open, f"{self._time:x}.{in_cur}.{name}")
        except FileNotFoundError as error:
            source.stat(name)  # raises if it is the message that isn't there
            text = f"somebody has removed {REMOVED_FOLDER}"
            raise OSError(errno.EIO, text, self._folder) from error
        except OSError as error:
            if error.errno not in _NO_REST:
                raise
            source.unlink(name)

    def sync(self) -> None:
        """Make what was moved here last: before the folders that it came from. Raises OSError."""
        if self._open is not None:
            self._open.sync()


def resting(removed: Folder) -> Iterator[Resting]:
    """What rests in the folder."""
    for file in removed.names():
        found = _NAME.fullmatch(file)
        if found is not None and os.sep not in found[3] and not found[3].startswith("."):
            yield Resting(file, int(found[1], 16), int(found[2]), found[3])


def names_resting(folder: str) -> list[str]:
    """The names that messages had which can still be put back."""
    with suppress(OSError), Folder(f"{folder}/{REMOVED_FOLDER}") as removed:
        return [each.name for each in resting(removed)]
    return []


def put_back(removed: Folder, target: Folder, each: Resting) -> int | None:
    """Move a message to where it lay. Gives the octets that it counts for.

    None if another message has come there meanwhile, or a crash had left it in both places.
    Raises FileNotFoundError when it doesn't rest any more, OSError.
    """
    about = removed.stat(each.file)
    try:
        removed.move_to(each.file, target, each.name)
    except FileExistsError:
        there = target.stat(each.name)
        if (there.st_dev, there.st_ino) == (about.st_dev, about.st_ino):
            removed.unlink(each.file)
        return None
    return counted_size(each.name, about.st_size)


def forget(folder: str, before: int) -> int:
    """Unlink what was removed before this time, in ns. Gives the number. Raises OSError."""
    count = 0
    try:
        with Folder(f"{folder}/{REMOVED_FOLDER}") as removed:
            for each in list(resting(removed)):
                if each.removed < before:
                    with suppress(FileNotFoundError):
                        removed.unlink(each.file)
                        count += 1
    except FileNotFoundError:
        pass
    return count
