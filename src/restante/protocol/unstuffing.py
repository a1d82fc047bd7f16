"""A message as it streams in, by DATA of SMTP and LMTP or by RETR: dots taken off, the end found.

Only CRLF ends a line and only CRLF "." CRLF ends the data (RFC 5321 §2.3.8, §4.1.1.4; RFC 1939 §3).
A bare LF or a lone CR is an octet like any other and is kept; neither can begin a line,
so `\\n.\\n` or `\\r.\\r` can't smuggle a second message in behind the first.
"""

from __future__ import annotations

_END = b"\r\n.\r\n"


class Unstuffing:
    """Takes data block by block, cut anywhere, and gives the message's octets (RFC 5321 §4.5.2).

    rest: what followed the end of the data; None until the end has been seen.

    Holds back at most four octets between blocks.
    """

    __slots__ = ("_held", "_virtual", "rest")

    def __init__(self) -> None:
        # Data begins at a line's beginning, so a CRLF nobody sent is put before it.
        self._held = b"\r\n"
        self._virtual = 2
        self.rest: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        """The octets of the message that `data` completes. Not to be called after the end."""
        data = self._held + data
        end = data.find(_END)
        if end >= 0:
            self.rest = data[end + len(_END) :]
            data = data[: end + 2]
        else:
            keep = _undecided(data)
            self._held = data[len(data) - keep :]
            data = data[: len(data) - keep]
        content = data.replace(b"\r\n.", b"\r\n")
        if self._virtual and content:
            content = content[self._virtual :]
            self._virtual = 0
        return content


def _undecided(data: bytes) -> int:
    """How many of the last octets may be the beginning of the end of the data."""
    for length in range(len(_END) - 1, 0, -1):
        if data.endswith(_END[:length]):
            return length
    return 0
