"""The control channel: messages whole and in order, bounded, and nobody waits for anybody."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from itertools import chain

import pytest

from restante.app.processes.control import (
    MAX_FRAME,
    MAX_UNSENT,
    ControlError,
    Link,
    Message,
    batches,
    encode,
    read_message,
)


@pytest.fixture
def pair() -> Iterator[tuple[Link, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Link(ours), theirs


def test_messages_come_whole_however_they_are_cut(pair: tuple[Link, socket.socket]) -> None:
    link, other = pair
    messages: list[Message] = [{"say": "news", "numbers": {"é": 1.5}}, {"say": "beat"}]
    heard: list[Message] = []
    for octet in b"".join(map(encode, messages)):
        other.send(bytes([octet]))
        heard += link.receive() or []
    assert heard == messages
    assert link.receive() == []
    other.close()
    assert link.receive() is None


@pytest.mark.parametrize(
    "frame", [struct.pack("!I", MAX_FRAME + 1), b"\0\0\0\2[]", b"\0\0\0\2\xff{"]
)
def test_what_is_no_message_is_told(pair: tuple[Link, socket.socket], frame: bytes) -> None:
    link, other = pair
    other.send(frame)
    with pytest.raises(ControlError):
        link.receive()

    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(frame)
        await read_message(reader)

    with pytest.raises(ControlError):
        asyncio.run(read())


def test_a_peer_that_does_not_read_costs_bounded_memory_and_no_time(
    pair: tuple[Link, socket.socket],
) -> None:
    link, other = pair
    message = {"say": "x" * 100_000}
    sent = 0
    while link.send(message):
        sent += 1
    assert link.unsent <= MAX_UNSENT
    other.setblocking(False)
    received = bytearray()
    while len(received) < sent * len(encode(message)):
        link.flush()
        received += other.recv(1 << 20)
    assert received == encode(message) * sent
    other.close()
    assert link.send({"say": "beat"})  # its end is `receive`'s to tell
    assert link.receive() is None


def test_a_message_that_is_too_long_is_never_sent(pair: tuple[Link, socket.socket]) -> None:
    with pytest.raises(ValueError):
        pair[0].send({"say": "x" * MAX_FRAME})


def test_the_end_in_the_middle_of_a_message_is_the_end() -> None:
    async def read() -> list[object]:
        reader = asyncio.StreamReader()
        reader.feed_data(encode({"say": "beat"}) + b"\0\0\0\5{")
        reader.feed_eof()
        return [await read_message(reader), await read_message(reader)]

    assert asyncio.run(read()) == [{"say": "beat"}, None]


def test_batches_fit_into_frames_whatever_the_letters() -> None:
    names = [f"session:{'😀' * 250}{number}" for number in range(5000)]
    parts = list(batches(names))
    assert list(chain.from_iterable(parts)) == names
    assert all(len(json.dumps(part)) < MAX_FRAME for part in parts)
    assert len(parts) > 1
    assert list(batches([])) == []
