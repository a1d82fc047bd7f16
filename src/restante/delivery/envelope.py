"""What is known of a message apart from its octets: sender, client, protocol, queue-id."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field


def new_queue_id() -> str:
    """A name for one message on its way in. The client is told it when something goes wrong."""
    return os.urandom(5).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Who sends a message, and how it comes in.

    protocol: as the trace lines name it, `ESMTPS` for example (RFC 3848), or the command
        that brings it: `deliver`, `import`.
    sender: the reverse-path, empty for a bounce. helo: the name that the client gave.
    peer: the client's IP address, empty on a Unix socket and for commands.
    tls: the version of TLS, empty without it.
    hostname: of this server.
    session: the connection's name in the logs; empty for commands.
    begun: when the message began to come in, by `time.monotonic`.
    """

    protocol: str
    sender: str = ""
    helo: str = ""
    peer: str = ""
    tls: str = ""
    hostname: str = "localhost"
    queue_id: str = field(default_factory=new_queue_id)
    session: str = ""
    begun: float = field(default_factory=time.monotonic)

    def trace(self, address: str) -> bytes:
        """Return-Path, Delivered-To and Received for the copy that goes to `address`.

        RFC 5321 §4.4. What the client gave can't add lines of its own.
        """
        peer = f"[{self.peer}]" if self.peer else "local"
        now = time.localtime()
        date = f"{_DAYS[now.tm_wday]}, {now.tm_mday:02} {_MONTHS[now.tm_mon - 1]} "
        date += time.strftime("%Y %H:%M:%S %z", now)
        texts = (
            f"Return-Path: <{self.sender}>",
            f"Delivered-To: {address}",
            f"Received: from {self.helo or 'unknown'} ({peer})",
            f"\tby {self.hostname} with {self.protocol}; {date}",
        )
        return b"".join(_printable(text).encode() + b"\r\n" for text in texts)


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)
