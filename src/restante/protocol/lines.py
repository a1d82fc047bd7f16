"""Bytes from the wire, cut into lines that can't grow without bound."""

from __future__ import annotations

from restante.protocol.errors import LineTooLong


class LineBuffer:
    """Holds what has arrived and gives it back line by line.

    A line ends with LF; one CR before it belongs to the end (RFC 1939 §3 asks for CRLF,
    several clients send a bare LF). Nothing is looked at twice, so a line that arrives
    one octet at a time costs no more than one that arrives whole.
    """

    __slots__ = ("_data", "_scanned")

    def __init__(self) -> None:
        self._data = bytearray()
        self._scanned = 0

    def __len__(self) -> int:
        """Octets that have arrived and not been taken."""
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._data += data

    def take(self, limit: int) -> bytes | None:
        """The next line without its end, or None until it is there.

        limit: octets that the line may have. Raises LineTooLong as soon as it has more,
        whether or not its end has arrived.
        """
        end = self._data.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._data)
            if self._scanned > limit + 1:  # one more for the CR of the end
                raise LineTooLong("line of more than {limit} octets", limit=limit)
            return None
        size = end - 1 if end and self._data[end - 1] == 0x0D else end
        if size > limit:
            raise LineTooLong("line of more than {limit} octets", limit=limit)
        line = bytes(self._data[:size])
        del self._data[: end + 1]
        self._scanned = 0
        return line

    def starts_with(self, verb: bytes) -> bool:
        """Whether the line being received starts with `verb`, in any letter case."""
        return self._data[: len(verb)].upper() == verb

    def clear(self) -> None:
        """Forget what has arrived."""
        self._data.clear()
        self._scanned = 0
