"""A client of plain sockets, and servers to point it at."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from restante import MemoryStore, Pop3Server
from restante.server.backend import StandardBackend

NAME, PASSWORD = "joe", "secret"
TIMEOUT = 15.0


class Client:
    """One connection, its greeting read unless `greet` is False."""

    def __init__(
        self,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        name: str = "localhost",
        greet: bool = True,
        receive_buffer: int | None = None,
    ) -> None:
        plain = socket.socket()
        try:
            if receive_buffer is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            plain.settimeout(TIMEOUT)
            plain.connect(("127.0.0.1", port))
            self.socket = plain if tls is None else _inside(tls, plain, name)
        except BaseException:
            plain.close()
            raise
        self._buffer = bytearray()
        try:
            self.greeting = self.line() if greet else b""
        except BaseException:
            self.socket.close()
            raise

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def line(self) -> bytes:
        """The next line without its CRLF. Raises EOFError."""
        return self._until(b"\r\n")

    def _until(self, end: bytes) -> bytes:
        at = start = 0
        while (at := self._buffer.find(end, start)) < 0:
            start = max(0, len(self._buffer) - len(end))
            self._more()
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return found

    def _more(self) -> None:
        data = self.socket.recv(256 * 1024)
        if not data:
            raise EOFError(bytes(self._buffer))
        self._buffer += data

    def lines(self) -> list[bytes]:
        """What follows the status line of a multi-line reply, unstuffed."""
        return self.body().split(b"\r\n")[:-1]

    def body(self) -> bytes:
        """The same with its line ends."""
        while len(self._buffer) < 3:
            self._more()
        if self._buffer.startswith(b".\r\n"):
            del self._buffer[:3]
            return b""
        wire = self._until(b"\r\n.\r\n") + b"\r\n"
        return wire.removeprefix(b".").replace(b"\r\n.", b"\r\n")

    def ask(self, line: bytes | str) -> bytes:
        """Send a command; its status line."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.line()

    def fetch(self, line: str) -> bytes:
        """Send a command that must be answered by several lines; these, unstuffed."""
        status = self.ask(line)
        assert status.startswith(b"+OK"), status
        return self.body()

    def log_in(self, name: str = NAME, password: str = PASSWORD) -> Self:
        assert self.ask(f"USER {name}") == b"+OK send PASS"
        status = self.ask(f"PASS {password}")
        assert status.startswith(b"+OK"), status
        return self

    def start_tls(self, context: ssl.SSLContext, name: str = "localhost") -> Self:
        assert self.ask("STLS") == b"+OK begin TLS"
        return self.wrap(context, name)

    def wrap(self, context: ssl.SSLContext, name: str = "localhost") -> Self:
        """Make the handshake."""
        self.socket = _inside(context, self.socket, name)
        return self

    def rest(self) -> bytes:
        """All that still comes until the server closes."""
        while True:
            try:
                self._more()
            except EOFError:
                data = bytes(self._buffer)
                self._buffer.clear()
                return data

    def is_cut(self) -> bool:
        """Whether the server ends the connection, in whatever way, with nothing more to say."""
        try:
            return self.rest() == b""
        except ConnectionError:
            return True

    def shut_writing(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with an RST, as a vanished peer's stack would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _inside(context: ssl.SSLContext, plain: socket.socket, name: str) -> ssl.SSLSocket:
    """TLS for a client to which an end without close_notify is an error."""
    return context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)


def new_server(
    store: Any = None, accounts: Any = None, *, kind: type[Pop3Server] = Pop3Server, **settings: Any
) -> Pop3Server:
    """A server for joe, not yet started, that wastes no time."""
    given: dict[str, Any] = {"failure_delay": 0, "min_threads": 0, "max_threads": 4}
    if "listeners" not in settings:
        given["port"] = 0
    return kind(
        store=MemoryStore() if store is None else store,
        accounts={NAME: PASSWORD} if accounts is None else accounts,
        **(given | settings),
    )


@contextlib.contextmanager
def serving(
    messages: Mapping[str, list[bytes]] | list[bytes] | None = None, **settings: Any
) -> Iterator[Pop3Server]:
    """A running server whose store holds `messages`, joe's if it is a list."""
    store = MemoryStore()
    by_name = messages if isinstance(messages, Mapping) else {NAME: messages or []}
    for name, each in by_name.items():
        for message in each:
            store.add(name, message)
    with new_server(store, **settings) as server:
        yield server


def store_of(server: Pop3Server) -> Any:
    """The store behind a server."""
    backend = server.context.backend
    assert isinstance(backend, StandardBackend)
    return backend.store


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until `condition` holds; fail when it doesn't."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
