"""Files and folders of a maildrop, which others may write to: nobody is led astray by them.

Whatever lies in a maildrop is opened without following a link and without waiting for it,
and is used only if it is what it should be. What lies in new/, cur/ or tmp/ is reached
through a descriptor of that folder, so that a link put in the folder's place leads nowhere.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from itertools import islice
from pathlib import Path
from types import TracebackType

from restante.stores.contract import StoreError

BLOCK = 256 * 1024

log = logging.getLogger("restante.stores")

NO_LINKS = 0
"""Flags to open a file with: no link is followed, and a FIFO is opened without waiting. `os.stat`
of the descriptor tells then what it is."""
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    NO_LINKS |= getattr(os, _flag, 0)
_READ = os.O_RDONLY | NO_LINKS
_FOLDER = _READ | getattr(os, "O_DIRECTORY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINKS

_HAS_DESCRIPTORS = {os.open, os.stat, os.unlink, os.link, os.rename} <= os.supports_dir_fd and {
    os.scandir,
    os.listdir,
} <= os.supports_fd


class NotAFile(FileNotFoundError):
    """Something has the name, and it is not a regular file: a link, a FIFO, a folder."""


def open_regular(path: str, dir_fd: int | None = None) -> tuple[int, os.stat_result]:
    """Open a file for reading, if it is one: no link, no FIFO, no device.

    Raises NotAFile for these, FileNotFoundError when there is nothing, other OSErrors as they
    come.
    """
    try:
        fd = os.open(path, _READ, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EMLINK):
            raise NotAFile(errno.ENOENT, "not a regular file", path) from error
        raise
    about = os.stat(fd)
    if stat.S_ISREG(about.st_mode):
        return fd, about
    os.close(fd)
    raise NotAFile(errno.ENOENT, "not a regular file", path)


def open_own(path: str, most: int) -> tuple[int, int]:
    """Open a file of ours for reading: its descriptor and its size in octets.

    Raises FileNotFoundError when it is none, not a regular file, or has more than `most`
    octets and so isn't ours; other OSErrors as they come.
    """
    fd, about = open_regular(path)
    if about.st_size <= most:
        return fd, about.st_size
    os.close(fd)
    log.warning("%s is passed over: it has more than %d octets", path, most)
    raise FileNotFoundError(errno.ENOENT, "too large to be ours", path)


def read_lines(path: str, most: int, lines: int) -> list[bytes]:
    """The whole lines of a file of ours: the first `lines` of them. Raises as `open_own`."""
    fd, size = open_own(path, most)
    with os.fdopen(fd, "rb") as file:
        found = file.read(size).split(b"\n", lines)
    del found[-1]  # what no line end follows was torn, or is one too many
    return found


def create(path: str, dir_fd: int | None = None) -> int:
    """Make a file that wasn't there, for the owner alone, and open it for writing.

    Raises FileExistsError, OSError.
    """
    return os.open(path, _CREATE, 0o600, dir_fd=dir_fd)


class Folder:
    """new/, cur/ or tmp/ of a maildrop, open. Closed as a context manager.

    Raises FileNotFoundError when there is none, StoreError when it is no folder.
    """

    __slots__ = ("_before", "_fd", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None
        self._before = ""
        if not _HAS_DESCRIPTORS:  # as on Windows, where making links takes an administrator
            folder_time(path)
            self._before = path + os.sep
            return
        try:
            self._fd = os.open(path, _FOLDER)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK, errno.ENXIO):
                raise _no_folder(path) from error
            raise

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Harmless when repeated."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
            self._before = os.devnull + os.sep  # where nothing is

    def time(self) -> int:
        """The folder's modification time in ns."""
        return os.stat(self.path if self._fd is None else self._fd).st_mtime_ns

    def names(self, most: int | None = None) -> list[str]:
        """The names of what is in it, in any order; of the first `most` or a few more."""
        where = self.path if self._fd is None else self._fd
        return os.listdir(where) if most is None else _first_names(where, most)

    def stat(self, name: str) -> os.stat_result:
        """About one entry; of a link about the link."""
        return os.stat(self._before + name, dir_fd=self._fd, follow_symlinks=False)

    def open(self, name: str) -> tuple[int, os.stat_result]:
        """See `open_regular`."""
        return open_regular(self._before + name, self._fd)

    def create(self, name: str) -> int:
        """See `create`."""
        return create(self._before + name, self._fd)

    def unlink(self, name: str) -> None:
        """Remove a file. Raises FileNotFoundError, OSError."""
        os.unlink(self._before + name, dir_fd=self._fd)

    def move_to(self, name: str, other: Folder, target: str) -> None:
        """Give a file a name in `other` that nobody has. Raises FileExistsError, OSError."""
        here, there = self._before + name, other._before + target
        try:
            link(here, there, self._fd, other._fd)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_HARD_LINKS:
                raise
            try:
                other.stat(target)
            except FileNotFoundError:
                os.rename(here, there, src_dir_fd=self._fd, dst_dir_fd=other._fd)
                return
            raise FileExistsError(errno.EEXIST, "there already", target) from error
        self.unlink(name)

    def rename_to(self, name: str, other: Folder, target: str) -> None:
        """Move a file into `other`, in place of what has that name there. Raises OSError."""
        os.rename(
            self._before + name, other._before + target, src_dir_fd=self._fd, dst_dir_fd=other._fd
        )

    def rename_out(self, name: str, path: str) -> None:
        """Give a file the name `path`, in place of what is there. Raises OSError."""
        os.replace(self._before + name, path, src_dir_fd=self._fd)

    def read_unchanged(self, name: str, size: int, mtime: int) -> bytes | None:
        """All of a file, if it is a regular one of this size and modification time in ns.

        None if it isn't. It opens and reads in one call, because each RETR comes by here. Raises
        OSError.
        """
        fd = os.open(self._before + name, _READ, dir_fd=self._fd)
        try:
            about = os.stat(fd)
            if about.st_size == size and about.st_mtime_ns == mtime and stat.S_ISREG(about.st_mode):
                data = os.read(fd, size + 1)  # one more, to see whether it has grown
                if len(data) == size:
                    return data
            return None
        finally:
            os.close(fd)

    def sync(self) -> None:
        """Make the names in it last through a loss of power. Raises OSError."""
        if self._fd is not None:
            os.fsync(self._fd)


