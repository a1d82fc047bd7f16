"""Listening: an address becomes connections, straight or by way of a proxy."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, TypeAlias

from restante.server.listen.accept import AcceptingListener, Arrive, MakeConnection
from restante.server.listen.listener import Listener, watch_peers
from restante.server.listen.proxy_listener import ProxiedListener
from restante.server.tls.settings import GOODBYE_SECONDS
from restante.server.transport.readiness import Readiness
from restante.server.transport.transport import MakeTransport

Listening: TypeAlias = asyncio.Server | AcceptingListener


async def listen(
    listener: Listener,
    make_connection: MakeConnection,
    arrive: Arrive,
    readiness: Readiness | None,
    *,
    tls: ssl.SSLContext | None,
    handshake_seconds: float,
    make_transport: MakeTransport,
) -> Listening:
    """Listen, in the running loop, and note at which address. Raises OSError.

    arrive: asked for each client before its handshake. readiness: watches the sockets; None
        where the loop can't, as on Windows: handshakes in hand aren't counted there. tls: the
        context, when TLS begins at once. make_transport: makes the transport of each connection,
        where `readiness` watches it.
    """
    server: Listening
    if readiness is not None:
        kind = ProxiedListener if listener.proxy_protocol else AcceptingListener
        server = kind(
            listener,
            make_connection,
            readiness=readiness,
            arrive=arrive,
            tls=tls,
            handshake_seconds=handshake_seconds,
            make_transport=make_transport,
        )
        await server.start()
    elif listener.proxy_protocol:
        raise OSError("the PROXY protocol needs an event loop that watches sockets")
    else:
        server = await asyncio.get_running_loop().create_server(
            lambda: make_connection(None, None),
            **_where(listener),
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


def _where(listener: Listener) -> dict[str, Any]:
    if listener.sockets:
        return {"sock": listener.sockets[0]}
    return {"host": listener.host, "port": listener.port}
