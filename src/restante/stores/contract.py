"""Where mail is kept: what a store of maildrops must offer, smallest form first.

`MaildropStore` is the smallest store: three methods. The library then does leases, snapshots,
octets, stuffing, TOP and UPDATE. `Store` is the full contract, for stores that do those
themselves. Both are base classes: a store derives from one of them.

Every method may be plain or `async`. An async one is awaited on the event loop. A plain one is
called on a worker thread, or, where the class says `blocking = False`, on the event loop: it
does what is quick and returns `OnThread(function, *args)` for what is not (see
`restante.calls`). Taking mail in is always allowed to wait: `Store.receive` and the plain
methods of an `Incoming` are called on worker threads whatever `blocking` says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from inspect import isawaitable
from typing import (
    Any,
    BinaryIO,
    ClassVar,
    NamedTuple,
    TypeAlias,
    TypeVar,
    cast,
)

from restante.accounts.account import Account, Quota
from restante.calls import OnThread, finished, in_task
from restante.contained import call_contained
from restante.protocol.facts import Facts
from restante.protocol.listing import Listing, MessageNumber, UniqueId

T = TypeVar("T")

Source: TypeAlias = bytes | BinaryIO | Iterator[bytes] | AsyncIterator[bytes]
"""A message's bytes, with line ends of any kind. What has `close()` is closed after use."""

Answer: TypeAlias = T | Awaitable[T] | OnThread[T]
"""What a method may give: the result, something to await for it, or the rest of the work."""


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


class OpenedTooSoon(StoreError):
    """The maildrop's last session began less than a delay ago (`[LOGIN-DELAY]`, RFC 2449 §8.1.1).

    seconds: until it can be opened.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the maildrop can't be opened again for {seconds:.0f} seconds")
        self.seconds = seconds


class MessageGone(StoreError):
    """The message was there when the maildrop was opened and has since been removed."""


class AccountChanged(StoreError):
    """The account is another than when it was looked up, or the store can't tell."""


class LeaseLost(StoreError):
    """The session's lease has ended, and another session may hold the maildrop by now."""


class OverQuota(StoreError):
    """The maildrop's quota has no room for the message.

    never: the message alone is larger than the quota, so trying again can't help.
    """

    def __init__(self, text: str, *, never: bool = False) -> None:
        super().__init__(text, temporary=not never)
        self.never = never


class UniqueIdTaken(StoreError):
    """The maildrop has, or once had, another message with the unique-id (RFC 1939 §7)."""

    def __init__(self, text: str) -> None:
        super().__init__(text, temporary=False)


class CommitFailed(StoreError):
    """UPDATE could not remove everything.

    remaining: how many of the messages marked as deleted are still in the maildrop.
    """

    def __init__(self, text: str, remaining: int, *, temporary: bool = True) -> None:
        super().__init__(text, temporary=temporary)
        self.remaining = remaining


class MessageInfo(NamedTuple):
    """One message of a three-method store.

    unique_id: any text or int that stays the message's own for ever. `read` and `delete` are
        called with it as it is. What RFC 1939 §7 does not allow as a unique-id is mapped to
        something it does.
    octets: size with CRLF line ends, when the store knows it for certain; else None, and
        the library reads the message once to count. A size that is no int or is negative is
        told to the log and counted instead.
    """

    unique_id: str | int
    octets: int | None = None


Messages: TypeAlias = Iterable[MessageInfo]
"""What `MaildropStore.list` gives."""


Given: TypeAlias = Source | bytearray | memoryview
"""What `MaildropStore.read` may give."""


class MaildropStore(ABC):
    """The smallest store: three methods, each plain or `async`.

    blocking: whether its plain methods may wait for anything. They run on worker threads then.
    """

    blocking: ClassVar[bool] = True

    @abstractmethod
    def list(self, account: Account) -> Messages | Awaitable[Messages]:
        """The account's messages, oldest first."""

    @abstractmethod
    def read(self, account: Account, unique_id: Any) -> Given | Awaitable[Given]:
        """The bytes of one message. Raises MessageGone if there is none.

        Whatever else it raises, a KeyError too, is an error: the message is listed, the log
        has the error, and RETR is answered `-ERR [SYS/TEMP]`.
        """

    @abstractmethod
    def delete(self, account: Account, unique_ids: Sequence[Any]) -> Awaitable[None] | None:
        """Remove messages for good, before returning. One that is already gone is no error."""


class Content(NamedTuple):
    """One message, ready to be sent.

    source: its bytes as stored, or their beginning where TOP asked for no more.
    facts: of the whole message as it is now, when they are known: `facts.octets` is what RETR
        sends. They may differ from the listing's when the message was changed meanwhile.
    """

    source: Source
    facts: Facts | None = None


class Lease:
    """A session's exclusive hold of its maildrop (RFC 1939 §4). This one never ends by itself.

    holder: who has it, as an operator would look for it.
    expires: when it ends unless it is renewed, in seconds since 1970; None: at `close` only.
    """

    __slots__ = ()

    holder: str = ""
    expires: float | None = None

    @property
    def lost(self) -> bool:
        """Whether another session may hold the maildrop by now."""
        return False

    def renew(self) -> Answer[None]:
        """Put off the end of a lease that has one. Raises LeaseLost when it is too late."""
        return None


