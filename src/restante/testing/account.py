"""An account of a test's server, and the mail in its maildrop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from pathlib import Path
from typing import Any, TypeAlias

from restante.accounts.account import Account
from restante.accounts.static import StaticAccounts
from restante.protocol.listing import UniqueId
from restante.stores.memory import MemoryStore
from restante.testing.changes import Changes

MAX_MADE = 10_000
"""Accounts beyond which none is made for a name that has none."""

TIMEOUT = 5.0
"""Seconds that is waited for what doesn't come."""

GivenMessage: TypeAlias = Message | bytes | str | Path


class Accounts(StaticAccounts):
    """Accounts of a test, which may be added while the server runs.

    Mechanisms that need the password itself are announced before there is an account.
    make: makes an account for a name that has none, whose password may be any; None: such a
        name is nobody's. What needs the password itself can't work then, and isn't announced.
    """

    make: Callable[[str], object] | None = None

    def lookup(self, name: str) -> Account | None:
        return super().lookup(name) or (self._made(name) and super().lookup(name)) or None

    def lookup_address(self, address: str) -> Account | None:
        found = super().lookup_address(address)
        return found or (self._made(address) and super().lookup_address(address)) or None

    def _made(self, name: str) -> bool:
        if self.make is None or len(self.list()) >= MAX_MADE:
            return False
        with suppress(ValueError):  # it can be nobody's name, or another thread was quicker
            self.make(name)
        return True

    def held_schemes(self) -> frozenset[str]:
        return super().held_schemes() | {"PLAIN"} if self.make is None else frozenset()


class WatchedStore(MemoryStore):
    """Mail in memory. Tells when some has come or gone."""

    def __init__(self, changes: Changes) -> None:
        super().__init__()
        self._changes = changes

    def add(self, maildrop_name: str, message: bytes, unique_id: str | None = None) -> UniqueId:
        given = super().add(maildrop_name, message, unique_id)
        self._changes.tell()
        return given

    def remove(self, maildrop_name: str, unique_id: str) -> None:
        super().remove(maildrop_name, unique_id)
        self._changes.tell()


class StoredMessage(bytes):
    """A message in a maildrop: its octets, as they were put in.

    unique_id: its own in the maildrop.
    """

    unique_id: str

    def __new__(cls, octets: bytes, unique_id: str) -> StoredMessage:
        made = super().__new__(cls, octets)
        made.unique_id = unique_id
        return made

    @property
    def parsed(self) -> EmailMessage:
        """The message as the standard library reads it."""
        return message_from_bytes(self, policy=policy.default)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (bytes(self), self.unique_id)


class MailAccount:
    """An account of a test's server, with its maildrop.

    name, password: what a client logs in with.
    """

    def __init__(self, account: Account, password: str, store: WatchedStore, changes: Changes):
        self.name = account.name
        self.password = password
        self._account = account
        self._store = store
        self._changes = changes

    def add(self, message: GivenMessage, unique_id: str | None = None) -> str:
        """Put a message into the maildrop; gives its unique-id.

        message: an `email.message.EmailMessage`, octets, text, or a file: its `Path`, or a text
            that ends in `.eml`. Line ends are as given; the server sends CRLF.
        unique_id: instead of one that is made up.
        Raises TypeError for what can't be a message, OSError for a file that can't be read,
        ValueError for a unique-id that RFC 1939 §7 doesn't allow or that was used before.
        """
        return self._store.add(self._maildrop, octets_of(message), unique_id)

    @property
    def messages(self) -> list[StoredMessage]:
        """The messages that are there now, oldest first, to be compared with octets."""
        kept = self._store.messages(self._maildrop)
        return [StoredMessage(octets, unique_id) for unique_id, octets in kept.items()]

    @property
    def unique_ids(self) -> list[str]:
        """Their unique-ids."""
        return [*self._store.messages(self._maildrop)]

    def remove(self, unique_id: str) -> None:
        """Take a message away, also under a session that has it in its listing.

        Raises KeyError, with what there is, when it isn't there.
        """
        if unique_id not in self._store.messages(self._maildrop):
            raise KeyError(f"no message {unique_id!r}; there are {self.unique_ids}")
        self._store.remove(self._maildrop, unique_id)

    def clear(self) -> None:
        """Take all messages away."""
        for unique_id in self.unique_ids:
            self._store.remove(self._maildrop, unique_id)

    def wait_until_empty(self, timeout: float = TIMEOUT) -> None:
        """Wait until no message is left. Raises TimeoutError after `timeout` seconds."""
        if not self._changes.wait(self._is_empty, timeout):
            raise self._not_empty(timeout)

    async def wait_until_empty_async(self, timeout: float = TIMEOUT) -> None:  # noqa: ASYNC109
        """The same in a coroutine."""
        if not await self._changes.wait_async(self._is_empty, timeout):
            raise self._not_empty(timeout)

    def _is_empty(self) -> bool:
        return not self._store.messages(self._maildrop)

    def _not_empty(self, timeout: float) -> TimeoutError:
        left = self.unique_ids
        return TimeoutError(
            f"after {timeout:g} seconds, {len(left)} messages are left in the maildrop of"
            f" {self.name!r}: {', '.join(left[:10])}{' …' if len(left) > 10 else ''}"
        )

    @property
    def _maildrop(self) -> str:
        return self._account.maildrop_name

    def __repr__(self) -> str:
        return f"<MailAccount {self.name!r}: {len(self.unique_ids)} messages>"


def octets_of(message: GivenMessage) -> bytes:
    """A message's octets. Raises TypeError and OSError."""
    match message:
        case bytes() | bytearray() | memoryview():
            return bytes(message)
        case Message():
            return message.as_bytes()
        case Path():
            return message.read_bytes()
        case str() if message.endswith(".eml") and "\n" not in message:
            return Path(message).read_bytes()
        case str():
            return message.encode()
    raise TypeError(
        f"{type(message).__name__} is no message: give an EmailMessage, bytes, text, or the path"
        " of a file"
    )
