"""What SMTP and LMTP have in common: settings, limits, live connections, the way to a stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from restante.contained import contained
from restante.delivery.recipients import Recipients
from restante.stores.contract import ReceivesMail

T = TypeVar("T")

PROGRESS_OCTETS = 4096
"""A peer in the middle of its data that sends this much has earned itself a fresh
`timeout`. A modem does within a second; a byte a minute never does."""

BUSY = b"421 4.3.2 too many connections, try again later\r\n"
STOPPING = b"421 4.3.2 going down, try again later\r\n"


class LiveConnection(Protocol):
    """A connection as the intake sees it."""

    def finish(self) -> None:
        """Close now, or after the reply to the message that is being received."""

    def drop(self) -> None:
        """Close at once."""


@dataclass(kw_only=True, eq=False)
class Intake:
    """Where mail comes in: shared by the connections of one or several listeners.

    max_octets: size of a message, without stuffing (RFC 1870).
    max_recipients: of one message; RFC 5321 §4.5.3.1.8 asks for at least 100.
    max_connections: at the same time, over all listeners that share this.
    timeout: seconds for a command, or for `PROGRESS_OCTETS` of data (RFC 5321 §4.5.3.2.7
        asks for at least 300).
    trace: put Return-Path, Delivered-To and Received before the message. Off, its octets
        are stored as they came.
    executor: the storage threads; the loop's own pool by default.
    elsewhere: connections that are open in other processes of the same server.
    """

    recipients: Recipients
    store: ReceivesMail
    hostname: str = field(default_factory=socket.gethostname)
    max_octets: int = 50 * 1024 * 1024
    max_recipients: int = 100
    max_connections: int = 200
    timeout: float = 300.0
    trace: bool = False
    executor: Executor | None = None
    elsewhere: int = 0
    _live: set[LiveConnection] = field(default_factory=set, init=False)
    _stopping: bool = field(default=False, init=False)
    _gone: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._live)

    def admit(self, connection: LiveConnection) -> bytes | None:
        """Count a new connection in; or, when it can't be served, what to tell it."""
        if self._stopping:
            return STOPPING
        if len(self._live) + self.elsewhere >= self.max_connections:
            return BUSY
        self._live.add(connection)
        return None

    def discharge(self, connection: LiveConnection) -> None:
        """A connection has ended. Harmless for one that wasn't admitted."""
        self._live.discard(connection)
        self._gone.set()

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Call `function` on a storage thread."""
        with contained:
            return await asyncio.get_running_loop().run_in_executor(self.executor, function, *args)

    async def stop(self, deadline: float = 10.0) -> None:
        """Take no new connections, end the idle ones, and wait for messages in flight.

        What is still open after `deadline` seconds is closed without a reply; its sender
        has had no 250 and tries again.
        """
        self._stopping = True
        for connection in tuple(self._live):
            connection.finish()
        try:
            async with asyncio.timeout(deadline):
                await self._until_empty()
        except TimeoutError:
            for connection in tuple(self._live):
                connection.drop()

    async def _until_empty(self) -> None:
        while self._live:
            self._gone.clear()
            await self._gone.wait()
