"""The octets of a message, from whatever a store gives, in wire form."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from hashlib import sha256
from typing import Any, cast

from restante.calls import Caller, in_task
from restante.protocol.facts import Facts
from restante.protocol.listing import MessageNumber
from restante.protocol.stuffing import TERMINATOR, WireEncoder
from restante.stores.contract import Maildrop, Source, StoreError

BLOCK = 256 * 1024

_LINE_ENDS_ONLY = Facts(octets=0, header_end=0, crlf=False, needs_stuffing=False, ascii_octets=0)


class TooLarge(StoreError):
    """The message has more octets than may be moved."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it has more than {most} octets", temporary=False)


class TooShort(StoreError):
    """Far fewer octets came than were listed."""

    def __init__(self, octets: int, listed: int) -> None:
        super().__init__(f"only {octets} of {listed} listed octets came", temporary=False)


class WireForm:
    """Makes the octets of a message those that RETR sends, and counts them."""

    def __init__(self) -> None:
        self._encoder = WireEncoder(_LINE_ENDS_ONLY)
        self._empty = True
        self.octets = 0

    def feed(self, block: bytes) -> bytes:
        """The next octets."""
        self._empty = self._empty and not block
        wire = self._encoder.feed(block)
        self.octets += len(wire)
        return wire

    def finish(self) -> bytes:
        """The last octets: a line end if there is none."""
        wire = self._encoder.finish(self._empty)[: -len(TERMINATOR)]
        self.octets += len(wire)
        return wire


async def blocks(source: Source, call: Caller) -> AsyncGenerator[bytes, None]:
    """The blocks of a message. Raises what the source does. `close` is left to the caller."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield bytes(source)
    elif hasattr(source, "read"):
        while block := await call(source.read, BLOCK):
            yield block
    elif hasattr(source, "__aiter__"):
        waiting = aiter(cast(AsyncIterator[bytes], source))
        while (part := await in_task(anext(waiting, None))) is not None:
            yield part
    else:
        plain = iter(source)
        while (part := await call(next, plain, None)) is not None:
            yield part


async def close(source: Source, call: Caller) -> None:
    """Close what a store gave, if it can be closed."""
    ending: Callable[[], Any] | None = getattr(source, "aclose", None)
    ending = ending or getattr(source, "close", None)
    if ending is not None:
        await (ending() if inspect.isasyncgen(source) else call(ending))


async def wire_digest(
    maildrop: Maildrop, number: MessageNumber, call: Caller, most: int
) -> tuple[int, bytes]:
    """A message's octets, as RETR sends them, and their SHA-256.

    most: octets that it may have. Raises MessageGone, StoreError.
    """
    content = await call(maildrop.fetch, number)
    form, digest = WireForm(), sha256()
    try:
        async for block in blocks(content.source, call):
            digest.update(form.feed(block))
            if form.octets > most:
                raise TooLarge(most)
    finally:
        await close(content.source, call)
    digest.update(form.finish())
    return form.octets, digest.digest()
