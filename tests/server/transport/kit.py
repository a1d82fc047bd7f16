"""Both ends of a connection: a transport of ours, and a plain socket for the peer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from restante.server.transport.readiness import EpollReadiness, LoopReadiness, Readiness
from restante.server.transport.transport import SocketTransport

SECONDS = 10.0


class Recorder(asyncio.Protocol):
    """Writes down what the transport says."""

    def __init__(self, keeps_open: bool = True) -> None:
        self.transport: SocketTransport
        self.data = bytearray()
        self.calls: list[str] = []
        self.error: Exception | None = None
        self._keeps_open = keeps_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, SocketTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert "lost" not in self.calls
        self.data += data

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self._keeps_open

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append("lost")
        self.error = error


class Counting:
    """A readiness whose calls of `ready` are counted."""

    def __init__(self, inner: Readiness) -> None:
        self.inner = inner
        self.turns = 0

    def watch(self, fd: int, watched: Any, events: int) -> None:
        self.inner.watch(fd, _Counted(self, watched), events)

    def change(self, fd: int, events: int) -> None:
        self.inner.change(fd, events)

    def forget(self, fd: int) -> None:
        self.inner.forget(fd)

    def give_way(self) -> None:
        self.inner.give_way()

    def close(self) -> None:
        self.inner.close()


class _Counted:
    def __init__(self, counting: Counting, watched: Any) -> None:
        self._counting = counting
        self._watched = watched

    def ready(self, events: int) -> None:
        self._counting.turns += 1
        self._watched.ready(events)

    def broke(self, error: Exception) -> None:
        self._watched.broke(error)


@dataclass
class Ground:
    """What tests stand on: a kind of readiness, and a kind of loop."""

    readiness: type[EpollReadiness] | type[LoopReadiness]

    def run(self, test: Callable[[Counting], Coroutine[Any, Any, None]]) -> None:
        """Run `test` in a loop of its own."""

        async def whole() -> None:
            readiness = Counting(self.readiness(asyncio.get_running_loop()))
            try:
                async with asyncio.timeout(SECONDS):
                    await test(readiness)
            finally:
                readiness.close()

        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(whole())
        finally:
            loop.close()


@contextlib.asynccontextmanager
async def pair(
    readiness: Readiness, *, room: int | None = None
) -> AsyncIterator[tuple[SocketTransport, socket.socket]]:
    """A transport and its peer, connected by TCP; both closed in the end.

    room: octets that the system takes for either side, more or less.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.socket()
        if room is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        peer.connect(listening.getsockname())
        ours, address = listening.accept()
    if room is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    ours.setblocking(False)
    peer.setblocking(False)
    transport = SocketTransport(readiness, ours, address)
    try:
        yield transport, peer
    finally:
        transport.abort()
        peer.close()
        await asyncio.sleep(0)
        assert ours.fileno() < 0  # nothing is left of it
        assert transport.get_extra_info("socket").fileno() < 0


async def until(condition: Callable[[], object]) -> None:
    """Wait for `condition`; the test's time limit is the deadline."""
    while not condition():
        await asyncio.sleep(0.001)


async def turns(count: int = 20) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)


async def take(peer: socket.socket, count: int) -> bytes:
    """So many octets from the peer's end, or fewer at its end."""
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < count and (more := await loop.sock_recv(peer, min(65536, count - len(data)))):
        data += more
    return bytes(data)


def reset(peer: socket.socket) -> None:
    """Close with an RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