def _first_names(where: str | int, most: int) -> list[str]:
    with os.scandir(where) as entries:
        return [entry.name for entry in islice(entries, most + 1)]


def names_in(path: str, most: int) -> list[str]:
    """`Folder.names` of a folder that needn't stay open. Raises OSError, for a link too."""
    if not _HAS_DESCRIPTORS:
        return _first_names(path, most)
    fd = os.open(path, _FOLDER)
    try:
        return _first_names(fd, most)
    finally:
        os.close(fd)


def link(name: str, target: str, here: int | None, there: int | None) -> None:
    """Give a file a second name. A symbolic link isn't followed. Raises OSError.

    here, there: descriptors of the folders, or None.
    """
    try:
        os.link(name, target, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # PyPy 7.3.19 refuses the flag, and follows no links without it.
        os.link(name, target, src_dir_fd=here, dst_dir_fd=there)


_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def folder_time(path: str) -> int:
    """A folder's modification time in ns.

    Raises FileNotFoundError, StoreError when it is something else than a folder, a link too.
    """
    about = os.lstat(path)
    if not stat.S_ISDIR(about.st_mode):
        raise _no_folder(path)
    return about.st_mtime_ns


def _no_folder(path: str) -> StoreError:
    return StoreError(f"{path} is not a folder (links are not followed)", temporary=False)


def sync_folder(path: str) -> None:
    """Make the names in a folder that isn't in a maildrop last. Raises OSError."""
    if os.name == "nt":  # folders can't be opened there, and needn't be
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path, fsync: bool, below: Path | None = None) -> None:
    """Make a folder and those above it, for the owner alone. Harmless if it is there.

    below: isn't made, nor is what is above it. Raises FileNotFoundError when it isn't there.
    """
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        if folder.parent in (folder, below):  # a drive that isn't there, or `below`
            raise
        make_folder(folder.parent, fsync, below)
        make_folder(folder, fsync, below)
        return
    if fsync:
        sync_folder(str(folder.parent))


class as_store_error:
    """OSErrors become StoreErrors: temporary, for a person may mend most things in time, and
    mail on its way in is then tried again instead of being refused."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            temporary = error.errno != errno.ENAMETOOLONG
            raise StoreError(f"{self._doing}: {error}", temporary=temporary) from error
