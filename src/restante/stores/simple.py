"""Makes a store of three methods (`MaildropStore`) one that opens maildrops.

Here is what such a store need not think of: leases, the snapshot of a session, unique-ids
that RFC 1939 allows, octets, and a truthful answer when removing fails. Leases are of this
process only.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from inspect import isclass
from typing import Any, BinaryIO, ClassVar, cast

from restante.accounts.contract import Account
from restante.calls import Caller, check_arguments
from restante.protocol.facts import Facts, Measure, measure
from restante.protocol.listing import Listing, MessageNumber, distinct_unique_ids
from restante.stores.contract import (
    CommitFailed,
    Content,
    LeaseLost,
    Maildrop,
    MaildropStore,
    MessageGone,
    Source,
    Store,
    StoreError,
)
from restante.stores.lease import ProcessLease

REMEMBERED = 50_000
"""Messages whose facts are kept in memory, some 20 MB at most; past it a message that the
store gives no octets for is read again."""

MOST_UNREADABLE = 10
"""Messages of a maildrop that may be unreadable. With more of them the store itself is taken
to be out of order, and the maildrop isn't opened: each may cost a timeout."""

BLOCK = 256 * 1024

log = logging.getLogger("restante.stores")

_WHAT_A_STORE_IS = (
    "a store is an instance of a class that derives from restante's MaildropStore"
    " (list, read and delete) or Store (open)"
)


def as_store(given: object, caller: Caller) -> Store:
    """`given` as a `Store`; a `MaildropStore` is made one.

    caller: calls the functions of a `MaildropStore`. Raises TypeError for anything else, and
    for one whose methods take other arguments.
    """
    if isinstance(given, Store):
        return given
    if isinstance(given, MaildropStore):
        for name, arguments in _METHODS.items():
            what = f"the method {name} of {type(given).__name__}"
            check_arguments(getattr(given, name), what, arguments)
        return SimpleMaildrops(given, caller)
    if isclass(given):
        hint = f"; did you mean {given.__name__}(…)?" if issubclass(given, _STORES) else ""
        raise TypeError(f"store is the class {given.__name__}, and {_WHAT_A_STORE_IS}{hint}")
    kind = type(given).__name__
    raise TypeError(f"store is {given!r:.80} of type {kind}, and {_WHAT_A_STORE_IS}")


_STORES = (Store, MaildropStore)
_METHODS = {
    "list": ("account",),
    "read": ("account", "unique_id"),
    "delete": ("account", "unique_ids"),
}


class SimpleMaildrops(Store):
    """A three-method store as one that opens maildrops.

    caller: calls the store's functions, plain or async.
    remembered: messages whose facts are kept in memory.
    """

    blocking: ClassVar[bool] = False

    def __init__(
        self, store: MaildropStore, caller: Caller, *, remembered: int = REMEMBERED
    ) -> None:
        self.store = store
        self.call = caller
        self._remembered = remembered
        self._facts: OrderedDict[tuple[str, object], Facts] = OrderedDict()

    async def open(self, account: Account) -> Maildrop:
        """Lease and open the account's maildrop.

        Raises MaildropInUse when a session of this process has it, StoreError when what the
        store lists is of a wrong kind or too many messages can't be read. What the store's
        `list` raises comes through as it is.
        """
        lease = ProcessLease(self.store, account.maildrop_name)
        try:
            return await self._opened(account, lease)
        except BaseException:
            lease.release()
            raise

    async def _opened(self, account: Account, lease: ProcessLease) -> Maildrop:
        own_ids: list[str | int] = []
        sizes: list[int] = []
        ascii_octets: dict[int, int] = {}
        internationalized: list[int] = []
        unreadable = 0
        for own_id, said in await self.listed(account):
            is_size = type(said) is int and said >= 0
            facts = self.known(account, own_id)
            if facts is None and not is_size:
                if said is not None:
                    told = f"message {own_id!r} of {account.maildrop_name!r}: list() says"
                    log.warning("%s octets=%r: it is counted instead", told, said)
                try:
                    facts = await self._measured(account, own_id)
                except MessageGone:
                    continue  # removed since it was listed
                except Exception as error:
                    unreadable += 1
                    text = f"message {own_id!r} of {account.maildrop_name!r} can't be read"
                    log.warning("%s: %s", text, error, exc_info=error)
                    if unreadable > MOST_UNREADABLE:
                        raise StoreError(f"{text}, and {MOST_UNREADABLE} others") from error
            own_ids.append(own_id)
            if facts is None:
                sizes.append(said if is_size else 0)  # 0: it can't be read
            else:
                sizes.append(facts.octets)
            if facts is not None and facts.utf8_header:
                ascii_octets[len(own_ids)] = facts.ascii_octets
            if facts is not None and facts.internationalized:
                internationalized.append(len(own_ids))
        unique_ids = distinct_unique_ids(map(str, own_ids))
        listing = Listing(unique_ids, sizes, ascii_octets, internationalized)
        return SimpleMaildrop(self, account, own_ids, listing, lease)

    def known(self, account: Account, own_id: str | int) -> Facts | None:
        """What is remembered of a message."""
        key = (account.maildrop_name, own_id)
        facts = self._facts.get(key)
        with suppress(KeyError):  # another thread may have dropped it
            self._facts.move_to_end(key)
        return facts

    def remember(self, account: Account, own_id: str | int, facts: Facts) -> None:
        """Keep what was found out about a message."""
        self._facts[account.maildrop_name, own_id] = facts
        while len(self._facts) > self._remembered:
            self._facts.popitem(last=False)

    async def _measured(self, account: Account, own_id: str | int) -> Facts:
        source = await self.read(account, own_id)
        try:
            if isinstance(source, AsyncIterator):
                meter = Measure()
                async for block in source:
                    meter.feed(block)
                facts = meter.finish()
            else:
                facts = await self.call(_measure_plain, source)
        finally:
            await self._close(source)
        self.remember(account, own_id, facts)
        return facts

    async def _close(self, source: Source) -> None:
        close = getattr(source, "aclose", None) or getattr(source, "close", None)
        if close is not None:
            await self.call(close)

    async def listed(self, account: Account) -> list[tuple[str | int, Any]]:
        """What the store lists now: each message's id and octets. Raises StoreError."""
        listed = await self.call(self.store.list, account)
        messages = await self.call(_drained, listed)  # it may be a generator that waits
        for message in messages:
            kind = type(self.store).__name__
            if not isinstance(message, tuple) or len(message) != 2:
                raise StoreError(f"{kind}.list() gives {message!r:.80}; a MessageInfo is expected")
            own_id = message[0]
            if isinstance(own_id, bool) or not isinstance(own_id, str | int):
                text = f"{kind}.list() gives a message with unique_id={own_id!r:.80}"
                raise StoreError(f"{text}; a str or an int is expected")
        return cast("list[tuple[str | int, Any]]", messages)

    async def read(self, account: Account, own_id: str | int) -> Source:
        """The source of one message. Raises MessageGone, StoreError and what the store does."""
        source = await self.call(self.store.read, account, own_id)
        if isinstance(source, bytes | bytearray | memoryview):
            return bytes(source)
        if hasattr(source, "read"):
            return cast(BinaryIO, source)
        if hasattr(source, "__aiter__"):
            return aiter(cast("AsyncIterator[bytes]", source))
        if isinstance(source, Iterable) and not isinstance(source, str):
            return iter(source)
        text = f"{type(self.store).__name__}.read({own_id!r}) gives {type(source).__name__}"
        raise StoreError(f"{text}; bytes, a binary file or an iterator of bytes is expected")

    async def delete(self, account: Account, own_ids: list[str | int]) -> None:
        """Have the store remove messages. Raises CommitFailed."""
        try:
            await self.call(self.store.delete, account, own_ids)
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

    async def _still_there(self, account: Account, own_ids: list[str | int]) -> int:
        try:
            listed = {own_id for own_id, _ in await self.listed(account)}
        except Exception:  # noqa: BLE001 - the first failure is the one to tell of
            return len(own_ids)
        return len(listed.intersection(own_ids))


