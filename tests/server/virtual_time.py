"""An event loop whose time passes only when there is nothing to do: an hour takes a second."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type, unused-ignore]
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """What is ready now; else the next timer's time has come, as nothing comes from outside."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(30)  # a thread's work, which takes no time
        self.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its time is its own. All that it waits for must come from itself, sockets included."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._virtual.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for its threads as long as they take: their time isn't this loop's."""
        await super().shutdown_default_executor()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end, by virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(work)
