"""What methods of stores give, for threads without an event loop, whichever way they give it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from restante.calls import finished
from restante.server.runner import LoopThread

T = TypeVar("T")


class Waiting:
    """Waits for results. Those of async methods come from an event loop, made at the first use."""

    def __init__(self) -> None:
        self._loop: LoopThread | None = None
        self._making = threading.Lock()

    def result(self, given: Any) -> Any:
        """What a method gives in the end."""
        given = finished(given)
        if not inspect.isawaitable(given):
            return given
        with self._making:
            if self._loop is None:
                self._loop = LoopThread()
        return self._loop.run(_awaited(given))

    def close(self, aclose: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """End the loop, and close what it has used by `aclose`. The next use makes another."""
        with self._making:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.end(aclose)
            loop.join()


async def _awaited(given: Awaitable[T]) -> T:
    return await given
