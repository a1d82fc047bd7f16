"""An event loop in a thread of its own, for programs that have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs an event loop until `end`."""

    def __init__(self) -> None:
        self._ending: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="restante-loop", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            for task in (left := asyncio.all_tasks(self._loop)):
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def is_current(self) -> bool:
        """Whether this is called on the loop's own thread."""
        return threading.current_thread() is self._thread

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run `work` on the loop; wait for it and give its result.

        Not for the loop's own thread, which would wait for itself.
        Raises TimeoutError when it takes more than `timeout` seconds; it goes on then.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def end(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` on the loop, then end the loop. From any thread; waits for nothing.

        Harmless when repeated.
        """
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._end, work)

    def _end(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._ending is not None:
            return

        async def work_and_stop() -> None:
            try:
                await work()
            finally:
                self._loop.stop()

        self._ending = self._loop.create_task(work_and_stop())

    def join(self) -> None:
        """Wait for the loop's end. Raises what the work raised that was to be its last."""
        self._thread.join()
        if self._ending is not None and self._ending.done() and not self._ending.cancelled():
            self._ending.result()
