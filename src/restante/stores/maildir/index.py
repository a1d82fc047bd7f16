"""The index of a Maildir: the facts of all its messages, in one file, a column each.

It is a cache: whatever is wrong with it, it counts as absent and is made anew. What it
says holds while the folders it was made from keep their times (`Stamp`). Others may write to
the maildrop, and a checksum proves no good will: numbers that can't be are found out, too.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, TypeAlias

from restante.stores.maildir.columns import COMPRESSED, NUMBERS, Rows, marked
from restante.stores.maildir.compressed import MAX_DECOMPRESSED
from restante.stores.maildir.files import create, open_own
from restante.stores.maildir.packed_text import CHUNK, Names, Texts, UniqueIds

INDEX_FILE = "restante.index"

MAX_INDEX = 512 * 1024 * 1024
"""Octets, for some three million messages."""

UNTRUSTED = -1
REVIEW = -2
"""In `Stamp.new`: some file was seen to have changed in place, so look at each one."""

TICK = 2_000_000_000
"""Nanoseconds within which a folder may change twice and show the same time: the coarsest
clock of a file system in use (FAT)."""

Version: TypeAlias = tuple[int, int, int]

_MAGIC = b"restidx5" if sys.byteorder == "little" else b"5xditser"
_HEAD = struct.Struct("=8sI5q8Q")


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


class _Counts(NamedTuple):
    """How long the parts of an index are, in items; the blocks in octets."""

    rows: int
    extra: int
    dots: int
    total: int
    names: int
    unique_ids: int
    scan: int
    ascii_scan: int


def save(folder: str, stamp: Stamp, rows: Rows) -> None:
    """Write the index, whole or not at all. Raises OSError."""
    extra = array("Q", [n for item in rows.ascii_octets.items() for n in item])
    blocks = (rows.names.block, rows.unique_ids.block, rows.scan, rows.ascii_scan)
    columns = [getattr(rows, column) for column in NUMBERS]
    starts = [array("Q", texts.starts) for texts in (rows.names, rows.unique_ids)]
    parts = [*columns, rows.dot_ends, rows.marks, extra, rows.dots, *starts, *blocks]
    sizes = (len(rows), len(rows.ascii_octets), len(rows.dots), rows.total, *map(len, blocks))
    crc = zlib.crc32(_HEAD.pack(_MAGIC, 0, *stamp, *sizes))
    for part in parts:
        crc = zlib.crc32(part, crc)
    draft = f"{folder}/{INDEX_FILE}.new"
    with suppress(FileNotFoundError):
        os.unlink(draft)
    with os.fdopen(create(draft), "wb") as file:
        file.write(_HEAD.pack(_MAGIC, crc, *stamp, *sizes))
        file.writelines(parts)
    os.replace(draft, f"{folder}/{INDEX_FILE}")


def index_version(folder: str) -> Version | None:
    """What differs when the index has been saved again; None without one."""
    try:
        about = os.lstat(f"{folder}/{INDEX_FILE}")
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def load(folder: str) -> tuple[Stamp, Rows] | None:
    """The index as it was saved; None when there is none, or none that can be believed."""
    try:
        fd, size = open_own(f"{folder}/{INDEX_FILE}", MAX_INDEX)
        with os.fdopen(fd, "rb", buffering=0) as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or head[:8] != _MAGIC:
                return None
            _, crc, new, cur, pins_time, pins_size, ids, *sizes = _HEAD.unpack(head)
            counts = _Counts(*sizes)
            lengths = _lengths(counts)
            if sum(lengths) != size - _HEAD.size:
                return None
            parts = [file.read(length) for length in lengths]
    except (OSError, MemoryError):
        return None
    stamp = Stamp(new, cur, pins_time, pins_size, ids)
    found = zlib.crc32(_HEAD.pack(_MAGIC, 0, *stamp, *counts))
    for part in parts:
        found = zlib.crc32(part, found)
    if found != crc:
        return None
    rows = _rows(counts, parts)
    return (stamp, rows) if _is_possible(rows) else None


def _lengths(counts: _Counts) -> list[int]:
    """Octets of the parts: all that isn't a block, and the four blocks."""
    chunks = -(-counts.rows // CHUNK)
    numbers = 37 * counts.rows + 16 * counts.extra + 4 * counts.dots + 16 * chunks
    return [numbers, *counts[4:]]


def _rows(counts: _Counts, parts: list[bytes]) -> Rows:
    rows = Rows()
    rest = memoryview(parts[0])

    def column(code: str, count: int) -> array[int]:
        nonlocal rest
        found = array(code)
        size = count * found.itemsize
        found.frombytes(rest[:size])
        rest = rest[size:]
        return found

    count = counts.rows
    rows.sizes = column("Q", count)
    rows.mtimes = column("q", count)
    rows.octets = column("Q", count)
    rows.header_ends = column("Q", count)
    rows.dot_ends = column("I", count)
    rows.marks = bytes(rest[:count])
    rest = rest[count:]
    pairs = column("Q", 2 * counts.extra)
    rows.ascii_octets = dict(zip(pairs[::2], pairs[1::2], strict=True))
    rows.dots = column("I", counts.dots)
    chunks = -(-count // CHUNK)
    _, names, unique_ids, rows.scan, rows.ascii_scan = parts
    rows.names = Names(names, column("Q", chunks), count)
    rows.unique_ids = UniqueIds(unique_ids, column("Q", chunks), count)
    rows.total = counts.total
    return rows


_UNIQUE_ID_LINES = bytes(range(0x20, 0x7F)) + b"\r\n"
_COMPRESSED = marked(COMPRESSED)
_SCAN_LINES = b"0123456789 \r\n"
_OUTSIDE = tuple(sep.encode() for sep in (os.sep, os.altsep) if sep)


def _is_possible(rows: Rows) -> bool:
    """Whether all lies where it is said to lie, and can stand in a reply.

    What is said of a single message is looked at when it is fetched.
    """
    count, ends = len(rows), rows.dot_ends.tolist()
    names, unique_ids, ascii_scan = rows.names.block, rows.unique_ids.block, rows.ascii_scan
    try:
        names.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return (
        not any(sep in names for sep in _OUTSIDE)  # a name must not lead out of the folder
        and not unique_ids.translate(None, _UNIQUE_ID_LINES)
        and not (unique_ids.startswith(b".") or b"\n." in unique_ids)  # nor end the reply
        and not rows.scan.translate(None, _SCAN_LINES)
        and not ascii_scan.translate(None, _SCAN_LINES)
        and _starts_are_right(rows.names, b"\0")
        and _starts_are_right(rows.unique_ids, b"\n")
        and rows.scan.count(b"\n") == count
        and ascii_scan.count(b"\n") == (count if rows.ascii_octets else 0)
        and sum(rows.octets) == rows.total
        and _octets_are_possible(rows)
        and all(row < count for row in rows.ascii_octets)
        and (ends[-1] if ends else 0) == len(rows.dots)
        and ends == sorted(ends)
    )


def _octets_are_possible(rows: Rows) -> bool:
    """Whether messages can have so many octets as files of these sizes, by and large."""
    if not len(rows):
        return True
    if _COMPRESSED.search(rows.marks):
        return max(rows.octets) <= max(2 * MAX_DECOMPRESSED, 2 * max(rows.sizes)) + 2
    # All at once: each column is one long number, whose digits are the messages'. A loop over
    # 100,000 messages takes longer than all the rest.
    sizes, octets = _as_number(rows.sizes), _as_number(rows.octets)
    ones = _as_number(array("Q", [1]) * len(rows))
    if (sizes | octets) & 7 * ones << 61:
        return False  # doubled, they would carry into the next digit
    most, high = 2 * (sizes + ones), ones << 63
    # A digit keeps its highest bit where nothing larger is taken from what is below that.
    return ((octets | high) - sizes) & ((most | high) - octets) & high == high


def _as_number(digits: array[int]) -> int:
    return int.from_bytes(digits.tobytes(), sys.byteorder)


def _starts_are_right(texts: Texts, end: bytes) -> bool:
    """Whether each chunk has CHUNK texts, the last one what remains, and `end` ends each."""
    block, starts = texts.block, texts.starts
    if not len(texts):
        return not block
    if starts[0] or any(block[start - 1 : start] != end for start in islice(starts, 1, None)):
        return False
    counts = _counts(block, end, starts)
    last = len(texts) - CHUNK * (len(starts) - 1)
    return counts.pop() == last and all(count == CHUNK for count in counts)


def _counts(block: bytes, end: bytes, starts: Sequence[int]) -> list[int]:
    ends = [*islice(starts, 1, None), len(block)]
    return [block.count(end, start, stop) for start, stop in zip(starts, ends, strict=True)]
