"""Where mail is kept: what a store of maildrops must offer, smallest form first.

Three methods make a store (`MaildropStore`); the library then does locking, snapshots,
octets, stuffing, TOP and UPDATE. A store that can do more implements the add-on
protocols below (`OpensMaildrops`, `ReceivesMail`), which are asked for by type.

Every method may be a plain function, which runs on a storage thread, or a coroutine
function, which runs on the event loop. A plain one that never waits for anything can
say so with `blocking = False` and is then called in place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from typing import BinaryIO, ClassVar, NamedTuple, Protocol, TypeAlias, runtime_checkable

from restante.accounts.contract import Account
from restante.protocol.facts import Facts
from restante.protocol.listing import Listing, MessageNumber, UniqueId

Source: TypeAlias = bytes | BinaryIO | Iterator[bytes] | AsyncIterator[bytes]
"""A message's bytes, with line ends of any kind. What has `close()` is closed after use."""


class StoreError(Exception):
    """A store can't do what was asked.

    temporary: True when trying again later may help (`[SYS/TEMP]`), False only for
        proven loss or a fault that needs a person (`[SYS/PERM]`).
    The text is for the operator's log; the peer is never sent it.
    """

    def __init__(self, text: str, *, temporary: bool = True) -> None:
        super().__init__(text)
        self.temporary = temporary


class MaildropInUse(StoreError):
    """Another session holds the maildrop's lease (RFC 1939 §4; `[IN-USE]`, RFC 2449 §8.1.2)."""


class MessageGone(StoreError):
    """The message was there when the maildrop was opened and has since been removed."""


class CommitFailed(StoreError):
    """UPDATE could not remove everything.

    remaining: how many of the messages marked as deleted are still in the maildrop.
    """

    def __init__(self, text: str, remaining: int, *, temporary: bool = True) -> None:
        super().__init__(text, temporary=temporary)
        self.remaining = remaining


class MessageInfo(NamedTuple):
    """One message of a three-method store.

    unique_id: any text that stays the message's own for ever; what RFC 1939 §7 does not
        allow as a unique-id is mapped to something it does.
    octets: size with CRLF line ends, when the store knows it for certain; else None, and
        the library reads the message once to count.
    """

    unique_id: str
    octets: int | None = None


class MaildropStore(ABC):
    """The whole contract of a custom store. Each method is plain or `async`."""

    blocking: ClassVar[bool] = True

    @abstractmethod
    def list(self, account: Account) -> Iterable[MessageInfo] | Awaitable[Iterable[MessageInfo]]:
        """The account's messages, oldest first."""

    @abstractmethod
    def read(self, account: Account, unique_id: str) -> Source | Awaitable[Source]:
        """The bytes of one message. Raise `MessageGone` (or KeyError) if there is none."""

    @abstractmethod
    def delete(self, account: Account, unique_ids: Sequence[str]) -> Awaitable[None] | None:
        """Remove messages for good, before returning. One already gone is no error."""


class Content(NamedTuple):
    """One message, ready to be sent.

    source: its bytes as stored.
    facts: when they are known; without them the bytes are converted with care.
    """

    source: Source
    facts: Facts | None = None


class Maildrop(ABC):
    """An opened maildrop: one session's snapshot, and its lease until `close`."""

    __slots__ = ()

    listing: Listing

    @abstractmethod
    def fetch(self, number: MessageNumber) -> Content | Awaitable[Content]:
        """The content of message `number`. Raises MessageGone or StoreError."""

    def fetch_at_once(self, number: MessageNumber) -> Content | None:
        """The same without waiting for anything, or None: then `fetch` is called.

        For a message that is in memory, or small on a disk of this machine.
        """
        return None

    def begin_commit(self, numbers: Sequence[MessageNumber]) -> None:  # noqa: B027 - may be nothing
        """Do in place, without waiting for anything, as much of `commit` as can be done so.

        `commit` is called with the same numbers in any case, and tells what went wrong.
        """

    @abstractmethod
    def commit(self, numbers: Sequence[MessageNumber]) -> Awaitable[None] | None:
        """Remove these messages; durable when it returns (RFC 1939 §6).

        A message that is already gone counts as removed. Raises CommitFailed.
        """

    @abstractmethod
    def close(self) -> Awaitable[None] | None:
        """Give the lease back. Harmless when repeated; removes nothing."""

    def close_at_once(self) -> bool:
        """Close without waiting for anything, or say False: then `close` is called."""
        return False


@runtime_checkable
class OpensMaildrops(Protocol):
    """Add-on: the store makes snapshots and leases itself (Maildir, databases)."""

    def open(self, account: Account) -> Maildrop | Awaitable[Maildrop]:
        """Lease and open the account's maildrop; an account without mail has an empty one.

        Raises MaildropInUse when the lease is taken, StoreError otherwise.
        """


@runtime_checkable
class OpensAtOnce(Protocol):
    """Add-on: an unchanged maildrop can be opened so quickly that no thread is needed.

    A subclass that does something of its own in `open` does it here too.
    """

    def open_at_once(self, account: Account) -> Maildrop | None:
        """What `open` gives, without waiting for anything, or None: then `open` is called.

        Raises MaildropInUse.
        """


class Incoming(Protocol):
    """A message on its way into a maildrop. Visible to nobody before `commit`."""

    def write(self, block: bytes) -> None:
        """Take the message's next bytes. Raises StoreError (disk full …)."""

    def commit(self) -> UniqueId:
        """Put the message into the maildrop, durably, and give its unique-id."""

    def abort(self) -> None:
        """Forget the message. Harmless after `commit` and when repeated."""


@runtime_checkable
class ReceivesMail(Protocol):
    """Add-on: mail can be put in, while sessions are reading."""

    def receive(self, account: Account) -> Incoming:
        """Begin a message for the account's maildrop. Raises StoreError."""
