"""Stores of three methods over a dict, and what tests of stores share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from io import BufferedReader, BytesIO, FileIO

from restante.accounts.contract import Account
from restante.stores.contract import MaildropStore, MessageGone, MessageInfo, Source

ANNA = Account("anna")
BEN = Account("ben")


def drained(source: Source) -> bytes:
    """All of a source that needs no loop."""
    assert not isinstance(source, AsyncIterator)
    if isinstance(source, bytes):
        return source
    if isinstance(source, BytesIO | BufferedReader | FileIO):
        with source:
            return source.read()
    return b"".join(source)


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
