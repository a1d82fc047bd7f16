"""Accepting connections ourselves, so that the door is asked before TLS begins.

asyncio's own server tells of a connection only after its handshake: those that never make one
would be counted by nobody, and who is banned would be given one first.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from restante.server.listeners import Listener
from restante.server.proxy_header import Address
from restante.server.sockets import sockets_of
from restante.server.tls import GOODBYE_SECONDS
from restante.server.visit import Visit

if TYPE_CHECKING:
    from restante.server.proxied import Proxied

log = logging.getLogger("restante.server")

ACCEPT_AT_ONCE = 64
"""Connections that are accepted before others are looked after."""

RETRY_SECONDS = 1.0
"""When accepting is tried again after the system had no descriptor or memory for it."""

QUIET_SECONDS = 10.0
"""Between two lines about peers that were cut off; the next one counts those in between."""

MakeConnection: TypeAlias = "Callable[[Proxied | None, Visit | None], asyncio.Protocol]"
"""Makes the protocol that drives a connection, from what its proxy says of it, if it has one,
and what it owes the door already."""

Knock: TypeAlias = Callable[[str], Visit | None]
"""Counts a client in that is at this address; None: it is turned away."""


class AcceptingListener:
    """Accepts a listener's connections.

    knock: asked before each handshake; a client that is turned away then isn't told why. None:
        nobody is asked.
    tls: the context, when TLS begins at once. handshake_seconds: how long a client may take.

    It needs an event loop that watches sockets (`loop.add_reader`), which Windows' usual one
    doesn't.
    """

    def __init__(
        self,
        listener: Listener,
        make_connection: MakeConnection,
        *,
        knock: Knock | None = None,
        tls: ssl.SSLContext | None = None,
        handshake_seconds: float = 60.0,
    ) -> None:
        self.sockets: list[socket.socket] = []
        self._listener = listener
        self._make_connection = make_connection
        self._knock = knock
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._loop: asyncio.AbstractEventLoop
        self._tasks: set[asyncio.Task[object]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0
        self._unsaid = 0

    async def start(self) -> None:
        """Listen, in the running loop. Raises OSError when an address can't be had."""
        self._loop = asyncio.get_running_loop()
        self.sockets = await sockets_of(self._listener)
        self._watch()

    def close(self) -> None:
        """Listen no more; cut off whoever has no connection yet. Harmless when repeated."""
        if self._retry is not None:
            self._retry.cancel()
        else:
            self._unwatch()
        for each in self.sockets:
            each.close()
        self.sockets = []
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until nothing is left of what `close` cut off."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _watch(self) -> None:
        self._retry = None
        for each in self.sockets:
            self._loop.add_reader(each, self._accept, each)

    def _unwatch(self) -> None:
        for each in self.sockets:
            self._loop.remove_reader(each)

    def _rest(self) -> None:
        if self._retry is None:
            self._unwatch()
            self._retry = self._loop.call_later(RETRY_SECONDS, self._watch)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            if not self._has_room():
                self._rest()
                return
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._complain("no connection can be accepted: %s", error)
                self._rest()
                return
            accepted.setblocking(False)
            self._admit(accepted, (str(peer[0]), int(peer[1])))

    def _has_room(self) -> bool:
        """Whether one more may be accepted."""
        return True

    def _admit(self, accepted: socket.socket, peer: Address) -> None:
        self._connect(accepted, peer)

    def _complain(self, text: str, *values: object) -> None:
        now = time.monotonic()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        more = f" (and {self._unsaid} more)" if self._unsaid else ""
        log.warning("port %d: " + text + "%s", self._port, *values, more)
        self._quiet_until = now + QUIET_SECONDS
        self._unsaid = 0

    @property
    def _port(self) -> int:
        address = self._listener.address
        return address[1] if address is not None else self._listener.port

    def _connect(
        self, accepted: socket.socket, client: Address, proxied: Proxied | None = None
    ) -> None:
        """Hand a client's socket over to a connection, after the handshake if there is one."""
        visit = None
        if self._tls is not None and self._knock is not None:
            visit = self._knock(client[0])
            if visit is None:
                accepted.close()
                return
        tls = self._tls is not None
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(
                partial(self._make_connection, proxied, visit),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds if tls else None,
                ssl_shutdown_timeout=GOODBYE_SECONDS if tls else None,
            )
        )
        self._tasks.add(task)
        task.add_done_callback(partial(self._connected, accepted, client[0], visit))

    def _connected(
        self, accepted: socket.socket, host: str, visit: Visit | None, task: asyncio.Task[object]
    ) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None or task.cancelled():
            accepted.close()
            if visit is not None:
                visit.end()
        if isinstance(error, OSError):
            log.info("TLS handshake with %s failed: %s", host, error)
        elif error is not None:
            log.error("no connection for %s", host, exc_info=error)
