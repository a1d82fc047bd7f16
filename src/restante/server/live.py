"""The connections of a server that are open, and the work that outlives them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from itertools import repeat
from operator import attrgetter, is_not
from typing import Any, Protocol

from restante.calls import go_on
from restante.protocol.replies import Err
from restante.protocol.session import Session
from restante.server.client import ClientSession
from restante.server.transport.readiness import Readiness

STOPPING = Err("server is stopping", "SYS/TEMP")
FULL = Err("too many connections: try again later", "SYS/TEMP")

WORK_SECONDS = 5.0
"""How long a server that stops waits for work that outlives its connections."""


_account_of = attrgetter("session.account")


class LiveConnection(Protocol):
    """What the server asks of each connection that is open."""

    client: ClientSession
    session: Session

    def runs(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether `task` is at work for it, or for one of its handlers."""

    def request_close(self) -> None:
        """End it after the reply in hand."""

    def abort(self) -> None:
        """Cut it now."""

    def check_time(self, now: float, *, crowded: bool) -> None:
        """End it if the client was silent, or took nothing, for too long."""


class Live:
    """What one server has open. maximum: connections, with those of other processes."""

    def __init__(self, maximum: int) -> None:
        self.connections: set[LiveConnection] = set()
        self.elsewhere = 0
        """Connections that are open in other processes of the same server."""
        self.accepting = False
        self._maximum = maximum
        self._tasks: set[asyncio.Task[Any]] = set()
        self._readiness: Readiness | None = None
        self._empty: asyncio.Event | None = None  # somebody waits for the last one to end

    def open(self, readiness: Readiness | None) -> None:
        """Take connections in from now on. readiness: watches their sockets."""
        self._readiness = readiness
        self.accepting = True

    def admit(self, connection: LiveConnection) -> Err | None:
        """Keep a new connection, and say why it is to be turned away, if it is."""
        refusal = None
        if not self.accepting:
            refusal = STOPPING
        elif len(self.connections) + self.elsewhere >= self._maximum:
            refusal = FULL
        self.connections.add(connection)
        return refusal

    def forget(self, connection: LiveConnection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if self._empty is not None and not self.connections:
            self._empty.set()

    @property
    def logged_in(self) -> int:
        """How many clients have logged in. From any thread."""
        accounts = map(_account_of, list(self.connections))
        return sum(map(is_not, accounts, repeat(None)))

    def runs(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether `task` is at work for a connection, or for one of its handlers."""
        return task in self._tasks or any(each.runs(task) for each in self.connections)

    def spawn(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Begin work that outlives its connection; `end` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.give_way()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work in place as far as it needn't wait; a task, as of `spawn`, does the rest.

        When a task calls this, all of the work gets a new task: for the work, the caller's must
        not be the current one.
        """
        if asyncio.current_task() is not None:
            self.spawn(work)
            return
        try:
            waits_for = work.send(None)
        except StopIteration:
            return
        self.spawn(go_on(work, waits_for))

    def give_way(self) -> None:
        """A task was made: let it run before sockets are looked after again."""
        if self._readiness is not None:
            self._readiness.give_way()

    async def finish(self, seconds: float) -> None:
        """Wait until every connection has ended by itself, but no longer than this."""
        if not self.connections:
            return
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            pass
        self._empty = None

    async def drain(self, seconds: float) -> None:
        """Have every connection end after the reply in hand, within so many seconds."""
        for connection in list(self.connections):
            connection.request_close()
        await self.finish(seconds)

    async def end(self) -> None:
        """Cut what is still open, and wait for work that goes on."""
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)  # connections that were cut just now hear of it
        # They still give their leases back.
        limit = time.monotonic() + WORK_SECONDS
        while self._tasks and time.monotonic() < limit:
            await asyncio.wait(list(self._tasks), timeout=limit - time.monotonic())
