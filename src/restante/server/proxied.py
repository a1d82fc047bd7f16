"""Listening for proxies: what each connection begins with is the proxy's, the rest its client's.

The header is read off the socket to its last octet before a transport is made: a ClientHello
may come in the same segment, and `loop.start_tls` would lose it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from restante.server.client import is_local
from restante.server.listeners import Listener
from restante.server.proxy_header import Address, Header, ProxyError, missing, parse
from restante.server.tls import GOODBYE_SECONDS

log = logging.getLogger("restante.server")

HEADER_SECONDS = 5.0
"""How long a proxy may take for its header, which it sends before anything else."""

MAX_WAITING = 1024
"""Connections whose header hasn't come. Further ones wait in the listener's backlog."""

ACCEPT_AT_ONCE = 64
"""Connections that are accepted before others are looked after."""

RETRY_SECONDS = 1.0
"""When accepting is tried again after the system had no descriptor or memory for it."""

QUIET_SECONDS = 10.0
"""Between two lines about peers that were cut off; the next one counts those in between."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """A connection that a proxy passes on.

    peer: the proxy's address; it may be gone already, so that the transport has none.
    header: what it says of its client.
    """

    peer: Address
    header: Header

    @property
    def client(self) -> Address:
        """Where the client is, as far as is known."""
        return self.header.source or self.peer

    @property
    def is_local(self) -> bool:
        """No network sees what the client sends."""
        if not is_local(self.peer[0]):
            return False
        source = self.header.source
        return self.header.local if source is None else is_local(source[0])


class ProxiedListener:
    """Accepts connections from a listener's proxies, and nobody else's.

    make_connection: called for each connection, once its header has come; the protocol that
        drives it.
    tls: the context, when TLS begins right after the header. handshake_seconds: how long a
        client may take for that.

    It needs an event loop that watches sockets (`loop.add_reader`), which Windows' usual one
    doesn't.
    """

    def __init__(
        self,
        listener: Listener,
        make_connection: Callable[[Proxied], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None = None,
        handshake_seconds: float = 60.0,
    ) -> None:
        self.sockets: list[socket.socket] = []
        self._listener = listener
        self._make_connection = make_connection
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._loop: asyncio.AbstractEventLoop
        self._waiting: set[_Waiting] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0
        self._unsaid = 0

    async def start(self) -> None:
        """Listen, in the running loop. Raises OSError when an address can't be had."""
        self._loop = asyncio.get_running_loop()
        listener = self._listener
        self.sockets = await _listen(listener.host, listener.port, listener.backlog)
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
        for waiting in list(self._waiting):
            waiting.end()
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
            if len(self._waiting) >= MAX_WAITING:
                self._complain("%d connections wait for a proxy's header", MAX_WAITING)
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
            self._admit(accepted, (str(peer[0]), int(peer[1])))

    def _admit(self, accepted: socket.socket, peer: Address) -> None:
        if not self._listener.is_proxy(peer[0]):
            self._complain("cut off %s, which is not in proxy_networks", peer[0])
            accepted.close()
            return
        accepted.setblocking(False)
        _Waiting(self, self._loop, accepted, peer).read()

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

    # What waiting connections say

    def waits(self, waiting: _Waiting) -> None:
        """A connection waits for its header."""
        self._waiting.add(waiting)

    def waits_no_more(self, waiting: _Waiting) -> None:
        """Its header has come, or never will."""
        self._waiting.discard(waiting)

    def refuse(self, peer: Address, reason: str) -> None:
        """A proxy's connection has been cut off."""
        self._complain("cut off %s: %s", peer[0], reason)

    def connect(self, accepted: socket.socket, proxied: Proxied) -> None:
        """A header has come: hand the socket over to a connection."""
        tls = self._tls is not None
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(
                partial(self._make_connection, proxied),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds if tls else None,
                ssl_shutdown_timeout=GOODBYE_SECONDS if tls else None,
            )
        )
        self._tasks.add(task)
        task.add_done_callback(partial(self._connected, accepted, proxied.client[0]))

    def _connected(self, accepted: socket.socket, host: str, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None or task.cancelled():
            accepted.close()
        if isinstance(error, OSError):
            log.info("TLS handshake with %s failed: %s", host, error)
        elif error is not None:
            log.error("no connection for %s", host, exc_info=error)


class _Waiting:
    """A connection whose header has not come as a whole."""

    def __init__(
        self,
        listener: ProxiedListener,
        loop: asyncio.AbstractEventLoop,
        accepted: socket.socket,
        peer: Address,
    ) -> None:
        self._listener = listener
        self._loop = loop
        self._socket = accepted
        self._peer = peer
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def read(self) -> None:
        """Take what has come of the header, and nothing of what follows it."""
        try:
            while wanted := missing(self._data):
                more = self._socket.recv(wanted)
                if not more:
                    raise ProxyError("closed in the middle of its header")
                self._data += more
            header = parse(self._data)
        except (BlockingIOError, InterruptedError):
            self._wait()
        except (OSError, ProxyError) as error:
            self.end(str(error) if self._data else "")  # a health check may be a mere knock
        else:
            self._forget()
            self._listener.connect(self._socket, Proxied(self._peer, header))

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(HEADER_SECONDS, self.end, "no header in time")
            self._loop.add_reader(self._socket, self.read)
            self._listener.waits(self)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._loop.remove_reader(self._socket)
            self._listener.waits_no_more(self)

    def end(self, reason: str = "") -> None:
        """Cut the connection; with a reason, say so in the log."""
        self._forget()
        self._socket.close()
        if reason:
            self._listener.refuse(self._peer, reason)


class ProxiedChannel:
    """The TLS that a proxy ended. `restante.protocol.mechanisms.Channel`.

    Nothing of it can be bound to: what the client's end has seen, only the proxy's has too.
    external_names: kinds of names that EXTERNAL may use; a proxy tells only `cn`.
    """

    __slots__ = ("_names",)

    def __init__(self, header: Header, *, external_names: Collection[str] = ("cn",)) -> None:
        told = header.client_verified and header.common_name and "cn" in external_names
        self._names = (header.common_name,) if told else ()

    def binding_types(self) -> tuple[str, ...]:
        """None."""
        return ()

    def binding(self, kind: str) -> bytes | None:
        """None of any kind."""
        return None

    def names(self) -> tuple[str, ...]:
        """The common name of the certificate that the proxy verified; none without one."""
        return self._names


async def _listen(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of `host`, or on all there are for an empty one."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setblocking(False)
            if os.name == "posix":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(backlog)
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets
