"""Every kind of store behind one face, so that one suite can hold them all to the contract."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import Any

from restante.accounts.contract import Account
from restante.calls import Caller, finished
from restante.protocol.listing import MessageNumber
from restante.stores.contract import (
    Content,
    Incoming,
    Maildrop,
    MaildropStore,
    MessageGone,
    MessageInfo,
    Source,
    Store,
)
from restante.stores.maildir.store import Maildir
from restante.stores.memory import MemoryStore
from restante.stores.simple import SimpleMaildrops
from restante.stores.sqlite.store import SqliteStore
from restante.threads import WorkerThreads

ANNA = Account("anna")
BEN = Account("ben")


class Backend(ABC):
    """A store under test, its methods called to their end whether plain or async."""

    store: Store
    takes_mail = True

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    def run(self, result: Any) -> Any:
        """`result`, or what it comes to when awaited or finished."""
        result = finished(result)
        if not inspect.isawaitable(result):
            return result

        async def awaiting() -> Any:
            return await result

        return self.runner.run(awaiting())

    def open(self, account: Account = ANNA) -> Maildrop:
        result = self.run(self.store.open(account))
        assert isinstance(result, Maildrop)
        return result

    def content(self, maildrop: Maildrop, number: int, lines: int | None = None) -> Content:
        content = self.run(maildrop.fetch(MessageNumber(number), lines))
        assert isinstance(content, Content)
        return content

    def read(self, maildrop: Maildrop, number: int) -> bytes:
        """A message as stored."""
        return self.drain(self.content(maildrop, number))

    def drain(self, content: Content) -> bytes:
        """All octets of a content."""
        source = content.source
        if isinstance(source, AsyncIterator):
            return bytes(self.run(_join(source)))
        return drained(source)

    def commit(self, maildrop: Maildrop, *numbers: int) -> None:
        self.run(maildrop.commit([MessageNumber(n) for n in numbers]))

    def close(self, maildrop: Maildrop) -> None:
        self.run(maildrop.close())

    def receive(self, account: Account = ANNA) -> Receiving:
        """Begin a message."""
        return Receiving(self, self.run(self.store.receive(account)))

    def ids(self, account: Account = ANNA) -> list[str]:
        """The unique-ids that a session sees now."""
        maildrop = self.open(account)
        self.close(maildrop)
        return list(maildrop.listing.unique_ids)

    def end(self) -> None:
        """Give back what the backend has."""
        self.runner.close()

    @abstractmethod
    def put(self, message: bytes, account: Account = ANNA) -> None:
        """Have a message in the account's maildrop, as new mail."""

    @abstractmethod
    def remove(self, number: int, account: Account = ANNA) -> None:
        """Remove the account's message at this place, behind any session's back."""


class Receiving:
    """An `Incoming` whose methods are called to their end whether plain or async."""

    def __init__(self, backend: Backend, incoming: Incoming) -> None:
        assert isinstance(incoming, Incoming)
        self.run = backend.run
        self.incoming = incoming

    def write(self, block: bytes) -> None:
        self.run(self.incoming.write(block))

    def prepare(self) -> None:
        self.run(self.incoming.prepare())

    def commit(self) -> str:
        return str(self.run(self.incoming.commit()))

    def abort(self) -> None:
        self.run(self.incoming.abort())


async def _join(source: AsyncIterator[bytes]) -> bytes:
    return b"".join([block async for block in source])


def drained(source: Source) -> bytes:
    """All of a source that needs no loop."""
    assert not isinstance(source, AsyncIterator)
    if isinstance(source, bytes):
        return source
    if isinstance(source, BytesIO | BufferedReader | FileIO):
        with source:
            return source.read()
    return b"".join(source)


class MemoryBackend(Backend):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.store: MemoryStore = MemoryStore()

    def put(self, message: bytes, account: Account = ANNA) -> None:
        incoming = self.store.receive(account)
        incoming.write(message)
        incoming.commit()

    def remove(self, number: int, account: Account = ANNA) -> None:
        name = account.maildrop_name
        self.store.remove(name, list(self.store.messages(name))[number - 1])


