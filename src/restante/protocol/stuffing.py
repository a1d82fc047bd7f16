"""A message's wire form: line ends are CRLF, and lines that start with "." are stuffed.

RETR and TOP send every message through this module, so there is one place where a message
could be cut short or changed (RFC 1939 §3). The result doesn't depend on where the blocks of
the message were cut. `restante.protocol.facts` has the rule for line ends.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from restante.protocol.downgrade import downgrade_header
from restante.protocol.facts import Facts, blank_line_end
from restante.protocol.limits import MAX_DOWNGRADED_HEADER
from restante.protocol.line_ends import with_crlf

TERMINATOR = b".\r\n"


class WireEncoder:
    """Turns stored bytes into the wire form of a multi-line reply's body.

    facts: the message's, when they are known. Work that they show to be needless is left out.
    """

    __slots__ = ("_at", "_at_line_start", "_dots", "_held_cr", "_normalise", "_stuff")

    def __init__(self, facts: Facts | None = None) -> None:
        self._normalise = facts is None or not facts.crlf
        self._stuff = facts is None or facts.needs_stuffing
        self._dots: Sequence[int] | None = None if facts is None else facts.dots
        self._at = 0  # octets fed, counted where the dots' places are known
        self._held_cr = False
        self._at_line_start = True

    def feed(self, block: bytes) -> bytes:
        """The wire form of `block`. A CR at its end waits for the next block."""
        if not block:
            return block
        starts_line, self._at_line_start = self._at_line_start, block.endswith(b"\n")
        if self._dots is not None:
            block = self._with_known_dots(self._dots, block)
        elif self._stuff:
            block = _with_dots(block, starts_line)
        return self._with_crlf(block) if self._normalise else block

    def _with_known_dots(self, dots: Sequence[int], block: bytes) -> bytes:
        start, end = self._at, self._at + len(block)
        self._at = end
        first = bisect_left(dots, start)
        here = dots[first : bisect_left(dots, end, first)]
        return stuffed_at(block, [at - start for at in here] if start else here)

    def _with_crlf(self, block: bytes) -> bytes:
        if self._held_cr:
            block = b"\r" + block
            self._held_cr = False
        if block.endswith(b"\r"):  # whether it belongs to a line end, the next block tells
            block = block[:-1]
            self._held_cr = True
        return with_crlf(block)

    def finish(self, empty: bool) -> bytes:
        """The end of the reply: a last line end if there is none, and the terminator.

        empty: the message has no octets. It is sent as one empty line.
        """
        if self._held_cr:
            return b"\r\r\n" + TERMINATOR
        return TERMINATOR if self._at_line_start and not empty else b"\r\n" + TERMINATOR


def stuffed_at(data: bytes, dots: Sequence[int]) -> bytes:
    """`data` with one more "." before the one at each of these offsets, in rising order.

    Nothing is searched for, so this is as quick as copying.
    """
    return b"".join(_stuffed_pieces(data, dots)) if dots else data


_SLICED = memoryview if sys.implementation.name == "cpython" else bytes
"""The type that octets are sliced as before they are joined. A memoryview saves CPython a copy,
and makes PyPy do one more."""


def _stuffed_pieces(data: bytes, dots: Sequence[int]) -> list[bytes | memoryview]:
    """The same in pieces. Each ends with a dot, and the next one begins with that dot again."""
    view, at = _SLICED(data), 0
    pieces: list[bytes | memoryview] = []
    for dot in dots:
        pieces.append(view[at : dot + 1])
        at = dot
    pieces.append(view[at:])
    return pieces


def _with_dots(block: bytes, starts_line: bool) -> bytes:
    # One pass over the block and a copy. rsplit() searches faster than split(), and
    # replace() makes a pass more, to count.
    block = b"\n..".join(block.rsplit(b"\n."))
    return b"." + block if starts_line and block.startswith(b".") else block


def stuffed_whole(data: bytes, facts: Facts) -> list[bytes | memoryview]:
    """A whole message as RETR sends it, with the terminator.

    In pieces, because the caller joins them with other replies, and a copy takes time.
    facts: of exactly these octets.
    """
    _, _, crlf, stuffing, _, dots, _ = facts
    pieces: list[bytes | memoryview] = [data]
    if stuffing:
        if dots is None:
            pieces = [_with_dots(data, starts_line=True)]
        else:
            pieces = _stuffed_pieces(data, dots)
    if not crlf:
        data = b"".join(pieces)
        pieces = [with_crlf(data)]
        if not data.endswith(b"\n"):
            pieces.append(b"\r\n")
    pieces.append(TERMINATOR)
    return pieces


class BodyEncoder:
    """Makes the body of the reply to RETR or TOP from a message's blocks.

    facts: see `WireEncoder`.
    top_lines: send the header, the blank line and this many lines of the body
        (RFC 1939 §7 TOP); None sends everything.
    downgrade: give the header in ASCII (RFC 6856 §2.1).
    """

    __slots__ = ("_body_lines", "_empty", "_header", "_in_header", "_tail", "_wire", "complete")

    def __init__(
        self, facts: Facts | None = None, top_lines: int | None = None, downgrade: bool = False
    ) -> None:
        self._wire = WireEncoder(None if downgrade else facts)
        self._body_lines = top_lines
        self._header: bytearray | None = bytearray() if downgrade else None
        self._in_header = top_lines is not None or downgrade
        self._tail = b"\n"
        self._empty = True
        self.complete = False
        """No further block is needed: TOP has its lines."""

    def feed(self, block: bytes) -> bytes:
        """The octets to send for the next stored block."""
        if self.complete or not block:
            return b""
        self._empty = False
        if not self._in_header:
            return self._wire.feed(block if self._body_lines is None else self._cut(block))
        end = blank_line_end(self._tail, block)
        self._tail = (self._tail + block[-2:])[-2:]
        if end < 0:
            return self._wire.feed(self._hold(block))
        self._in_header = False
        head, body = block[:end], block[end:]
        out = self._wire.feed(self._release(head))
        if self._body_lines is not None:
            body = self._cut(body)
        return out + self._wire.feed(body)

    def _hold(self, block: bytes) -> bytes:
        if self._header is None:
            return block
        self._header += block
        return self._release(b"") if len(self._header) > MAX_DOWNGRADED_HEADER else b""

    def _release(self, head: bytes) -> bytes:
        if self._header is None:
            return head
        header, self._header = bytes(self._header) + head, None
        # A header beyond the bound was not measured for downgrading either. It is sent as it is.
        return downgrade_header(header) if len(header) <= MAX_DOWNGRADED_HEADER else header

    def _cut(self, body: bytes) -> bytes:
        assert self._body_lines is not None
        lines = body.count(b"\n")
        if lines < self._body_lines:
            self._body_lines -= lines
            return body
        self.complete = True
        if not self._body_lines:
            return b""
        rest = body.split(b"\n", self._body_lines)[-1]
        return body[: len(body) - len(rest)]

    def finish(self) -> bytes:
        """The octets that end the reply, its terminator included."""
        held = self._wire.feed(self._release(b""))
        return held + self._wire.finish(self._empty)


def wire_blocks(
    blocks: Iterable[bytes],
    facts: Facts | None = None,
    top_lines: int | None = None,
    downgrade: bool = False,
) -> Iterator[bytes]:
    """The body of a multi-line reply for the message that `blocks` make up."""
    encoder = BodyEncoder(facts, top_lines, downgrade)
    for block in blocks:
        if out := encoder.feed(block):
            yield out
        if encoder.complete:
            break
    yield encoder.finish()


def stuffed_lines(lines: Iterable[bytes]) -> bytes:
    """Whole lines, without line ends in them, as the body of a multi-line reply."""
    return b"".join([(b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines])
