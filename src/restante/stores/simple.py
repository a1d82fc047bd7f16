"""Makes a store of three methods (`MaildropStore`) one that opens maildrops.

Here is what such a store need not think of: leases, the snapshot of a session,
unique-ids that RFC 1939 allows, octets, and a truthful answer when removing fails.
Leases are of this process only.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import Any, TypeAlias

from restante.accounts.contract import Account
from restante.contained import contained
from restante.protocol.facts import Facts, Measure
from restante.protocol.listing import Listing, MessageNumber, distinct_unique_ids
from restante.stores.contract import (
    CommitFailed,
    Content,
    Maildrop,
    MaildropInUse,
    MaildropStore,
    MessageGone,
    MessageInfo,
    Source,
    Store,
    StoreError,
)

Call: TypeAlias = Callable[..., Awaitable[Any]]
"""Calls a plain function on a thread, or a coroutine function on the loop, with arguments."""

REMEMBERED = 50_000
"""Messages whose facts are kept in memory, some 20 MB at most; past it a message that the
store gives no octets for is read again."""

BLOCK = 256 * 1024

_held: set[tuple[int, str]] = set()
_held_lock = Lock()


async def call_anywhere(function: Callable[..., Any], *args: Any) -> Any:
    """Await a coroutine function; run a plain one on a thread of asyncio's default pool."""
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    return await asyncio.to_thread(function, *args)


def as_store(given, call):
    if isinstance(given, Store):
        return given
    if isinstance(given, MaildropStore):
        return SimpleMaildrops(given, call)
    raise TypeError(f"store={given!r}: no store")


class SimpleMaildrops(Store):
    """A three-method store as one that opens maildrops.

    call: how the store's methods are called.
    remembered: messages whose facts are kept in memory.
    """

    def __init__(
        self, store: MaildropStore, call: Call = call_anywhere, *, remembered: int = REMEMBERED
    ) -> None:
        self._store = store
        self._call = call
        self._remembered = remembered
        self._facts: OrderedDict[tuple[str, str], Facts] = OrderedDict()

    async def open(self, account: Account) -> Maildrop:
        """Lease and open the account's maildrop.

        Raises MaildropInUse when a session of this process has it; what the store's own
        methods raise comes through as it is.
        """
        key = (id(self._store), account.maildrop_name)
        with _held_lock:
            if key in _held:
                raise MaildropInUse(f"maildrop {account.maildrop_name!r} is in use")
            _held.add(key)
        try:
            own_ids, octets, ascii_octets, numbers = await self._survey(account)
            listing = Listing(distinct_unique_ids(own_ids), octets, ascii_octets, numbers)
        except BaseException:
            _release(key)
            raise
        return _SimpleMaildrop(self, account, own_ids, listing, key)

    async def _survey(
        self, account: Account
    ) -> tuple[list[str], list[int], dict[int, int], list[int]]:
        own_ids: list[str] = []
        sizes: list[int] = []
        ascii_octets: dict[int, int] = {}
        internationalized: list[int] = []
        for own_id, octets in await self.listed(account):
            if octets is not None:
                own_ids.append(own_id)
                sizes.append(octets)
                continue
            facts = self.known(account, own_id) or await self._measured(account, own_id)
            if facts is None:
                continue  # removed since it was listed
            own_ids.append(own_id)
            sizes.append(facts.octets)
            if facts.utf8_header:
                ascii_octets[len(own_ids)] = facts.ascii_octets
            if facts.internationalized:
                internationalized.append(len(own_ids))
        return own_ids, sizes, ascii_octets, internationalized

    def known(self, account: Account, own_id: str) -> Facts | None:
        """What is remembered of a message."""
        facts = self._facts.get((account.maildrop_name, own_id))
        if facts is not None:
            self._facts.move_to_end((account.maildrop_name, own_id))
        return facts

    async def _measured(self, account: Account, own_id: str) -> Facts | None:
        try:
            source = await self.run(self._store.read, account, own_id)
        except (KeyError, MessageGone):
            return None
        try:
            facts = await self._measure(source)
        except (KeyError, MessageGone):  # a generator finds out at its first block
            return None
        finally:
            await self._close(source)
        self._facts[account.maildrop_name, own_id] = facts
        while len(self._facts) > self._remembered:
            self._facts.popitem(last=False)
        return facts

    async def _measure(self, source: Source) -> Facts:
        if isinstance(source, AsyncIterator):
            meter = Measure()
            async for block in source:
                meter.feed(block)
            return meter.finish()
        facts = await self.run(_measure_plain, source)
        assert isinstance(facts, Facts)
        return facts

    async def _close(self, source: Source) -> None:
        if isinstance(source, bytes):
            return
        if isinstance(source, AsyncIterator):
            closing = getattr(source, "aclose", None)
            if closing is not None:
                await closing()
            return
        close = getattr(source, "close", None)
        if close is not None:
            await self.run(close)

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call one of the store's functions, plain or async, where it belongs."""
        with contained:
            if not self._store.blocking and not inspect.iscoroutinefunction(function):
                result = function(*args)
            else:
                result = await self._call(function, *args)
            return await result if inspect.isawaitable(result) else result

    async def listed(self, account: Account) -> list[MessageInfo]:
        """What the store lists now."""
        listed = await self.run(self._store.list, account)
        result = await self.run(_drain, listed)  # it may be a generator that waits
        assert isinstance(result, list)
        return result

    async def read(self, account: Account, own_id: str) -> Source:
        """The source of one message. Raises MessageGone."""
        try:
            source: Source = await self.run(self._store.read, account, own_id)
        except KeyError as error:
            raise MessageGone(f"the store has no message {own_id!r}") from error
        return source

    async def delete(self, account: Account, own_ids: list[str]) -> None:
        """Have the store remove messages. Raises CommitFailed."""
        try:
            await self.run(self._store.delete, account, own_ids)
        except CommitFailed:
            raise
        except Exception as error:
            remaining = await self._still_there(account, own_ids)
            temporary = error.temporary if isinstance(error, StoreError) else True
            text = f"the store could not delete: {type(error).__name__}: {error}"
            raise CommitFailed(text, remaining, temporary=temporary) from error
        finally:
            for own_id in own_ids:
                self._facts.pop((account.maildrop_name, own_id), None)

    async def _still_there(self, account: Account, own_ids: list[str]) -> int:
        try:
            listed = {own_id for own_id, _ in await self.listed(account)}
        except Exception:  # noqa: BLE001 - the first failure is the one to tell of
            return len(own_ids)
        return len(listed.intersection(own_ids))


