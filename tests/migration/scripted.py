"""A server that says what a test tells it to, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Self

Answer = bytes | Callable[[socket.socket], None]


class Scripted:
    """For each connection: the greeting, then an answer to each line that comes.

    answers: those of a connection; the last list is used for all that follow. An answer is sent
    as it is, or does what it wants with the socket. After the last one the connection is closed.
    """

    def __init__(self, *connections: Sequence[Answer]) -> None:
        self._connections = list(connections)
        self.lines: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            answers = self._connections[0]
            if len(self._connections) > 1:
                del self._connections[0]
            with suppress(OSError), connection, connection.makefile("rb") as lines:
                connection.settimeout(20)
                for number, answer in enumerate(answers):
                    if number:
                        line = lines.readline()
                        if not line:
                            break
                        self.lines.append(line)
                    if callable(answer):
                        answer(connection)
                    else:
                        connection.sendall(answer)


def endless(block: bytes, first: bytes = b"") -> Callable[[socket.socket], None]:
    """Sends `first`, then the block again and again until the client has had enough."""

    def send(connection: socket.socket) -> None:
        connection.sendall(first)
        with suppress(OSError):
            while True:
                connection.sendall(block)

    return send


def falling_silent(first: bytes) -> Callable[[socket.socket], None]:
    """Sends `first`, then nothing until the client has had enough."""

    def send(connection: socket.socket) -> None:
        connection.sendall(first)
        connection.recv(1)

    return send
