"""A connection to a POP3 server: a blocking socket, with every wait bounded and all recorded.

It shares nothing with the server, so that a mistake there can't hide itself here.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from restante.testing.conformance.failures import Closed, Failed, Silent

SHOWN_OCTETS = 400
"""Of a piece that is sent or received in one go, how many octets a report shows."""

OCTET_SECONDS = 0.02
"""Between octets that shall come in segments of their own."""

MAX_REPLY = 64 * 1024 * 1024
"""Octets of one reply. A server that never ends must not fill the memory."""

_LINE_END = "\\r\\n"  # as it is shown

_CODE = re.compile(rb"(?:\+OK|-ERR) \[([A-Za-z0-9/._-]+)\]")


class Recording:
    """What was sent and received, with secrets masked."""

    def __init__(self, *secrets: bytes) -> None:
        self.lines: list[str] = []
        self._secrets = [each for each in secrets if each]
        self._connections = 0

    def connection(self) -> str:
        """A name for one more connection."""
        self._connections += 1
        return str(self._connections)

    def masked(self, text: str) -> str:
        """A text without the secrets: a server may have repeated them."""
        for secret in self._secrets:
            text = text.replace(secret.decode("utf-8", "replace"), "****")
        return text

    def add(self, name: str, what: str, data: bytes) -> None:
        """what: "C" the client sent, "S" the server sent, "*" something else happened."""
        for secret in self._secrets:
            data = data.replace(secret, b"****")
        shown = data[:SHOWN_OCTETS]
        text = shown.decode("latin-1").encode("unicode_escape").decode("ascii")
        more = f" … {len(data)} octets" if len(data) > len(shown) else ""
        for line in re.split(r"(?<=\\n)", text) if what != "*" else [text]:
            if line:
                self.lines.append(f"{name} {what}: {line.removesuffix(_LINE_END)}")
        if more:
            self.lines[-1] += more


@dataclass(frozen=True)
class Reply:
    """A status line, as it came with its line end."""

    raw: bytes

    @property
    def line(self) -> bytes:
        """Without line end."""
        return self.raw.rstrip(b"\r\n")

    @property
    def ok(self) -> bool:
        return self.raw.startswith(b"+OK")

    @property
    def err(self) -> bool:
        return self.raw.startswith(b"-ERR")

    @property
    def code(self) -> str:
        """The response code (RFC 2449 §8) in capitals, or nothing."""
        found = _CODE.match(self.raw)
        return found[1].decode("ascii").upper() if found else ""

    def __str__(self) -> str:
        return shown(self.line)


def shown(data: bytes) -> str:
    """Octets for a sentence."""
    text = data[:120].decode("latin-1").encode("unicode_escape").decode("ascii")
    return f'"{text}"' + (" …" if len(data) > 120 else "")


class Wire:
    """One connection. Whatever goes wrong on it raises Failed.

    timeout: seconds for each wait. end: when all of it must be over, by `time.monotonic`.
    """

    def __init__(
        self, address: tuple[str, int], timeout: float, end: float, recording: Recording
    ) -> None:
        self.timeout, self._end = timeout, end
        self._recording, self._name = recording, recording.connection()
        self._buffer = bytearray()
        self.marked = False  # a QUIT would remove mail
        self.unmarked = False  # it would have, before RSET
        self.closed = False
        self.sent: bytes = b"the greeting"
        try:
            self.socket = socket.create_connection(address, self._left())
        except OSError as error:
            raise Failed(f"no connection: {error}") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.note("connected")

    def _left(self) -> float:
        left = min(self.timeout, self._end - time.monotonic())
        if left <= 0:
            raise Failed(f"the check took too long; the last command was {shown(self.sent)}")
        return left

    def note(self, text: str) -> None:
        """Record what happened."""
        self._recording.add(self._name, "*", text.encode())

    # Octets

    def send(self, data: bytes, shown_as: bytes | None = None) -> None:
        """shown_as: what the recording has instead, where a secret is in it."""
        self._recording.add(self._name, "C", data if shown_as is None else shown_as)
        self.sent = (data if shown_as is None else shown_as).rstrip(b"\r\n")
        try:
            self.socket.settimeout(self._left())
            self.socket.sendall(data)
        except TimeoutError:
            raise Failed(f"the server doesn't read {shown(self.sent)}") from None
        except (OSError, ValueError) as error:
            raise Failed(f"the connection is lost at {shown(self.sent)}: {error}") from None

    def send_by_octets(self, data: bytes) -> None:
        """Send each octet in a segment of its own."""
        self.send_apart(*(data[at : at + 1] for at in range(len(data))))

    def send_apart(self, *parts: bytes) -> None:
        """Send each part in a segment of its own."""
        for part in parts:
            self.send(part)
            time.sleep(OCTET_SECONDS)
        self.sent = b"".join(parts).rstrip(b"\r\n")

    def receive(self) -> bytes:
        """Some octets; none when the server has closed. Raises Failed, TimeoutError."""
        self.socket.settimeout(self._left())
        try:
            data = self.socket.recv(65536)
        except ssl.SSLEOFError:
            self.note("closed without close_notify")
            return b""
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            self.note(f"lost: {error}")
            return b""
        if data:
            self._recording.add(self._name, "S", data)
        else:
            self.note("closed by the server")
        return data

    def _more(self) -> None:
        try:
            data = self.receive()
        except TimeoutError:
            raise Silent(
                f"no reply to {shown(self.sent)} within {self.timeout:g} s"
                + (f"; the beginning was {shown(bytes(self._buffer))}" if self._buffer else "")
            ) from None
        if not data:
            raise Closed(
                f"the server closed the connection instead of answering {shown(self.sent)}"
            )
        self._buffer += data

    def line(self) -> bytes:
        """The next line, with its line end as it is."""
        at = 0
        while (end := self._buffer.find(b"\n", at)) < 0:
            at = len(self._buffer)
            hold_size(at)
            self._more()
        found = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return found

    # Replies

    def status(self) -> Reply:
        """The next status line."""
        reply = Reply(self.line())
        if not (reply.ok or reply.err):
            raise Failed(f"{reply} is neither +OK nor -ERR, in reply to {shown(self.sent)}")
        return reply

    def command(self, line: bytes, shown_as: bytes | None = None) -> Reply:
        """Send a line and read its status line."""
        self.send(line + b"\r\n", None if shown_as is None else shown_as + b"\r\n")
        reply = self.status()
        verb = line[:4].upper()
        if reply.ok and verb in (b"DELE", b"RSET", b"QUIT"):
            self.unmarked = self.unmarked or (verb == b"RSET" and self.marked)
            self.marked = verb == b"DELE"
        return reply

    def ok(self, line: bytes, shown_as: bytes | None = None) -> Reply:
        """The same, where only +OK will do."""
        reply = self.command(line, shown_as)
        if not reply.ok:
            raise Failed(f"{shown(self.sent)} is refused: {reply}")
        return reply

    def err(self, line: bytes, shown_as: bytes | None = None) -> Reply:
        """The same, where only -ERR will do."""
        reply = self.command(line, shown_as)
        if not reply.err:
            raise Failed(f"{shown(self.sent)} is answered {reply}, where -ERR is due")
        return reply

    def raw_body(self) -> list[bytes]:
        """The lines of a multi-line reply after its status line, as they are, terminator last."""
        lines, size = [], 0
        while True:
            line = self.line()
            lines.append(line)
            size += len(line)
            hold_size(size)
            if line.rstrip(b"\r\n") == b"." and not line.startswith(b".."):
                return lines

    def body(self) -> bytes:
        """The octets of a multi-line reply, without stuffing and terminator."""
        return b"".join(
            line[1:] if line.startswith(b".") else line for line in self.raw_body()[:-1]
        )

    def multi(self, line: bytes) -> list[bytes]:
        """A command whose reply has several lines: these, without line ends."""
        self.ok(line)
        return [each.rstrip(b"\r\n") for each in self.raw_body()[:-1]]

    def message(self, line: bytes) -> bytes:
        """What RETR or TOP gives."""
        self.ok(line)
        return self.body()

    # The end

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        while True:
            try:
                data = self.receive()
            except TimeoutError:
                raise Failed(
                    f"the connection is still open {self.timeout:g} s after {shown(self.sent)}"
                ) from None
            if not data:
                found = bytes(self._buffer)
                self._buffer.clear()
                return found
            self._buffer += data
            hold_size(len(self._buffer))

    def finish(self) -> list[bytes]:
        """Say QUIT and give all lines that come until the server closes."""
        self.send(b"QUIT\r\n")
        return self.rest().splitlines(keepends=True)

    def quit(self) -> Reply:
        """Say QUIT, read its reply, and wait until the server has closed."""
        reply = self.command(b"QUIT")
        self.marked = False
        self.rest()
        self.close()
        return reply

    def drop(self) -> None:
        """Close without QUIT."""
        self.note("closed by the client")
        self.close()

    def reset(self) -> None:
        """Break the connection off, as a crash does."""
        self.note("reset by the client")
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        """Close the socket; may be called again."""
        self.closed = True
        with contextlib.suppress(OSError):
            self.socket.close()

    def leave(self) -> None:
        """Be done with the connection, with a QUIT if that removes no mail. Never raises."""
        if self.closed:
            return
        if not self.marked:
            with contextlib.suppress(Failed, OSError):
                self.timeout = min(self.timeout, 0.5)
                self.send(b"QUIT\r\n")
                self.rest()
        self.close()

    # TLS

    def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """The handshake. name: what the certificate must name. Raises Failed, ssl.SSLError."""
        if self._buffer:
            raise Failed(f"{shown(bytes(self._buffer))} came before the handshake")
        self.socket.settimeout(self._left())
        try:
            self.socket = context.wrap_socket(
                self.socket, server_hostname=name, suppress_ragged_eofs=False
            )
        except ssl.SSLError as error:
            self.note(f"the handshake failed: {error}")
            raise
        except OSError as error:
            raise Failed(f"the handshake failed: {error}") from None
        assert isinstance(self.socket, ssl.SSLSocket)
        self.note(f"TLS: {self.socket.version()}")

    def until(self, enough: Callable[[bytes], bool]) -> bytes:
        """Read until that is true of what came. Raises Failed."""
        while not enough(bytes(self._buffer)):
            self._more()
        return bytes(self._buffer)


def hold_size(octets: int) -> None:
    """Raises Failed when a reply never ends."""
    if octets > MAX_REPLY:
        raise Failed(f"a reply of more than {MAX_REPLY} octets")
