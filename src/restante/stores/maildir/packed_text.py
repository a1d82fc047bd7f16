"""Many texts in one block of bytes: a column of names or of unique-ids.

A maildrop of 100,000 messages is two hundred thousand texts. Kept as one block each way
they are read from a file at once, written at once, sent at once, and cost their octets;
the few that are asked for are cut out when they are.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, overload

from restante.stores.maildir.file_names import base_name

CHUNK = 64
"""Texts that are cut out together: where each 64th begins is kept."""


class Packed(NamedTuple):
    """Texts in their form: blocks, to be joined, and where each chunk begins."""

    blocks: list[bytes | bytearray]
    starts: array[int]


class Texts(Sequence[str]):
    """Texts, in order. Never altered.

    block: all of them, in the form that a subclass gives them.
    starts: where each chunk begins in the block.
    """

    __slots__ = ("_count", "_last", "block", "starts")

    def __init__(self, block: bytes, starts: Sequence[int], count: int) -> None:
        self.block = block
        self.starts = starts
        self._count = count
        self._last: tuple[int, list[str]] = (0, [])  # cut out last, and where it begins

    @staticmethod
    def pack(texts: Sequence[str], first: int) -> bytes:
        """The form of some texts of which the first is the one at `first`."""
        raise NotImplementedError

    @staticmethod
    def cut(block: bytes) -> list[str]:
        """The texts in a piece of the block."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if type(at) is int:  # of a RETR, most often, and near the one before
            first, texts = self._last
            if 0 <= at - first < len(texts):
                return texts[at - first]
        elif isinstance(at, slice):
            return self._slice(*at.indices(self._count))
        if at < 0:
            at += self._count
        if not 0 <= at < self._count:
            raise IndexError(at)
        chunk, place = divmod(at, CHUNK)
        texts = self._cut(chunk, chunk + 1)
        self._last = (chunk * CHUNK, texts)
        return texts[place]

    def _slice(self, start: int, stop: int, step: int) -> list[str]:
        if step != 1:
            return [self[n] for n in range(start, stop, step)]
        first = start // CHUNK
        texts = self._cut(first, -(-stop // CHUNK))
        return texts[start - first * CHUNK : stop - first * CHUNK]

    def __iter__(self) -> Iterator[str]:
        for chunk in range(0, len(self.starts), CHUNK):
            yield from self._cut(chunk, chunk + CHUNK)

    def all(self) -> list[str]:
        """All of them, quicker than `list`."""
        return self.cut(self.block)

    def _cut(self, first: int, end: int) -> list[str]:
        if first >= len(self.starts):
            return []
        stop = self.starts[end] if end < len(self.starts) else len(self.block)
        return self.cut(self.block[self.starts[first] : stop])

    @classmethod
    def packed(cls, texts: Sequence[str], first: int) -> Packed:
        """The form of `texts`, of which the first is the one at `first`."""
        block, starts = bytearray(), array("Q")
        for at in range(0, len(texts), CHUNK):
            starts.append(len(block))
            block += cls.pack(texts[at : at + CHUNK], first + at)
        return Packed([block], starts)

    def with_tail(self, keep: int, tail: Packed) -> tuple[bytes, array[int]]:
        """Block and starts of the first `keep` of these, a multiple of CHUNK, and of `tail`."""
        chunks = keep // CHUNK
        size = self.starts[chunks] if chunks < len(self.starts) else len(self.block)
        starts = array("Q", self.starts[:chunks])
        starts.extend(size + start for start in tail.starts)
        whole = size == len(self.block)
        return b"".join([self.block if whole else self.block[:size], *tail.blocks]), starts


class Names(Texts):
    """Names of files, a NUL after each."""

    __slots__ = ()

    @staticmethod
    def pack(texts: Sequence[str], first: int) -> bytes:
        return ("\0".join(texts) + "\0").encode("utf-8", "surrogatepass")

    @staticmethod
    def cut(block: bytes) -> list[str]:
        return block.decode("utf-8", "surrogatepass").split("\0")[:-1]

    def with_base(self, base: str) -> list[str]:
        """The names with this base name: searched for without cutting out all."""
        if not base:
            return [name for name in self.all() if not base_name(name)]
        block, wanted = self.block, base.encode("utf-8", "surrogatepass")
        found = []
        at = block.find(wanted)
        while at >= 0:
            end = block.find(b"\0", at)
            if at == 0 or block[at - 1] == 0:
                name = block[at:end].decode("utf-8", "surrogatepass")
                found += [name] if base_name(name) == base else []
            at = block.find(wanted, at + 1)
        return found


class NewNames:
    """Names in the making. They are packed on the way, in one block: as texts they take twice
    the room, and in many blocks leave holes behind."""

    def __init__(self) -> None:
        self._block = bytearray()
        self._starts = array("Q")
        self._last: list[str] = []

    def __len__(self) -> int:
        return len(self._starts) * CHUNK + len(self._last)

    def __iter__(self) -> Iterator[str]:
        for start, end in pairwise([*self._starts, len(self._block)]):
            yield from Names.cut(bytes(self._block[start:end]))
        yield from self._last

    def append(self, name: str) -> None:
        """Add one."""
        self._last.append(name)
        if len(self._last) == CHUNK:
            self._starts.append(len(self._block))
            self._block += Names.pack(self._last, 0)
            self._last = []

    def extend(self, names: Iterable[str]) -> None:
        """Add some."""
        for name in names:
            self.append(name)

    def packed(self) -> Packed:
        """All of them. What is added later may be added to this, too."""
        if not self._last:
            return Packed([self._block], self._starts)
        last = Names.pack(self._last, 0)
        return Packed([self._block, last], array("Q", [*self._starts, len(self._block)]))


class UniqueIds(Texts):
    """Unique-ids, as the lines of a UIDL reply (RFC 1939 §7)."""

    __slots__ = ()

    @staticmethod
    def pack(texts: Sequence[str], first: int) -> bytes:
        lines = [f"{number} {text}" for number, text in enumerate(texts, first + 1)]
        return ("\r\n".join(lines) + "\r\n").encode("ascii")

    def has(self, unique_id: str, among: int) -> bool:
        """Whether one of the first `among` is this, a multiple of CHUNK."""
        chunk = among // CHUNK
        end = self.starts[chunk] if chunk < len(self.starts) else len(self.block)
        return self.block.find(f" {unique_id}\r\n".encode("ascii"), 0, end) >= 0

    @staticmethod
    def cut(block: bytes) -> list[str]:
        return [line.partition(" ")[2] for line in block.decode("ascii").split("\r\n")[:-1]]


def scan_lines(octets: Iterable[int], first: int) -> bytes:
    """Scan listings (RFC 1939 §5 LIST), of which the first is that of the row `first`."""
    return "".join([f"{n} {size}\r\n" for n, size in enumerate(octets, first + 1)]).encode("ascii")


def scan_head(block: bytes, rows: int) -> bytes:
    """The scan listings of the first `rows` messages."""
    if rows == 0:
        return b""
    at = block.rfind(b"\r\n%d " % (rows + 1))  # most often near the end
    return block if at < 0 else block[: at + 2]
