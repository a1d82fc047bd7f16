"""Maildrops in memory: for tests, demonstrations, and mail that need not outlive the process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from secrets import token_hex
from threading import Lock
from typing import ClassVar

from restante.accounts.contract import Account
from restante.protocol.facts import Facts, measure
from restante.protocol.listing import Listing, MessageNumber, UniqueId, valid_unique_id
from restante.stores.contract import (
    Content,
    Incoming,
    LeaseLost,
    Maildrop,
    MessageGone,
    Store,
    StoreError,
)
from restante.stores.lease import ProcessLease


class MemoryStore(Store):
    """A store in memory. Safe to use from several threads."""

    blocking: ClassVar[bool] = False

    def __init__(self) -> None:
        self._lock = Lock()
        self._messages: dict[str, dict[UniqueId, tuple[bytes, Facts]]] = {}
        self._named: set[tuple[str, str]] = set()
        self._series = token_hex(4)
        self._counter = count(1)

    def add(self, maildrop_name: str, message: bytes, unique_id: str | None = None) -> UniqueId:
        """Put a message into a maildrop; gives its unique-id.

        unique_id: to be used instead of a fresh one. Raises ValueError if RFC 1939 §7
            doesn't allow it or the maildrop has ever had it. Raises TypeError for a message
            that isn't octets.
        """
        if not isinstance(message, bytes | bytearray | memoryview):
            hint = f"; did you mean {message!r:.40}.encode()?" if isinstance(message, str) else ""
            kind = type(message).__name__
            raise TypeError(f"the message must be octets (bytes), not {kind}{hint}")
        entry = (bytes(message), measure([message]))
        with self._lock:
            if unique_id is None:
                unique_id = f"{self._series}.{next(self._counter)}"
            elif not valid_unique_id(unique_id):
                raise ValueError(f"not a unique-id: {unique_id!r}")
            elif self._was_used(maildrop_name, unique_id):
                raise ValueError(f"unique-id used before: {unique_id!r}")
            given = UniqueId(unique_id)
            self._messages.setdefault(maildrop_name, {})[given] = entry
        return given

    def _was_used(self, maildrop_name: str, unique_id: str) -> bool:
        if unique_id.startswith(self._series):
            return True
        named = (maildrop_name, unique_id)
        used = named in self._named
        self._named.add(named)
        return used

    def messages(self, maildrop_name: str) -> dict[UniqueId, bytes]:
        """The messages of a maildrop by unique-id, oldest first, as they were put in."""
        with self._lock:
            kept = self._messages.get(maildrop_name, {})
            return {unique_id: message for unique_id, (message, _) in kept.items()}

    def remove(self, maildrop_name: str, unique_id: str) -> None:
        """Remove a message, even while a session reads. One already gone is no error."""
        with self._lock:
            self._messages.get(maildrop_name, {}).pop(UniqueId(unique_id), None)

    def open(self, account: Account) -> MemoryMaildrop:
        """Lease and open the account's maildrop. Raises MaildropInUse."""
        name = account.maildrop_name
        lease = ProcessLease(self, name)
        with self._lock:
            facts = {uid: known for uid, (_, known) in self._messages.get(name, {}).items()}
        return MemoryMaildrop(self, name, lease, facts)

    def receive(self, account: Account) -> MemoryIncoming:
        """Begin a message for the account's maildrop."""
        return MemoryIncoming(self, account.maildrop_name)

    def read(self, maildrop_name: str, unique_id: UniqueId) -> Content:
        """One message. Raises MessageGone."""
        with self._lock:
            entry = self._messages.get(maildrop_name, {}).get(unique_id)
        if entry is None:
            raise MessageGone(f"message {unique_id} of {maildrop_name!r} is gone")
        return Content(*entry)


class MemoryMaildrop(Maildrop):
    """One session's maildrop in memory."""

    blocking: ClassVar[bool] = False

    def __init__(
        self, store: MemoryStore, name: str, lease: ProcessLease, facts: dict[UniqueId, Facts]
    ) -> None:
        self._store = store
        self._name = name
        self._hold = self.lease = lease
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

    def commit(self, numbers: Sequence[MessageNumber]) -> None:
        """Remove these messages. Raises LeaseLost after `close`."""
        if self._hold.lost:
            raise LeaseLost("the lease has been given back")
        for number in numbers:
            self._store.remove(self._name, self._unique_id(number))

    def close(self) -> None:
        """Give the lease back."""
        self._hold.release()


class MemoryIncoming(Incoming):
    """A message on its way into a maildrop in memory."""

    def __init__(self, store: MemoryStore, maildrop_name: str) -> None:
        self._store = store
        self._name = maildrop_name
        self._blocks: list[bytes] | None = []

    def write(self, block: bytes) -> None:
        """Take the message's next octets."""
        if self._blocks is None:
            raise StoreError("the message is finished")
        self._blocks.append(bytes(block))

    def commit(self) -> UniqueId:
        """Put the message into the maildrop."""
        if self._blocks is None:
            raise StoreError("the message is finished")
        blocks, self._blocks = self._blocks, None
        return self._store.add(self._name, b"".join(blocks))

    def abort(self) -> None:
        """Forget the message."""
        self._blocks = None
