"""Delivery into a Maildir: written in tmp/, linked into new/, durable before it is told.

The message is stored in wire form (CRLF line ends, the last included), so that RETR can
send the file as it lies. Other programs that read Maildirs take both kinds of line end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from restante.protocol.facts import Facts, Measure
from restante.protocol.listing import UniqueId
from restante.protocol.stuffing import TERMINATOR, WireEncoder
from restante.stores.contract import Incoming, StoreError
from restante.stores.maildir.file_names import new_name, own_unique_id
from restante.stores.maildir.files import Measured, as_store_error, sync_folder
from restante.stores.maildir.journal import note
from restante.stores.maildir.scan import made_folder_times, make_maildir

_LINE_ENDS_ONLY = Facts(octets=0, header_end=0, crlf=False, needs_stuffing=False, ascii_octets=0)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class MaildirIncoming(Incoming):
    """One message on its way into the maildrop in `folder`. Raises StoreError."""

    def __init__(self, folder: Path, fsync: bool) -> None:
        self._folder = folder
        self._fsync = fsync
        self._encoder = WireEncoder(_LINE_ENDS_ONLY)
        self._meter = Measure()
        self._empty = True
        with as_store_error("delivery"):
            made_folder_times(folder, fsync)  # they are there, and no links
            self._name, self._file = self._create()
        self._open = True

    def _create(self) -> tuple[str, BinaryIO]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        for flag in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, flag, 0)
        while True:
            name = new_name()
            try:
                fd = os.open(self._folder / "tmp" / name, flags, 0o600)
            except FileExistsError:
                continue
            except FileNotFoundError:
                make_maildir(self._folder, self._fsync)
                continue
            return name, os.fdopen(fd, "wb", 256 * 1024)

    @property
    def _draft(self) -> Path:
        return self._folder / "tmp" / self._name

    def write(self, block: bytes) -> None:
        """Take the message's next octets, with line ends of any kind."""
        if not self._open:
            raise StoreError("the message is finished")
        if block:
            self._empty = False
            self._store(self._encoder.feed(block))

    def _store(self, wire: bytes) -> None:
        self._meter.feed(wire)
        try:
            self._file.write(wire)
        except OSError as error:
            self.abort()
            raise StoreError(f"delivery: {error}") from error

    def commit(self) -> UniqueId:
        """Put the message into new/, durably, and give its unique-id."""
        if not self._open:
            raise StoreError("the message is finished")
        self._store(self._encoder.finish(self._empty)[: -len(TERMINATOR)])
        try:
            with as_store_error("delivery"):
                base = self._finish()
        finally:
            self.abort()
        return own_unique_id(base)

    def _finish(self) -> str:
        self._file.flush()
        if self._fsync:
            os.fsync(self._file.fileno())
        about = os.fstat(self._file.fileno())
        self._file.close()
        base = f"{self._name},S={about.st_size}"
        note(self._folder, base, Measured(about.st_size, about.st_mtime_ns, self._meter.finish()))
        target = self._folder / "new" / base
        move_without_overwriting(self._draft, target)
        if self._fsync:
            try:
                sync_folder(target.parent)
            except OSError:
                target.unlink(missing_ok=True)  # the sender will try again: no second copy
                raise
        return base

    def abort(self) -> None:
        """Forget the message. Harmless after `commit` and when repeated."""
        if not self._open:
            return
        self._open = False
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._draft.unlink(missing_ok=True)


def move_without_overwriting(
    draft: Path, target: Path, link: Callable[[Path, Path], None] = os.link
) -> None:
    """Give a file another name that nobody has. Raises FileExistsError, OSError."""
    try:
        link(draft, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, "there already", str(target)) from error
        draft.rename(target)
