"""What the tests of moving mail share: a source in memory, stores to move to, looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from restante.accounts.contract import Account
from restante.calls import Caller, finished
from restante.migration.contract import Source, SourceMaildrop
from restante.migration.move import Migration
from restante.migration.report import Report
from restante.protocol.listing import Listing, MessageNumber, UniqueId
from restante.stores import Content, Maildir, MessageGone, SqliteStore, Store, StoreError
from tests.corpus import NASTY, wire_form
from tests.stores.stores import drained

NAMES = ("joe", "ann")


class Mail:
    """A message at the source. octets: what is read; an exception is raised instead."""

    def __init__(
        self, unique_id: str, octets: bytes | Exception = b"x\r\n", arrived: float | None = None
    ) -> None:
        self.unique_id = unique_id
        self.octets = octets
        self.arrived = arrived
        self.listed: int | None = None


class ListedSource(Source):
    """Accounts with lists of mail. trouble: raised by `open`, one after the other."""

    name = "a list"

    def __init__(self, **mail: Sequence[Mail]) -> None:
        self.mail = {name: list(given) for name, given in mail.items()}
        self.trouble: list[Exception] = []
        self.opened = 0
        self.open_now = 0
        self.most_open = 0
        self.fetched: list[str] = []

    async def open(self, account: str, call: Caller) -> SourceMaildrop:
        self.opened += 1
        if self.trouble:
            raise self.trouble.pop(0)
        if account not in self.mail:
            raise StoreError("the source has no such account", temporary=False)
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        return ListedMaildrop(self, self.mail[account])

    async def accounts(self) -> Sequence[str]:
        return list(self.mail)


class ListedMaildrop(SourceMaildrop):
    def __init__(self, source: ListedSource, mail: Sequence[Mail]) -> None:
        self._source = source
        self._mail = list(mail)
        sizes = [len(wire_form(m.octets)) if isinstance(m.octets, bytes) else 1 for m in mail]
        sizes = [
            size if each.listed is None else each.listed
            for each, size in zip(mail, sizes, strict=True)
        ]
        self.listing = Listing([UniqueId(each.unique_id) for each in mail], sizes)

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        mail = self._mail[number - 1]
        self._source.fetched.append(mail.unique_id)
        if isinstance(mail.octets, Exception):
            raise mail.octets
        return Content(self._halves(mail.octets))

    def _halves(self, octets: bytes) -> Iterator[bytes]:
        half = len(octets) // 2
        yield octets[:half]
        yield octets[half:]

    def arrived(self, number: MessageNumber) -> float | None:
        return self._mail[number - 1].arrived

    def close(self) -> None:
        self._source.open_now -= 1


def nasty() -> list[Mail]:
    """Messages that have gone wrong with others."""
    mail = []
    for number, (name, octets) in enumerate(NASTY.items()):
        mail.append(Mail(f"id-{number}-{name}"[:70], octets, 1_700_000_000.0 + number))
    return mail


def stores(folder: Path) -> Mapping[str, Callable[[], Store]]:
    """A new one of each kind that mail can be moved to."""
    return {
        "sqlite": lambda: SqliteStore(folder / "mail.sqlite"),
        "maildir": lambda: Maildir(folder / "maildirs", fsync=False),
    }


def found(*names: str) -> Callable[[str], Any]:
    """Look up accounts by name."""

    async def find(name: str) -> Account | None:
        return Account(name) if name in (names or NAMES) else None

    return find


def move(source: Source, store: Store, *names: str, **options: Any) -> Report:
    """Move accounts, joe if none is named; without long pauses.

    find: a name that the destination has beside the usual ones.
    """
    find = found(*NAMES, options.pop("find", "joe"))
    migration = Migration(source, store, find, **{"pause": 0.001, **options})
    return asyncio.run(migration.move(names or ["joe"]))


def check(source: Source, store: Store, *names: str, bodies: bool = False) -> Report:
    """Compare accounts, joe if none is named."""
    migration = Migration(source, store, found(), pause=0.001)
    return asyncio.run(migration.check(names or ["joe"], bodies=bodies))


def shown(store: Store, name: str = "joe") -> list[tuple[str, bytes]]:
    """The unique-ids and the octets that the store shows."""
    looked: Any = store.look(Account(name))
    maildrop = finished(looked)
    try:
        messages = []
        for at, unique_id in enumerate(maildrop.listing.unique_ids):
            content: Any = finished(maildrop.fetch(MessageNumber(at + 1)))
            octets = wire_form(drained(content.source))
            assert len(octets) == maildrop.listing.octets[at]
            messages.append((unique_id, octets))
        return messages
    finally:
        finished(maildrop.close())


def times(store: Store, name: str = "joe") -> list[float | None]:
    """When the messages arrived."""
    looked: Any = store.look(Account(name))
    maildrop = finished(looked)
    numbers = range(1, len(maildrop.listing) + 1)
    arrived = [finished(maildrop.arrived(MessageNumber(number))) for number in numbers]
    finished(maildrop.close())
    return arrived


def remove(store: Store, unique_id: str, name: str = "joe") -> None:
    """As a session does."""
    opened: Any = store.open(Account(name))
    maildrop = finished(opened)
    number = list(maildrop.listing.unique_ids).index(unique_id) + 1
    finished(maildrop.commit([MessageNumber(number)]))
    finished(maildrop.close())


def as_sent(mail: Sequence[Mail]) -> list[tuple[str, bytes]]:
    """What a client of the source is shown."""
    with suppress(MessageGone):
        return [(m.unique_id, wire_form(m.octets)) for m in mail if isinstance(m.octets, bytes)]
    raise AssertionError
