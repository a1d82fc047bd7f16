"""Reading message files without being led astray, and making what is written last."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from restante.protocol.facts import Facts, Measure
from restante.stores.contract import StoreError

BLOCK = 256 * 1024

# Not blocking, so that a FIFO lets itself be opened and then be recognised.
_READ = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _READ |= getattr(os, _flag, 0)


def open_regular(path: Path | str) -> tuple[int, os.stat_result]:
    """Open a file for reading, if it is one: no link, no FIFO, no device.

    Raises FileNotFoundError for all of these too, other OSErrors as they come.
    """
    try:
        fd = os.open(path, _READ)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EMLINK):
            raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path)) from error
        raise
    about = os.stat(fd)  # noqa: PTH116 - PyPy's fstat takes ten times as long
    if stat.S_ISREG(about.st_mode):
        return fd, about
    os.close(fd)
    raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path))


def read_unchanged(path: str, size: int, mtime: int) -> bytes | None:
    """All of a file, if it is a regular one of this size and modification time in ns, else None.

    `open_regular` and reading in one, for messages are fetched by it. Raises OSError.
    """
    fd = os.open(path, _READ)
    try:
        about = os.stat(fd)  # noqa: PTH116
        if about.st_size == size and about.st_mtime_ns == mtime and stat.S_ISREG(about.st_mode):
            data = os.read(fd, size + 1)  # one more, to see whether it has grown
            if len(data) == size:
                return data
        return None
    finally:
        os.close(fd)


def read_exactly(file: BinaryIO, size: int) -> bytes | None:
    """All of `file` if it has `size` octets, else None."""
    data = file.read(size + 1)
    return data if len(data) == size else None


class TooMuch(Exception):
    """More than can be done in place: a thread must do it."""


class Measured(NamedTuple):
    """A message file: octets as stored, modification time in ns, facts."""

    size: int
    mtime: int
    facts: Facts


def measure_file(path: str, most: int | None = None) -> Measured:
    """What there is to know of a message file. Raises OSError.

    most: octets that may be read; TooMuch is raised for a larger file.
    """
    fd, about = open_regular(path)
    try:
        if most is not None and about.st_size > most:
            raise TooMuch
        meter, size, seen = Measure(), about.st_size, 0
        wanted = min(BLOCK, size + 1)  # no more: memory that isn't filled costs as much
        while block := os.read(fd, wanted):
            meter.feed(block)
            seen += len(block)
            if seen == size and len(block) < wanted:
                break
    finally:
        os.close(fd)
    return Measured(about.st_size, about.st_mtime_ns, meter.finish())


def sync_folder(folder: Path | str) -> None:
    """Make the names in a folder last through a loss of power. Raises OSError."""
    if os.name == "nt":  # folders can't be opened there, and needn't be
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path, fsync: bool) -> None:
    """Make a folder and those above it, for the owner alone. Harmless if it is there."""
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        if folder.parent == folder:  # a drive that isn't there
            raise
        make_folder(folder.parent, fsync)
        make_folder(folder, fsync)
        return
    if fsync:
        sync_folder(folder.parent)


@contextmanager
def as_store_error(doing: str) -> Iterator[None]:
    """OSErrors become StoreErrors: temporary, for a person may mend most things in time, and
    mail on its way in is then tried again instead of being refused."""
    try:
        yield
    except OSError as error:
        temporary = error.errno != errno.ENAMETOOLONG
        raise StoreError(f"{doing}: {error}", temporary=temporary) from error
