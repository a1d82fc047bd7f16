"""What is known of a maildrop's messages: a column for each kind of fact."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping

from restante.protocol.facts import INTERNATIONALIZED, Facts
from restante.protocol.listing import Listing
from restante.stores.maildir.measured import Measured
from restante.stores.maildir.packed_text import (
    CHUNK,
    Names,
    NewNames,
    UniqueIds,
    scan_head,
    scan_lines,
)

IN_CUR, CRLF, DOTS, UTF8, TWICE, COMPRESSED = 1, 2, 4, 8, 32, 64
"""Marks of a message: it lies in cur/, not new/; `Facts.crlf`; `Facts.needs_stuffing`;
`Facts.utf8`, two bits; the same file was seen under a second name too; `Measured.compressed`."""


def marked(mark: int) -> re.Pattern[bytes]:
    """Finds messages with a mark in `Rows.marks`."""
    return re.compile(b"[" + re.escape(bytes(n for n in range(256) if n & mark)) + b"]")


MAX_DOTS = 1_000_000
"""Dots' places of a whole maildrop that are kept: 4 MB."""

NUMBERS = ("sizes", "mtimes", "octets", "header_ends")
"""Columns of eight octets for each message."""

_make_facts = tuple.__new__  # half the time of Facts(), at every RETR


class Rows:
    """Messages in message-number order. Some 170 octets of memory each. Never altered.

    names: the files' names, flags included; unique_ids; marks: see above; sizes: octets as
    stored; mtimes: the files' modification times in ns; dots: the dots' places, of one
    message after the other; dot_ends: where each one's end there; total: the sum of
    octets; scan: the scan listings; ascii_scan: those for clients without UTF8; the rest
    as in `Facts` and `Listing`.
    """

    __slots__ = (
        "ascii_octets",
        "ascii_scan",
        "dot_ends",
        "dots",
        "header_ends",
        "marks",
        "mtimes",
        "names",
        "octets",
        "scan",
        "sizes",
        "total",
        "unique_ids",
    )

    names: Names
    unique_ids: UniqueIds
    marks: bytes
    sizes: array[int]
    mtimes: array[int]
    octets: array[int]
    header_ends: array[int]
    dot_ends: array[int]
    dots: array[int]
    ascii_octets: Mapping[int, int]
    total: int
    scan: bytes
    ascii_scan: bytes

    def __len__(self) -> int:
        return len(self.marks)

    def facts(self, row: int) -> Facts:
        """The facts of message `row`, counted from 0."""
        marks, octets = self.marks[row], self.octets[row]
        crlf, dots, ascii_octets = marks & CRLF != 0, None, octets
        if stuffing := marks & DOTS != 0:
            ends = self.dot_ends
            dots = self.dots[ends[row - 1] if row else 0 : ends[row]] or None
        if utf8 := marks // UTF8 & 3:
            ascii_octets = self.ascii_octets.get(row, octets)
        header_end = self.header_ends[row]
        return _make_facts(Facts, (octets, header_end, crlf, stuffing, ascii_octets, dots, utf8))

    def measured(self, row: int) -> Measured:
        """What was found out about the file of message `row`."""
        compressed = self.marks[row] & COMPRESSED != 0
        return Measured(self.sizes[row], self.mtimes[row], self.facts(row), compressed)

    def listing(self) -> Listing:
        """The listing of these messages, its blocks ready."""
        ascii_octets = {row + 1: size for row, size in self.ascii_octets.items()}
        blocks = {"scan8": self.scan, "uidl": self.unique_ids.block}
        if ascii_octets:
            blocks["scan"] = self.ascii_scan
        return Listing(
            self.unique_ids, self.octets, ascii_octets, [row + 1 for row in self.internationalized],
            total=self.total, blocks=blocks,
        )  # fmt: skip

    @property
    def internationalized(self) -> list[int]:
        """The messages that are internationalized, counted from 0."""
        return [
            row for row in self.ascii_octets if self.marks[row] // UTF8 & 3 == INTERNATIONALIZED
        ]