class Usage(NamedTuple):
    """What a maildrop holds: messages, and their octets as RETR sends them."""

    messages: int
    octets: int


class Removed(NamedTuple):
    """A message that was removed and can be put back.

    octets: about its size. removed: when it was removed, in seconds since 1970.
    """

    unique_id: str
    octets: int
    removed: float


class LeaseInfo(NamedTuple):
    """A lease that is held now.

    maildrop_name: of which maildrop.
    holder: who has it, as an operator would look for it.
    expires: when it ends unless it is renewed, in seconds since 1970; None: with its holder.
    """

    maildrop_name: str
    holder: str
    expires: float | None = None


class Maildrop(ABC):
    """An opened maildrop: one session's snapshot, and its lease until `close`.

    blocking: whether its plain methods may wait for anything; see `Store`.
    listing: the messages, which don't change for the session.
    account: whose it is, where a backend opens it without an account of its own; else None.
    lease: the session's hold. A session whose lease is lost can't commit.
    """

    __slots__ = ()

    blocking: ClassVar[bool] = True
    listing: Listing
    account: Account | None = None
    lease: Lease = Lease()

    @abstractmethod
    def fetch(self, number: MessageNumber, lines: int | None = None) -> Answer[Content]:
        """The content of message `number`. Raises MessageGone or StoreError.

        lines: None for the whole message (RETR). Otherwise only the header and so many lines
            of the body are wanted (TOP); a store may give more, or everything.
        """

    def arrived(self, number: MessageNumber) -> Answer[float | None]:
        """When message `number` arrived, in seconds since 1970; None: nobody knows any more.

        A plain one is called on a thread. Raises MessageGone, StoreError.
        """
        return None

    @abstractmethod
    def commit(self, numbers: Sequence[MessageNumber]) -> Answer[None]:
        """Remove these messages; durable when it returns (RFC 1939 §6).

        A message that is already gone counts as removed. Raises CommitFailed, LeaseLost.
        """

    def close(self) -> Answer[None]:
        """Give the lease back. Harmless when repeated; removes nothing."""
        return None

    def step_back(self) -> Answer[None]:
        """As `close`, for a session that didn't begin after all: a handler refused it, say.

        A store that counts when sessions begin undoes that; others need nothing more.
        """
        return self.close()


class Incoming(ABC):
    """A message on its way into a maildrop. Nobody sees it before `commit`."""

    @abstractmethod
    def write(self, block: bytes) -> Answer[None]:
        """Take the message's next bytes. Raises StoreError (disk full …)."""

    def prepare(self) -> Answer[None]:
        """Make all that was written durable, so that `commit` has little left to fail at.

        The message is complete then: no `write` follows. Raises OverQuota, StoreError. Where a
        message has several recipients, every copy is prepared before any is committed.
        """
        return None

    @abstractmethod
    def commit(self) -> Answer[UniqueId]:
        """Put the message into the maildrop, durably, and give its unique-id.

        Raises OverQuota, StoreError.
        """

    @abstractmethod
    def abort(self) -> Answer[None]:
        """Forget the message. Harmless after `commit` and when repeated."""


Committed: TypeAlias = UniqueId | Exception | None
"""A message's unique-id, or why it isn't there; None: given up because another one failed."""


def _commit_each(incomings: Iterator[Incoming], together: bool, done: list[Committed]) -> Any:
    """Commit one after the other, on a thread, up to the first one that is to be awaited."""
    for incoming in incomings:
        if _is_given_up(together, done):
            done.append(None)
            continue
        try:
            answer = finished(call_contained(incoming.commit))
        except Exception as error:  # noqa: BLE001 - it is given to the caller
            done.append(error)
            continue
        if isawaitable(answer):
            return _await_each(answer, incomings, together, done)
        done.append(cast("UniqueId", answer))
    return done


async def _await_each(
    answer: Awaitable[UniqueId] | None,
    incomings: Iterator[Incoming],
    together: bool,
    done: list[Committed],
) -> Sequence[Committed]:
    while answer is not None:
        try:
            done.append(await in_task(answer))
        except Exception as error:  # noqa: BLE001 - it is given to the caller
            done.append(error)
        answer = None
        for incoming in incomings:
            if not _is_given_up(together, done):
                answer = cast("Awaitable[UniqueId]", incoming.commit())
                break
            done.append(None)
    return done


def _is_given_up(together: bool, done: Sequence[Committed]) -> bool:
    """Whether one has failed and nobody has a copy yet, so that nobody is to have one."""
    return together and bool(done) and not any(isinstance(each, str) for each in done)


