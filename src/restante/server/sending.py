"""A message on its way to the client: read in blocks, encoded, sent no faster than it is taken."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import stat
from collections.abc import AsyncIterator, Iterator
from io import FileIO
from typing import Any, BinaryIO, Protocol, cast

from restante.calls import Caller, in_task
from restante.protocol.facts import Facts
from restante.protocol.replies import Body
from restante.protocol.stuffing import TERMINATOR, BodyEncoder, stuffed_whole
from restante.stores.contract import Content, Source

TURN = 1024 * 1024
"""Octets that a client is sent before the others have their turn."""

FILE_TURN = 512 * 1024
"""The same of a file that is sent as it lies."""


class Sink(Protocol):
    """Where the blocks go."""

    def write(self, data: bytes) -> None: ...

    def send_file(self, fd: int, at: int, count: int) -> bool:
        """Send a part of a file as it lies; False where that isn't possible."""

    async def ready(self) -> None:
        """Wait until the client has taken enough for more to be written."""


def encoded_whole(body: Body, limit: int) -> list[bytes | memoryview] | None:
    """The reply's body in pieces, when it is at hand and no longer than `limit` octets."""
    content = body.content
    source, facts = content.source, content.facts
    if not isinstance(source, bytes) or len(source) > limit:
        return None
    if facts is not None and body.top_lines is None and not body.downgrade:
        return stuffed_whole(source, facts)
    encoder = _encoder(body)
    return [encoder.feed(source), encoder.finish()]


async def send_body(
    body: Body, sink: Sink, batch_size: int, call_blocking: Caller, call_quick: Caller
) -> int:
    """Send a message after its status line; give the octets sent.

    batch_size: octets read, and so written, at a time: one block is in flight.
    call_blocking: calls a function that may wait. call_quick: reads files of a local disk.
    Whatever the store raises comes through: what was sent by then can't be taken back, so
    the connection must not go on.
    """
    encoder = _encoder(body)
    sent = since_pause = 0
    source = body.content.source
    try:
        if (size := await _send_as_it_lies(body, sink, call_quick)) is not None:
            return size
        async for block in _blocks(source, batch_size, call_blocking, call_quick):
            if out := encoder.feed(block):
                sink.write(out)
                sent += len(out)
                since_pause += len(out)
                await sink.ready()
            if since_pause >= TURN:
                await asyncio.sleep(0)  # a client that takes everything must not be the only one
                since_pause = 0
            if encoder.complete:
                break
    finally:
        await _close(source, call_blocking)
    end = encoder.finish()
    sink.write(end)
    return sent + len(end)


async def _send_as_it_lies(body: Body, sink: Sink, call_quick: Caller) -> int | None:
    """Have the system send a file that is in wire form already; None: it can't be done so."""
    facts: Facts | None = body.content.facts
    source = body.content.source
    if body.top_lines is not None or body.downgrade or facts is None or not facts.wire_ready:
        return None
    if not _is_regular_file(source):
        return None
    begin, at, size = source.tell(), 0, facts.octets
    while at < size:
        # What has been sent can't be taken back: slow storage is for the next message to heed.
        count = min(FILE_TURN, size - at)
        if not at and not call_quick.is_quick():
            return None
        if not call_quick.call_here(sink.send_file, source.fileno(), begin + at, count):
            return None
        at += count
        await sink.ready()
        await asyncio.sleep(0)
    sink.write(TERMINATOR)
    return size + len(TERMINATOR)


async def with_first_block(source: Source, call: Caller) -> Source:
    """`source` with its first block read.

    A generator finds out only then whether there is a message. If there is none, the client can
    be told so, as nothing has been sent yet. Whatever the store raises comes through.
    """
    if isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "read"):
        return source
    if hasattr(source, "__aiter__"):
        blocks = aiter(cast(AsyncIterator[bytes], source))
        return _resumed_async(await in_task(anext(blocks, b"")), blocks)
    plain = iter(source)
    return _resumed(await call(next, plain, b""), plain)


def _resumed(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    with contextlib.ExitStack() as stack:
        if hasattr(rest, "close"):
            stack.callback(rest.close)
        yield first
        yield from rest


async def _resumed_async(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with contextlib.AsyncExitStack() as stack:
        if hasattr(rest, "aclose"):
            stack.push_async_callback(rest.aclose)
        yield first
        async for block in rest:
            yield block


def _encoder(body: Body) -> BodyEncoder:
    content: Content = body.content
    return BodyEncoder(content.facts, body.top_lines, body.downgrade)


async def _blocks(
    source: Source, size: int, call_blocking: Caller, call_quick: Caller
) -> AsyncIterator[bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        for at in range(0, len(source), size):
            yield bytes(source[at : at + size])
    elif hasattr(source, "read"):
        file = cast(BinaryIO, source)
        call = call_quick if _is_regular_file(file) else call_blocking
        while block := await call(file.read, size):
            yield block
    elif hasattr(source, "__aiter__"):
        async_blocks = aiter(cast(AsyncIterator[bytes], source))
        while (part := await in_task(anext(async_blocks, None))) is not None:
            yield part
    else:
        blocks = iter(source)
        while (block := await call_blocking(next, blocks, None)) is not None:
            yield block


def _is_regular_file(file: Any) -> bool:
    """Whether reading waits for a disk at most; a pipe or a socket may wait for ever."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):
        return False


async def _close(source: Source, call: Caller) -> None:
    if isinstance(source, FileIO):  # nothing that could wait to be written
        source.close()
        return
    close = getattr(source, "aclose", None) or getattr(source, "close", None)
    if close is None:
        return
    await (close() if inspect.isasyncgen(source) else call(close))
