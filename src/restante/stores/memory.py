"""Maildrops in memory: for tests, demonstrations, and mail that need not outlive the process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from secrets import token_hex
from threading import Lock
from typing import ClassVar

from restante.accounts.account import Account, Quota
from restante.protocol.facts import Facts, measure
from restante.protocol.listing import Listing, MessageNumber, UniqueId, valid_unique_id
from restante.settings_fields import suggest_settings
from restante.stores.contract import (
    Content,
    Incoming,
    LeaseInfo,
    LeaseLost,
    Maildrop,
    MessageGone,
    Removed,
    Store,
    StoreError,
    UniqueIdTaken,
    Usage,
)
from restante.stores.lease import ProcessLease, held_leases, release_held
from restante.stores.room import DAY, NO_QUOTA, check_days, check_room, quota_for


@dataclass(slots=True)
class _Message:
    octets: bytes
    facts: Facts
    arrived: float
    removed: float | None = None


@suggest_settings
class MemoryStore(Store):
    """A store in memory. Safe to use from several threads.

    quota: what a maildrop may hold whose account says nothing.
    undelete_days: how long a removed message can still be had back by `undelete`; `collect`
        forgets those that were removed before that.
    """

    blocking: ClassVar[bool] = False

    def __init__(self, *, quota: Quota = NO_QUOTA, undelete_days: float = 0.0) -> None:
        self.quota = quota
        self.undelete_days = check_days("undelete_days", undelete_days)
        self._lock = Lock()
        self._messages: dict[str, dict[UniqueId, _Message]] = {}
        self._named: set[tuple[str, str]] = set()
        self._series = token_hex(4)
        self._counter = count(1)

    def add(self, maildrop_name: str, message: bytes, unique_id: str | None = None) -> UniqueId:
        """Put a message into a maildrop; gives its unique-id. Quotas aren't heeded.

        unique_id: to be used instead of a fresh one. Raises ValueError if RFC 1939 §7
            doesn't allow it or the maildrop has ever had it. Raises TypeError for a message
            that isn't octets.
        """
        if not isinstance(message, bytes | bytearray | memoryview):
            hint = f"; did you mean {message!r:.40}.encode()?" if isinstance(message, str) else ""
            kind = type(message).__name__
            raise TypeError(f"the message must be octets (bytes), not {kind}{hint}")
        if unique_id is not None and not valid_unique_id(unique_id):
            raise ValueError(f"not a unique-id: {unique_id!r}")
        try:
            return self._put(maildrop_name, bytes(message), unique_id, None, None)
        except UniqueIdTaken:
            raise ValueError(f"unique-id used before: {unique_id!r}") from None

    def _put(
        self,
        name: str,
        octets: bytes,
        unique_id: str | None,
        arrived: float | None,
        quota: Quota | None,
    ) -> UniqueId:
        """Raises OverQuota, UniqueIdTaken."""
        entry = _Message(octets, measure([octets]), time.time() if arrived is None else arrived)
        with self._lock:
            if quota is not None:
                check_room(quota, self._usage(name), entry.facts.octets)
            if unique_id is None:
                unique_id = f"{self._series}.{next(self._counter)}"
            elif self._was_used(name, unique_id):
                raise UniqueIdTaken(f"unique-id {unique_id!r} was used before in {name!r}")
            given = UniqueId(unique_id)
            kept = self._messages.setdefault(name, {})
            newest = next(reversed(kept.values())).arrived if kept else entry.arrived
            kept[given] = entry
            if entry.arrived < newest:  # a restored one has its place
                in_order = sorted(kept.items(), key=lambda item: item[1].arrived)
                self._messages[name] = dict(in_order)
        return given

    def _was_used(self, maildrop_name: str, unique_id: str) -> bool:
        if unique_id.startswith(self._series):
            return True
        named = (maildrop_name, unique_id)
        used = named in self._named
        self._named.add(named)
        return used

    def _here(self, maildrop_name: str) -> Iterable[tuple[UniqueId, _Message]]:
        """The messages that aren't removed, oldest first."""
        kept = self._messages.get(maildrop_name, {})
        return ((unique_id, each) for unique_id, each in kept.items() if each.removed is None)

    def messages(self, maildrop_name: str) -> dict[UniqueId, bytes]:
        """The messages of a maildrop by unique-id, oldest first, as they were put in."""
        with self._lock:
            return {unique_id: each.octets for unique_id, each in self._here(maildrop_name)}

    def remove(self, maildrop_name: str, unique_id: str) -> None:
        """Remove a message, even while a session reads. One already gone is no error."""
        with self._lock:
            kept = self._messages.get(maildrop_name, {})
            found = kept.get(UniqueId(unique_id))
            if found is None or found.removed is not None:
                return
            if self.undelete_days:
                found.removed = time.time()
            else:
                del kept[UniqueId(unique_id)]

    def open(self, account: Account) -> MemoryMaildrop:
        """Lease and open the account's maildrop. Raises MaildropInUse."""
        name = account.maildrop_name
        return MemoryMaildrop(self, name, ProcessLease(self, name), self._facts(name))

    def look(self, account: Account) -> MemoryMaildrop:
        """The maildrop as it is now, without its lease."""
        name = account.maildrop_name
        return MemoryMaildrop(self, name, None, self._facts(name))

    def _facts(self, name: str) -> dict[UniqueId, Facts]:
        with self._lock:
            return {unique_id: each.facts for unique_id, each in self._here(name)}

    def receive(self, account: Account) -> MemoryIncoming:
        """Begin a message for the account's maildrop."""
        return MemoryIncoming(self, account)

    def restore(
        self, account: Account, unique_id: str, *, arrived: float | None = None
    ) -> MemoryIncoming:
        """Begin a message that has a unique-id already. Raises UniqueIdTaken, StoreError."""
        if not valid_unique_id(unique_id):
            raise StoreError(f"not a unique-id: {unique_id!r}", temporary=False)
        return MemoryIncoming(self, account, unique_id, arrived)

    def admit(self, account: Account, octets: int = 0) -> None:
        """Raise OverQuota if the maildrop has no room for so many octets."""
        quota = quota_for(account, self.quota)
        if quota is not None:
            check_room(quota, self.usage(account), octets)

    def usage(self, account: Account) -> Usage:
        """What the account's maildrop holds."""
        with self._lock:
            return self._usage(account.maildrop_name)

    def _usage(self, name: str) -> Usage:
        octets = [each.facts.octets for _, each in self._here(name)]
        return Usage(len(octets), sum(octets))

    def removed(self, account: Account) -> Sequence[Removed]:
        """What `undelete` could put back, in the order in which it was removed."""
        since = time.time() - self.undelete_days * DAY
        with self._lock:
            kept = self._messages.get(account.maildrop_name, {})
            found = [
                Removed(unique_id, each.facts.octets, each.removed)
                for unique_id, each in kept.items()
                if each.removed is not None and each.removed >= since
            ]
        return sorted(found, key=lambda each: each.removed)

    def undelete(self, account: Account, seconds: float) -> int:
        """Put back what was removed from the maildrop within the last `seconds`."""
        since = time.time() - min(seconds, self.undelete_days * DAY)
        found = 0
        with self._lock:
            for each in self._messages.get(account.maildrop_name, {}).values():
                if each.removed is not None and each.removed >= since:
                    each.removed = None
                    found += 1
        return found

    def collect(self) -> int:
        """Forget what was removed more than `undelete_days` ago. Gives the number of messages."""
        before = time.time() - self.undelete_days * DAY
        found = 0
        with self._lock:
            for kept in self._messages.values():
                over = [
                    unique_id
                    for unique_id, each in kept.items()
                    if each.removed is not None and each.removed < before
                ]
                for unique_id in over:
                    del kept[unique_id]
                found += len(over)
        return found

    def leases(self) -> Sequence[LeaseInfo]:
        """The leases that are held now."""
        return held_leases(self)

    def release(self, maildrop_name: str) -> bool:
        """Take a maildrop's lease from whoever has it. Gives whether it was held."""
        return release_held(self, maildrop_name)

    def read(self, maildrop_name: str, unique_id: UniqueId) -> Content:
        """One message. Raises MessageGone."""
        found = self._found(maildrop_name, unique_id)
        return Content(found.octets, found.facts)

    def _found(self, maildrop_name: str, unique_id: UniqueId) -> _Message:
        with self._lock:
            found = self._messages.get(maildrop_name, {}).get(unique_id)
        if found is None or found.removed is not None:
            raise MessageGone(f"message {unique_id} of {maildrop_name!r} is gone")
        return found