class Draft:
    """Rows in the making: the first `keep` of other rows, and those that are added.

    keep: is rounded down, so that a chunk of texts isn't cut.
    namesakes: of those that are added, counted from 0, the ones whose base names other
        messages have or had, too.
    """

    def __init__(self, old: Rows | None = None, keep: int = 0) -> None:
        self.keep = keep - keep % CHUNK
        self._old = old if old is not None and self.keep else EMPTY
        self.names = NewNames()
        self.unique_ids: list[str] = []
        self.namesakes: set[int] = set()
        self.marks = bytearray()
        self.sizes = array("Q")
        self.mtimes = array("q")
        self.octets = array("Q")
        self.header_ends = array("Q")
        self.dot_ends = self._old.dot_ends[: self.keep]
        self.dots = self._old.dots[: self.dot_ends[-1]] if self.keep else array("I")
        self.ascii_octets = {n: size for n, size in self._old.ascii_octets.items() if n < self.keep}

    def __len__(self) -> int:
        return self.keep + len(self.names)

    def add(self, name: str, marks: int, found: Measured, unique_id: str) -> None:
        """Append a message. marks: IN_CUR and TWICE. unique_id: empty if it isn't known yet."""
        size, mtime, facts, compressed = found
        octets, header_end, crlf, stuffing, ascii_octets, dots, utf8 = facts
        self.unique_ids.append(unique_id)
        if utf8:
            self.ascii_octets[len(self)] = ascii_octets
        self.names.append(name)
        of_facts = CRLF * crlf | DOTS * stuffing | UTF8 * utf8
        self.marks.append(marks | of_facts | COMPRESSED * compressed)
        self.sizes.append(size)
        self.mtimes.append(mtime)
        self.octets.append(octets)
        self.header_ends.append(header_end)
        if dots is not None and len(self.dots) + len(dots) <= MAX_DOTS:
            self.dots.extend(dots)
        self.dot_ends.append(len(self.dots))

    def copy(self, other: Rows, row: int, name: str, marks: int) -> None:
        """Append message `row` of `other`, whose file may have a new name or place."""
        self.add(name, marks, other.measured(row), other.unique_ids[row])

    def copy_run(self, other: Rows, start: int, end: int) -> None:
        """Append messages `start` to `end` of `other` as they are."""
        if start == end:
            return
        shift = len(self) - start
        if other.ascii_octets:
            found = [(n, size) for n, size in other.ascii_octets.items() if start <= n < end]
            self.ascii_octets.update((n + shift, size) for n, size in found)
        self.names.extend(other.names[start:end])
        self.unique_ids += other.unique_ids[start:end]
        self.marks += other.marks[start:end]
        for column in NUMBERS:
            getattr(self, column).extend(getattr(other, column)[start:end])
        self._copy_dots(other, start, end)

    def _copy_dots(self, other: Rows, start: int, end: int) -> None:
        first = other.dot_ends[start - 1] if start else 0
        last = other.dot_ends[end - 1] if end else 0
        base = len(self.dots)
        if base + last - first > MAX_DOTS:
            self.dot_ends.extend([base] * (end - start))
            return
        self.dots.extend(other.dots[first:last])
        shift = base - first
        ends = other.dot_ends[start:end]
        self.dot_ends.extend([at + shift for at in ends] if shift else ends)

    def rows(self) -> Rows:
        """The rows; the draft is used up."""
        return self.so_far(used_up=True)

    def so_far(self, *, used_up: bool = False) -> Rows:
        """The rows that there are by now, not to be kept: they share what is in the making."""
        old, keep = self._old, self.keep
        rows = Rows()
        count = keep + len(self.marks)
        block, starts = old.names.with_tail(keep, self.names.packed())
        rows.names = Names(block, starts, count)
        tail = UniqueIds.packed(self.unique_ids, keep)
        if used_up:  # as texts they take more room
            self.names, self.unique_ids = NewNames(), []
        block, starts = old.unique_ids.with_tail(keep, tail)
        rows.unique_ids = UniqueIds(block, starts, count)
        rows.scan = scan_head(old.scan, keep) + scan_lines(self.octets, keep)
        rows.total = old.total - sum(old.octets[keep:]) + sum(self.octets)
        rows.marks = old.marks[:keep] + self.marks
        for column in NUMBERS:
            setattr(rows, column, getattr(old, column)[:keep] + getattr(self, column))
        rows.dots, rows.dot_ends = self.dots, self.dot_ends
        rows.ascii_octets = self.ascii_octets
        rows.ascii_scan = b""
        if rows.ascii_octets:
            sizes = array("Q", rows.octets)
            for row in rows.internationalized:
                sizes[row] = rows.ascii_octets[row]
            rows.ascii_scan = scan_lines(sizes, 0)
        return rows


def _no_rows() -> Rows:
    rows = Rows()
    rows.names = Names(b"", (), 0)
    rows.unique_ids = UniqueIds(b"", (), 0)
    rows.marks = rows.scan = rows.ascii_scan = b""
    rows.sizes = rows.octets = rows.header_ends = array("Q")
    rows.mtimes = array("q")
    rows.dots = rows.dot_ends = array("I")
    rows.ascii_octets = {}
    rows.total = 0
    return rows


EMPTY = _no_rows()
