"""Facts: what is known of a message without reading it again.

A message is measured once, block by block, when it is delivered or first seen. The numbers
are exact: `octets` is what STAT and LIST say and what RETR sends (RFC 1939 §11), before
byte-stuffing and without the terminating line.

Restante has one rule for line ends:

* a CRLF is a line end and stays as it is;
* an LF that no CR precedes is a line end and becomes CRLF;
* a CR that no LF follows is data and stays as it is;
* a message whose last octet is not a line end gets one CRLF, and so does an empty
  message, whose wire form is therefore one empty line (2 octets).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from typing import NamedTuple

from restante.protocol.downgrade import downgrade_growth, is_internationalized, is_utf8
from restante.protocol.limits import MAX_DOTS, MAX_DOWNGRADED_HEADER

MAX_OFFSET = 0xFFFFFFFF  # an item of array("I") holds no more

UTF8_HEADER, INTERNATIONALIZED = 1, 2

_BLANK_LINE = re.compile(rb"\n\r?\n")
_DOT_LINES = re.compile(rb"\n\.")
_ODD_LINES = re.compile(rb"\n(?:\.|(?<!\r\n))")  # "\n." and LFs that no CR precedes


class Facts(NamedTuple):
    """What is known of one message. Sizes are in octets of the wire form, unless stated otherwise.

    octets: size with CRLF line ends (RFC 1939 §11).
    header_end: offset, in the bytes as stored, of the first octet after the blank
        line that ends the header; the stored size when there is no blank line.
    crlf: the stored bytes already have CRLF at every line end, the last included.
    needs_stuffing: some line starts with "." and must be sent with another before it.
    ascii_octets: size with the header in ASCII, for a client that has not said UTF8
        (RFC 6856 §2.1, RFC 6858); equal to `octets` for messages without UTF-8 there.
    dots: offsets, in the bytes as stored, of the "." that lines start with; None when
        there are none, or so many that searching for them costs no more.
    utf8: 0, UTF8_HEADER or INTERNATIONALIZED; see the properties of these names.
    """

    octets: int
    header_end: int
    crlf: bool
    needs_stuffing: bool
    ascii_octets: int
    dots: array[int] | None = None
    utf8: int = 0

    @property
    def wire_ready(self) -> bool:
        """The stored bytes can be sent as they lie."""
        return self.crlf and not self.needs_stuffing

    @property
    def utf8_header(self) -> bool:
        """There is UTF-8 in the header, if only in a subject."""
        return self.utf8 > 0

    @property
    def internationalized(self) -> bool:
        """A client without UTF8 must not be sent the header as it is (RFC 6856 §2.1).

        There is UTF-8 in a field with addresses, or some in the header of a message that
        SMTPUTF8 brought.
        """
        return self.utf8 == INTERNATIONALIZED


_make_facts = tuple.__new__  # half the time of Facts()


class Measure:
    """Takes a message block by block and gives its `Facts`.

    The result doesn't depend on where the blocks are cut.
    """

    __slots__ = ("_bare", "_dots", "_header", "_header_end", "_many", "_size", "_tail")

    def __init__(self) -> None:
        self._size = 0
        self._bare = 0  # LFs without CR before them, each one octet more on the wire
        self._dots = array("I")
        self._many = False  # more dots than are kept
        self._tail = b"\n"  # the last octets seen: a message begins a line
        self._header: bytearray | None = bytearray()  # kept while it may need downgrading
        self._header_end = -1

    def feed(self, block: bytes) -> None:
        """Count `block`, the message's next octets."""
        if not block:
            return
        tail = self._tail
        bare, places = _odd_lines(block, dots=not self._many)
        self._bare += bare
        if block[0] == 0x0A and tail.endswith(b"\r"):
            self._bare -= 1
        if block[0] == 0x2E and tail.endswith(b"\n"):
            places.insert(0, 0)
        if places:
            self._keep(places, len(block))
        if self._header_end < 0:
            self._feed_header(block)
        self._size += len(block)
        self._tail = block[-3:] if len(block) > 2 else (tail + block)[-3:]

    def _keep(self, places: list[int], block_size: int) -> None:
        if len(self._dots) + len(places) > MAX_DOTS or self._size + block_size > MAX_OFFSET:
            self._many = True
        else:
            self._dots.extend([self._size + place for place in places])

    def _feed_header(self, block: bytes) -> None:
        end = blank_line_end(self._tail, block)
        if self._header is not None:
            self._header += block if end < 0 else block[:end]
            if len(self._header) > MAX_DOWNGRADED_HEADER:
                self._header = None
        if end >= 0:
            self._header_end = self._size + end

    def finish(self) -> Facts:
        """The facts of the whole message."""
        size, dots = self._size, None if self._many else self._dots
        closed = size > 0 and self._tail.endswith(b"\n")
        header = None if self._header is None else bytes(self._header)
        return _facts(size, self._bare, closed, self._header_end, header=header, dots=dots)