class _SimpleMaildrop(Maildrop):
    def __init__(
        self,
        store: SimpleMaildrops,
        account: Account,
        own_ids: list[str],
        listing: Listing,
        key: tuple[int, str],
    ) -> None:
        self.listing = listing
        self._store = store
        self._account = account
        self._own_ids = own_ids
        self._key: tuple[int, str] | None = key

    async def fetch(self, number: MessageNumber, lines=None) -> Content:
        own_id = self._own_ids[number - 1]
        source = await self._store.read(self._account, own_id)
        return Content(source, self._store.known(self._account, own_id))

    async def commit(self, numbers: Sequence[MessageNumber]) -> None:
        if self._key is None:
            raise StoreError("the lease has been given back")
        own_ids = list(dict.fromkeys(self._own_ids[number - 1] for number in numbers))
        if own_ids:
            await self._store.delete(self._account, own_ids)

    def close(self) -> None:
        key, self._key = self._key, None
        if key is not None:
            _release(key)


def _release(key: tuple[int, str]) -> None:
    with _held_lock:
        _held.discard(key)


def _drain(listed: Iterable[MessageInfo]) -> list[MessageInfo]:
    return list(listed)


def _measure_plain(source: Source) -> Facts:
    meter = Measure()
    for block in _plain_blocks(source):
        meter.feed(block)
    return meter.finish()


def _plain_blocks(source: Source) -> Iterator[bytes]:
    """The blocks of any source but an async one."""
    assert not isinstance(source, AsyncIterator)
    if isinstance(source, bytes):
        yield source
    elif hasattr(source, "read"):
        while block := source.read(BLOCK):
            yield block
    else:
        yield from source
