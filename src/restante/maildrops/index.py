"""The index of a Maildir: the facts of all its messages, in one file, a column each.

It is a cache: whatever is wrong with it, it counts as absent and is made anew. What it
says holds while the folders it was made from keep their times (`Stamp`).
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from restante.maildrops.files import open_regular, read_exactly
from restante.protocol.facts import Facts
from restante.protocol.listing import Listing

INDEX_FILE = "restante.index"

IN_CUR, CRLF, DOTS, TWICE = 1, 2, 4, 8
"""Marks of a message: it lies in cur/, not new/; `Facts.crlf`; `Facts.needs_stuffing`; the
same file was seen under a second name too."""

UNTRUSTED = -1
REVIEW = -2
"""In `Stamp.new`: some file was seen to have changed in place, so look at each one."""

TICK = 2_000_000_000
"""Nanoseconds within which a folder may change twice and show the same time: the coarsest
clock of a file system in use (FAT)."""

MAX_DOTS = 1_000_000
"""Dots' places of a whole maildrop that are kept: 4 MB."""

_MAGIC = b"restidx2" if sys.byteorder == "little" else b"2xditser"
_HEAD = struct.Struct("=8sI5q5Q")
_NUMBERS = ("sizes", "mtimes", "octets", "header_ends", "dot_ends")


class Stamp(NamedTuple):
    """What an index was made from. Two equal ones mean that nothing has changed.

    new, cur: the folders' modification times in ns; UNTRUSTED when the folder could have
        changed again within the same tick of the clock.
    pins_time, pins_size: of the file of pinned unique-ids; 0 without one.
    ids: where unique-ids come from.
    """

    new: int
    cur: int
    pins_time: int
    pins_size: int
    ids: int


class Rows:
    """Messages in message-number order. Some 250 octets of memory each.

    names: the files' names, flags included; marks: see above; sizes: octets as stored;
    mtimes: the files' modification times in ns; dots: the dots' places, of one message
    after the other; dot_ends: where each one's end there; the rest as in `Facts` and
    `Listing`.
    """

    __slots__ = (
        "ascii_octets",
        "dot_ends",
        "dots",
        "header_ends",
        "marks",
        "mtimes",
        "names",
        "octets",
        "sizes",
        "unique_ids",
    )

    def __init__(self) -> None:
        self.names: list[str] = []
        self.unique_ids: list[str] = []
        self.marks = bytearray()
        self.sizes = array("Q")
        self.mtimes = array("q")
        self.octets = array("Q")
        self.header_ends = array("Q")
        self.dots = array("I")
        self.dot_ends = array("Q")
        self.ascii_octets: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, marks: int, size: int, mtime: int, facts: Facts) -> None:
        """Append a message; its unique-id is appended apart."""
        if facts.internationalised:
            self.ascii_octets[len(self.names)] = facts.ascii_octets
        self.names.append(name)
        self.marks.append(marks | CRLF * facts.crlf | DOTS * facts.needs_stuffing)
        self.sizes.append(size)
        self.mtimes.append(mtime)
        self.octets.append(facts.octets)
        self.header_ends.append(facts.header_end)
        self._add_dots(facts.dots)

    def copy(self, other: Rows, row: int, name: str, marks: int) -> None:
        """Append message `row` of `other`, whose file may have a new name or place."""
        if row in other.ascii_octets:
            self.ascii_octets[len(self.names)] = other.ascii_octets[row]
        self.names.append(name)
        self.unique_ids.append(other.unique_ids[row])
        self.marks.append(marks | other.marks[row] & (CRLF | DOTS))
        self.sizes.append(other.sizes[row])
        self.mtimes.append(other.mtimes[row])
        self.octets.append(other.octets[row])
        self.header_ends.append(other.header_ends[row])
        self._add_dots(other._dots_of(row))

    def _add_dots(self, dots: array[int] | None) -> None:
        if dots is not None and len(self.dots) + len(dots) <= MAX_DOTS:
            self.dots.extend(dots)
        self.dot_ends.append(len(self.dots))

    def _dots_of(self, row: int) -> array[int] | None:
        start = self.dot_ends[row - 1] if row else 0
        return self.dots[start : self.dot_ends[row]] or None

    def facts(self, row: int) -> Facts:
        """The facts of message `row`, counted from 0."""
        marks, octets = self.marks[row], self.octets[row]
        ascii_octets = self.ascii_octets.get(row, octets)
        header_end = self.header_ends[row]
        crlf, stuffing = bool(marks & CRLF), bool(marks & DOTS)
        dots = self._dots_of(row) if stuffing else None
        return Facts._make((octets, header_end, crlf, stuffing, ascii_octets, dots))

    def listing(self) -> Listing:
        """The listing of these messages."""
        ascii_octets = {row + 1: size for row, size in self.ascii_octets.items()}
        return Listing(self.unique_ids, self.octets, ascii_octets)


