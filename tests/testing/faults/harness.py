"""A server that fails, and what a client gets of it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from restante import MemoryStore, Pop3Server
from restante.testing.faults import Fault, Faults
from restante.testing.wire import Tap, Wire, wiring_of

FIRST = b"Subject: first\r\n\r\none\r\n"
SECOND = b"Subject: second\r\n\r\n.a dot\r\n..two\r\n"


class Sends(Tap):
    """The pieces that were sent, and the octets that came."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.received_octets = b""

    def sent(self, wire: Wire, data: bytes) -> None:
        self.pieces.append(data)

    def received(self, wire: Wire, data: bytes) -> None:
        self.received_octets += data


class Failing:
    """A server with two messages in joe's maildrop, and its faults."""

    def __init__(self, *faults: Fault | str, **settings: Any) -> None:
        self.mail = MemoryStore()
        self.mail.add("joe", FIRST, "a1")
        self.mail.add("joe", SECOND, "a2")
        self.faults = Faults(*faults)
        self.server = Pop3Server(
            accounts={"joe": "secret", "ann": "secret"},
            store=self.faults.wrap_store(self.mail),
            port=0,
            for_tests=True,
            **settings,
        )
        self.faults.attach(self.server)
        self.sends = Sends()
        wiring_of(self.server).taps.append(self.sends)

    @property
    def fired(self) -> list[Fault]:
        return [each.fault for each in self.faults.fired]

    @property
    def missed(self) -> list[str]:
        return [each.why for each in self.faults.missed]

    def connect(self) -> Client:
        return Client(socket.create_connection(("127.0.0.1", self.server.port), timeout=20))

    def log_in(self, name: str = "joe") -> Client:
        client = self.connect()
        client.line()
        assert client.ask(f"USER {name}").startswith(b"+OK")
        assert client.ask("PASS secret").startswith(b"+OK")
        return client


@contextmanager
def failing(*faults: Fault | str, **settings: Any) -> Iterator[Failing]:
    made = Failing(*faults, **settings)
    with made.server:
        yield made


class Client:
    """A client that takes what comes."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._data = b""

    def send(self, *lines: str) -> None:
        self.send_octets("".join(f"{line}\r\n" for line in lines).encode())

    def send_octets(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def line(self) -> bytes:
        """The next line, or what is left at the end."""
        while b"\n" not in self._data:
            if not (more := self._socket.recv(65536)):
                rest, self._data = self._data, b""
                return rest
            self._data += more
        line, _, self._data = self._data.partition(b"\n")
        return line + b"\n"

    def lines(self) -> list[bytes]:
        """The lines of a multi-line reply, without the terminator."""
        found: list[bytes] = []
        while (line := self.line()) != b".\r\n":
            assert line, found
            found.append(line)
        return found

    def ask(self, line: str) -> bytes:
        self.send(line)
        return self.line()

    def ask_lines(self, line: str) -> list[bytes]:
        """The lines of the reply, its first one included."""
        return [self.ask(line), *self.lines()]

    def rest(self) -> bytes:
        """Everything until the server ends its side. Raises ConnectionResetError."""
        while more := self._socket.recv(65536):
            self._data += more
        rest, self._data = self._data, b""
        return rest

    def converse(self, *lines: str) -> bytes:
        """Everything that comes when these lines are sent at once."""
        self.send(*lines)
        return self.rest()

    def quiet(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for a while, though the connection is open."""
        self._socket.settimeout(seconds)
        try:
            return not self._data and self._socket.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(20)

    def quit(self) -> bytes:
        self.send("QUIT")
        return self.rest()

    def encrypt(self, context: ssl.SSLContext, host: str = "localhost") -> None:
        self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()


def eventually(true: Callable[[], object]) -> None:
    """Wait until something is true; a minute is for hangs only."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)