def measure_whole(message: bytes) -> Facts:
    """The `Facts` of a message that is in one piece: what `Measure` gives, sooner."""
    size = len(message)
    if not size or size > MAX_OFFSET:
        return measure([message])
    bare, places = _odd_lines(message)
    first = message[0]
    if first == 0x2E:
        places.insert(0, 0)
    if first in b"\r\n":
        end = blank_line_end(b"\n", message)
    else:
        blank = _BLANK_LINE.search(message)
        end = -1 if blank is None else blank.end()
    header: bytes | None = message if end < 0 else message[:end]
    if (size if end < 0 else end) > MAX_DOWNGRADED_HEADER:
        header = None
    dots = array("I", places) if len(places) <= MAX_DOTS else None
    return _facts(size, bare, message[-1] == 0x0A, end, header=header, dots=dots)


def _odd_lines(block: bytes, *, dots: bool = True) -> tuple[int, list[int]]:
    """How many LFs of a block have no CR before them in it, and where dots follow an LF.

    dots: whether their places are wanted.
    """
    first = block.find(b"\n")
    if not dots or first < 1 or block[first - 1] != 0x0D:
        bare = block.count(b"\n") - (b"\r" in block and block.count(b"\r\n"))
        return bare, [m.start() + 1 for m in _DOT_LINES.finditer(block)] if dots else []
    bare, places = 0, []
    for found in _ODD_LINES.finditer(block):
        start, end = found.span()
        if block[start - 1] != 0x0D:
            bare += 1
        if end - start == 2:
            places.append(start + 1)
    return bare, places


def _facts(
    size: int,
    bare: int,
    closed: bool,
    header_end: int,
    *,
    header: bytes | None,
    dots: array[int] | None,
) -> Facts:
    """The facts of a message. size: as stored. bare: LFs without CR. closed: a line end ends it.

    header_end: -1 when no blank line ends the header. header: None when it is too long to be
    downgraded. dots: places of those at line starts, None when they are too many.
    """
    octets = ascii_octets = size + bare + (0 if closed else 2)
    utf8 = 0
    if header is not None and not header.isascii() and is_utf8(header):
        utf8 = INTERNATIONALIZED if is_internationalized(header) else UTF8_HEADER
        ascii_octets += downgrade_growth(header)
    stuffing = dots is None or len(dots) > 0
    if dots is not None and not 0 < len(dots) <= 16 + size // 1000:
        dots = None
    crlf = closed and bare == 0
    end = header_end if header_end >= 0 else size
    return _make_facts(Facts, (octets, end, crlf, stuffing, ascii_octets, dots, utf8))


def blank_line_end(tail: bytes, block: bytes) -> int:
    """Where in `block` the octet after the first blank line lies, or -1.

    tail: the two or more octets before `block`; b"\\n" at a message's beginning.
    """
    joint = tail[-2:]
    found = _BLANK_LINE.search(joint + block[:2])  # one that begins before the block
    if found is not None:
        return found.end() - len(joint)
    found = _BLANK_LINE.search(block)
    return -1 if found is None else found.end()


def measure(blocks: Iterable[bytes]) -> Facts:
    """The `Facts` of the message that `blocks` make up, cut anywhere."""
    meter = Measure()
    for block in blocks:
        meter.feed(block)
    return meter.finish()