def save(folder: Path, stamp: Stamp, rows: Rows) -> None:
    """Write the index, whole or not at all. Raises OSError."""
    names = "\0".join(rows.names).encode("utf-8", "surrogatepass")
    unique_ids = " ".join(rows.unique_ids).encode("ascii")
    extra = array("Q", [n for item in rows.ascii_octets.items() for n in item])
    parts: list[bytes] = [getattr(rows, column).tobytes() for column in _NUMBERS]
    parts += [bytes(rows.marks), extra.tobytes(), rows.dots.tobytes(), names, unique_ids]
    counts = (len(rows), len(rows.ascii_octets), len(rows.dots), len(names), len(unique_ids))
    crc = zlib.crc32(_HEAD.pack(_MAGIC, 0, *stamp, *counts))
    for part in parts:
        crc = zlib.crc32(part, crc)
    # One name for all writers: only the lease's holder writes, and a dead one's is reused.
    draft = folder / (INDEX_FILE + ".new")
    with suppress(FileNotFoundError):
        draft.unlink()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(_HEAD.pack(_MAGIC, crc, *stamp, *counts))
        file.writelines(parts)
    draft.replace(folder / INDEX_FILE)


def load(folder: Path) -> tuple[Stamp, Rows] | None:
    """The index as it was saved; None when there is none, or none that can be believed."""
    try:
        fd, about = open_regular(folder / INDEX_FILE)
        with os.fdopen(fd, "rb") as file:
            data = read_exactly(file, about.st_size)
    except OSError:
        return None
    if data is None or len(data) < _HEAD.size or data[:8] != _MAGIC:
        return None
    _, crc, new, cur, pins_time, pins_size, ids, *counts = _HEAD.unpack_from(data)
    stamp = Stamp(new, cur, pins_time, pins_size, ids)
    body = memoryview(data)[_HEAD.size :]
    if zlib.crc32(body, zlib.crc32(_HEAD.pack(_MAGIC, 0, *stamp, *counts))) != crc:
        return None
    rows = _unpack(body, counts)
    return None if rows is None else (stamp, rows)


def _unpack(body: memoryview, counts: Sequence[int]) -> Rows | None:
    count, extra, dots, names, ids = counts
    if len(body) != 41 * count + 16 * extra + 4 * dots + names + ids:
        return None
    rows = Rows()
    for column in _NUMBERS:
        getattr(rows, column).frombytes(body[: 8 * count])
        body = body[8 * count :]
    rows.marks = bytearray(body[:count])
    pairs = array("Q")
    pairs.frombytes(body[count : count + 16 * extra])
    rows.ascii_octets = dict(zip(pairs[::2], pairs[1::2], strict=True))
    body = body[count + 16 * extra :]
    rows.dots.frombytes(body[: 4 * dots])
    body = body[4 * dots :]
    if count:
        rows.names = str(body[:names], "utf-8", "surrogatepass").split("\0")
        rows.unique_ids = str(body[names:], "ascii").split(" ")
    # A checksum proves no good will: a name must not lead out of the folder.
    outside = any(sep.encode() in bytes(body[:names]) for sep in (os.sep, os.altsep) if sep)
    if outside or not len(rows.names) == len(rows.unique_ids) == count:
        return None
    return rows
