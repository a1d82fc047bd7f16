"""What one connection has to send: replies gathered for one write, and blocks of messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from restante.server.transport.transport import SocketTransport

FLUSH_AT = 256 * 1024
"""Octets of replies gathered for one write."""

MAX_JOINED = 1024 * 1024
"""Octets of replies that are copied to be written as one."""


class Outgoing:
    """The sending half of a connection. transport: may become another one, within TLS."""

    __slots__ = ("_ready", "gathered", "replies", "transport", "writable", "written")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.replies: list[bytes | memoryview] = []
        """Those that wait to be written together."""
        self.gathered = 0
        """Their octets."""
        self.written = 0
        """Octets of messages written so far."""
        self.writable = True
        """Whether the client takes what it is sent."""
        self._ready: asyncio.Future[None] | None = None  # somebody waits for that

    def add(self, pieces: Sequence[bytes | memoryview], octets: int) -> None:
        """Put a reply's pieces, of so many octets, among what is to be written."""
        self.replies += pieces
        self.gathered += octets
        if self.gathered >= FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        replies, octets = self.replies, self.gathered
        if not replies:
            return
        self.replies, self.gathered = [], 0
        if octets <= MAX_JOINED:
            # For the system to gather them costs as much, and more when they are short.
            self.transport.write(b"".join(replies))
            return
        for piece in replies:
            self.transport.write(piece)

    def write(self, data: bytes) -> None:
        """Send a block of a message. Raises ConnectionResetError when nobody takes it."""
        self._check()
        self.transport.write(data)
        self.written += len(data)

    def send_file(self, fd: int, at: int, count: int) -> bool:
        """Send a part of a file as it lies; False where that isn't possible."""
        self._check()
        if not isinstance(self.transport, SocketTransport):
            return False
        taken = self.transport.send_file(fd, at, count)
        self.written += count if taken else 0
        return taken

    def _check(self) -> None:
        if self.transport.is_closing():
            raise ConnectionResetError("client has left")

    async def ready(self) -> None:
        """Wait until the client has taken enough for more to be written."""
        if not self.writable:
            self._ready = asyncio.get_running_loop().create_future()
            await self._ready

    def resume(self) -> None:
        """The client has taken enough, or nothing can be written any more."""
        self.writable = True
        ready, self._ready = self._ready, None
        if ready is not None and not ready.done():
            ready.set_result(None)
