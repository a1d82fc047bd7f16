"""Looking into maildrops, without taking their leases."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header

from restante.accounts.contract import Account
from restante.app.config.settings import Settings
from restante.app.console.accounts import NotThere
from restante.app.console.looks import Looks
from restante.app.console.waiting import Waiting
from restante.app.maildrops import make_store
from restante.protocol.listing import MessageNumber
from restante.stores.contract import Content, Maildrop, MessageGone, Source, StoreError, Usage

PAGE = 50
"""Messages of a page."""

SEARCHED = 2000
"""The newest messages are searched, so many at most."""

FOUND = 100
"""Messages that a search gives at most."""

HEADER = 64 * 1024
"""Octets of a header that are looked at."""

MAX_MESSAGE = 64 * 1024 * 1024
"""Octets of a message that are looked at; its file has all of them."""

USAGE_PATIENCE = 1.0
"""Seconds that a page waits for the sum of a maildrop's messages."""

MAX_TEXT = 200
"""Characters of a subject or sender that are shown in a list."""


@dataclass(frozen=True, slots=True)
class Line:
    """A message in a list. sender, subject, date: "" where the header has none."""

    number: int
    unique_id: str
    octets: int
    sender: str
    subject: str
    date: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a maildrop, newest first. octets: of all its messages.

    searched: how many messages were looked at for what was to be found; 0: nothing was.
    """

    lines: list[Line]
    messages: int
    octets: int
    page: int = 1
    pages: int = 1
    searched: int = 0


class Maildrops:
    """What lies in the maildrops. Its methods wait for files: they are called on threads.

    They raise NotThere, StoreError.
    """

    def __init__(self, settings: Settings) -> None:
        self._store = make_store(settings)
        self._large = threading.Semaphore(2)
        self._waiting = Waiting()
        self._looks = Looks()

    def close(self) -> None:
        """Close what is open. The next use opens it again."""
        self._waiting.close(self._store.aclose)

    @contextmanager
    def _opened(self, account: Account) -> Iterator[Maildrop]:
        maildrop: Maildrop = self._waiting.result(self._store.look(account))
        try:
            yield maildrop
        finally:
            self._waiting.result(maildrop.close())

    def _fetched(self, maildrop: Maildrop, number: int, lines: int | None = None) -> Content:
        content: Content = self._waiting.result(maildrop.fetch(MessageNumber(number), lines))
        return content

    def _blocks(self, source: Source) -> Generator[bytes, None, None]:
        """A message's octets. The source is closed in the end."""
        if isinstance(source, bytes):
            yield source
        elif isinstance(source, AsyncIterator):
            try:
                while block := self._waiting.result(anext(source, b"")):
                    yield block
            finally:
                if isinstance(source, AsyncGenerator):
                    self._waiting.result(source.aclose())
        else:
            try:
                if hasattr(source, "read"):
                    while block := source.read(256 * 1024):
                        yield block
                else:
                    yield from source
            finally:
                close = getattr(source, "close", None)
                if close is not None:
                    close()

    def listed(self, account: Account, page: int) -> Listed:
        """A page; the first one has the newest messages. Raises StillLooking."""
        key = "listed", account.maildrop_name, page
        return self._looks.result(key, lambda: self._listed(account, page))

    def found(self, account: Account, find: str) -> Listed:
        """The newest messages that have this in sender, subject or unique-id. Raises
        StillLooking."""
        key = "found", account.maildrop_name, find
        return self._looks.result(key, lambda: self._found(account, find.casefold()))

    def _found(self, account: Account, wanted: str) -> Listed:
        with self._opened(account) as maildrop:
            listing = maildrop.listing
            lines: list[Line] = []
            searched = 0
            for number in range(listing.count, max(0, listing.count - SEARCHED), -1):
                searched += 1
                line = self._line(maildrop, number)
                if wanted in f"{line.sender}\n{line.subject}\n{line.unique_id}".casefold():
                    lines.append(line)
                    if len(lines) == FOUND:
                        break
            return Listed(lines, listing.count, sum(listing.octets), searched=searched)

    def usage(self, account: Account) -> Usage:
        """What a maildrop holds. Raises StillLooking."""
        key = "usage", account.maildrop_name
        return self._looks.result(key, lambda: self._usage(account), USAGE_PATIENCE)

    def _usage(self, account: Account) -> Usage:
        usage: Usage = self._waiting.result(self._store.usage(account))
        return usage

    def check(self) -> None:
        """Whether mail can be kept. Raises StillLooking, and StoreError if it can't."""
        self._looks.result(
            "check", lambda: self._waiting.result(self._store.check()), USAGE_PATIENCE
        )

    def _listed(self, account: Account, page: int) -> Listed:
        with self._opened(account) as maildrop:
            listing = maildrop.listing
            pages = max(1, -(-listing.count // PAGE))
            if not 1 <= page <= pages:
                raise NotThere(f"There is no page {page}: the maildrop has {pages}.")
            last = listing.count - (page - 1) * PAGE
            numbers = range(last, max(0, last - PAGE), -1)
            lines = [self._line(maildrop, number) for number in numbers]
            return Listed(lines, listing.count, sum(listing.octets), page, pages)

    def blocks(self, account: Account, unique_id: str) -> Generator[bytes, None, None]:
        """A message as it lies there, in blocks."""
        with self._opened(account) as maildrop:
            try:
                number = list(maildrop.listing.unique_ids).index(unique_id) + 1
            except ValueError:
                raise NotThere("There is no such message in the maildrop any more.") from None
            try:
                content = self._fetched(maildrop, number)
            except MessageGone:
                raise NotThere("The message has been removed.") from None
            with closing(self._blocks(content.source)) as blocks:
                yield from blocks

    def neighbours(self, account: Account, unique_id: str) -> tuple[str, str]:
        """The unique-ids of the next newer and the next older message; "" where there is none."""
        with self._opened(account) as maildrop:
            known = list(maildrop.listing.unique_ids)
        try:
            at = known.index(unique_id)
        except ValueError:
            return "", ""
        newer = known[at + 1] if at + 1 < len(known) else ""
        return newer, known[at - 1] if at else ""

    def message(self, account: Account, unique_id: str) -> tuple[bytes, bool]:
        """A message as it lies there, and whether that is all of it."""
        with self._large, closing(self.blocks(account, unique_id)) as blocks:
            data = beginning(blocks, MAX_MESSAGE + 1)
            return data[:MAX_MESSAGE], len(data) <= MAX_MESSAGE

    def _line(self, maildrop: Maildrop, number: int) -> Line:
        listing = maildrop.listing
        header: dict[str, str] = {}
        try:
            content = self._fetched(maildrop, number, 0)
            with closing(self._blocks(content.source)) as blocks:
                header = fields(beginning(blocks, HEADER), ("from", "subject", "date"))
        except StoreError:  # it was removed meanwhile
            pass
        shown = {name: decoded(text)[:MAX_TEXT] for name, text in header.items()}
        return Line(
            number,
            str(listing.unique_ids[number - 1]),
            listing.octets[number - 1],
            shown.get("from", ""),
            shown.get("subject", ""),
            shown.get("date", ""),
        )


def beginning(blocks: Iterator[bytes], most: int) -> bytes:
    """The beginning of a message."""
    data = bytearray()
    for block in blocks:
        data += block
        if len(data) >= most:
            break
    return bytes(data[:most])


def fields(data: bytes, wanted: tuple[str, ...]) -> dict[str, str]:
    """Some fields of a header, by their names in lower case; of several the first."""
    found: dict[str, str] = {}
    for name, value in header_fields(data):
        if name.lower() in wanted:
            found.setdefault(name.lower(), value)
    return found


def header_fields(data: bytes, most: int = 500) -> list[tuple[str, str]]:
    """The fields of a header, unfolded, at most so many. Lines that are none are left out."""
    found: list[tuple[str, str]] = []
    for line in data.split(b"\n"):
        text = line.removesuffix(b"\r").decode("utf-8", "replace")
        if not text:
            break
        if text[0] in " \t":
            if found:
                name, value = found[-1]
                if len(value) < HEADER:
                    found[-1] = name, f"{value} {text.strip()}"
            continue
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or " " in name.strip():
            continue
        if len(found) >= most:
            break
        found.append((name.strip(), value.strip()))
    return found


def decoded(text: str) -> str:
    """A field's text for people: words in other character sets are decoded (RFC 2047)."""
    text = text[:4000]
    if "=?" not in text:
        return text
    try:
        found = str(make_header(decode_header(text)))
    except (ValueError, LookupError, MessageError):  # broken, or unknown
        return text
    return found.encode("utf-8", "replace").decode()  # without surrogates, which UTF-7 may hold
