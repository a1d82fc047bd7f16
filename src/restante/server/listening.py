"""Listening: an address becomes connections, straight or by way of a proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeAlias

from restante.server.listeners import Listener, watch_peers
from restante.server.proxied import Proxied, ProxiedListener
from restante.server.tls import GOODBYE_SECONDS

Listening: TypeAlias = asyncio.Server | ProxiedListener


async def listen(
    listener: Listener,
    make_connection: Callable[[Proxied | None], asyncio.Protocol],
    tls: ssl.SSLContext | None,
    handshake_seconds: float,
) -> Listening:
    """Listen, in the running loop, and note at which address. Raises OSError.

    make_connection: called for each connection, with what its proxy says of it, if it has one.
    tls: the context, when TLS begins at once.
    """
    server: Listening
    if listener.proxy_protocol:
        server = ProxiedListener(
            listener, make_connection, tls=tls, handshake_seconds=handshake_seconds
        )
        await server.start()
    else:
        server = await asyncio.get_running_loop().create_server(
            lambda: make_connection(None),
            listener.host,
            listener.port,
            backlog=listener.backlog,
            ssl=tls,
            ssl_handshake_timeout=handshake_seconds if tls is not None else None,
            ssl_shutdown_timeout=GOODBYE_SECONDS if tls is not None else None,
        )
    for each in server.sockets:
        watch_peers(each)
    host, port = server.sockets[0].getsockname()[:2]
    listener.address = (host, port)
    return server
