"""Where a history is kept: one contract for all places, and what their tables have in common.

The statements of the history are written once, for any database. What databases say in different
words stands in braces there, and a `Dialect` puts in its own words.
"""

from __future__ import annotations

import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

MAX_REFUSALS = 20_000
"""Rows of refused logins and of refused mail that are kept, each: whoever knocks at the door all
day long must not push out what is known of sessions."""

REBASE = 64
"""Listings of one maildrop after which its unique-ids are written whole again."""

DAY = 86_400.0
PRUNE_SECONDS = 600.0
"""How often what is too old is removed."""

Table: TypeAlias = Literal["sessions", "listings", "deliveries", "refusals"]
TABLES: tuple[Table, ...] = ("sessions", "listings", "deliveries", "refusals")
"""Those whose rows are numbered."""

SESSION_COLUMNS = {
    "number": "BIGINT", "session": "TEXT", "account": "TEXT", "maildrop": "TEXT",
    "address": "TEXT", "tls": "SMALLINT", "mechanism": "TEXT", "greeting": "TEXT",
    "since": "DOUBLE PRECISION", "until": "DOUBLE PRECISION", "times": "BIGINT", "ended": "TEXT",
    "commands": "TEXT", "retrieved": "BIGINT", "deleted": "BIGINT", "octets": "BIGINT",
    "messages": "BIGINT", "listing": "BIGINT", "sent": "TEXT", "removed": "TEXT",
    "removed_at": "DOUBLE PRECISION",
}  # fmt: skip
"""Of a row of `sessions`, with the types by which they are given."""


class HistoryError(Exception):
    """The history can't be read or written; the text says why."""


class Malformed(ValueError):
    """A row holds what no row can."""


class Bounds(NamedTuple):
    """What is oldest is removed beyond these. max_octets: of all. days: how long anything stays."""

    max_octets: int
    days: float


class Dialect:
    """How a database says what others say in other words.

    table: a table's name, with `{}` where ours goes. position: the function that gives the place
    of a text within another one, 0 if it isn't there. among: how a column is compared with a list
    of values. given: makes a subquery of columns and types, which gives the rows of a JSON text.
    mark: makes the placeholder of the value with that number. node: a session's node. unicode:
    follows a text so that `lower` lowers all its letters.
    """

    def __init__(
        self,
        *,
        table: str,
        position: str,
        among: str,
        given: Callable[[Mapping[str, str]], str],
        mark: Callable[[int], str],
        node: str,
        unicode: str = "",
    ) -> None:
        self._words = {
            **{name: table.format(name) for name in (*TABLES, "counts", "state")},
            "position": position,
            "among": among,
            "node": node,
            "unicode": unicode,
            "given": _Given(given),
        }
        self._mark = mark
        self._texts: dict[str, str] = {}

    def text(self, statement: str) -> str:
        """A statement in this database's words.

        In braces: a table's name, `position`, `among`, `node`, `unicode`, and `given:` with columns
        and their types. `?` is a value. No other brace or question mark is in a statement.
        """
        text = self._texts.get(statement)
        if text is None:
            first, *further = statement.format_map(self._words).split("?")
            marked = (f"{self._mark(at)}{part}" for at, part in enumerate(further, 1))
            text = self._texts[statement] = first + "".join(marked)
        return text


class _Given:
    """`{given:number BIGINT, account TEXT}` in a statement."""

    def __init__(self, given: Callable[[Mapping[str, str]], str]) -> None:
        self._given = given

    def __format__(self, columns: str) -> str:
        found = (each.strip().partition(" ") for each in columns.split(","))
        return self._given({name: kind for name, _, kind in found})


