"""Connections to a database: kept open between uses, for each event loop its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

IDLE_SECONDS = 300.0
"""How long a connection is kept that nobody uses: less than firewalls and servers bear."""

Connection: TypeAlias = Any
"""A connection, as the driver has it."""


class Connections:
    """Connections that are opened when they are wanted. Safe to use from several event loops.

    connect: opens one. close: closes it as its server likes it. drop: closes it at once.
    maximum: open at the same time in one event loop; further uses wait.
    timeout: seconds that a use may take, with waiting and connecting.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        close: Callable[[Connection], Awaitable[None]],
        drop: Callable[[Connection], None],
        *,
        maximum: int,
        timeout: float,
    ) -> None:
        if maximum < 1:
            raise ValueError(f"max_connections: {maximum}; at least 1")
        if not 0 < timeout <= 600:
            raise ValueError(f"timeout: {timeout}; more than 0 and at most 600 seconds")
        self._connect = connect
        self._close = close
        self._drop = drop
        self._maximum = maximum
        self._timeout = timeout
        self._lock = Lock()
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}

    async def use(self, work: Callable[[Connection], Awaitable[T]], *, again: bool) -> T:
        """What `work` gives for a connection that is its own meanwhile.

        again: it may be called twice, as it changes nothing that it hasn't changed before. A
        connection that was lost while idle shows it only when it is used; then a new one is.

        Raises TimeoutError, and whatever `work` and the driver raise.
        """
        pool = self._own_pool()
        try:
            async with asyncio.timeout(self._timeout), pool.turns:
                idle = self._idle_one(pool)
                if idle is not None:
                    try:
                        return await self._use(pool, idle, work)
                    except Exception:
                        if not again:
                            raise
                return await self._use(pool, await self._connect(), work)
        except TimeoutError:
            # Perhaps the machine is gone, and the other connections lead there, too.
            while pool.idle:
                self._drop(pool.idle.pop()[1])
            raise

    async def aclose(self) -> None:
        """Close this event loop's connections. The next use opens others.

        Uses under way go on, and close theirs.
        """
        with self._lock:
            pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is None:
            return
        pool.is_open = False
        while pool.idle:
            connection = pool.idle.pop()[1]
            try:
                async with asyncio.timeout(self._timeout):
                    await self._close(connection)
            except Exception:  # noqa: BLE001 - it may be broken long since
                self._drop(connection)

    async def _use(
        self, pool: _Pool, connection: Connection, work: Callable[[Connection], Awaitable[T]]
    ) -> T:
        try:
            result = await work(connection)
        except BaseException:  # cancelled in the middle, it is in no state to be used again
            self._drop(connection)
            raise
        if pool.is_open:
            pool.idle.append((pool.loop.time(), connection))
        else:
            self._drop(connection)
        return result

    def _idle_one(self, pool: _Pool) -> Connection | None:
        oldest = pool.loop.time() - IDLE_SECONDS
        while pool.idle and pool.idle[0][0] < oldest:
            self._drop(pool.idle.pop(0)[1])
        return pool.idle.pop()[1] if pool.idle else None

    def _own_pool(self) -> _Pool:
        """The pool of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            pool = self._pools.get(loop)
            if pool is None:
                for other in [each for each in self._pools if each.is_closed()]:
                    del self._pools[other]
                pool = self._pools[loop] = _Pool(loop, self._maximum)
            return pool


class _Pool:
    """The connections of one event loop: those in use by their number, the others in a list.

    idle: with the loop's time at which each was last used, the latest at the end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self.loop = loop
        self.turns = asyncio.Semaphore(size)
        self.idle: list[tuple[float, Connection]] = []
        self.is_open = True
