"""What stores in databases have in common: a message on its way in, and listings made of rows."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import sha256
from tempfile import SpooledTemporaryFile

from restante.protocol.facts import INTERNATIONALIZED, UTF8_HEADER, Facts, Measure
from restante.protocol.listing import Listing
from restante.protocol.stuffing import TERMINATOR, WireEncoder
from restante.stores.contract import StoreError

BLOCK = 256 * 1024
"""Octets of a body in one row: what is read into memory at a time."""

_LINE_ENDS_ONLY = Facts(octets=0, header_end=0, crlf=False, needs_stuffing=False, ascii_octets=0)


class Draft:
    """A message that is written, measured, and then stored in wire form.

    That is with CRLF line ends, the last included, so that RETR sends it as it lies. It is kept
    in memory, or in a temporary file if it is large.

    octets: the message in wire form. facts, digest (SHA-256): its own, from `finish` on.
    """

    def __init__(self) -> None:
        self.octets = SpooledTemporaryFile[bytes](BLOCK)
        self.digest = b""
        self._encoder = WireEncoder(_LINE_ENDS_ONLY)
        self._meter = Measure()
        self._hash = sha256()
        self._empty = True
        self._facts: Facts | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still be stored."""
        return not self.octets.closed

    @property
    def facts(self) -> Facts:
        """What was measured. Only after `finish`."""
        assert self._facts is not None
        return self._facts

    def write(self, block: bytes) -> None:
        """Take the message's next octets, with line ends of any kind. Raises StoreError."""
        if self._facts is not None:
            raise StoreError("the message is finished")
        self._check_open()
        if block:
            self._empty = False
            self._take(self._encoder.feed(block))

    def finish(self) -> None:
        """No `write` follows. Harmless when repeated. Raises StoreError after `close`."""
        self._check_open()
        if self._facts is None:
            self._take(self._encoder.finish(self._empty)[: -len(TERMINATOR)])
            self._facts = self._meter.finish()
            self.digest = self._hash.digest()

    def close(self) -> None:
        """Forget the message. Harmless when repeated."""
        self.octets.close()

    def _check_open(self) -> None:
        if not self.is_open:
            raise StoreError("the message is finished")

    def _take(self, wire: bytes) -> None:
        self._meter.feed(wire)
        self._hash.update(wire)
        try:
            self.octets.write(wire)
        except OSError as error:
            self.close()
            raise StoreError(f"delivery: {error}") from error


def packed_dots(facts: Facts) -> bytes | None:
    """`Facts.dots` for a column."""
    return facts.dots.tobytes() if facts.dots is not None else None


def dots_of(packed: bytes | None) -> array[int] | None:
    """`Facts.dots` of a column."""
    if packed is None:
        return None
    dots = array("I")
    dots.frombytes(packed)
    return dots


def listing_of(
    unique_ids: Sequence[str],
    octets: Sequence[int],
    with_utf8: Iterable[tuple[int, int, int]],
) -> Listing:
    """A listing.

    with_utf8: number, `ascii_octets` and `utf8` of the messages with UTF-8 in the header, at
        least.
    """
    known = [each for each in with_utf8 if each[2] >= UTF8_HEADER]
    return Listing(
        unique_ids,
        octets,
        {number: ascii_octets for number, ascii_octets, _ in known},
        [number for number, _, utf8 in known if utf8 == INTERNATIONALIZED],
    )
