"""The control channel: messages between the supervisor and its worker processes.

A frame is four octets of length and a JSON object, whose `say` tells what it is about.
"""

from __future__ import annotations

import json
import socket
import struct
from asyncio import IncompleteReadError, StreamReader
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, TypeVar

Message: TypeAlias = dict[str, Any]
T = TypeVar("T")

MAX_FRAME = 1 << 20
"""Octets of a message. Whoever has more to say sends several."""

MAX_UNSENT = 8 << 20
"""Octets that may wait for a peer that doesn't read."""

_WIDEST = 12
"""Octets of one letter in JSON, at most."""

_LENGTH = struct.Struct("!I")
_READ = 1 << 18


class ControlError(Exception):
    """The other end doesn't keep to the form of the control channel."""


def encode(message: Message) -> bytes:
    """The frame of a message. Raises ValueError when it is too long."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_FRAME:
        raise ValueError(f"a message of {len(data)} octets; allowed are {MAX_FRAME}")
    return _LENGTH.pack(len(data)) + data


def _decode(data: bytes) -> Message:
    try:
        message = json.loads(data)
    except ValueError as error:
        raise ControlError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise ControlError("not an object")
    return message


def _size(head: bytes) -> int:
    size: int = _LENGTH.unpack(head)[0]
    if size > MAX_FRAME:
        raise ControlError(f"a frame of {size} octets")
    return size


async def read_message(reader: StreamReader) -> Message | None:
    """The next message; None at the end. Raises ControlError."""
    try:
        return _decode(await reader.readexactly(_size(await reader.readexactly(_LENGTH.size))))
    except (IncompleteReadError, ConnectionError):
        return None


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in parts, each short enough for one message."""
    batch: list[T] = []
    room = MAX_FRAME // 2
    for item in items:
        batch.append(item)
        room -= _WIDEST * len(repr(item))
        if room < 0:
            yield batch
            batch, room = [], MAX_FRAME // 2
    if batch:
        yield batch


class Link:
    """The supervisor's end of a control channel: it never waits."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self.socket = connected
        self._received = bytearray()
        self._unsent = bytearray()

    @property
    def unsent(self) -> int:
        """Octets that wait for the other end."""
        return len(self._unsent)

    def receive(self) -> list[Message] | None:
        """The messages that have come; None at the end. Raises ControlError."""
        try:
            data = self.socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None
        if not data:
            return None
        self._received += data
        return list(self._take())

    def _take(self) -> Iterator[Message]:
        begin = _LENGTH.size
        while len(self._received) >= begin:
            end = begin + _size(bytes(self._received[:begin]))
            if len(self._received) < end:
                return
            data = bytes(self._received[begin:end])
            del self._received[:end]
            yield _decode(data)

    def send(self, message: Message) -> bool:
        """Send, now or when the other end reads; False: too much waits, it is thrown away."""
        data = encode(message)
        if len(self._unsent) + len(data) > MAX_UNSENT:
            return False
        self._unsent += data
        self.flush()
        return True

    def flush(self) -> None:
        """Send as much as the other end takes. Its end shows in `receive`."""
        while self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._unsent.clear()
                return
            del self._unsent[:sent]

    def close(self) -> None:
        """Close this end."""
        self.socket.close()
