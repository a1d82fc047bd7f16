"""A POP3 client that believes nothing: every reply is checked as it is read."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Self

from benchmarks.corpus import PASSWORD, Expected
from benchmarks.ground import Unavailable

SECONDS = 20.0
_NOT_STUFFED = re.compile(rb"\n\.[^.]")
_UNIQUE_ID = re.compile(r"[!-~]{1,70}")
_NOT_CRLF = re.compile(rb"\r[^\n]|[^\r]\n")


class Violation(Exception):
    """The server sent what the protocol, or the maildrop, does not allow."""


class Client:
    """One session on loopback, inside TLS when there is a `context`.

    ticket: of an earlier session, to be resumed. When the session is over, `ticket` is the
    one to resume it by, and `resumed` says whether it was resumed itself.
    """

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext | None = None,
        ticket: ssl.SSLSession | None = None,
    ) -> None:
        self._socket: socket.socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = bytearray()
        self.received = 0
        self.ticket = ticket
        self.resumed = False
        try:
            if context is not None:
                self._socket = context.wrap_socket(
                    self._socket, server_hostname="localhost", session=ticket
                )
            self.status()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            self.ticket = self._socket.session
            self.resumed = bool(self._socket.session_reused)
        self._socket.close()

    def log_in(self, name: str) -> None:
        """From AUTHORIZATION to TRANSACTION."""
        self.send(f"USER {name}")
        self.status()
        self.send(f"PASS {PASSWORD}")
        self.status()

    def send(self, *lines: str) -> None:
        """Send command lines in one write."""
        self._socket.sendall("".join(line + "\r\n" for line in lines).encode())

    def status(self) -> str:
        """The text of a single-line reply, without `+OK`."""
        return self._until(b"\n")[4:-2].decode()

    def body(self) -> tuple[bytes, int]:
        """What a multi-line reply holds, unstuffed, and how many lines of it begin with a dot."""
        data = self._until(b"\r\n.\r\n")[:-3]
        if _NOT_STUFFED.search(data):
            raise Violation("a dot that is not stuffed")
        text = data[data.index(b"\n") + 1 :]
        dots = data.count(b"\n.")
        return (b"\n" + text).replace(b"\n..", b"\n.")[1:] if dots else text, dots

    def leave(self) -> None:
        """QUIT, and see that the server closes after its reply."""
        self.send("QUIT")
        self.end()

    def end(self) -> None:
        """The reply to QUIT, and nothing after it."""
        self.status()
        if self._held or self._socket.recv(1):
            raise Violation("octets after the reply to QUIT")

    def _until(self, end: bytes) -> bytes:
        seen = 0
        while (at := self._held.find(end, seen)) < 0:
            seen = max(0, len(self._held) - len(end))
            block = self._socket.recv(256 * 1024)
            if not block:
                raise Violation("closed in the middle")
            self.received += len(block)
            self._held += block
            if not b"+OK".startswith(self._held[:3]):
                raise Violation(f"answered {bytes(self._held[:60])!r}")
        at += len(end)
        data = bytes(memoryview(self._held)[:at])
        del self._held[:at]
        if _NOT_CRLF.search(data):
            raise Violation("a line that does not end in CRLF, or holds a CR")
        return data


def converse(
    port: int,
    script: str,
    name: str,
    expected: Expected,
    context: ssl.SSLContext | None,
    *,
    ticket: ssl.SSLSession | None = None,
) -> Client:
    """One whole session, as load.c has them; gives the client, closed. Raises Violation."""
    with Client(port, context, ticket) as client:
        client.log_in(name)
        if script in ("poll", "sync"):
            client.send("STAT")
            _agree("STAT", client.status(), f"{expected.messages} {expected.octets}")
        if script == "sync":
            client.send("UIDL")
            unique_ids = _numbered(client.body()[0], expected.messages)
            _agree("UIDL, different ones", len(set(unique_ids)), expected.messages)
            if not all(_UNIQUE_ID.fullmatch(each) for each in unique_ids):
                raise Violation("a unique-id that isn't 1 to 70 printable characters")
        if script == "pipelined":
            numbers = range(1, expected.messages + 1)
            client.send("LIST", *(f"RETR {number}" for number in numbers), "QUIT")
        elif script != "poll":
            client.send("LIST")
        if script != "poll":
            listed = _numbered(client.body()[0], expected.messages)
            if not all(map(str.isdecimal, listed)):
                raise Violation("LIST: no octets")
            sizes = list(map(int, listed))
            _agree("LIST, in all", sum(sizes), expected.octets)
            if script in ("fetch", "pipelined"):
                _fetch_all(client, sizes, expected.dots, ask=script == "fetch")
        if script == "drain":
            for number in range(1, expected.messages + 1):
                client.send(f"DELE {number}")
                client.status()
        if script == "pipelined":
            client.end()
        else:
            client.leave()
        return client


def _fetch_all(client: Client, sizes: list[int], expected_dots: int, *, ask: bool) -> None:
    seen = 0
    for number, size in enumerate(sizes, 1):
        if ask:
            client.send(f"RETR {number}")
        message, dots = client.body()
        _agree(f"RETR {number}", len(message), size)
        seen += dots
    _agree("dots at line beginnings", seen, expected_dots)


def _numbered(text: bytes, count: int) -> list[str]:
    parts = [line.partition(" ") for line in text.decode().split("\r\n")[:-1]]
    if [part[0] for part in parts] != [str(number) for number in range(1, count + 1)]:
        raise Violation(f"{len(parts)} lines for {count} messages")
    return [value for _, _, value in parts]


def _agree(what: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise Violation(f"{what}: {seen}, not {expected}")


def any_certificate() -> ssl.SSLContext:
    """A context that takes the certificate made for the run."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def wait_for_greeting(
    port: int, log: Path, process: subprocess.Popen[bytes], seconds: float = 15.0
) -> None:
    """Wait until a server that was just started answers. Raises Unavailable."""
    limit = time.monotonic() + seconds
    while True:
        try:
            with Client(port) as client:
                client.leave()
            return
        except (OSError, Violation) as error:
            if process.poll() is not None or time.monotonic() > limit:
                said = log.read_text()[-2000:] if log.exists() else ""
                raise Unavailable(f"no greeting on port {port}: {said}") from error
            time.sleep(0.05)
