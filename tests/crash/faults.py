"""Stores that break their promises in one way each: the crash test must catch every one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from restante import Account, Maildir, Maildrop, MaildropInUse
from restante.protocol.listing import MessageNumber, UniqueId, as_unique_id
from restante.stores.contract import Content, Incoming, Store

DELAY = 0.03
"""Seconds by which something is done too late."""


def build_in(fault: str, store: Maildir, folder: Path) -> Any:
    """The store with a fault: one of `FAULTS`, or "none"."""
    return store if fault == "none" else FAULTS[fault](store, folder)


def later(work: Callable[[], object]) -> None:
    """Do something when it has been promised already."""

    def wait_and_work() -> None:
        time.sleep(DELAY)
        work()

    threading.Thread(target=wait_and_work, daemon=True).start()


class Faulty(Store):
    """A store that is in order. Its heirs are not."""

    def __init__(self, store: Maildir, folder: Path) -> None:
        self.store = store
        self.folder = folder

    def open(self, account: Account) -> Maildrop:
        return self.store.open(account)

    def receive(self, account: Account) -> Incoming:
        return self.store.receive(account)


class WritesInPlace(Faulty):
    """Puts the file into new/ first and writes the message then: a reader sees a torso."""

    def receive(self, account: Account) -> Incoming:
        folder = self.store.folder(account)
        for sub in ("tmp", "new", "cur"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        return _InPlace(folder / "new")


class _InPlace(Incoming):
    def __init__(self, folder: Path) -> None:
        self._name = f"{time.time_ns() // 10**9}.{os.urandom(8).hex()}.host"
        self._file = (folder / self._name).open("wb", buffering=0)

    def write(self, block: bytes) -> None:
        half = len(block) // 2
        self._file.write(block[:half])
        time.sleep(DELAY / 10)
        self._file.write(block[half:])

    def commit(self) -> UniqueId:
        self._file.close()
        return as_unique_id(self._name)

    def abort(self) -> None:
        self._file.close()


class AnswersBeforeCommit(Faulty):
    """Says 250 while the message is still in tmp/."""

    def receive(self, account: Account) -> Incoming:
        return _Hasty(self.store.receive(account))


class _Hasty(Incoming):
    def __init__(self, real: Incoming) -> None:
        self._real = real

    def write(self, block: bytes) -> None:
        self._real.write(block)

    def commit(self) -> UniqueId:
        later(self._real.commit)
        return as_unique_id("promised")

    def abort(self) -> None:
        """Nothing: the commit is on its way."""


class DeliversTwice(Faulty):
    """Puts a second copy into the maildrop, under another name."""

    def receive(self, account: Account) -> Incoming:
        return _Twice(self.store.receive(account), self.store.receive(account))


class _Twice(Incoming):
    def __init__(self, *both: Incoming) -> None:
        self._both = both

    def write(self, block: bytes) -> None:
        for each in self._both:
            each.write(block)

    def commit(self) -> UniqueId:
        first, _ = (each.commit() for each in self._both)
        return first

    def abort(self) -> None:
        for each in self._both:
            each.abort()


class _Wrapped(Maildrop):
    def __init__(self, real: Maildrop) -> None:
        self.real = real
        self.listing = real.listing

    def fetch(self, number: MessageNumber) -> Content:
        content = self.real.fetch(number)
        assert isinstance(content, Content)
        return content

    def commit(self, numbers: Sequence[MessageNumber]) -> None:
        self.real.commit(numbers)

    def close(self) -> None:
        self.real.close()


class AnswersBeforeRemoval(Faulty):
    """Says +OK to QUIT before anything is removed."""

    def open(self, account: Account) -> Maildrop:
        return _Promising(self.store.open(account))


class _Promising(_Wrapped):
    _promised = False

    def commit(self, numbers: Sequence[MessageNumber]) -> None:
        def work() -> None:
            self.real.commit(numbers)
            self.real.close()

        self._promised = True
        later(work)

    def close(self) -> None:
        if not self._promised:
            self.real.close()


class RemovesWithoutQuit(Faulty):
    """Removes a message that was only looked at."""

    def open(self, account: Account) -> Maildrop:
        return _Eager(self.store.open(account))


class _Eager(_Wrapped):
    def close(self) -> None:
        if len(self.listing) > 3:
            self.real.commit([MessageNumber(len(self.listing))])
        super().close()


class LosesUniqueIds(Faulty):
    """Gives the messages other unique-ids after each start."""

    def __init__(self, store: Maildir, folder: Path) -> None:
        super().__init__(store, folder)
        for file in folder.glob("*/new/*"):
            file.rename(file.with_name(f"{file.name.split('Z')[0]}Z{os.getpid()}"))


class KeepsLease(Faulty):
    """Has its lease in a file that only a close removes."""

    def open(self, account: Account) -> Maildrop:
        file = self.store.folder(account) / "in-use"
        try:
            file.touch(exist_ok=False)
        except FileExistsError as error:
            raise MaildropInUse("there is a lock file") from error
        return _Locking(self.store.open(account), file)


class _Locking(_Wrapped):
    def __init__(self, real: Maildrop, file: Path) -> None:
        super().__init__(real)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.unlink(missing_ok=True)


class TouchesOthers(Faulty):
    """Clears away files that aren't its own."""

    def open(self, account: Account) -> Maildrop:
        for file in self.store.folder(account).glob("tmp/foreign*"):
            file.unlink()
        return super().open(account)


FAULTS: dict[str, type[Faulty]] = {
    "writes in place": WritesInPlace,
    "answers before commit": AnswersBeforeCommit,
    "delivers twice": DeliversTwice,
    "answers before removal": AnswersBeforeRemoval,
    "removes without QUIT": RemovesWithoutQuit,
    "loses unique-ids": LosesUniqueIds,
    "keeps its lease": KeepsLease,
    "touches others": TouchesOthers,
}
