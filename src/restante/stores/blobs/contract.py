"""What a place for message bodies must offer.

A blob is written once and never changed. Its key is made by the store of maildrops, which has a
row for a key before the blob is written, and until after it is removed: so no blob is without a
row, and nobody needs to list them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import BinaryIO

from restante.stores.contract import StoreError


class BlobMissing(StoreError):
    """There is no blob of that key; with a store that is late, not yet."""


class BlobDamaged(StoreError):
    """A blob isn't what was put there, or didn't come over as it is."""


_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)


def checked_key(key: str) -> str:
    """The key, if it is one. Raises ValueError.

    A key has 1 to 200 letters of ASCII, digits and `.` `_` `-`, and begins with a letter or
    digit: so it is a file's name, and part of a URL, as it is. Its letters' case counts.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(
            f"key {key!r}: allowed are 1 to 200 letters, digits and '._-',"
            " the first a letter or digit"
        )
    return key


def checked_range(start: int, end: int | None) -> None:
    """Raises ValueError for octets that no blob can have."""
    if start < 0 or (end is not None and end < start):
        raise ValueError(f"start {start}, end {end}: allowed is 0 <= start <= end")


class Blobs(ABC):
    """A place for blobs. Its methods are async, and raise StoreError when it can't be used.

    A key is what `checked_key` lets through; the methods raise ValueError for another.
    """

    async def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """See that it can be used as it is configured: it is there, and we may write, read and
        remove. Raises StoreError, which says what is wrong and what to do about it."""

    @abstractmethod
    async def put(self, key: str, source: BinaryIO, octets: int) -> None:
        """Keep what `source` has from its beginning on, `octets` of it; durable when it returns.

        A key that is there already has the same octets: it is left as it is. A put that fails,
        or is cancelled, leaves the whole blob or nothing. Raises StoreError; ValueError when
        `source` has fewer octets. `source` may be read on another thread.
        """

    @abstractmethod
    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The octets from `start` up to `end`, in blocks; bounded memory, whatever the size.

        Who stops before the end calls `aclose` (or uses `contextlib.aclosing`).

        There are none beyond the blob's end. Raises BlobMissing before the first block when
        there is no blob; ValueError unless 0 <= start <= end.
        """

    @abstractmethod
    async def remove(self, key: str) -> None:
        """Remove the blob. One that isn't there is no error."""

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        """Close what is open. Harmless when repeated."""
