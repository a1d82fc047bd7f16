"""A queue for slow password checks that is bounded in time.

A check of a password hash keeps a processor busy for a tenth of a second or so, on purpose.
Whoever sends many guesses would make everybody else wait. So there are two queues: checks of
clients that are known go first, and nobody is let into a queue whose end is too far away.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from restante.accounts.account import AccountError
from restante.calls import OnThread
from restante.threads import WorkerThreads

T = TypeVar("T")

MAX_WAIT = 5.0
"""Seconds that a check may wait for its turn. Clients give up after ten at the earliest."""

FIRST_GUESS = 0.1
"""Seconds that a check is expected to take before one was measured."""

MEMORY = 8
"""Checks over which the measured mean slides."""


TOO_MANY = "too many logins at once: try again later"


class Busy(AccountError):
    """There is too much to do; nothing was checked. Becomes `-ERR [SYS/TEMP]`."""


class Hashing:
    """Runs slow checks on threads, as many at once as there are threads.

    Used from one event loop. threads: nothing else should run on them. max_wait: seconds that
    a check may wait for its turn. clock: seconds, monotonic; measures how long checks take.
    """

    def __init__(
        self,
        threads: WorkerThreads,
        *,
        max_wait: float = MAX_WAIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_wait = max_wait
        self.refused = 0
        """Checks that were refused for want of time."""
        self._threads = threads
        self._clock = clock
        self._mean = 0.0
        self._running = 0
        self._first: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @property
    def running(self) -> int:
        """Checks that run now."""
        return self._running

    @property
    def waiting(self) -> int:
        """Checks that wait for their turn."""
        return len(self._first) + len(self._others)

    def expected_wait(self, *, first: bool) -> float:
        """Seconds until a check that comes now would begin, 0.0 if at once."""
        waiting = len(self._first) + (0 if first else len(self._others))
        free = self._threads.maximum - self._running
        if free > 0 and not waiting:
            return 0.0
        ahead = self._running + waiting
        return ahead * (self._mean or FIRST_GUESS) / self._threads.maximum

    async def run(self, work: OnThread[T] | Callable[[], T], *, first: bool) -> T:
        """What `work` returns or raises, called on a thread when it is its turn.

        first: goes ahead of all that isn't: of a client at a trusted address, or at one that
        is known to the account.

        Raises Busy at once if the turn would come later than after `max_wait`, and then if it
        hasn't come by that time. Work whose caller was cancelled before its turn isn't done.
        """
        if self.expected_wait(first=first) > self.max_wait:
            self.refused += 1
            raise Busy(TOO_MANY)
        if self._running >= self._threads.maximum:
            await self._turn(self._first if first else self._others)
        else:
            self._running += 1
        return await self._run(work)

    async def _turn(self, queue: deque[asyncio.Future[None]]) -> None:
        """Wait in a queue. Afterwards one of the threads is this check's."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        queue.append(turn)
        # No `asyncio.timeout`: the server begins coroutines in place, outside of any task.
        limit = loop.call_later(self.max_wait, self._expire, turn)
        try:
            await turn
        except Busy:
            queue.remove(turn)
            raise
        except BaseException:
            if turn.cancelled() or not turn.done():
                queue.remove(turn)
            else:  # the turn came, and isn't wanted any more
                self._ended()
            raise
        finally:
            limit.cancel()

    def _expire(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self.refused += 1
            turn.set_exception(Busy(TOO_MANY))

    async def _run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()

        def ended(future: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._ended)

        def timed() -> T:
            begun = self._clock()
            try:
                return work()
            finally:
                took = self._clock() - begun
                self._mean = self._mean + (took - self._mean) / MEMORY if self._mean else took

        try:
            future = self._threads.submit(timed)
        except BaseException:
            self._ended()
            raise
        # The thread is free when the check ends, even if nobody waits for it any longer.
        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    def _ended(self) -> None:
        """A thread is free: whoever is next has its turn."""
        for queue in (self._first, self._others):
            for turn in queue:
                if not turn.done():  # else it is about to leave the queue
                    queue.remove(turn)
                    turn.set_result(None)
                    return
        self._running -= 1
