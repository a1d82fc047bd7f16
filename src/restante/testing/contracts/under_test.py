"""A store of maildrops under test: its methods called as a server calls them, plain or async."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from inspect import isawaitable
from io import IOBase
from typing import Any, TypeVar

from restante.accounts.account import Account
from restante.calls import Caller
from restante.protocol.listing import MessageNumber
from restante.stores.contract import Content, Incoming, Maildrop, MaildropStore, Source, Store
from restante.stores.simple import as_store
from restante.threads import WorkerThreads

T = TypeVar("T")

ANNA = Account("anna")
BEN = Account("ben")

BLOCK = 16_384
"""Octets of a file that are read at a time."""


class StoreUnderTest:
    """A store, and ways to use it without asking whether its methods are plain or async.

    given: what `make_store` gave. store: the same as a full store.
    put, remove: of the contract; they get the given store.
    """

    def __init__(
        self,
        given: Store | MaildropStore,
        put: Callable[[StoreUnderTest, Account, bytes], object],
        remove: Callable[[Any, Account, int], object],
    ) -> None:
        self.given = given
        self._put, self._remove = put, remove
        self._runner = asyncio.Runner()
        self._threads = WorkerThreads("contract", 0, 8)
        self._callers = {
            blocking: Caller(self._threads, blocking=blocking) for blocking in (False, True)
        }
        self.store = as_store(given, self._callers[given.blocking])

    def finish(self) -> None:
        """Give back the threads and the event loop."""
        self._threads.stop()
        self._runner.close()

    def run(self, given: Any) -> Any:
        """`given`, awaited if it is something to await."""
        if not isawaitable(given):
            return given

        async def awaiting() -> Any:
            return await given

        return self._runner.run(awaiting())

    def at_once(self, works: Iterable[Awaitable[T]]) -> list[T | BaseException]:
        """What these give, or raise, begun together."""

        async def gathered() -> list[T | BaseException]:
            return await asyncio.gather(*works, return_exceptions=True)

        return self._runner.run(gathered())

    # Sessions

    async def opened(self, account: Account = ANNA) -> Maildrop:
        """A session's maildrop."""
        opened: Maildrop = await self._callers[self.store.blocking](self.store.open, account)
        assert isinstance(opened, Maildrop), f"open gave {opened!r}, which is no Maildrop"
        return opened

    def open(self, account: Account = ANNA) -> Maildrop:
        """The same, for a test."""
        return self._runner.run(self.opened(account))

    def call(self, owner: Any, method: Callable[..., Any], *args: Any) -> Any:
        """Call a method of a maildrop, as a server does."""
        return self.run(self._callers[owner.blocking](method, *args))

    def content(self, maildrop: Maildrop, number: int, lines: int | None = None) -> Content:
        """Message `number`, for RETR, or TOP with so many lines."""
        content = self.call(maildrop, maildrop.fetch, MessageNumber(number), lines)
        assert isinstance(content, Content), f"fetch gave {content!r}, which is no Content"
        return content

    def read(self, maildrop: Maildrop, number: int) -> bytes:
        """A message as stored."""
        return self.drain(self.content(maildrop, number))

    def drain(self, content: Content) -> bytes:
        """All octets of a content."""
        return Reading(self, content.source).rest()

    def commit(self, maildrop: Maildrop, *numbers: int) -> None:
        """Remove these messages, as QUIT does."""
        self.call(maildrop, maildrop.commit, [MessageNumber(n) for n in numbers])

    def close(self, maildrop: Maildrop) -> None:
        """End the session."""
        self.call(maildrop, maildrop.close)

    def renew(self, maildrop: Maildrop) -> None:
        """Renew the session's lease."""
        self.call(maildrop, maildrop.lease.renew)

    def unique_ids(self, account: Account = ANNA) -> list[str]:
        """The unique-ids that a session sees now."""
        maildrop = self.open(account)
        self.close(maildrop)
        return list(maildrop.listing.unique_ids)

    def session_that_removes(self, *numbers: int, account: Account = ANNA) -> None:
        """A session that removes these messages and ends."""
        maildrop = self.open(account)
        self.commit(maildrop, *numbers)
        self.close(maildrop)

    # Mail

    def put(self, message: bytes, account: Account = ANNA) -> None:
        """Have a message in the account's maildrop, as new mail."""
        self.run(self._put(self, account, message))

    def put_all(self, *messages: bytes) -> None:
        """Have these messages in a maildrop, the oldest first."""
        for message in messages:
            self.put(message)

    def remove(self, number: int, account: Account = ANNA) -> None:
        """Remove the account's message at this place, behind any session's back."""
        self.run(self._remove(self.given, account, number))

    def receive(self, account: Account = ANNA) -> Receiving:
        """Begin a message."""
        return self._runner.run(self.receiving(account))

    async def receiving(self, account: Account = ANNA) -> Receiving:
        """The same, for a coroutine."""
        incoming = await self._callers[True](self.store.receive, account)
        assert isinstance(incoming, Incoming), f"receive gave {incoming!r}, which is no Incoming"
        return Receiving(self, incoming)

    def ask(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """What a method of the store gives, called on a thread if it may wait."""
        return self.run(self._callers[self.store.blocking](lambda: method(*args, **named)))

    def restore(
        self,
        message: bytes,
        unique_id: str,
        *,
        arrived: float | None = None,
        account: Account = ANNA,
    ) -> str:
        """Take in a message that has a unique-id already; gives the one it has got."""
        incoming = self.ask(self.store.restore, account, unique_id, arrived=arrived)
        receiving = Receiving(self, incoming)
        try:
            receiving.write(message)
            receiving.prepare()
            return receiving.commit()
        finally:
            receiving.abort()

    async def deliver(self, *blocks: bytes, account: Account = ANNA) -> str:
        """Take in a message; its unique-id."""
        receiving = await self.receiving(account)
        try:
            for block in blocks:
                await receiving.calls(receiving.incoming.write, block)
            await receiving.calls(receiving.incoming.prepare)
            return str(await receiving.calls(receiving.incoming.commit))
        except BaseException:
            await receiving.calls(receiving.incoming.abort)
            raise


class Receiving:
    """An `Incoming` whose methods are called to their end whether plain or async."""

    def __init__(self, store: StoreUnderTest, incoming: Incoming) -> None:
        self._run = store.run
        self.calls = store._callers[True]
        self.incoming = incoming

    def write(self, block: bytes) -> None:
        """The message's next octets."""
        self._run(self.calls(self.incoming.write, block))

    def prepare(self) -> None:
        """Make it durable."""
        self._run(self.calls(self.incoming.prepare))

    def commit(self) -> str:
        """Put it into the maildrop."""
        return str(self._run(self.calls(self.incoming.commit)))

    def abort(self) -> None:
        """Forget it."""
        self._run(self.calls(self.incoming.abort))


class Reading:
    """A message that is read block by block."""

    def __init__(self, store: StoreUnderTest, source: Source | bytearray | memoryview) -> None:
        self._run = store.run
        self._source = source
        self._blocks = _blocks_of(source)

    def next(self) -> bytes:
        """The next block; empty at the end."""
        return bytes(self._run(anext(self._blocks, b"")))

    def rest(self) -> bytes:
        """All that is left; then the source is closed."""
        return b"".join(iter(self.next, b""))

    def close(self) -> None:
        """Read no more."""

        async def close() -> None:
            await self._blocks.aclose()  # type: ignore[attr-defined]

        self._run(close())


async def _blocks_of(source: Source | bytearray | memoryview) -> AsyncIterator[bytes]:
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            yield bytes(source)
        elif isinstance(source, AsyncIterator):
            async for block in source:
                if block:
                    yield bytes(block)
        elif isinstance(source, IOBase) or hasattr(source, "read"):
            while block := source.read(BLOCK):
                yield block
        else:
            for block in source:
                if block:
                    yield bytes(block)
    finally:
        close = getattr(source, "aclose", None) or getattr(source, "close", None)
        if close is not None and isawaitable(closing := close()):
            await closing
