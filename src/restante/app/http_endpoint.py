"""A small HTTP server for answers that are at hand: scrapes and checks of health.

It is turned by a selector, so the supervisor can do it beside its work. Each connection is for
one request, and all that a client may do is bounded.
"""

from __future__ import annotations

import ipaddress
import logging
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

log = logging.getLogger("restante.app")

MAX_HEAD = 8192
"""Octets of a request's head."""

MAX_OPEN = 32
"""Connections at the same time. A further one takes the place of the one that has been there
longest, so that nobody who sends nothing keeps others from being answered."""

CLIENT_SECONDS = 10.0
"""How long a client may take to ask, and to take its answer."""

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
            421: "Misdirected Request", 431: "Request Header Fields Too Large",
            500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


class HttpAnswer(NamedTuple):
    """A status, a body and its media type."""

    status: int
    body: bytes
    media_type: str = "text/plain; charset=utf-8"


Answer: TypeAlias = Callable[[str, Mapping[str, str]], HttpAnswer | None]
"""What is answered for a path, with the request's headers (names in lower case); None: 404."""


@dataclass(eq=False, slots=True)
class _Client:
    socket: socket.socket
    until: float
    is_checked: bool
    head: bytearray = field(default_factory=bytearray)
    out: bytearray | None = None


class HttpEndpoint:
    """Answers GET and HEAD on sockets that listen already.

    names: what a request's Host may be, beside IP addresses and `localhost`. A page that makes
    a browser ask under another name (DNS rebinding) gets nothing. Whoever comes by a Unix
    socket isn't asked for a name.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        sockets: Iterable[socket.socket],
        answer: Answer,
        names: Iterable[str],
    ) -> None:
        self._selector = selector
        self._sockets = list(sockets)
        self._answer = answer
        self._names = {name.lower().rstrip(".") for name in names} | {"localhost"}
        self._clients: dict[_Client, None] = {}
        for each in self._sockets:
            each.setblocking(False)
            selector.register(
                each, selectors.EVENT_READ, lambda _, listening=each: self._accept(listening)
            )

    def close(self) -> None:
        """Close all sockets. Harmless when repeated; a worker does it with its copies."""
        for each in [*self._sockets, *(client.socket for client in self._clients)]:
            with suppress(KeyError, ValueError, RuntimeError):  # the selector may be closed
                self._selector.unregister(each)
            each.close()
        self._sockets, self._clients = [], {}

    def check_timeouts(self, now: float) -> None:
        """Drop clients that take too long. now: by `time.monotonic`."""
        for client in [*self._clients]:
            if now > client.until:
                self._drop(client)

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, _ = listening.accept()
        except OSError:
            return
        accepted.setblocking(False)
        if len(self._clients) >= MAX_OPEN:
            asking = (each for each in self._clients if each.out is None)
            self._drop(next(asking, next(iter(self._clients))))
        is_checked = accepted.family in (socket.AF_INET, socket.AF_INET6)
        client = _Client(accepted, time.monotonic() + CLIENT_SECONDS, is_checked)
        self._clients[client] = None
        self._selector.register(accepted, selectors.EVENT_READ, lambda _: self._read(client))

    def _read(self, client: _Client) -> None:
        try:
            data = client.socket.recv(MAX_HEAD)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data or client.out is not None:
            self._drop(client)
            return
        client.head += data
        if b"\r\n\r\n" in client.head:
            self._reply(client, bytes(client.head.partition(b"\r\n\r\n")[0]))
        elif len(client.head) > MAX_HEAD:
            self._say(client, HttpAnswer(431, b"the request's head is too long\n"))

    def _reply(self, client: _Client, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        parts = first.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            self._say(client, HttpAnswer(400, b"this is no request of HTTP/1\n"))
            return
        method, target, _ = parts
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            if name == "host" and name in headers:  # RFC 9112 §3.2
                self._say(client, HttpAnswer(400, b"a request has one Host\n"))
                return
            headers[name] = value.strip()
        if client.is_checked and not self._is_ours(headers.get("host", "")):
            text = "this Host isn't served; metrics.names may list it\n"
            found: HttpAnswer | None = HttpAnswer(421, text.encode())
        elif method not in ("GET", "HEAD"):
            found = HttpAnswer(405, b"allowed: GET, HEAD\n")
        else:
            try:
                found = self._answer(target.partition("?")[0], headers)
            except Exception:
                log.exception("a request over HTTP can't be answered")
                found = HttpAnswer(500, b"internal error; the log says more\n")
        self._say(client, found or HttpAnswer(404, b"not here\n"), head_only=method == "HEAD")

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name, _, port = name[1:].partition("]")
            if port and not port.startswith(":"):
                return False
        else:
            name = name.partition(":")[0].rstrip(".")
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _say(self, client: _Client, found: HttpAnswer, *, head_only: bool = False) -> None:
        lines = (
            f"HTTP/1.1 {found.status} {_REASONS[found.status]}",
            f"Content-Type: {found.media_type}",
            f"Content-Length: {len(found.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *(("Allow: GET, HEAD",) if found.status == 405 else ()),
            "Connection: close",
        )
        client.out = bytearray("\r\n".join(lines).encode() + b"\r\n\r\n")
        if not head_only:
            client.out += found.body
        self._selector.modify(client.socket, selectors.EVENT_WRITE, lambda _: self._send(client))

    def _send(self, client: _Client) -> None:
        assert client.out is not None
        try:
            sent = client.socket.send(client.out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(client)
            return
        del client.out[:sent]
        if not client.out:
            with suppress(OSError):
                client.socket.shutdown(socket.SHUT_WR)
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        if client not in self._clients:
            return
        del self._clients[client]
        self._selector.unregister(client.socket)
        client.socket.close()