class MaildirBackend(Backend):
    """Mail comes in by our own delivery."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.root = folder / "mail"
        self.store: Maildir = Maildir(self.root, fsync=False)

    def put(self, message: bytes, account: Account = ANNA) -> None:
        incoming = self.store.receive(account)
        for at in range(0, len(message), 40_000):
            incoming.write(message[at : at + 40_000])
        incoming.commit()

    def remove(self, number: int, account: Account = ANNA) -> None:
        sorted((self.root / account.name / "new").iterdir(), key=_delivery)[number - 1].unlink()


class OthersMaildirBackend(MaildirBackend):
    """Mail is put in by a program that stores it as it is."""

    count = 0

    def put(self, message: bytes, account: Account = ANNA) -> None:
        folder = self.root / account.name
        for sub in ("tmp", "new", "cur"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        self.count += 1
        name = f"17000{self.count:05d}.V1I{self.count:x}M{self.count:06d}.host"
        (folder / "tmp" / name).write_bytes(message)
        (folder / "tmp" / name).rename(folder / "new" / name)


def _delivery(path: Path) -> tuple[str, str, int]:
    seconds, rest = path.name.split(".", 1)
    micros, _, serial = rest.partition("P")
    counter = serial.partition("Q")[2].partition("R")[0]
    return seconds, micros, int(counter or 0)


class SqliteBackend(Backend):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.store: SqliteStore = SqliteStore(folder / "mail.sqlite")

    def end(self) -> None:
        self.store.close()
        super().end()

    def put(self, message: bytes, account: Account = ANNA) -> None:
        incoming = self.store.receive(account)
        for at in range(0, len(message), 40_000):
            incoming.write(message[at : at + 40_000])
        incoming.commit()

    def remove(self, number: int, account: Account = ANNA) -> None:
        with sqlite3.connect(self.store.path) as database:
            rows = database.execute(
                "SELECT unique_id FROM messages JOIN maildrops ON maildrops.id = maildrop"
                " WHERE name = ? AND removed IS NULL ORDER BY messages.id",
                (account.maildrop_name,),
            ).fetchall()
        database.close()
        self.store.remove(account, rows[number - 1][0])


class DictStore(MaildropStore):
    """The three methods over a dict; how a message is given differs from one to the next."""

    def __init__(self) -> None:
        self.mail: dict[str, dict[str, bytes]] = {}
        self.count = 0
        self.reads = 0

    def put(self, name: str, message: bytes) -> None:
        self.count += 1
        self.mail.setdefault(name, {})[f"letter {self.count}"] = message

    def list(self, account: Account) -> Iterator[MessageInfo]:
        for own_id in list(self.mail.get(account.name, {})):
            yield MessageInfo(own_id)

    def read(self, account: Account, unique_id: str) -> Source:
        self.reads += 1
        message = self.mail.get(account.name, {}).get(unique_id)
        if message is None:
            raise MessageGone(unique_id)
        kind = int(unique_id.split()[1]) % 3
        if kind == 0:
            return message
        return BytesIO(message) if kind == 1 else iter([message[:5], message[5:]])

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
        for own_id in unique_ids:
            self.mail.get(account.name, {}).pop(own_id, None)


class InPlaceDictStore(DictStore):
    blocking = False


class AsyncDictStore(MaildropStore):
    """The same with coroutine functions."""

    def __init__(self) -> None:
        self.plain = DictStore()

    async def list(self, account: Account) -> list[MessageInfo]:
        await asyncio.sleep(0)
        return list(self.plain.list(account))

    async def read(self, account: Account, unique_id: str) -> Source:
        await asyncio.sleep(0)
        message = drained(self.plain.read(account, unique_id))

        async def blocks() -> AsyncIterator[bytes]:
            yield message[:7]
            yield message[7:]

        return blocks()

    async def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
        await asyncio.sleep(0)
        self.plain.delete(account, unique_ids)


class SimpleBackend(Backend):
    takes_mail = False

    def __init__(self, own: DictStore, outer: MaildropStore) -> None:
        super().__init__()
        self.own = own
        self.threads = WorkerThreads("store", 0, 4)
        self.store = SimpleMaildrops(outer, Caller(self.threads, blocking=outer.blocking))

    def end(self) -> None:
        self.threads.stop()
        super().end()

    def put(self, message: bytes, account: Account = ANNA) -> None:
        self.own.put(account.name, message)

    def remove(self, number: int, account: Account = ANNA) -> None:
        mail = self.own.mail[account.name]
        del mail[list(mail)[number - 1]]


def plain_backend(folder: Path) -> Backend:
    own = DictStore()
    return SimpleBackend(own, own)


def in_place_backend(folder: Path) -> Backend:
    own = InPlaceDictStore()
    return SimpleBackend(own, own)


def async_backend(folder: Path) -> Backend:
    outer = AsyncDictStore()
    return SimpleBackend(outer.plain, outer)


BACKENDS: dict[str, Callable[[Path], Backend]] = {
    "memory": MemoryBackend,
    "maildir": MaildirBackend,
    "maildir-of-others": OthersMaildirBackend,
    "sqlite": SqliteBackend,
    "simple-plain": plain_backend,
    "simple-in-place": in_place_backend,
    "simple-async": async_backend,
}
