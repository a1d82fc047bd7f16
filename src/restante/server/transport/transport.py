"""One socket as an asyncio transport: in the clear, or with TLS straight on the socket."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from restante.server.transport.freeing import way_to_free
from restante.server.transport.readiness import ENDED, READ, WRITE, Readiness

RECEIVED = 16 * 1024
"""Octets that are read at a time: what a TLS record holds at most."""

HIGH = 256 * 1024
"""Octets waiting to be sent above which the protocol is asked to pause."""

SENT_AT_ONCE = 512 * 1024
"""Octets that the system is offered at a time of what had to wait: PyPy copies all of a view."""

NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that can't have its files sent by the system."""

DRAINED = 16
"""Reads after a handshake that failed, so that what is left unread doesn't undo the alert."""

Done = Callable[[OSError | None], None]
"""Told how a handshake has ended: None, or why it failed; the socket is closed then."""


class FilePart:
    """Octets of a file that wait to be sent."""

    __slots__ = ("at", "end", "fd")

    def __init__(self, fd: int, at: int, end: int) -> None:
        self.fd = fd
        self.at = at
        self.end = end

    def __len__(self) -> int:
        return self.end - self.at


class SocketTransport(asyncio.Transport):
    """Moves bytes between a connected, non-blocking socket and a protocol.

    peer: the socket's other end. `close` and `abort` close the socket; `close` sends first
    what still waits. The protocol's `connection_lost` may come before `close` returns.
    """

    __slots__ = (
        "_closing", "_events", "_fd", "_free", "_handshake", "_high", "_lost", "_out", "_paused",
        "_protocol", "_readiness", "_says_eof", "_socket", "_timer", "_tls", "_unsent", "peer",
    )  # fmt: skip

    def __init__(
        self, readiness: Readiness, connected: socket.socket, peer: tuple[str, int]
    ) -> None:
        self.peer = peer
        self._readiness = readiness
        self._socket = connected
        self._fd = connected.fileno()
        self._protocol: asyncio.Protocol | None = None
        self._events = READ
        self._out: deque[bytes | memoryview | FilePart] | None = None  # made when one waits
        self._unsent = 0
        self._high = HIGH
        self._paused = False  # the protocol was asked to write no more
        self._says_eof = False
        self._closing = False
        self._lost = False
        self._tls: ssl.SSLSocket | None = None
        self._free: Callable[[], Any] | None = None
        self._handshake: tuple[ssl.SSLContext, Done] | None = None
        self._timer: asyncio.TimerHandle | None = None
        readiness.watch(self._fd, self, READ)

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Have `protocol` drive the connection from now on."""
        self._protocol = protocol
        protocol.connection_made(self)

    # Readiness' calls

    def ready(self, events: int) -> None:
        """Go on with whatever waited for the socket."""
        if events & WRITE:
            self._flush()
            if self._lost:
                return
        if self._handshake is not None:
            self._shake()
            return
        if not events & READ & self._events:
            if events & ENDED:
                self._fail(ConnectionResetError("connection reset by peer"))
            return
        protocol = self._protocol
        assert protocol is not None
        try:
            data = self._socket.recv(RECEIVED)
        except ssl.SSLWantWriteError as error:
            # A key update asks for an answer (RFC 8446 §4.6.3) that the peer doesn't take.
            self._fail(error)
        except NOT_NOW:
            pass
        except OSError as error:
            self._fail(error)
        else:
            if data:
                protocol.data_received(data)
                return
            self._watch(self._events & ~READ)
            if not protocol.eof_received():
                self.close()

    def broke(self, error: Exception) -> None:
        """The protocol has raised an exception: that costs this connection."""
        context = {"message": "a protocol failed", "exception": error, "protocol": self._protocol}
        asyncio.get_running_loop().call_exception_handler(context)
        self.abort()

    # asyncio.Transport

    def get_protocol(self) -> asyncio.BaseProtocol:
        """What drives the connection."""
        assert self._protocol is not None
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname`, `socket`, `ssl_object`; `default` for anything else."""
        if name == "peername":
            return self.peer
        if name == "ssl_object":
            return self._tls
        if name == "socket":
            return self._socket
        if name == "sockname":
            return self._socket.getsockname()
        return default

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection was lost."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether what arrives is given to the protocol."""
        return not self._closing and bool(self._events & READ)

    def pause_reading(self) -> None:
        """Leave what arrives to the system."""
        if not self._closing:
            self._watch(self._events & ~READ)

    def resume_reading(self) -> None:
        """Take what arrives."""
        if not self._closing:
            self._watch(self._events | READ)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """high: octets above which the protocol is asked to pause, until a quarter is left."""
        self._high = HIGH if high is None else high

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent."""
        return self._unsent

    def can_write_eof(self) -> bool:
        """Whether `write_eof` is possible: not within TLS."""
        return self._tls is None

    def write_eof(self) -> None:
        """Say that nothing more will be sent, once everything is."""
        self._says_eof = True
        if self._out or self._lost:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._fail(error)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, at once as far as the system takes it."""
        if not data:
            return
        if self._out:
            self._wait_for(bytes(data))
            return
        if self._closing:
            return
        try:
            sent = self._socket.send(data)
        except NOT_NOW:
            sent = 0
        except OSError as error:
            self._fail(error)
            return
        if sent < len(data):
            # A TLS record that was begun has to be tried again with the very same octets.
            data = bytes(data)  # theirs may change meanwhile
            self._wait_for(memoryview(data)[sent:] if sent else data)

    def send_file(self, fd: int, at: int, count: int) -> bool:
        """Send `count` octets of a file from offset `at`; False if this can't be done here.

        The file must stay open until they are sent, or the connection is lost: `pause_writing`
        is called until then. A file that is shorter costs the connection.
        """
        if self._tls is not None or not hasattr(os, "sendfile"):
            return False
        if count and not self._closing:
            self._wait_for(FilePart(fd, at, at + count))
            self._flush()
        return True

    def close(self) -> None:
        """End the connection when everything is sent."""
        if self._closing:
            return
        self._closing = True
        if self._out:
            self._watch(WRITE)
        else:
            self._finish()

    def abort(self) -> None:
        """End the connection now, without a goodbye; `connection_lost` comes a little later."""
        self._fail(None)

    # TLS

    def start_tls(self, context: ssl.SSLContext, seconds: float, done: Done) -> None:
        """Do the server's side of a handshake, within `seconds`, once all is sent.

        `done` is called at its end.
        """
        self._handshake = (context, done)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._too_slow)
        # The client begins; but while something waits, what it says would be called for in vain.
        self._watch(WRITE if self._out else READ)

    def _shake(self) -> None:
        assert self._handshake is not None
        if self._out:
            return
        try:
            if self._tls is None:
                # Of a peer that has left, `wrap_socket` would lose the descriptor.
                self._socket.getpeername()
                self._tls = self._socket = self._handshake[0].wrap_socket(
                    self._socket, server_side=True, do_handshake_on_connect=False
                )
                self._free = way_to_free(self._tls)
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(READ)
        except ssl.SSLWantWriteError:
            self._watch(WRITE)  # not READ: it would be called for what can't be read yet
        except OSError as error:
            self._shaken(error)
        else:
            self._watch(READ)
            self._shaken(None)

    def _too_slow(self) -> None:
        self._shaken(TimeoutError("the TLS handshake took too long"))

    def _shaken(self, error: OSError | None) -> None:
        assert self._handshake is not None
        done, self._handshake = self._handshake[1], None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if error is not None:
            self._closing = True
            self._forget()
            self._drop()
        done(error)

    # Sending what had to wait

    def _wait_for(self, part: bytes | memoryview | FilePart) -> None:
        if self._out is None:
            self._out = deque()
        self._out.append(part)
        self._unsent += len(part)
        self._watch(self._events | WRITE)
        if not self._paused and (self._unsent > self._high or type(part) is FilePart):
            self._paused = True
            assert self._protocol is not None
            self._protocol.pause_writing()

    def _flush(self) -> None:
        out = self._out
        if not out:
            if self._closing:
                self._finish()
            return
        try:
            while out:
                part = out[0]
                if isinstance(part, FilePart):
                    sent = self._send_part(part)
                    part.at += sent
                    whole = part.at == part.end
                else:
                    sent = self._socket.send(self._beginning(part))
                    whole = sent == len(part)
                    if not whole:
                        out[0] = memoryview(part)[sent:]
                self._unsent -= sent
                if whole:
                    out.popleft()
        except NOT_NOW:
            pass
        except OSError as error:
            self._fail(error)
            return
        self._sent_some()

    def _beginning(self, part: bytes | memoryview) -> bytes | memoryview:
        """What is sent next of it. Within TLS all of it: OpenSSL wants what it was given before."""
        if len(part) <= SENT_AT_ONCE or self._tls is not None:
            return part
        return memoryview(part)[:SENT_AT_ONCE]

    def _send_part(self, part: FilePart) -> int:
        try:
            sent = os.sendfile(self._fd, part.fd, part.at, len(part))
        except OSError as error:
            if error.errno not in NO_SENDFILE:
                raise
            sent = self._socket.send(os.pread(part.fd, min(len(part), HIGH), part.at))
        if not sent:
            raise OSError("the file has become shorter while it was sent")
        return sent

    def _sent_some(self) -> None:
        if not self._out:
            self._watch(self._events & ~WRITE)
        if self._paused and 4 * self._unsent <= self._high and not self._sends_file():
            self._paused = False
            assert self._protocol is not None
            self._protocol.resume_writing()
        if not self._out:
            if self._closing:
                self._finish()
            elif self._says_eof:
                self.write_eof()

    def _sends_file(self) -> bool:
        return any(type(part) is FilePart for part in self._out or ())

    # The end

    def _watch(self, events: int) -> None:
        if events != self._events and not self._lost:
            self._events = events
            self._readiness.change(self._fd, events)

    def _fail(self, error: OSError | None) -> None:
        """Lose the connection, but tell nobody before those that are at it are done."""
        if not self._lost:
            self._closing = True
            self._forget()
            asyncio.get_running_loop().call_soon(self._tell_lost, error)
            self._readiness.give_way()

    def _finish(self) -> None:
        """End the connection in order: within TLS, close_notify is sent (RFC 8446 §6.1).

        The peer's isn't waited for.
        """
        if self._lost:
            return
        if self._tls is not None and self._handshake is None:
            try:
                self._tls.unwrap()
            except ssl.SSLWantWriteError:
                self._unsent = 1  # somebody may lose patience
                self._watch(WRITE)
                return
            except (OSError, ValueError):
                pass
        self._forget()
        self._tell_lost(None)

    def _forget(self) -> None:
        self._lost = True
        self._readiness.forget(self._fd)
        self._out = None
        self._unsent = 0

    def _tell_lost(self, error: OSError | None) -> None:
        self._close_socket()
        if self._timer is not None:
            self._timer.cancel()
        if self._handshake is not None:
            done, self._handshake = self._handshake[1], None
            done(error or ConnectionAbortedError("the connection was ended"))
        elif self._protocol is not None:
            self._protocol.connection_lost(error)
        self._protocol = None  # a circle, which only the garbage collector would find

    def _drop(self) -> None:
        """Close after a handshake that failed, so that OpenSSL's alert arrives."""
        with suppress(OSError):  # closed with input unread, it would be destroyed
            for _ in range(DRAINED):
                if not socket.socket.recv(self._socket, RECEIVED):
                    break
        self._close_socket()

    def _close_socket(self) -> None:
        self._socket.close()
        free, self._free = self._free, None
        if free is not None:
            free()


MakeTransport = Callable[[Readiness, socket.socket, tuple[str, int]], SocketTransport]
"""Makes the transport of a connected, non-blocking socket, which `Readiness` watches; the last
is its other end. Raises OSError when no more sockets can be watched."""
