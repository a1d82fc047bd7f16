"""A store whose maildrops fail: it stands before another one, which keeps the mail."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, ClassVar, Protocol

from restante.accounts.contract import Account
from restante.calls import finished
from restante.protocol.facts import Facts
from restante.protocol.listing import Listing, MessageNumber
from restante.server.client import ClientSession
from restante.stores.contract import (
    Answer,
    Content,
    Incoming,
    Lease,
    Maildrop,
    MaildropInUse,
    MessageGone,
    Store,
)
from restante.testing.faults.maildrops import made_blocks


class Watcher(Protocol):
    """Who decides how the store fails."""

    def shares(self, account: Account) -> bool:
        """Whether a maildrop that another session has open is opened all the same."""

    def opened(self, maildrop: FaultyMaildrop) -> None:
        """A maildrop was opened; its listing may still change."""

    async def fetched(self, maildrop: FaultyMaildrop, number: int) -> None:
        """A message is about to be read. Raises StoreError."""

    def committed(
        self, maildrop: FaultyMaildrop, numbers: Sequence[int]
    ) -> tuple[Sequence[int], Exception | None]:
        """Messages are about to be removed: those that are, and what it fails with."""

    def closed(self, maildrop: FaultyMaildrop) -> None:
        """The session has ended."""


async def called(function: Callable[..., Any], *args: Any, blocking: bool) -> Any:
    """What a store's method gives, plain or async; a plain one that may wait is on a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    if blocking:
        return await asyncio.to_thread(lambda: finished(function(*args)))
    answer = function(*args)
    if isinstance(answer, Awaitable):
        return await answer
    # An OnThread is all that may wait.
    return await asyncio.to_thread(answer) if callable(answer) else answer


class FaultyStore(Store):
    """A store that fails as `watcher` says, before another one."""

    blocking: ClassVar[bool] = False

    def __init__(self, inner: Store, watcher: Watcher) -> None:
        if not isinstance(inner, Store):
            raise TypeError(f"store={inner!r}: give a restante.Store")
        self.inner = inner
        self._watcher = watcher
        self.gone: set[tuple[str, str]] = set()
        """Generated messages that were removed, by maildrop and unique-id."""
        self.open_now: dict[str, list[FaultyMaildrop]] = {}
        """The maildrops that are open, by name."""
        self.kept_until: dict[str, float] = {}
        """Until when leases are kept whose sessions are over, by maildrop, as `monotonic` says."""

    async def open(self, account: Account) -> Maildrop:
        """Open the other store's maildrop, or have it in common with a session that has it."""
        name = account.maildrop_name
        if self.kept_until.get(name, 0.0) > monotonic():
            raise MaildropInUse(f"a fault keeps the lease of maildrop {name!r}")
        others = self.open_now.setdefault(name, [])
        shared = bool(others) and self._watcher.shares(account)
        if shared:
            inner = others[0].inner
        else:
            inner = await called(self.inner.open, account, blocking=self.inner.blocking)
        maildrop = FaultyMaildrop(self, account, inner, self._watcher, shared=shared)
        others.append(maildrop)
        try:
            self._watcher.opened(maildrop)
            maildrop.number()
        except BaseException:
            await maildrop.close()
            raise
        return maildrop

    def receive(self, account: Account) -> Answer[Incoming]:
        """Mail goes straight into the other store."""
        return self.inner.receive(account)


class _Made:
    """A message that is generated when it is fetched."""

    __slots__ = ("octets", "unique_id")

    def __init__(self, unique_id: str, octets: int) -> None:
        self.unique_id = unique_id
        self.octets = octets


