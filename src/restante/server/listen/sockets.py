"""Sockets that listen: for one process, or for several that share an address."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterable
from typing import Any, TypeAlias

from restante.server.listen.listener import Listener

Found: TypeAlias = Iterable[tuple[Any, ...]]
"""What `getaddrinfo` finds."""

SPREADS = sys.platform == "linux"
"""Whether the system spreads connections over all sockets that have SO_REUSEPORT."""


async def sockets_of(listener: Listener) -> list[socket.socket]:
    """Those that a listener was given, or else new ones. Raises OSError."""
    if listener.sockets:
        for each in listener.sockets:
            each.setblocking(False)
        return list(listener.sockets)
    host, port = listener.host, listener.port
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    (sockets,) = _listen(host, found, listener.backlog, 1)
    return sockets


def bind_shared(host: str, port: int, backlog: int, shares: int) -> list[list[socket.socket]]:
    """Sockets for so many processes, the same addresses for each. Raises OSError.

    Where the system spreads connections, each has sockets of its own; elsewhere all have the
    same. An address at which another program listens can't be had, though that program's
    sockets may allow it.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return _listen(host, found, backlog, shares)


def _listen(host: str, found: Found, backlog: int, shares: int) -> list[list[socket.socket]]:
    shared: list[list[socket.socket]] = [[] for _ in range(shares)]
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                first = socket.socket(family, kind, protocol)
            except OSError:
                continue  # a system without IPv6 still has names for it
            _share(first, address, shared)
        if not shared[0]:
            raise OSError(f"this system can't listen on {host!r}")
        for each in _all(shared):
            each.listen(backlog)
    except BaseException:
        for each in _all(shared):
            each.close()
        raise
    return shared


def _all(shared: list[list[socket.socket]]) -> set[socket.socket]:
    return {each for sockets in shared for each in sockets}


def _share(first: socket.socket, address: Any, shared: list[list[socket.socket]]) -> None:
    """Bind sockets to an address, and give one to each share."""
    if len(shared) == 1 or not SPREADS:
        for sockets in shared:
            sockets.append(first)
        _bind(first, address)
        return
    with first:
        _bind(first, address)  # fails if anybody else listens there
    for sockets in shared:
        sockets.append(socket.socket(first.family, first.type, first.proto))
        sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(sockets[-1], address)
        address = sockets[-1].getsockname()  # with its port, if any would do


def _bind(listening: socket.socket, address: Any) -> None:
    listening.setblocking(False)
    if os.name == "posix":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.bind(address)