class MemoryMaildrop(Maildrop):
    """One session's maildrop in memory."""

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        store: MemoryStore,
        name: str,
        lease: ProcessLease | None,
        facts: dict[UniqueId, Facts],
    ) -> None:
        self._store = store
        self._name = name
        self._hold = lease
        if lease is not None:
            self.lease = lease
        self.listing = Listing(
            list(facts),
            [known.octets for known in facts.values()],
            {
                number: known.ascii_octets
                for number, known in enumerate(facts.values(), 1)
                if known.utf8_header
            },
            [n for n, known in enumerate(facts.values(), 1) if known.internationalized],
        )

    def _unique_id(self, number: MessageNumber) -> UniqueId:
        return UniqueId(self.listing.unique_ids[number - 1])

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        """The message. Raises MessageGone."""
        return self._store.read(self._name, self._unique_id(number))

    def arrived(self, number: MessageNumber) -> float:
        """When the message was put in. Raises MessageGone."""
        return self._store._found(self._name, self._unique_id(number)).arrived

    def commit(self, numbers: Sequence[MessageNumber]) -> None:
        """Remove these messages. Raises LeaseLost after `close`."""
        if self._hold is None or self._hold.lost:
            raise LeaseLost("the lease has been given back")
        for number in numbers:
            self._store.remove(self._name, self._unique_id(number))

    def close(self) -> None:
        """Give the lease back."""
        if self._hold is not None:
            self._hold.release()


class MemoryIncoming(Incoming):
    """A message on its way into a maildrop in memory."""

    def __init__(
        self,
        store: MemoryStore,
        account: Account,
        unique_id: str | None = None,
        arrived: float | None = None,
    ) -> None:
        self._store = store
        self._account = account
        self._unique_id = unique_id
        self._arrived = arrived
        self._blocks: list[bytes] | None = []

    def write(self, block: bytes) -> None:
        """Take the message's next octets."""
        if self._blocks is None:
            raise StoreError("the message is finished")
        self._blocks.append(bytes(block))

    def prepare(self) -> None:
        """See that there is room. Raises OverQuota."""
        if self._blocks is None:
            raise StoreError("the message is finished")
        if quota_for(self._account, self._store.quota) is not None:
            self._store.admit(self._account, measure(self._blocks).octets)

    def commit(self) -> UniqueId:
        """Put the message into the maildrop. Raises OverQuota, UniqueIdTaken."""
        if self._blocks is None:
            raise StoreError("the message is finished")
        blocks, self._blocks = self._blocks, None
        return self._store._put(
            self._account.maildrop_name,
            b"".join(blocks),
            self._unique_id,
            self._arrived,
            quota_for(self._account, self._store.quota),
        )

    def abort(self) -> None:
        """Forget the message."""
        self._blocks = None
