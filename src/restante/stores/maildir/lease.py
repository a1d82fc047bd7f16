"""The exclusive hold of a session on a folder (RFC 1939 §4: exclusive-access lock).

What excludes others is the operating system's lock on an open file, so it ends with the
process however that ends. The file itself means nothing: it stays where it is, and no
one need ever remove it. A file system that can't be written to has the folder locked
in its place.

Lock files used lately are kept open, unlocked, for the next session: whether one is still
the file in the folder is asked after locking it, as for one just opened.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import TypeAlias

from restante.stores.contract import Lease, MaildropInUse, StoreError
from restante.stores.maildir.files import NO_LINKS

LOCK_FILE = "restante.lock"

MAX_IDLE = 512
"""Lock files that are kept open between sessions, at most; never more than an eighth of the
descriptors that the process may have."""

Key: TypeAlias = tuple[int, int]  # device and inode

_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EMLINK)

_guard = Lock()
_held: dict[Key, int] = {}  # descriptors of locked files
_idle: OrderedDict[str, tuple[int, Key]] = OrderedDict()  # by path, last used last
_process = object()  # another one after a fork

_FLAGS = os.O_RDWR | os.O_CREAT | NO_LINKS


class FolderLease(Lease):
    """Holds `folder` from its making to `release`, against all threads and processes.

    Raises MaildropInUse when another holds it, FileNotFoundError when there is no such
    folder, StoreError when the lock file is no file of ours, OSError when the lock can't be
    tried.
    """

    __slots__ = ("_fd", "_key", "_path", "_process", "_writable")

    def __init__(self, folder: str) -> None:
        self._path = path = f"{folder}/{LOCK_FILE}"
        self._process = _process
        self._writable = True
        if path in _idle and self._take_idle(path):
            return
        while True:
            self._key: Key | None = None
            self._fd = self._open(folder)
            try:
                self._take(self._fd)
                if self._is_in_place():
                    return
            except BaseException:
                self.release(keep=False)
                raise
            self.release(keep=False)  # the file was replaced between opening and locking

    @property
    def holder(self) -> str:  # type: ignore[override]
        """The process, and the host that it runs on."""
        return f"pid {os.getpid()} on {socket.gethostname()}"

    @property
    def lost(self) -> bool:
        """Whether it excludes nobody any more: after `release`, in a forked child, and when
        somebody removed the lock file."""
        try:
            return self._fd < 0 or self._process is not _process or not self._is_in_place()
        except OSError:
            return True

    def _take_idle(self, path: str) -> bool:
        """Lock the file that was kept open, if there is one and it is still in place."""
        with _guard:
            idle = _idle.pop(path, None)
            if idle is None:
                return False
            self._fd, self._key = fd, key = idle
            if key in _held or not _lock(fd):
                _idle[path] = idle
                raise MaildropInUse(f"{path} is locked")
            _held[key] = fd
        try:
            there = os.stat(path)
            if there.st_ino == key[1] and there.st_dev == key[0]:
                return True
        except FileNotFoundError:
            pass
        except BaseException:
            self.release(keep=False)
            raise
        self.release(keep=False)
        return False

    def _open(self, folder: str) -> int:
        try:
            return _open(self._path, _FLAGS)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise self._no_file() from error
            if error.errno != errno.EROFS:
                raise
        self._path = folder
        self._writable = False
        return _open(self._path, os.O_RDONLY)

    def _no_file(self) -> StoreError:
        return StoreError(f"{self._path} is no file of ours: remove it", temporary=False)

    def _take(self, fd: int) -> None:
        about = os.stat(fd)
        if self._writable and (about.st_nlink > 1 or not stat.S_ISREG(about.st_mode)):
            raise self._no_file()  # a lock on another maildrop's file would lock that
        key = (about.st_dev, about.st_ino)
        with _guard:
            if key in _held:  # where a lock belongs to the process, it wouldn't stop a thread
                raise MaildropInUse(f"{self._path} is locked by this process")
            if not _lock(fd):
                raise MaildropInUse(f"{self._path} is locked by another process")
            _held[key] = fd
            self._key = key

    def _is_in_place(self) -> bool:
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == self._key

    def clock(self) -> int:
        """The file system's time in ns, by which it stamps files. It can differ from ours."""
        if self._writable and os.utime in os.supports_fd:
            with suppress(OSError):
                os.utime(self._fd)
                return os.stat(self._fd).st_mtime_ns
        return time.time_ns()

    def release(self, *, keep: bool = True) -> None:
        """Release the lock. Harmless when repeated.

        keep: keep the file open for the next session.
        """
        with _guard:
            fd, self._fd = self._fd, -1
            if fd < 0 or self._process is not _process:  # a forked child has closed it already
                return
            key = self._key
            if key is None:
                os.close(fd)
                return
            del _held[key]
            if not _unlock(fd) or not (keep and self._writable):
                os.close(fd)
            elif self._path not in _idle and len(_idle) < _idle_limit():
                _idle[self._path] = fd, key
            else:
                _keep(self._path, fd, key)


