"""A cache of blobs on a node's own disk."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, NamedTuple

from restante.stores.blobs.contract import Blobs, checked_key, checked_range
from restante.stores.blobs.own_threads import OwnThreads
from restante.stores.contract import StoreError

BLOCK = 256 * 1024

LARGEST = 1024 * 1024
"""Octets of a blob that is kept: it is in memory as a whole while it is read."""

KEPT = 0.8
"""To which part of its room the cache is emptied when that is full."""

_DIGEST = 16
_TOUCHED = 60.0
_ABANDONED = 3600.0

log = logging.getLogger("restante.stores")


class CachedBlobs(Blobs):
    """Keeps what is read of `blobs` in `folder`, too, from where it is read the next time.

    max_octets: how many octets of files the folder may have; those that weren't read for the
        longest time go first.

    All processes of a node may share the folder. It is private to its owner, and may be emptied
    at any time: what is missing or damaged in it, each file has a checksum, is read from `blobs`
    again. Blobs of more than 1 MB, and parts of blobs that aren't there, pass by. What another
    node removes stays until its room is needed.
    """

    def __init__(self, blobs: Blobs, folder: str | os.PathLike[str], max_octets: int) -> None:
        if not isinstance(max_octets, int) or max_octets < LARGEST:
            raise ValueError(f"max_octets {max_octets!r}: allowed are {LARGEST} or more")
        self.blobs = blobs
        self.folder = Path(folder).absolute()
        self.max_octets = max_octets
        self._threads = OwnThreads(repr(self))
        self._told = False

    def __repr__(self) -> str:
        return f"CachedBlobs({self.blobs!r}, {str(self.folder)!r}, {self.max_octets})"

    async def prepare(self) -> None:
        """See that the folder can be written to, and `blobs` be used. Raises StoreError."""
        self._threads.open()
        await self._threads.run(self._prepare)
        await self.blobs.prepare()

    async def put(self, key: str, source: BinaryIO, octets: int) -> None:
        """Keep the blob in `blobs`."""
        await self.blobs.put(key, source, octets)

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The octets from the cache, or else from `blobs`."""
        checked_range(start, end)
        return self._read(checked_key(key), start, end)

    async def remove(self, key: str) -> None:
        """Remove the blob from both."""
        file = self.file_of(key)
        await self.blobs.remove(key)
        await self._threads.run(_unlink, file)

    async def aclose(self) -> None:
        """Close `blobs`, and end the threads."""
        self._threads.close()
        await self.blobs.aclose()

    def file_of(self, key: str) -> Path:
        """Where a blob lies, if it is in the cache. Raises ValueError for what is no key."""
        return self.folder / hashlib.sha256(checked_key(key).encode()).hexdigest()[:2] / key

    async def _read(self, key: str, start: int, end: int | None) -> AsyncGenerator[bytes, None]:
        body = await self._threads.run(self._found, key)
        if body is not None:
            stop = len(body) if end is None else min(end, len(body))
            for at in range(start, stop, BLOCK):
                yield body[at : min(at + BLOCK, stop)]
            return
        kept: list[bytes] | None = [] if start == 0 and end is None else None
        octets = 0
        async with aclosing(self.blobs.read(key, start, end)) as blocks:
            async for block in blocks:
                octets += len(block)
                if octets > LARGEST:
                    kept = None
                if kept is not None:
                    kept.append(block)
                yield block
        if kept is not None:
            await self._threads.run(self._keep, key, b"".join(kept))

    # What follows runs on threads

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._temporary() as file:
                file.write_bytes(b"check")
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror or error}") from error

    def _found(self, key: str) -> bytes | None:
        """A blob of the cache; None: it has none that is whole."""
        file = self.file_of(key)
        try:
            with file.open("rb", buffering=0) as opened:
                now = time.time()
                status = os.fstat(opened.fileno())
                if status.st_size > LARGEST + _DIGEST:
                    raise ValueError("too large")
                text = opened.read(LARGEST + _DIGEST)
                if text[:_DIGEST] != _checksum(key, text[_DIGEST:]):
                    raise ValueError("damaged")
                if abs(now - status.st_mtime) > _TOUCHED:
                    os.utime(opened.fileno(), (now, now))
        except FileNotFoundError:
            return None
        except ValueError:
            _unlink(file)
            return None
        except OSError as error:
            self._tell(error)
            return None
        return text[_DIGEST:]

    def _keep(self, key: str, body: bytes) -> None:
        """Put a blob into the cache if that can be done at once."""
        file = self.file_of(key)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._temporary() as temporary:
                temporary.write_bytes(_checksum(key, body) + body)
                file.parent.mkdir(mode=0o700, exist_ok=True)
                with self._used() as used:
                    if used is None or file.exists():
                        return
                    octets = used.octets + _DIGEST + len(body)
                    used.tell(octets)  # before: so that a crash never leaves more than is told
                    temporary.rename(file)
                    if octets > self.max_octets:
                        used.tell(self._emptied())
        except OSError as error:
            self._tell(error)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        file = self.folder / f"tmp-{token_hex(8)}"
        try:
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            yield file
        finally:
            _unlink(file)

    @contextmanager
    def _used(self) -> Iterator[_Used | None]:
        """How much of its room the cache uses, which no other process changes meanwhile; None:
        another one does so now."""
        import fcntl  # noqa: PLC0415 - not on Windows

        fd = os.open(self.folder / "octets", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            text = os.pread(fd, 32, 0)
            # Whoever damages it has it counted again.
            octets = int(text) if text.isdigit() and len(text) < 20 else self.max_octets
            yield _Used(fd, octets)
        finally:
            os.close(fd)

    def _emptied(self) -> int:
        """Remove what wasn't read for the longest time. Gives the octets that are left."""
        found, total, now = [], 0, time.time()
        for folder in [self.folder, *self.folder.glob("[0-9a-f][0-9a-f]")]:
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name == "octets" or not entry.is_file(follow_symlinks=False):
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.startswith("tmp-") and folder == self.folder:
                        if now - status.st_mtime > _ABANDONED:
                            _unlink(Path(entry.path))
                        continue
                    found.append((status.st_mtime, status.st_size, entry.path))
                    total += status.st_size
        found.sort()
        for _, octets, path in found:
            if total <= self.max_octets * KEPT:
                break
            if _unlink(Path(path)):
                total -= octets
        return total

    def _tell(self, error: OSError) -> None:
        """Tell the log, once, of a cache that can't be used."""
        if not self._told:
            self._told = True
            log.warning("%s can't be used as a cache: %s", self.folder, error.strerror or error)


class _Used(NamedTuple):
    """The octets of a cache's files, and the file that says so."""

    fd: int
    octets: int

    def tell(self, octets: int) -> None:
        """Write another number."""
        text = b"%d" % octets
        os.pwrite(self.fd, text, 0)
        os.ftruncate(self.fd, len(text))


def _checksum(key: str, body: bytes) -> bytes:
    return hashlib.blake2b(f"{key}\0".encode() + body, digest_size=_DIGEST).digest()


def _unlink(file: Path) -> bool:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return False
    return True
