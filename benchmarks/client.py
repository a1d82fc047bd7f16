"""A POP3 client that believes nothing: every reply is checked as it is read."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

from benchmarks.corpus import PASSWORD, Expected

SECONDS = 20.0


class Violation(Exception):
    """The server sent what the protocol, or the maildrop, does not allow."""


class Client:
    """One session on loopback, inside TLS when there is a `context`."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._socket: socket.socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._held = b""
        self.received = 0
        self.status()

    def send(self, *lines: str) -> None:
        """Send command lines in one write."""
        self._socket.sendall("".join(line + "\r\n" for line in lines).encode())

    def status(self) -> str:
        """The text of a reply's first line, without `+OK`."""
        while b"\n" not in self._held:
            self._receive()
        line, self._held = self._held.split(b"\n", 1)
        if not line.startswith(b"+OK") or not line.endswith(b"\r") or line.count(b"\r") != 1:
            raise Violation(f"a status line {line[:60]!r}")
        return line[3:-1].decode().strip()

    def body(self) -> tuple[bytes, int]:
        """A multi-line reply's rest, unstuffed, and in how many lines a dot was."""
        self.status()
        blocks = [b"\r\n" + self._held]
        while not (b"".join(blocks[-2:])[-5:] if blocks else b"").endswith(b"\r\n.\r\n"):
            self._receive()
            blocks.append(self._held)
        data = b"".join(blocks)
        self._held = b""
        return _unstuffed(data)

    def _receive(self) -> None:
        block = self._socket.recv(256 * 1024)
        if not block:
            raise Violation("closed in the middle")
        self.received += len(block)
        self._held += block

    def close(self) -> None:
        """Leave without QUIT."""
        self._socket.close()