class Unleased(FolderLease):
    """No lease, of somebody who only looks."""

    __slots__ = ()

    def __init__(self) -> None:  # nothing is taken, so nothing is to be released
        pass

    @property
    def holder(self) -> str:  # type: ignore[override]
        return ""

    @property
    def lost(self) -> bool:
        return True

    def release(self, *, keep: bool = True) -> None:
        pass


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
    close_idle()
    return os.open(path, flags, 0o600)


def _keep(path: str, fd: int, key: Key) -> None:
    """Keep an unlocked file open, in the place of the one used longest ago. Under `_guard`."""
    if path not in _idle and not _idle:
        os.close(fd)
        return
    other, _ = _idle.pop(path) if path in _idle else _idle.popitem(last=False)[1]
    os.close(other)
    _idle[path] = fd, key


@cache
def _idle_limit() -> int:
    return min(MAX_IDLE, _descriptors() // 8)


def lock_holders() -> dict[Key, int]:
    """The processes that hold locks of files, by device and inode. Raises StoreError."""
    found: dict[Key, int] = {}
    try:
        with open("/proc/locks") as file:
            for line in file:
                # number: FLOCK ADVISORY WRITE pid major:minor:inode start end
                words = line.split()
                if words[1] == "FLOCK" and len(words) == 8:
                    major, minor, inode = words[5].split(":")
                    device = os.makedev(int(major, 16), int(minor, 16))
                    found[device, int(inode)] = int(words[4])
    except (OSError, ValueError, IndexError) as error:
        text = f"this system doesn't say who holds a lock: {error}"
        raise StoreError(text, temporary=False) from error
    return found


def close_idle() -> None:
    """Close the lock files that are kept open. The next sessions open them again."""
    with _guard:
        while _idle:
            _, (fd, _) = _idle.popitem()
            os.close(fd)


def _after_fork() -> None:
    """What a child has inherited is its parent's: a lease must end with the process that
    took it, even when a child lives on."""
    global _guard, _process
    _guard, _process = Lock(), object()
    for fd in [*_held.values(), *(fd for fd, _ in _idle.values())]:
        with suppress(OSError):
            os.close(fd)
    _held.clear()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


if sys.platform == "win32":

    def _descriptors() -> int:
        return 0  # an open file couldn't be removed there, nor its folder

    def _lock(fd: int) -> bool:
        import msvcrt  # noqa: PLC0415

        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True

    def _unlock(fd: int) -> bool:
        import msvcrt  # noqa: PLC0415

        try:
            os.lseek(fd, 0, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        except OSError:
            return False
        return True

else:

    def _descriptors() -> int:
        import resource  # noqa: PLC0415

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return soft if soft != resource.RLIM_INFINITY else 8 * MAX_IDLE

    def _first_flock(fd: int, how: int) -> None:
        global _flock  # noqa: PLW0603
        import fcntl  # noqa: PLC0415

        _flock = fcntl.flock
        _flock(fd, how)

    # Looked up once: every login comes by here. The numbers are the same on all Unixes.
    _flock: Callable[[int, int], None] = _first_flock
    _EXCLUSIVELY, _UNLOCK = 2 | 4, 8

    def _lock(fd: int) -> bool:
        try:
            _flock(fd, _EXCLUSIVELY)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> bool:
        try:
            _flock(fd, _UNLOCK)
        except OSError:  # a file system that has gone away
            return False
        return True
