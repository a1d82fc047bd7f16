"""Any of our stores as a source; among them Maildirs that Dovecot or Courier has served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from restante.accounts.contract import Account
from restante.calls import Caller
from restante.migration.contract import Source, SourceMaildrop
from restante.migration.unique_ids import UniqueIdFormat
from restante.protocol.listing import Listing, MessageNumber, distinct_unique_ids
from restante.stores.contract import Answer, Content, Maildrop, Store, StoreError
from restante.stores.maildir.courier import SIZELIST_FILE, read_sizelist
from restante.stores.maildir.dovecot import UIDLIST_FILE, read_entries
from restante.stores.maildir.store import Maildir

Find = Callable[[str], Awaitable[Account | None]]
"""The account for a name; None if there is none."""

Names = Callable[[], Awaitable[Sequence[str] | None]]
"""The names of all accounts; None if they can't be told."""

Shown = Callable[[Account], Sequence[tuple[str, str]] | None]
"""In the order of the source, the unique-ids that the store has and those that the source has
shown for them; None: the store's are those. Called on a thread. Raises StoreError."""


class StoreSource(Source):
    """What a store holds. It is looked at without a lease, so no session waits.

    shown: for a source whose order or unique-ids aren't the store's. Messages that it doesn't
        know come last, and wait for the last run.
    """

    def __init__(
        self, store: Store, find: Find, names: Names, *, name: str, shown: Shown | None = None
    ) -> None:
        self.name = name
        self._store = store
        self._find = find
        self._names = names
        self._shown = shown

    async def open(self, account: str, call: Caller) -> SourceMaildrop:
        """The account's maildrop as it is now. Raises StoreError."""
        found = await self._find(account)
        if found is None:
            raise StoreError("the source has no such account", temporary=False)
        shown = None if self._shown is None else await call(self._shown, found)
        return StoreMaildrop(await call(self._store.look, found), shown)

    async def accounts(self) -> Sequence[str] | None:
        """The names of all accounts, if they can be told."""
        return await self._names()


class StoreMaildrop(SourceMaildrop):
    """A maildrop of a store. shown: see `StoreSource`."""

    def __init__(self, maildrop: Maildrop, shown: Sequence[tuple[str, str]] | None = None) -> None:
        self._maildrop = maildrop
        self.listing = there = maildrop.listing
        self._numbers: Sequence[int] = range(1, len(there) + 1)
        if shown:
            places = {has: at for at, (has, _) in enumerate(shown)}
            names = dict(shown)
            last, ids = len(places), there.unique_ids
            self._numbers = sorted(self._numbers, key=lambda n: places.get(ids[n - 1], last))
            texts = [names.get(ids[n - 1], ids[n - 1]) for n in self._numbers]
            unique_ids = distinct_unique_ids(texts)
            self.listing = Listing(unique_ids, [there.octets[n - 1] for n in self._numbers])
            pairs = zip(unique_ids, texts, strict=True)
            self.mapped = {has: text for has, text in pairs if has != text}
        if shown is not None:
            known = {text for _, text in shown}
            self.waiting = {has for has in self.listing.unique_ids if has not in known}

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Answer[Content]:
        """The content of message `number`. Raises MessageGone, StoreError."""
        return self._maildrop.fetch(MessageNumber(self._numbers[number - 1]), lines)

    def arrived(self, number: MessageNumber) -> Answer[float | None]:
        """When the message arrived, by the store."""
        return self._maildrop.arrived(MessageNumber(self._numbers[number - 1]))

    def close(self) -> Answer[None]:
        """Close the store's maildrop."""
        return self._maildrop.close()


def shown_by_dovecot(maildir: Maildir, unique_ids: UniqueIdFormat) -> Shown:
    """What Dovecot's POP3 server has shown of Maildirs, in its order, which is that of UIDs.

    Files of a Maildir are in the order of their delivery, and a message that IMAP has copied
    has kept the time of its delivery.
    """

    def shown(account: Account) -> Sequence[tuple[str, str]]:
        entries = sorted(read_entries(str(maildir.folder(account))))
        return [
            (
                entry.unique_id,
                entry.saved or unique_ids.write(entry.uid, entry.validity, entry.guid),
            )
            for entry in entries
        ]

    return shown


def shown_by_courier(maildir: Maildir) -> Shown:
    """What Courier's POP3 server has shown of Maildirs."""

    def shown(account: Account) -> Sequence[tuple[str, str]]:
        return [(has, has) for has in read_sizelist(str(maildir.folder(account))).values()]

    return shown


def shown_by_nobody_else(maildir: Maildir) -> Shown:
    """The store's own unique-ids, for Maildirs in which no other server has left a list of its.

    Where one has, the account is refused: clients know those unique-ids, and would download all
    mail again.
    """

    def shown(account: Account) -> None:
        folder = Path(maildir.folder(account))
        for format, file in (("dovecot", UIDLIST_FILE), ("courier", SIZELIST_FILE)):
            if (folder / file).exists():
                raise StoreError(
                    f"{folder / file} has the unique-ids that clients know: give"
                    f" --from-format {format} to keep them, --from-format own to leave them",
                    temporary=False,
                )

    return shown
