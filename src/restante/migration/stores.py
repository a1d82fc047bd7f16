"""Any of our stores as a source; among them Maildirs that Dovecot or Courier has served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from restante.accounts.contract import Account
from restante.calls import Caller
from restante.migration.contract import Source, SourceMaildrop
from restante.protocol.listing import Listing, MessageNumber
from restante.stores.contract import Answer, Content, Maildrop, Store, StoreError
from restante.stores.maildir.dovecot import read_pop3_order
from restante.stores.maildir.store import Maildir

Find = Callable[[str], Awaitable[Account | None]]
"""The account for a name; None if there is none."""

Names = Callable[[], Awaitable[Sequence[str] | None]]
"""The names of all accounts; None if they can't be told."""

Order = Callable[[Account], Mapping[str, int]]
"""The places of messages in the order of the source, by unique-id. Called on a thread."""


class StoreSource(Source):
    """What a store holds. It is looked at without a lease, so no session waits.

    order: for a source whose order isn't the store's. Messages that it doesn't know come last.
    """

    def __init__(
        self, store: Store, find: Find, names: Names, *, name: str, order: Order | None = None
    ) -> None:
        self.name = name
        self._store = store
        self._find = find
        self._names = names
        self._order = order

    async def open(self, account: str, call: Caller) -> SourceMaildrop:
        """The account's maildrop as it is now. Raises StoreError."""
        found = await self._find(account)
        if found is None:
            raise StoreError("the source has no such account", temporary=False)
        places = {} if self._order is None else await call(self._order, found)
        return StoreMaildrop(await call(self._store.look, found), places)

    async def accounts(self) -> Sequence[str] | None:
        """The names of all accounts, if they can be told."""
        return await self._names()


class StoreMaildrop(SourceMaildrop):
    """A maildrop of a store, its messages put into another order."""

    def __init__(self, maildrop: Maildrop, places: Mapping[str, int]) -> None:
        self._maildrop = maildrop
        there = maildrop.listing
        self._numbers: Sequence[int] = range(1, len(there) + 1)
        self.listing = there
        if places:
            last = len(places)
            numbers = sorted(self._numbers, key=lambda n: places.get(there.unique_ids[n - 1], last))
            self._numbers = numbers
            self.listing = Listing(
                [there.unique_ids[n - 1] for n in numbers], [there.octets[n - 1] for n in numbers]
            )

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Answer[Content]:
        """The content of message `number`. Raises MessageGone, StoreError."""
        return self._maildrop.fetch(MessageNumber(self._numbers[number - 1]), lines)

    def arrived(self, number: MessageNumber) -> Answer[float | None]:
        """When the message arrived, by the store."""
        return self._maildrop.arrived(MessageNumber(self._numbers[number - 1]))

    def close(self) -> Answer[None]:
        """Close the store's maildrop."""
        return self._maildrop.close()


def dovecot_order(maildir: Maildir) -> Order:
    """The order in which Dovecot's POP3 server lists a Maildir: by IMAP's UIDs.

    Files in a Maildir are in the order of their delivery, and a message that IMAP has copied
    has kept the time of its delivery.
    """

    def order(account: Account) -> Mapping[str, int]:
        return _places(read_pop3_order(str(maildir.folder(account))))

    return order


def _places(unique_ids: Iterable[str]) -> dict[str, int]:
    return {unique_id: at for at, unique_id in enumerate(unique_ids)}
