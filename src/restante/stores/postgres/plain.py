"""A PostgreSQL database for code that isn't async: what it asks, it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import TypeVar

from restante.stores.contract import StoreError
from restante.stores.postgres.database import Database

T = TypeVar("T")


class PlainDatabase:
    """Uses a database on whichever thread calls, one at a time, in an event loop of its own.

    The thread must have no event loop that runs.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
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