class Tables(ABC):
    """The tables within a transaction, in which nobody else writes.

    node: under which sessions are written; "" where that isn't kept.
    """

    node = ""

    @abstractmethod
    async def rows(self, statement: str, *values: Any) -> Sequence[Sequence[Any]]:
        """The rows that a statement gives. A value may be a list, where it says `{among}`."""

    @abstractmethod
    async def run(self, statement: str, *values: Any) -> None:
        """Run a statement."""

    async def insert(
        self, table: Table, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert rows. columns: with the types by which they are given."""
        await self.run(inserting(table, columns), as_json(rows))

    @abstractmethod
    async def run_each(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each of some rows of values."""

    @abstractmethod
    async def remove(self, table: Table, where: str, *values: Any) -> None:
        """Delete rows."""

    @abstractmethod
    def number(self, table: Table) -> int:
        """A number that no row had before; each is greater than the one before."""


class HistoryPlace(ABC):
    """Where a history is kept. What goes wrong is a HistoryError."""

    dialect: Dialect

    @abstractmethod
    def rows(self, statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """The rows that a statement gives; none while there is no history. Any thread may ask."""

    @abstractmethod
    def write(self, add: Callable[[Tables], Awaitable[None]], bounds: Bounds) -> None:
        """Have `add` write, in one transaction, then keep the bounds. Called by one thread.

        `add` may be called again if it failed.
        """

    @abstractmethod
    def octets(self) -> int:
        """The size of all."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open. The next use opens it again."""


# What is written


async def count(tables: Tables, counts: Mapping[tuple[int, str], float]) -> None:
    """Add to the counts of minutes."""
    await tables.run(
        "INSERT INTO {counts} AS old (minute, name, count) SELECT minute, name, count"
        " FROM {given:minute BIGINT, name TEXT, count DOUBLE PRECISION} AS given WHERE 1 = 1"
        " ON CONFLICT (minute, name) DO UPDATE SET count = old.count + excluded.count",
        as_json([(minute, name, number) for (minute, name), number in sorted(counts.items())]),
    )


async def keep_newest(tables: Tables, table: Table, where: str = "1 = 1") -> None:
    """Remove all rows but the newest `MAX_REFUSALS`."""
    await tables.remove(
        table,
        f"{where} AND number <= (SELECT number FROM {{{table}}}"  # noqa: S608
        f" WHERE {where} ORDER BY number DESC LIMIT 1 OFFSET {MAX_REFUSALS})",
    )


def inserting(table: Table, columns: Mapping[str, str]) -> str:
    """The statement that inserts the rows of a JSON text."""
    names = ", ".join(columns)
    given = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"INSERT INTO {{{table}}} ({names}) SELECT {names} FROM {{given:{given}}} AS given"  # noqa: S608


def as_json(rows: Sequence[Sequence[Any]]) -> str:
    """Rows, for `{given:…}`. What no database takes as text is replaced."""
    text = json.dumps(rows, ensure_ascii=False)
    if "\\u0000" in text or not (text.isascii() or _is_utf8(text)):
        text = json.dumps(cleaned(rows), ensure_ascii=False)
    return text


def cleaned(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows without what no database takes as text."""
    return [[_clean(each) for each in row] for row in rows]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return value


# Listings


def packed(messages: Iterable[tuple[str, int]]) -> bytes:
    """Unique-ids with their octets, compressed."""
    return zlib.compress("\n".join(f"{octets} {each}" for each, octets in messages).encode(), 1)


def unpacked(block: bytes | None) -> list[tuple[str, int]]:
    """The same again. Raises Malformed for what can't be that."""
    if not block:
        return []
    try:
        lines = zlib.decompress(block).decode().splitlines()
        found = (line.partition(" ") for line in lines)
        return [(unique_id, int(octets)) for octets, _, unique_id in found]
    except (zlib.error, ValueError) as error:
        raise Malformed(f"a malformed listing: {error}") from error


def listed(rows: Iterable[Sequence[Any]]) -> dict[str, int]:
    """Octets by unique-id of the messages of the last of some listings.

    rows: what has come and gone, and all there is where that was written, from such a listing on.
    """
    messages: dict[str, int] = {}
    for come, gone, whole in rows:
        if whole is not None:
            messages = dict(unpacked(whole))
            continue
        for unique_id, _ in unpacked(gone):
            messages.pop(unique_id, None)
        messages.update(unpacked(come))
    return messages


# What sessions were sent, and what they removed


def sent_text(
    sent: Sequence[tuple[int, int | None]], unique_ids: Sequence[str], octets: Sequence[int]
) -> str | None:
    """A line for each message: its unique-id, its octets, and TOP's lines if it was TOP.

    sent: numbers and lines. None for no message.
    """
    if not sent:
        return None
    return "\n".join([
        f"{unique_ids[number - 1]} {octets[number - 1]}"
        if lines is None
        else f"{unique_ids[number - 1]} {octets[number - 1]} {lines}"
        for number, lines in sent
    ])  # fmt: skip


def sent_messages(text: str) -> Iterator[tuple[str, int, int | None]]:
    """The same again: unique-id, octets, TOP's lines or None.

    Raises Malformed for what can't be that.
    """
    for line in text.split("\n"):
        unique_id, *numbers = line.split(" ")
        try:
            octets, lines = int(numbers[0]), int(numbers[1]) if numbers[1:] else None
        except (ValueError, IndexError) as error:
            raise Malformed(f"a malformed line of a session: {error}") from error
        yield unique_id, octets, lines
