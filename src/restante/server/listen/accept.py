"""Accepting connections, and asking the guard before TLS begins.

Connections that never finish a handshake are counted, too. Banned clients get no handshake.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from restante.guard.admission import Admission
from restante.server.listen.listener import Listener
from restante.server.listen.proxied import Proxied
from restante.server.listen.proxy_protocol import Address
from restante.server.listen.sockets import sockets_of
from restante.server.transport.readiness import READ, Readiness
from restante.server.transport.transport import MakeTransport, SocketTransport

log = logging.getLogger("restante.server")

ACCEPT_AT_ONCE = 64
"""Connections that are accepted before others are looked after."""

RETRY_SECONDS = 1.0
"""When accepting is tried again after the system had no descriptor or memory for it."""

QUIET_SECONDS = 10.0
"""Between two lines about peers that were cut off; the next one counts those in between."""

MakeConnection: TypeAlias = Callable[[Proxied | None, Admission | None], asyncio.Protocol]
"""Makes the protocol that drives a connection, from what its proxy says of it, if it has one,
and what it owes the guard already."""

Arrive: TypeAlias = Callable[[str], Admission | None]
"""Counts in a client at this address; None: it is turned away."""


class AcceptingListener:
    """Accepts a listener's connections.

    arrive: asked before each handshake; a client that is turned away then isn't told why. None:
        nobody is asked.
    tls: the context, when TLS begins at once. handshake_seconds: how long a client may take.

    readiness: watches the sockets.
    make_transport: makes the transport of each connection.
    """

    def __init__(
        self,
        listener: Listener,
        make_connection: MakeConnection,
        *,
        readiness: Readiness,
        make_transport: MakeTransport = SocketTransport,
        arrive: Arrive | None = None,
        tls: ssl.SSLContext | None = None,
        handshake_seconds: float = 60.0,
    ) -> None:
        self.sockets: list[socket.socket] = []
        self._listener = listener
        self._make_connection = make_connection
        self._readiness = readiness
        self._make_transport = make_transport
        self._arrive = arrive
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._loop: asyncio.AbstractEventLoop
        self._shaking: set[SocketTransport] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._at_once = 1
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
        for transport in list(self._shaking):
            transport.abort()

    def _watch(self) -> None:
        self._retry = None
        for each in self.sockets:
            self._readiness.watch(each.fileno(), ListeningSocket(self, each), READ)

    def _unwatch(self) -> None:
        for each in self.sockets:
            self._readiness.forget(each.fileno())

    def _rest(self) -> None:
        if self._retry is None:
            self._unwatch()
            self._retry = self._loop.call_later(RETRY_SECONDS, self._watch)

    def accept(self, listening: ListeningSocket) -> None:
        """Take in those who wait: twice as many as the last time at most."""
        for _ in range(self._at_once):
            if not self._accept_one(listening):
                self._at_once = 1
                return
        self._at_once = min(ACCEPT_AT_ONCE, 2 * self._at_once)

    def _accept_one(self, listening: ListeningSocket) -> bool:
        try:
            # `socket.accept`, but for asking of which kind the socket is: of the listening one's.
            fd, peer = listening.socket._accept()  # type: ignore[attr-defined]
            accepted = socket.socket(*listening.kind, fd)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            self._complain("no connection can be accepted: %s", error)
            self._rest()
            return False
        accepted.setblocking(False)
        self._admit(accepted, (str(peer[0]), int(peer[1])))
        return True

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

    def _admit(
        self, accepted: socket.socket, client: Address, proxied: Proxied | None = None
    ) -> None:
        """Hand a client's socket over to a connection, after the handshake if there is one."""
        peer = client if proxied is None else proxied.peer
        try:
            transport = self._make_transport(self._readiness, accepted, peer)
        except OSError as error:  # the system watches no more sockets
            accepted.close()
            self._complain("no connection can be watched: %s", error)
            return
        if self._tls is None:
            self._begin(transport, proxied, None)
            return
        admission = None
        if self._arrive is not None:
            admission = self._arrive(client[0])
            if admission is None:
                transport.abort()
                return
        self._shaking.add(transport)
        done = partial(self._shaken, transport, client[0], proxied, admission)
        transport.start_tls(self._tls, self._handshake_seconds, done)

    def _shaken(
        self,
        transport: SocketTransport,
        client: str,
        proxied: Proxied | None,
        admission: Admission | None,
        error: OSError | None,
    ) -> None:
        self._shaking.discard(transport)
        if error is None:
            self._begin(transport, proxied, admission)
            return
        if admission is not None:
            admission.leave()
        log.info("TLS handshake with %s failed: %s", client, error)

    def _begin(
        self, transport: SocketTransport, proxied: Proxied | None, admission: Admission | None
    ) -> None:
        try:
            transport.begin(self._make_connection(proxied, admission))
        except Exception as error:
            transport.abort()
            if admission is not None:
                admission.leave()
            log.error("no connection for %s", transport.peer[0], exc_info=error)


class ListeningSocket:
    """A listening socket, as readiness sees it."""

    def __init__(self, listener: AcceptingListener, listening: socket.socket) -> None:
        self._listener = listener
        self.socket = listening
        self.kind = (int(listening.family), int(listening.type), listening.proto)

    def ready(self, events: int) -> None:
        """Connections wait to be accepted."""
        self._listener.accept(self)

    def broke(self, error: Exception) -> None:
        """One of them could not be accepted."""
        log.error(
            "port %d: a connection could not be accepted",
            self.socket.getsockname()[1],
            exc_info=error,
        )
