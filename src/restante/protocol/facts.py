"""Facts: what is known of a message without reading it again.

A message is measured once, block by block, at delivery or at first sight. The
numbers that come out are exact: `octets` is what STAT and LIST say and what RETR
sends (RFC 1939 §11), before byte-stuffing and without the terminating line.

One rule for line ends holds everywhere in Restante:

* a CRLF is a line end and stays as it is;
* an LF that no CR precedes is a line end and becomes CRLF;
* a CR that no LF follows is data and stays as it is;
* a message whose last octet is not a line end gets one CRLF, and so does an empty
  message, whose wire form is therefore one empty line (2 octets).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from restante.protocol.downgrade import downgrade_growth
from restante.protocol.limits import MAX_DOWNGRADED_HEADER


class Facts(NamedTuple):
    """What is known of one message. Sizes are in octets of the wire form, where not said otherwise.

    octets: size with CRLF line ends (RFC 1939 §11).
    header_end: offset, in the bytes as stored, of the first octet after the blank
        line that ends the header; the stored size when there is no blank line.
    crlf: the stored bytes already have CRLF at every line end, the last included.
    needs_stuffing: some line starts with "." and must be sent with another before it.
    ascii_octets: size when the header is downgraded for a client that has not said
        UTF8 (RFC 6856 §2.1, RFC 6858); equal to `octets` for all other messages.
    """

    octets: int
    header_end: int
    crlf: bool
    needs_stuffing: bool
    ascii_octets: int

    @property
    def wire_ready(self) -> bool:
        """The stored bytes can be sent as they lie."""
        return self.crlf and not self.needs_stuffing

    @property
    def internationalised(self) -> bool:
        """The header holds UTF-8 that a client without UTF8 must not be sent."""
        return self.ascii_octets != self.octets


class Measure:
    """Takes a message block by block and gives its `Facts`.

    The result does not depend on where the blocks are cut.
    """

    __slots__ = ("_bare", "_dots", "_header", "_header_end", "_size", "_tail")

    def __init__(self) -> None:
        self._size = 0
        self._bare = 0  # LFs without CR before them, each one octet more on the wire
        self._dots = False
        self._tail = b"\n"  # the last octets seen: a message begins a line
        self._header: bytearray | None = bytearray()  # kept while it may need downgrading
        self._header_end = -1

    def feed(self, block: bytes) -> None:
        """Count `block`, the message's next octets."""
        if not block:
            return
        tail = self._tail
        self._bare += block.count(b"\n") - block.count(b"\r\n")
        if block[0] == 0x0A and tail.endswith(b"\r"):
            self._bare -= 1
        if not self._dots:
            self._dots = b"\n." in block or (block[0] == 0x2E and tail.endswith(b"\n"))
        if self._header_end < 0:
            self._feed_header(block)
        self._size += len(block)
        self._tail = (tail + block[-3:])[-3:]

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
        size, header = self._size, self._header
        closed = size > 0 and self._tail.endswith(b"\n")
        octets = size + self._bare + (0 if closed else 2)
        crlf = self._bare == 0 and closed
        ascii_octets = octets
        if header is not None and not header.isascii():
            ascii_octets += downgrade_growth(bytes(header))
        header_end = self._header_end if self._header_end >= 0 else size
        return Facts(octets, header_end, crlf, self._dots, ascii_octets)


def blank_line_end(tail: bytes, block: bytes) -> int:
    """Where in `block` the octet after the first blank line lies, or -1.

    tail: the two or more octets before `block`; b"\\n" at a message's beginning.
    """
    joint = tail[-2:]
    seen = joint + block
    ends = [at + len(blank) for blank in (b"\n\n", b"\n\r\n") if (at := seen.find(blank)) >= 0]
    return min(ends) - len(joint) if ends else -1


def measure(blocks: Iterable[bytes]) -> Facts:
    """The `Facts` of the message that `blocks` make up, cut anywhere."""
    meter = Measure()
    for block in blocks:
        meter.feed(block)
    return meter.finish()