class Store(ABC):
    """The full store: it opens maildrops itself, with snapshots and leases.

    blocking: whether its plain methods may wait for anything. False: they are called on the
        event loop, do there what is quick, and return `OnThread` for the rest.
    quota: what a maildrop may hold whose account says nothing.
    """

    blocking: ClassVar[bool] = True
    quota: Quota = Quota()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "open" in vars(cls) and "open_unchanged" not in vars(cls):
            # Its `open` may have reasons of its own to refuse, which must be asked each time.
            cls.open_unchanged = Store.open_unchanged  # type: ignore[method-assign]

    @abstractmethod
    def open(self, account: Account) -> Answer[Maildrop]:
        """Lease and open the account's maildrop; an account without mail has an empty one.

        Raises MaildropInUse when another session has the lease, StoreError otherwise.
        """

    def open_unchanged(self, account: Account) -> Answer[Maildrop]:
        """As `open`, if the account's `row` is as it was when it was looked up.

        For a store that sees both in one query: so a login that was right a while ago needs no
        look-up. Raises AccountChanged before anything else; by default always.
        """
        raise AccountChanged("the store doesn't see accounts")

    def prepare(self) -> Answer[None]:
        """See that it can be used as it is configured; a server asks before it listens.

        Raises StoreError, which says what is wrong and what to do about it.
        """
        return None

    def check(self) -> Answer[None]:
        """See that it answers, within a few seconds; a server asks again and again.

        Raises StoreError.
        """
        return None

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        """Close what is open in this event loop; the next use opens it again.

        Harmless when repeated.
        """

    def look(self, account: Account) -> Answer[Maildrop]:
        """The maildrop as it is now, without its lease: no session waits for whoever looks.

        `commit` raises LeaseLost. A plain one is called on a thread. By default the maildrop is
        opened, for stores that can't do without. Raises StoreError.
        """
        return self.open(account)

    def receive(self, account: Account) -> Answer[Incoming]:
        """Begin a message for the account's maildrop, while sessions may be reading.

        Raises StoreError.
        """
        raise StoreError(f"{type(self).__name__} takes no mail", temporary=False)

    def commit(self, incomings: Sequence[Incoming], together: bool) -> Answer[Sequence[Committed]]:
        """Put messages of this store's `receive` or `restore` into their maildrops, durably.

        Gives for each its unique-id, or what `Incoming.commit` would raise. together: all or
        none, as far as the store can; None for those that were given up because another failed.
        By default they are put there one after the other, and with `together` none is once the
        first has failed. A plain one is called on a thread. Raises StoreError when none is there.
        """
        return OnThread(_commit_each, iter(incomings), together, [])

    def restore(
        self, account: Account, unique_id: str, *, arrived: float | None = None
    ) -> Answer[Incoming]:
        """Begin a message that has a unique-id already, such as one from another server.

        unique_id: what `Incoming.commit` gives then, and clients see. arrived: when the message
        arrived, in seconds since 1970; None: now. Raises UniqueIdTaken when the maildrop has,
        or has ever shown, that unique-id: what a session has removed comes back by `undelete`
        only. Raises StoreError when RFC 1939 §7 doesn't allow it. `Incoming.commit` may raise
        UniqueIdTaken, too, and MaildropInUse.
        """
        raise StoreError(f"{type(self).__name__} can't keep unique-ids", temporary=False)

    def admit(self, account: Account, octets: int = 0) -> Answer[None]:
        """Raise OverQuota if the account's maildrop has no room for a message of so many octets.

        octets: 0 when that isn't known yet; then only a full maildrop has no room. It is asked
        before a message is taken, to spare the sender the sending, and promises nothing: what
        counts is `Incoming.prepare` and `commit`. Without quotas there is nothing to ask.
        """
        return None

    def usage(self, account: Account) -> Answer[Usage]:
        """What the account's maildrop holds, while sessions may be reading. Raises StoreError."""
        raise StoreError(f"{type(self).__name__} can't tell what a maildrop holds", temporary=False)

    def removed(self, account: Account) -> Answer[Sequence[Removed]]:
        """What `undelete` could put back, in the order in which it was removed.

        Raises StoreError.
        """
        raise StoreError(f"{type(self).__name__} keeps nothing that was removed", temporary=False)

    def undelete(self, account: Account, seconds: float) -> Answer[int]:
        """Put back what was removed from the maildrop within the last `seconds`.

        Gives the number of messages, which have their unique-ids as before. Raises StoreError.
        """
        raise StoreError(f"{type(self).__name__} keeps nothing that was removed", temporary=False)

    def collect(self) -> Answer[int]:
        """Give free what nobody can ask for any more; may be called while sessions run.

        That is: removed messages whose time for `undelete` is over, and what deliveries that
        never came to their end left behind. Gives the number of messages. Raises StoreError.
        """
        return 0

    def leases(self) -> Answer[Sequence[LeaseInfo]]:
        """The leases that are held now. Raises StoreError."""
        raise StoreError(f"{type(self).__name__} can't list its leases", temporary=False)

    def release(self, maildrop_name: str) -> Answer[bool]:
        """Take a maildrop's lease from whoever has it; that session can't commit any more.

        Gives whether it was held. Raises StoreError.
        """
        raise StoreError(f"{type(self).__name__} can't release leases of others", temporary=False)
