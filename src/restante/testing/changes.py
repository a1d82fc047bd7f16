"""Waiting for something to change, from a thread or from a coroutine, without asking in a loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Condition
from time import monotonic
from typing import Any


class Changes:
    """Wakes those who wait whenever something has changed. From any thread."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._count = 0
        self._wakers: set[Callable[[], object]] = set()

    def tell(self) -> None:
        """Something has changed."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()
            for wake in self._wakers:
                with suppress(RuntimeError):  # that event loop has ended
                    wake()

    def wait(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait until `condition()` is true, for `seconds` at most. Whether it is.

        The condition is asked on this thread, at first and after each change.
        """
        deadline = monotonic() + seconds
        while True:
            seen = self._count
            if condition():
                return True
            with self._condition:
                left = deadline - monotonic()
                if not self._condition.wait_for(lambda: self._count != seen, max(0.0, left)):  # noqa: B023
                    break
        return bool(condition())

    async def wait_async(self, condition: Callable[[], object], seconds: float) -> bool:
        """The same for a coroutine of asyncio or trio: its event loop goes on meanwhile."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if (trio := sys.modules.get("trio")) is None:
                raise
            return await self._wait_in_trio(trio, condition, seconds)
        changed = asyncio.Event()
        with suppress(TimeoutError), self._waking(partial(loop.call_soon_threadsafe, changed.set)):
            async with asyncio.timeout(seconds):
                while not condition():
                    await changed.wait()
                    changed.clear()
        return bool(condition())

    async def _wait_in_trio(
        self, trio: Any, condition: Callable[[], object], seconds: float
    ) -> bool:
        changed = trio.Event()

        def ring() -> None:
            nonlocal changed
            changed.set()
            changed = trio.Event()

        wake = partial(trio.lowlevel.current_trio_token().run_sync_soon, ring)
        with self._waking(wake), trio.move_on_after(seconds):
            while not condition():
                await changed.wait()
        return bool(condition())

    @contextmanager
    def _waking(self, wake: Callable[[], object]) -> Iterator[None]:
        with self._condition:
            self._wakers.add(wake)
        try:
            yield
        finally:
            with self._condition:
                self._wakers.discard(wake)
