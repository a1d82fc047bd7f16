"""Bodies that lie in PostgreSQL beside the messages: for small sites."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from io import SEEK_END
from typing import BinaryIO

from restante.accounts.connections import Connection
from restante.stores.blobs.contract import BlobMissing, Blobs, checked_range
from restante.stores.drafts import BLOCK
from restante.stores.postgres import statements
from restante.stores.postgres.database import Database

IDLE_SECONDS = 60
"""A node that is cut off while it puts a large body keeps it locked for no longer."""


_KEY = re.compile(r"[0-9a-f]{64}-([0-9]{1,18})(?:\.[a-z0-9]{1,20})?", re.ASCII)


def key_of(body: int, digest: bytes, encoding: str) -> str:
    """The key of a body's blob. It is never used again, as the row's number isn't."""
    return f"{digest.hex()}-{body}" + ("" if encoding == "identity" else f".{encoding}")


def body_of(key: str) -> int:
    """The number of the body's row. Raises ValueError for what isn't of `key_of`."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise ValueError(f"key {key!r}: allowed is DIGEST-NUMBER[.ENCODING]")
    return int(found[1])


class PostgresBlobs(Blobs):
    """Blobs in blocks of 256 KiB, in the database that has the rows of the bodies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, key: str, source: BinaryIO, octets: int) -> None:
        """Keep a body, all of it or nothing. Raises StoreError."""
        body = body_of(key)
        source.seek(0, SEEK_END)
        if source.tell() < octets:
            raise ValueError(f"a body ends {octets - source.tell()} octets too early")
        source.seek(0)
        first = source.read(min(octets, BLOCK))
        if octets <= BLOCK:
            await self._database.rows(statements.PUT_BLOCK, body, 0, first)
            return
        text = self._database.text(statements.PUT_BLOCK)

        async def put(connection: Connection) -> None:
            source.seek(BLOCK)
            await connection.execute(
                f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
            )
            # If the first one is there, somebody else has put all of them.
            if await connection.fetch(text, body, 0, first):
                for at in range(BLOCK, octets, BLOCK):
                    block = source.read(min(octets - at, BLOCK))
                    await connection.fetch(text, body, at // BLOCK, block)
            await connection.execute("COMMIT")

        await self._database.use(put)

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The octets of a part. No connection is held between two blocks."""
        checked_range(start, end)
        return self._read(body_of(key), start, end)

    async def _read(self, body: int, start: int, end: int | None) -> AsyncGenerator[bytes, None]:
        at = start
        while end is None or at < end:
            number, offset = divmod(at, BLOCK)
            count = BLOCK - offset if end is None else min(BLOCK - offset, end - at)
            row = await self._database.row(statements.READ_BLOCK, body, number, offset, count)
            if row is None and number == 0:
                raise BlobMissing(f"PostgreSQL: body {body} is missing")
            octets: bytes = b"" if row is None else row["octets"]
            if octets:
                yield octets
            at += len(octets)
            if len(octets) < count:
                break
        # The first block is there whenever the body is, and may not have been asked for.
        unseen = at == start and (start >= BLOCK or start == end)
        if unseen and not await self._database.rows(statements.READ_BLOCK, body, 0, 0, 0):
            raise BlobMissing(f"PostgreSQL: body {body} is missing")

    async def remove(self, key: str) -> None:
        """Remove a body's blocks. Raises StoreError."""
        await self._database.rows(statements.REMOVE_BLOCKS, body_of(key))
