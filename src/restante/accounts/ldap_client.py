"""Connections to an LDAP directory: opened, lent one request at a time, kept for the next.

Why not a library: the one with asyncio support holds the whole process while a directory
stalls in a TLS handshake, and spins while it waits for any answer.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeVar, cast
from urllib.parse import unquote, urlsplit

from restante.accounts.ldap_wire import (
    EXTENDED_RESPONSE,
    SUCCESS,
    Message,
    WireError,
    message,
    result_of,
    start_tls_request,
    take_message,
    unbind_request,
)

T = TypeVar("T")

IDLE_SECONDS = 60.0
"""How long an unused connection is kept: less than what firewalls and directories forget after."""


MAX_WAITING = 64
"""Answers that may wait to be read: two entries, and what referrals come with them."""


class LdapFailure(Exception):
    """The directory can't be used now."""


class LdapGone(LdapFailure):
    """The connection has ended, or its state isn't known."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a directory is. path: of a Unix socket, instead of host and port.

    tls: None, or what TLS is done with; start_tls: only after asking for it.
    """

    url: str
    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None
    start_tls: bool


def server_at(url: str, *, start_tls: bool, allow_plaintext: bool, ca_file: str | None) -> Server:
    """The directory at `ldap://host[:port]`, `ldaps://host[:port]` or `ldapi://%2Fpath`.

    Raises ValueError for another URL, for passwords in the clear to another machine unless
    `allow_plaintext`, and for a `ca_file` that can't be used.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"ldap", "ldaps", "ldapi"} or not parts.netloc or "@" in parts.netloc:
        raise ValueError("LDAP: the URL must be ldap://host, ldaps://host or ldapi://%2Fpath")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("LDAP: the URL holds host and port only; base and filter are settings")
    if parts.scheme == "ldapi":
        return Server(url, "", 0, unquote(parts.netloc), None, False)
    host, implicit = parts.hostname or "", parts.scheme == "ldaps"
    if not (implicit or start_tls or allow_plaintext or _is_loopback(host)):
        raise ValueError("LDAP: passwords would cross the network in the clear: use TLS")
    context = None
    if implicit or start_tls:
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ValueError(f"LDAP: ca_file {ca_file!r} can't be used: {error}") from None
    port = parts.port or (636 if implicit else 389)
    return Server(url, host, port, "", context, start_tls and not implicit)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answers: deque[Message] = deque()
        self._news = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self.lost = asyncio.Event()

    @classmethod
    async def open(cls, server: Server) -> Connection:
        """Connect, with TLS where it is wanted. Raises LdapFailure."""
        loop = asyncio.get_running_loop()
        try:
            if server.path:
                _, connection = await loop.create_unix_connection(cls, server.path)
            elif server.tls is None or server.start_tls:
                _, connection = await loop.create_connection(cls, server.host, server.port)
            else:
                _, connection = await loop.create_connection(
                    cls, server.host, server.port, ssl=server.tls, ssl_shutdown_timeout=1.0
                )
        except OSError as error:  # those of TLS are, too
            raise LdapGone(str(error)) from error
        if server.start_tls:
            try:
                await connection._start_tls(server)
            except BaseException:
                connection.abort()
                raise
        return connection

    async def _start_tls(self, server: Server) -> None:
        self.send(start_tls_request())
        answer = await self.answer()
        if answer.tag != EXTENDED_RESPONSE or result_of(answer)[0] != SUCCESS:
            raise LdapFailure("StartTLS was refused")
        # What came in the clear after the answer is not the directory's.
        if self._buffer or self._answers:
            raise LdapFailure("octets in the clear after StartTLS")
        assert self._transport is not None
        assert server.tls is not None
        loop = asyncio.get_running_loop()
        try:
            encrypted = await loop.start_tls(
                self._transport,
                self,
                server.tls,
                server_hostname=server.host,
                ssl_shutdown_timeout=1.0,
            )
        except OSError as error:
            raise LdapFailure(str(error)) from error
        if encrypted is None:  # the connection was lost meanwhile
            raise LdapGone("connection lost")
        self._transport = encrypted

    def send(self, request: bytes) -> None:
        """Send a request. Raises LdapGone."""
        if self._transport is None or self._transport.is_closing():
            raise LdapGone("connection lost")
        self._number += 1
        self._transport.write(message(self._number, request))

    async def answer(self) -> Message:
        """The next answer to the request sent last. Raises LdapGone."""
        while not self._answers:
            if self.lost.is_set():
                raise LdapGone("connection lost")
            self._news.clear()
            await self._news.wait()
        answer = self._answers.popleft()
        if answer.id != self._number:
            # Id 0 is the directory's good-bye (RFC 4511 §4.4.1).
            raise LdapGone("connection lost")
        return answer

    def is_usable(self) -> bool:
        """Whether it is open and has no answers left to be read."""
        closing = self._transport is None or self._transport.is_closing()
        return not (closing or self._buffer or self._answers)

    def close(self) -> None:
        """Send an unbind request and close; `lost` is set when that is done."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(message(self._number + 1, unbind_request()))
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not of that class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while (answer := take_message(self._buffer)) is not None:
                self._answers.append(answer)
        except WireError:
            self.abort()
        if len(self._answers) > MAX_WAITING:
            self.abort()
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()
        self._news.set()


class Pool:
    """At most `limit` connections in use at once, and kept open after it, in one event loop.

    connect: gives a new connection, ready for use.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], limit: int) -> None:
        self._connect = connect
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[tuple[float, Connection]] = []
        self._closed = False

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` with a connection; once more with a new one if a kept one has gone.

        Raises LdapFailure, and whatever `work` raises.
        """
        async with self._slots:
            kept = self._kept()
            if kept is not None:
                try:
                    return await self._with(kept, work)
                except LdapGone:
                    pass
            return await self._with(await self._connect(), work)

    async def _with(self, connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            result = await work(connection)
        except BaseException:
            connection.abort()
            raise
        if self._closed:
            connection.close()
        else:
            self._idle.append((time.monotonic(), connection))
        return result

    def _kept(self) -> Connection | None:
        while self._idle:
            since, connection = self._idle.pop()
            if connection.is_usable() and time.monotonic() - since < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def aclose(self) -> None:
        """Close idle connections, and those in use as soon as they are given back."""
        self._closed = True
        idle = [connection for _, connection in self._idle]
        self._idle.clear()
        for connection in idle:
            connection.close()
        for connection in idle:
            try:
                await asyncio.wait_for(connection.lost.wait(), 1.0)
            except TimeoutError:
                connection.abort()
