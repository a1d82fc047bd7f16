"""Ports for servers that must be told one."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """A port on the loopback that nobody listens on.

    None that systems give away when they may choose (32768 and above): in the time until the
    server listens on it, another test's server or client could get it.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
