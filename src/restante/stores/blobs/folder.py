"""Blobs as files of a directory, which may lie on a file system that nodes share."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from restante.stores.blobs.contract import BlobMissing, Blobs, checked_key, checked_range
from restante.stores.blobs.own_threads import OwnThreads
from restante.stores.contract import StoreError

BLOCK = 256 * 1024
"""Octets of a file that are in memory at a time."""

LEFT_BEHIND = 36 * 3600.0
"""Seconds after which a temporary file is of a put that never came to its end."""

INCOMING = "tmp"


class FolderBlobs(Blobs):
    """Keeps blobs as files below the directory `path`, which is made when it isn't there.

    Several nodes may share it, on a file system that has hard links and keeps what was
    fsynced: a local one, NFS 4, CephFS. Every blob lies two folders deep, so that no folder grows
    large. The files are only the owner's to read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._threads = OwnThreads(repr(self))

    def __repr__(self) -> str:
        return f"FolderBlobs({str(self.path)!r})"

    async def prepare(self) -> None:
        """See that files can be written there, linked, read and removed.

        It also removes what puts of 36 hours ago left behind. Raises StoreError.
        """
        self._threads.open()
        await self._threads.run(self._prepare)

    async def put(self, key: str, source: BinaryIO, octets: int) -> None:
        """Keep the blob; its file and its name are durable when this returns."""
        await self._threads.run(self._put, checked_key(key), source, octets)

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The octets, in blocks of 256 KB at most."""
        checked_range(start, end)
        return self._read(self.file_of(key), start, end)

    async def remove(self, key: str) -> None:
        """Remove the file."""
        await self._threads.run(self._remove, self.file_of(key))

    async def aclose(self) -> None:
        """End the threads. What still goes on raises StoreError; `prepare` begins again."""
        self._threads.close()

    def file_of(self, key: str) -> Path:
        """Where a blob lies. Raises ValueError for what is no key."""
        spread = sha256(checked_key(key).encode()).hexdigest()
        return self.path / spread[:2] / spread[2:4] / key

    # What follows runs on threads

    def _prepare(self) -> None:
        # Among temporary files, which aren't left behind for ever if we are killed now.
        file = self.path / INCOMING / f"check-{token_hex(8)}"
        name = file.name.encode()
        try:
            _make_folder(file.parent)
            self._write_new(file, BytesIO(name), len(name))
            same = file.read_bytes() == name
            self._remove(file)
            if not same:
                raise StoreError(f"{self.path}: a file has not what was just written to it")
            self._remove_left_behind()
        except OSError as error:
            raise _failed(self.path, error) from error

    def _remove_left_behind(self) -> None:
        before = time.time() - LEFT_BEHIND
        with os.scandir(self.path / INCOMING) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another node was quicker
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        Path(entry).unlink()

    def _put(self, key: str, source: BinaryIO, octets: int) -> None:
        file = self.file_of(key)
        try:
            if file.exists():
                _sync_folder(file.parent)  # whoever put it may not have come to this yet
                return
            self._write_new(file, source, octets)
        except OSError as error:
            raise _failed(file, error) from error

    def _write_new(self, file: Path, source: BinaryIO, octets: int) -> None:
        """Write a file, whole or not at all, durably. One that is there already stays."""
        temporary = self.path / INCOMING / f"{file.name[:100]}.{token_hex(8)}"
        _write(temporary, source, octets)
        try:
            _link(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)

    def _remove(self, file: Path) -> None:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise _failed(file, error) from error

    async def _read(self, file: Path, start: int, end: int | None) -> AsyncGenerator[bytes, None]:
        opened = await self._threads.run(_OpenFile, file)
        try:
            while end is None or start < end:
                size = BLOCK if end is None else min(BLOCK, end - start)
                block = await self._threads.run(opened.read, start, size)
                if not block:
                    return
                start += len(block)
                yield block
        finally:
            opened.close()


class _OpenFile:
    """A file to read from. When nobody waits for it any more, it closes itself."""

    def __init__(self, file: Path) -> None:
        self._fd = -1
        self._file = file
        try:
            self._fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise BlobMissing(f"there is no blob {file.name!r} in {file.parents[2]}") from None
        except OSError as error:
            raise _failed(file, error) from error

    def read(self, start: int, octets: int) -> bytes:
        try:
            return os.pread(self._fd, octets, start)
        except OSError as error:
            raise _failed(self._file, error) from error

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def _write(file: Path, source: BinaryIO, octets: int) -> None:
    """A new file with so many octets of `source`, durable; no file when that fails."""
    try:
        fd = _created(file)
    except FileNotFoundError:  # nobody has prepared the folder
        _make_folder(file.parent)
        fd = _created(file)
    try:
        with open(fd, "wb", buffering=0) as target:  # noqa: PTH123 - it has no path
            source.seek(0)
            left = octets
            while left > 0:
                block = source.read(min(left, BLOCK))
                if not block:
                    raise ValueError(f"a blob of {octets} octets ends {left} octets too early")
                left -= len(block)
                view = memoryview(block)
                while view:
                    view = view[target.write(view) :]
            os.fsync(fd)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _created(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _link(temporary: Path, file: Path) -> None:
    """Give a file its name, durably. One that is there already stays."""
    try:
        with suppress(FileExistsError):
            file.hardlink_to(temporary)
    except FileNotFoundError:
        _make_folder(file.parent)
        with suppress(FileExistsError):
            file.hardlink_to(temporary)
    _sync_folder(file.parent)


def _make_folder(folder: Path) -> None:
    """The folder and those above it, durably, though another process has just made it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _failed(file: Path, error: OSError) -> StoreError:
    text = f"{file}: {error.strerror or error}"
    if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
        text += " (blobs need a file system with hard links)"
    return StoreError(text)
