"""A PostgreSQL database for code that isn't async: what it asks, it waits for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import TypeVar

from restante.stores.contract import StoreError
from restante.stores.postgres.database import Database
from restante.stores.postgres.schema import check

T = TypeVar("T")


class PlainDatabase:
    """Uses a database on whichever thread calls, one at a time, in an event loop of its own.

    dsn, password, schema, timeout, tls: as of `PostgresStore`. It has one connection of its own.

    The thread must have no event loop that runs. Raises ValueError for an argument that can't be,
    StoreError when asyncpg isn't installed.
    """

    def __init__(
        self,
        dsn: str,
        *,
        password: str | None,
        schema: str,
        timeout: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.database = Database(
            dsn,
            password=password,
            schema=schema,
            max_connections=1,
            timeout=timeout,
            tls=tls,
            check=check,
        )
        self._lock = Lock()
        self._runner: asyncio.Runner | None = None

    def run(self, work: Callable[[Database], Awaitable[T]]) -> T:
        """What `work` gives for the database. Raises what it does."""
        with self._lock:
            if self._runner is None:
                # A loop that is given isn't made the thread's own: another may call next.
                self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
            try:
                return self._runner.run(_awaited(work(self.database)))
            except StoreError:
                self._close()  # a statement that wasn't answered is ended so
                raise

    def close(self) -> None:
        """Close the connections. The next use opens others."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            with runner:
                runner.run(self.database.aclose())


async def _awaited(work: Awaitable[T]) -> T:
    return await work
