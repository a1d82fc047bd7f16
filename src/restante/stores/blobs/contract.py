"""What a place for message bodies must offer.

A blob is written once and never changed. Its key is made by the store of maildrops, which has a
row for a key before the blob is written, and until after it is removed: so no blob is without a
row, and nobody needs to list them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import BinaryIO

from restante.stores.contract import StoreError


class BlobMissing(StoreError):
    """There is no blob of that key; with a store that is late, not yet."""


class Blobs(ABC):
    """A place for blobs. Its methods are async, and raise StoreError when it can't be used."""

    async def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """See that it can be used as it is configured: it is there, and we may write, read and
        remove. Raises StoreError, which says what is wrong and what to do about it."""

    @abstractmethod
    async def put(self, key: str, source: BinaryIO, octets: int) -> None:
        """Keep what `source` has from its beginning on, `octets` of it; durable when it returns.

        A key that is there already has the same octets: it is left as it is.
        """

    @abstractmethod
    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The octets from `start` up to `end`, in blocks; bounded memory, whatever the size.

        Raises BlobMissing before the first block when there is none.
        """

    @abstractmethod
    async def remove(self, key: str) -> None:
        """Remove the blob. One that isn't there is no error."""

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        """Close what is open. Harmless when repeated."""
