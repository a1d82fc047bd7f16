"""What tells one connection from another: its name in the logs, and APOP's timestamp."""

from __future__ import annotations

import itertools
import os
import secrets
import time


class Numbering:
    """Numbers the connections of one server in this process. hostname: the server's."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname.encode("ascii", "replace")
        self._process = f"{os.getpid():x}"
        self._numbers = itertools.count(1)
        self._stamps = itertools.count(secrets.randbits(62))

    def identity(self) -> str:
        """A new connection's name in the logs, this process's own."""
        return f"{self._process}-{next(self._numbers):x}"

    def timestamp(self) -> bytes:
        """A greeting's, `<digits.digits@host>`, never given twice (RFC 1939 §7 APOP)."""
        return b"<%d.%d@%b>" % (next(self._stamps), time.time_ns(), self._hostname)