class SimpleMaildrop(Maildrop):
    """One session's maildrop of a three-method store."""

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        store: SimpleMaildrops,
        account: Account,
        own_ids: list[str | int],
        listing: Listing,
        lease: ProcessLease,
    ) -> None:
        self.listing = listing
        self.lease = lease
        self._process_lease = lease  # the same one: this name's type has `release`
        self._store = store
        self._account = account
        self._own_ids = own_ids

    async def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        """The message. Raises MessageGone, and StoreError for all else that `read` raises.

        A message that comes as bytes has facts that were just measured, or are known. One
        that comes in blocks is measured while it is read, unless its facts are known.
        """
        own_id = self._own_ids[number - 1]
        try:
            source = await self._store.read(self._account, own_id)
        except StoreError:
            raise
        except Exception as error:
            text = f"read({own_id!r}) raised {type(error).__name__}: {error}"
            raise StoreError(text) from error
        facts = self._store.known(self._account, own_id)
        if facts is not None:
            return Content(source, facts)
        if isinstance(source, bytes):
            facts = await self._store.call(measure, [source])
            self._found(number, facts)
            return Content(source, facts)

        def found(facts: Facts) -> None:
            self._found(number, facts)

        if isinstance(source, AsyncIterator):
            return Content(_measured_async(source, found))
        return Content(_measured(source, found))

    def _found(self, number: MessageNumber, facts: Facts) -> None:
        """Message `number` was read for the first time: its octets may not be what was listed."""
        own_id, listed = self._own_ids[number - 1], self.listing.octets[number - 1]
        if facts.octets != listed:
            told = f"message {own_id!r} of {self._account.maildrop_name!r} was listed"
            log.warning("%s with octets=%d and has %d", told, listed, facts.octets)
        self._store.remember(self._account, own_id, facts)

    async def commit(self, numbers: Sequence[MessageNumber]) -> None:
        """Have the store remove these messages. Raises CommitFailed, LeaseLost."""
        if self._process_lease.lost:
            raise LeaseLost("the lease has been given back")
        own_ids = list(dict.fromkeys(self._own_ids[number - 1] for number in numbers))
        if own_ids:
            await self._store.delete(self._account, own_ids)

    def close(self) -> None:
        """Give the lease back."""
        self._process_lease.release()


def _drained(listed: Iterable[Any]) -> list[Any]:
    return list(listed)


def _measure_plain(source: Source) -> Facts:
    return measure(_plain_blocks(source))


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


def _measured(source: Source, found: Callable[[Facts], None]) -> Iterator[bytes]:
    """The blocks of a source; once all were read, `found` is called with the facts."""
    meter = Measure()
    try:
        for block in _plain_blocks(source):
            meter.feed(block)
            yield block
        found(meter.finish())
    finally:
        if (close := getattr(source, "close", None)) is not None:
            close()


async def _measured_async(
    source: AsyncIterator[bytes], found: Callable[[Facts], None]
) -> AsyncIterator[bytes]:
    meter = Measure()
    try:
        async for block in source:
            meter.feed(block)
            yield block
        found(meter.finish())
    finally:
        if (close := getattr(source, "aclose", None)) is not None:
            await close()
