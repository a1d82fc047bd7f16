"""Delivery into a Maildir: written in tmp/, linked into new/, durable before it is told.

The message is stored in wire form (CRLF line ends, the last included), so that RETR can
send the file as it lies. Other programs that read Maildirs take both kinds of line end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import BinaryIO

from restante.accounts.account import Quota
from restante.protocol.facts import Facts, Measure
from restante.protocol.listing import UniqueId
from restante.protocol.stuffing import TERMINATOR, WireEncoder
from restante.stores.contract import Incoming, StoreError
from restante.stores.maildir.file_names import new_name, own_unique_id
from restante.stores.maildir.files import Folder, as_store_error
from restante.stores.maildir.journal import note
from restante.stores.maildir.measured import Measured
from restante.stores.maildir.root import Root
from restante.stores.maildir.size_file import change, reserve
from restante.stores.maildir.steps import to_the_end

_LINE_ENDS_ONLY = Facts(octets=0, header_end=0, crlf=False, needs_stuffing=False, ascii_octets=0)


class MaildirIncoming(Incoming):
    """One message on its way into the maildrop in `folder`. Raises StoreError.

    Its methods wait for the disk: they are called on worker threads.

    root: the folder above all maildrops; it makes what is missing of this one.
    quota: what the maildrop may hold; None: nothing is counted.
    micros: when it arrived, in microseconds since 1970; None: now.
    pin: gives the message of this file name the unique-id that it must have, and says which.
    """

    def __init__(
        self,
        folder: str,
        root: Root,
        fsync: bool,
        quota: Quota | None = None,
        *,
        micros: int | None = None,
        pin: Callable[[str], AbstractContextManager[UniqueId]] | None = None,
    ) -> None:
        self._folder = folder
        self._fsync = fsync
        self._quota = quota
        self._micros = micros
        self._pin = pin
        self._reserved = 0  # octets that are counted already
        self._encoder = WireEncoder(_LINE_ENDS_ONLY)
        self._meter = Measure()
        self._empty = True
        self._base = ""  # the file's name in new/, once the message is prepared
        with as_store_error("delivery"), ExitStack() as stack:
            to_the_end(root.made_folder_times(folder, fsync))
            try:
                self._tmp = stack.enter_context(Folder(f"{folder}/tmp"))
            except FileNotFoundError:
                root.make_maildir(folder, fsync)
                self._tmp = stack.enter_context(Folder(f"{folder}/tmp"))
            self._new = stack.enter_context(Folder(f"{folder}/new"))
            self._name, self._file = self._create()
            self._open_folders = stack.pop_all()
        self._open = True

    def _create(self) -> tuple[str, BinaryIO]:
        while True:
            name = new_name(self._micros)
            with suppress(FileExistsError):
                return name, os.fdopen(self._tmp.create(name), "wb", 256 * 1024)

    def write(self, block: bytes) -> None:
        """Take the message's next octets, with line ends of any kind."""
        if not self._open or self._base:
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

    def prepare(self) -> None:
        """Write the message's last octets and make it durable in tmp/. Harmless when repeated.

        What is left for `commit` is a link and the fsync of a folder. Raises OverQuota.
        """
        if not self._open:
            raise StoreError("the message is finished")
        if self._base:
            return
        self._store(self._encoder.finish(self._empty)[: -len(TERMINATOR)])
        try:
            with as_store_error("delivery"):
                self._file.flush()
                if self._quota is not None:
                    octets = os.stat(self._file.fileno()).st_size
                    name = f"{self._name},S={octets}"
                    self._tmp.rename_to(self._name, self._tmp, name)
                    self._name = name
                    reserve(self._folder, self._quota, octets, name)
                    self._reserved = octets
                if self._micros is not None:
                    os.utime(self._file.fileno(), ns=(time.time_ns(), 1000 * self._micros))
                if self._fsync:
                    os.fsync(self._file.fileno())
                about = os.stat(self._file.fileno())
                self._file.close()
        except BaseException:
            self.abort()
            raise
        self._base = f"{self._name.partition(',')[0]},S={about.st_size}"
        measured = Measured(about.st_size, about.st_mtime_ns, self._meter.finish())
        note(self._folder, self._base, measured)

    def commit(self) -> UniqueId:
        """Put the message into new/, durably, and give its unique-id."""
        self.prepare()
        try:
            with as_store_error("delivery"):
                if self._pin is None:
                    self._move()
                    return own_unique_id(self._base)
                with self._pin(self._base) as unique_id:
                    self._move()
                return unique_id
        finally:
            self.abort()

    def _move(self) -> None:
        self._tmp.move_to(self._name, self._new, self._base)
        if self._fsync:
            try:
                self._new.sync()
            except OSError:
                with suppress(FileNotFoundError):
                    self._new.unlink(self._base)  # it will be sent again: no second copy
                raise
        self._reserved = 0  # it stays counted

    def abort(self) -> None:
        """Forget the message. Harmless after `commit` and when repeated."""
        if not self._open:
            return
        self._open = False
        if self._reserved and self._quota is not None:
            change(self._folder, self._quota, -self._reserved, -1)
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._tmp.unlink(self._name)
        self._open_folders.close()
