"""The exclusive hold of a session on a folder (RFC 1939 §4: exclusive-access lock).

What excludes others is the operating system's lock on an open file, so it ends with the
process however that ends. The file itself means nothing: it stays where it is, and no
one need ever remove it. A file system that can't be written to has the folder locked
in its place.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from restante.maildrops.contract import MaildropInUse

LOCK_FILE = "restante.lock"

_held: set[tuple[int, int, int]] = set()
_held_lock = Lock()


class Lease:
    """Holds `folder` from its making to `release`, against all threads and processes.

    Raises MaildropInUse when another holds it, FileNotFoundError when there is no such
    folder, OSError when the lock can't be tried.
    """

    def __init__(self, folder: Path) -> None:
        self._path = f"{folder}/{LOCK_FILE}"
        while True:
            self._key: tuple[int, int, int] | None = None
            self._fd, self._writable = self._open(folder)
            try:
                self._take(folder)
                if self._is_in_place():
                    return
            except BaseException:
                self.release()
                raise
            self.release()  # the file was replaced between opening and locking

    def _open(self, folder: Path) -> tuple[int, bool]:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            return os.open(self._path, flags, 0o600), True
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
        self._path = str(folder)
        return os.open(folder, os.O_RDONLY), False

    def _take(self, folder: Path) -> None:
        about = os.fstat(self._fd)
        key = (os.getpid(), about.st_dev, about.st_ino)
        with _held_lock:
            if key in _held:  # where a lock belongs to the process, it wouldn't stop a thread
                raise MaildropInUse(f"{folder} is in use by this process")
            if not _lock(self._fd):
                raise MaildropInUse(f"{folder} is in use by another process")
            _held.add(key)
            self._key = key

    def _is_in_place(self) -> bool:
        mine = os.fstat(self._fd)
        try:
            there = os.stat(self._path)  # noqa: PTH116 - the plain call, at every login
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def holds(self) -> bool:
        """Whether the lease still excludes others: False after `release`, and when
        somebody removed the lock file."""
        try:
            return self._fd >= 0 and self._is_in_place()
        except OSError:
            return False

    def clock(self) -> int:
        """The file system's time in ns, by which it stamps files. It can differ from ours."""
        if self._writable and os.utime in os.supports_fd:
            with suppress(OSError):
                os.utime(self._fd)
                return os.fstat(self._fd).st_mtime_ns
        return time.time_ns()

    def release(self) -> None:
        """Give the folder free. Harmless when repeated."""
        with _held_lock:
            fd, self._fd = self._fd, -1
            if fd < 0:
                return
            if self._key is not None:
                _held.discard(self._key)
                _unlock(fd)
            os.close(fd)


if sys.platform == "win32":

    def _lock(fd: int) -> bool:
        import msvcrt  # noqa: PLC0415

        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True

    def _unlock(fd: int) -> None:
        import msvcrt  # noqa: PLC0415

        with suppress(OSError):
            os.lseek(fd, 0, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:

    def _lock(fd: int) -> bool:
        import fcntl  # noqa: PLC0415

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        import fcntl  # noqa: PLC0415

        with suppress(OSError):  # a forked child may share the open file
            fcntl.flock(fd, fcntl.LOCK_UN)
