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
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from restante.stores.maildir.columns import NUMBERS, Rows
from restante.stores.maildir.files import open_regular
from restante.stores.maildir.packed_text import CHUNK, Names, UniqueIds

INDEX_FILE = "restante.index"

UNTRUSTED = -1
REVIEW = -2
"""In `Stamp.new`: some file was seen to have changed in place, so look at each one."""

TICK = 2_000_000_000
"""Nanoseconds within which a folder may change twice and show the same time: the coarsest
clock of a file system in use (FAT)."""

Version: TypeAlias = tuple[int, int, int]

_MAGIC = b"restidx4" if sys.byteorder == "little" else b"4xditser"
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


def save(folder: Path, stamp: Stamp, rows: Rows) -> None:
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
    # One name for all writers: only the lease's holder writes, and a dead one's is reused.
    draft = folder / (INDEX_FILE + ".new")
    with suppress(FileNotFoundError):
        draft.unlink()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(_HEAD.pack(_MAGIC, crc, *stamp, *sizes))
        file.writelines(parts)
    draft.replace(folder / INDEX_FILE)


def index_version(folder: Path) -> Version | None:
    """What differs when the index has been saved again; None without one."""
    try:
        about = os.lstat(f"{folder}/{INDEX_FILE}")
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def load(folder: Path) -> tuple[Stamp, Rows] | None:
    """The index as it was saved; None when there is none, or none that can be believed."""
    try:
        fd, about = open_regular(folder / INDEX_FILE)
        with os.fdopen(fd, "rb", buffering=0) as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or head[:8] != _MAGIC:
                return None
            _, crc, new, cur, pins_time, pins_size, ids, *sizes = _HEAD.unpack(head)
            counts = _Counts(*sizes)
            lengths = _lengths(counts)
            if sum(lengths) != about.st_size - _HEAD.size:
                return None
            parts = [file.read(length) for length in lengths]
    except (OSError, MemoryError):
        return None
    stamp = Stamp(new, cur, pins_time, pins_size, ids)
    found = zlib.crc32(_HEAD.pack(_MAGIC, 0, *stamp, *counts))
    for part in parts:
        found = zlib.crc32(part, found)
    # A checksum proves no good will: a name must not lead out of the folder.
    outside = any(sep.encode() in parts[-4] for sep in (os.sep, os.altsep) if sep)
    return None if found != crc or outside else (stamp, _rows(counts, parts))


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
