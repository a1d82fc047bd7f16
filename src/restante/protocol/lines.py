"""Bytes from the wire, cut into lines that can't grow without bound."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from restante.protocol.errors import LineTooLong

NOTHING_LONGER: Mapping[bytes, int] = MappingProxyType({})


class LineBuffer:
    """Holds what has arrived and gives it back line by line.

    A line ends with LF; one CR before it belongs to the end (RFC 1939 §3 asks for CRLF,
    several clients send a bare LF). Nothing is looked at twice, so a line that arrives
    one octet at a time costs no more than one that arrives whole.
    """

    __slots__ = ("_scanned", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        """What has arrived and not been taken."""
        self._scanned = 0

    def __len__(self) -> int:
        """Octets that have arrived and not been taken."""
        return len(self.data)

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self.data += data

    def take(self, limit: int, longer: Mapping[bytes, int] = NOTHING_LONGER) -> bytes | None:
        """The next line without its end, or None until it is there.

        limit: octets that the line may have; longer: other limits, for lines that start with
        these words, in any letter case. Raises LineTooLong as soon as a line has more octets,
        whether or not its end has arrived.
        """
        data = self.data
        end = data.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(data)
            if self._scanned > limit + 1:  # one more for the CR of the end
                self._check(self._scanned - 1, limit, longer)
            return None
        size = end - 1 if end and data[end - 1] == 0x0D else end
        if size > limit:
            self._check(size, limit, longer)
        line = bytes(data[:size])
        del data[: end + 1]
        self._scanned = 0
        return line

    def _check(self, size: int, limit: int, longer: Mapping[bytes, int]) -> None:
        for word, other in longer.items():
            if self.data[: len(word)].upper() == word:
                limit = other
        if size > limit:
            raise LineTooLong("line of more than {limit} octets", limit=limit)

    def clear(self) -> None:
        """Forget what has arrived."""
        self.data.clear()
        self._scanned = 0
