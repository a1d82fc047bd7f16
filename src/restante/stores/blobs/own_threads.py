"""The threads of a place for blobs whose functions wait for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from restante.stores.contract import StoreError
from restante.threads import WorkerThreads

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16


class OwnThreads:
    """Runs functions on threads until it is closed. whose: who has them, for errors."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._threads = WorkerThreads("blobs", 0, THREADS)
        self._closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` on a thread. Raises StoreError after `close`."""
        if self._closed:
            raise StoreError(f"{self._whose} is closed")
        try:
            return await self._threads.run(function, *args, **kwargs)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise StoreError(f"{self._whose} was closed") from None  # before a thread was free

    def open(self) -> None:
        """Begin again after `close`."""
        self._closed = False
        self._threads.start()

    def close(self) -> None:
        """Let what runs come to its end, and run nothing more. Harmless when repeated."""
        self._closed = True
        self._threads.stop(0)
