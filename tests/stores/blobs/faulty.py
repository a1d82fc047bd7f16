"""A proxy between a store and its S3 server that does to requests what networks and servers do."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit


class Request(NamedTuple):
    """What the store asks for. before: how many were asked before of the same method."""

    method: str
    target: str
    head: bytes
    body: bytes
    before: int

    def header(self, name: str) -> str:
        """The value of a header; empty without."""
        found = re.search(rb"(?im)^%s:[ \t]*(.*?)\r$" % name.encode(), self.head)
        return found[1].decode() if found else ""


class Reply(NamedTuple):
    """What the server answers. short: octets of the body that are sent, of all it has."""

    status: int
    head: bytes
    body: bytes
    short: int | None = None

    def with_header(self, name: str, value: str) -> Reply:
        """The same with another value of a header."""
        head = re.sub(rb"(?im)^%s:.*?\r\n" % name.encode(), b"", self.head + b"\r\n").removesuffix(
            b"\r\n"
        )
        return self._replace(head=head + f"\r\n{name}: {value}".encode())


Forward: TypeAlias = Callable[[], Awaitable[Reply]]
Fault: TypeAlias = Callable[[Request, Forward], Awaitable[Reply | None]]
"""What is answered, None: the connection is closed. By `forward` the server answers itself."""


def answer(status: int, code: str, body: str = "") -> Reply:
    """An answer of S3's kind."""
    text = body or f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>"
    return Reply(status, f"HTTP/1.1 {status} {code}".encode(), text.encode())


async def honest(_: Request, forward: Forward) -> Reply:
    """As if there were no proxy."""
    return await forward()


class Faulty:
    """A running proxy. fault: what it does now; requests: what was asked; octets: of bodies sent
    to the store."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self.fault: Fault = honest
        self.requests: list[Request] = []
        self.octets = 0
        self.endpoint = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def methods(self) -> list[str]:
        """The methods of the requests so far; then they are forgotten."""
        methods = [request.method for request in self.requests]
        self.requests.clear()
        return methods

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which is for one request."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the proxy ends
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        before = sum(request.method == method for request in self.requests)
        request = Request(method, target, head, b"", before)
        request = request._replace(
            body=await reader.readexactly(int(request.header("content-length") or 0))
        )
        self.requests.append(request)
        reply = await self.fault(request, lambda: self._forward(request))
        if reply is None:
            return
        body = b"" if method == "HEAD" else reply.body
        if method != "HEAD" or reply.status != 200:
            reply = reply.with_header("Content-Length", str(len(reply.body)))
        writer.write(reply.with_header("Connection", "close").head + b"\r\n\r\n")
        writer.write(body[: reply.short])
        self.octets += len(body[: reply.short])
        await writer.drain()

    async def _forward(self, request: Request) -> Reply:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=2**26)
        try:
            head = re.sub(rb"(?im)^connection:.*?\r\n", b"", request.head)
            writer.write(head + b"Connection: close\r\n\r\n" + request.body)
            answered = await reader.readuntil(b"\r\n\r\n")
            while answered.startswith(b"HTTP/1.1 100"):
                answered = await reader.readuntil(b"\r\n\r\n")
            body = await reader.read() if request.method != "HEAD" else b""
        finally:
            writer.close()
        if b"transfer-encoding: chunked" in answered.lower():
            body = _joined(body)
            answered = re.sub(rb"(?im)^transfer-encoding:.*?\r\n", b"", answered)
        return Reply(int(answered.split(b" ", 2)[1]), answered.removesuffix(b"\r\n\r\n"), body)

    async def stop(self) -> None:
        """End what still waits."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, chunks = chunks.split(b"\r\n", 1)
        octets = int(size.split(b";")[0], 16)
        body, chunks = body + chunks[:octets], chunks[octets + 2 :]
        if not octets:
            break
    return body


@asynccontextmanager
async def faulty(
    target: str,
    context: ssl.SSLContext | None = None,
    *,
    hosts: Sequence[str] = ("127.0.0.1",),
    port: int = 0,
) -> AsyncIterator[Faulty]:
    """A proxy to the server with this URL. context: it is asked by TLS. hosts: its addresses."""
    proxy = Faulty(target)
    server = await asyncio.start_server(proxy.serve, hosts, port, ssl=context, limit=2**20)
    port = server.sockets[0].getsockname()[1]
    proxy.endpoint = f"https://localhost:{port}" if context else f"http://127.0.0.1:{port}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
        await server.wait_closed()