class FaultyMaildrop(Maildrop):
    """An opened maildrop that fails. Its messages: the other's, a gap, generated ones."""

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        store: FaultyStore,
        account: Account,
        inner: Maildrop,
        watcher: Watcher,
        *,
        shared: bool,
    ) -> None:
        self._store = store
        self.inner = inner
        self.shared = shared
        self._watcher = watcher
        self.owner = account
        self.firings: list[Any] = []
        self.session: ClientSession | None = None
        self.name = account.maildrop_name
        self.account = inner.account
        self.listing = inner.listing
        self.lease: Lease = inner.lease
        self._entries: list[int | _Made | None] | None = None  # None: the other's as they are

    # What faults do to it; see `fault.Opened`

    def _changed(self) -> list[int | _Made | None]:
        if self._entries is None:
            self._entries = list(range(1, self.inner.listing.count + 1))
        return self._entries

    def insert_gap(self, number: int) -> bool:
        entries = self._changed()
        if number > len(entries):
            return False
        entries.insert(number - 1, None)
        return True

    def is_inserted(self, number: int) -> bool:
        entries = self._entries
        return entries is not None and number <= len(entries) and entries[number - 1] is None

    def append(self, unique_id: str, octets: int) -> None:
        if (self.name, unique_id) not in self._store.gone:
            self._changed().append(_Made(unique_id, octets))

    async def lose(self, number: int) -> None:
        await self._remove([number])

    def keep_lease(self, seconds: float) -> None:
        self._store.kept_until[self.name] = monotonic() + seconds

    async def deliver(self, message: bytes) -> None:
        incoming = await called(self._store.inner.receive, self.owner, blocking=True)
        await called(incoming.write, message, blocking=True)
        await called(incoming.prepare, blocking=True)
        await called(incoming.commit, blocking=True)

    def number(self) -> None:
        """Make the listing of what the maildrop has become."""
        if self._entries is None:
            return
        inner = self.inner.listing
        places = {e: n for n, e in enumerate(self._entries, 1) if isinstance(e, int)}
        gap = "gap"
        while gap in inner.unique_ids:
            gap += "."
        unique_ids, octets = [], []
        for entry in self._entries:
            if isinstance(entry, int):
                unique_ids.append(inner.unique_ids[entry - 1])
                octets.append(inner.octets[entry - 1])
            elif entry is None:
                unique_ids.append(f"{gap}.{len(unique_ids)}")
                octets.append(0)
            else:
                unique_ids.append(entry.unique_id)
                octets.append(entry.octets)
        self.listing = Listing(
            unique_ids,
            octets,
            {places[n]: size for n, size in inner.ascii_octets.items()},
            [places[n] for n in inner.internationalized],
        )

    # Maildrop

    def _entry(self, number: int) -> int | _Made | None:
        return number if self._entries is None else self._entries[number - 1]

    async def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        """The content of a message, if no fault is in the way."""
        await self._watcher.fetched(self, number)
        entry = self._entry(number)
        if entry is None:
            raise MessageGone("no message has this number")
        if isinstance(entry, _Made):
            octets = entry.octets
            head = len(f"Subject: {entry.unique_id}\r\n\r\n")
            facts = Facts(octets, head, True, False, octets)
            return Content(made_blocks(octets, entry.unique_id), facts)
        inner = self.inner
        content: Content = await called(inner.fetch, entry, lines, blocking=inner.blocking)
        return content

    async def commit(self, numbers: Sequence[MessageNumber]) -> None:
        """Remove messages, as far as the faults let them be removed."""
        left, error = self._watcher.committed(self, numbers)
        if left:
            await self._remove(left)
        if error is not None:
            raise error

    async def _remove(self, numbers: Sequence[int]) -> None:
        entries = [self._entry(number) for number in numbers]
        made = [each for each in entries if isinstance(each, _Made)]
        self._store.gone |= {(self.name, each.unique_id) for each in made}
        if real := [each for each in entries if isinstance(each, int)]:
            await called(self.inner.commit, real, blocking=self.inner.blocking)

    async def close(self) -> None:
        """Give the lease back, unless another session has the maildrop, too."""
        self._watcher.closed(self)
        others = self._store.open_now[self.name]
        others.remove(self)
        if any(other.inner is self.inner for other in others):
            return
        await called(self.inner.close, blocking=self.inner.blocking)
