"""Listening for proxies: what each connection begins with is the proxy's, the rest its client's.

The header is read off the socket to its last octet before a transport is made: a ClientHello
may come in the same segment, and `loop.start_tls` would lose it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from restante.server.listen.accept import AcceptingListener, ListeningSocket, MakeConnection
from restante.server.listen.listener import Listener
from restante.server.listen.proxied import Proxied
from restante.server.listen.proxy_protocol import Address, ProxyError, missing, parse

HEADER_SECONDS = 5.0
"""How long a proxy may take for its header, which it sends before anything else."""

MAX_WAITING = 1024
"""Connections whose header hasn't come. Further ones wait in the listener's backlog."""


class ProxiedListener(AcceptingListener):
    """Accepts connections from a listener's proxies, and nobody else's.

    A connection is made of each whose header has come; TLS begins right after that.
    """

    def __init__(
        self, listener: Listener, make_connection: MakeConnection, **settings: Any
    ) -> None:
        super().__init__(listener, make_connection, **settings)
        self._waiting: set[_Waiting] = set()

    def close(self) -> None:
        super().close()
        for waiting in list(self._waiting):
            waiting.end()

    def _accept_one(self, listening: ListeningSocket) -> bool:
        if len(self._waiting) < MAX_WAITING:
            return super()._accept_one(listening)
        self._complain("%d connections wait for a proxy's header", MAX_WAITING)
        self._rest()
        return False

    def _admit(
        self, accepted: socket.socket, client: Address, proxied: Proxied | None = None
    ) -> None:
        if proxied is not None:
            super()._admit(accepted, client, proxied)
            return
        if self._listener.is_proxy(client[0]):
            _Waiting(self, self._loop, accepted, client).read()
            return
        self._complain("cut off %s, which is not in proxy_networks", client[0])
        accepted.close()

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
        """A header has come."""
        self._admit(accepted, proxied.client, proxied)


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
