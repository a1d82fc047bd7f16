"""A POP3 server of a page or two, wrong where the test kit's faults can't be.

It shares nothing with the checks nor with Restante. A fault is a set of flags, or a function that
changes the right reply to a command.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from restante.testing.conformance.seed import CORPUS

NAME, PASSWORD = (b"joe", b"secret")
Edit = Callable[[bytes], bytes]
CAPABILITIES = [
    "TOP",
    "UIDL",
    "USER",
    "RESP-CODES",
    "PIPELINING",
    "IMPLEMENTATION canned",
]


@dataclass(frozen=True)
class Faults:
    """edits: by verb, what becomes of the right reply; "" is the greeting. flags: see the code."""

    edits: Mapping[str, Edit] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()


class Canned:
    """Listens on a loopback port, a thread for each connection."""

    def __init__(
        self, faults: Faults, context: ssl.SSLContext | None = None, *, implicit: bool = False
    ) -> None:
        self.faults, self.context, self.implicit = (faults, context, implicit)
        self.ids = itertools.count(1)
        self.mail: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.holder: object = None
        self.stls_gone = False
        for each in CORPUS.values():
            self.put(each.octets)
        self.started = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    raw = True
    started = False

    def put(self, message: bytes) -> None:
        """Also the way in for the checks."""
        if self.started and "loses-mail" in self.flags:
            return
        if not message.endswith(b"\r\n"):
            message += b"\r\n"
        unique_id = f"id{len(self.mail) if 'ids-reused' in self.flags else next(self.ids)}"
        self.mail[unique_id] = message

    @property
    def flags(self) -> frozenset[str]:
        return self.faults.flags

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            conn.settimeout(20)
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(conn)
            session = Session(self, conn)
            thread = threading.Thread(target=session.run)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(20)
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)


@contextlib.contextmanager
def serving(
    faults: Faults, context: ssl.SSLContext | None = None, *, implicit: bool = False
) -> Iterator[Canned]:
    server = Canned(faults, context, implicit=implicit)
    try:
        yield server
    finally:
        server.close()


class Closed(Exception):
    """The client has gone, or shall."""


class Session:
    def __init__(self, server: Canned, conn: socket.socket) -> None:
        self.server, self.conn, self.flags = (server, conn, server.flags)
        self.buffer = b""
        self.user: bytes | None = None
        self.inside = self.logged_in = False
        self.bad = 0
        self.snapshot: list[str] = []
        self.marks: set[int] = set()

    def run(self) -> None:
        try:
            self.serve()
        except (Closed, OSError, ValueError):
            pass
        finally:
            if self.logged_in and "removes-anyway" in self.flags:
                self.remove()
            if self.server.holder is self and "lock-stuck" not in self.flags:
                self.server.holder = None
            if isinstance(self.conn, ssl.SSLSocket):
                with contextlib.suppress(OSError, ValueError):
                    self.conn.settimeout(0.5)
                    self.conn.unwrap()
            self.conn.close()

    def serve(self) -> None:
        if self.server.implicit and not self.handshake():
            return
        self.say("", b"+OK canned\r\n")
        while True:
            line = self.line()
            reply = self.answer(line)
            verb = line.split(b" ")[0].decode("latin-1").upper()
            self.say(verb, reply)
            if verb == "QUIT" and reply.startswith((b"+OK", b"-ERR [SYS")):
                if "answers-after-quit" in self.flags:
                    with contextlib.suppress(OSError):
                        self.conn.settimeout(0.3)
                        self.say("NOOP", b"+OK\r\n" * self.buffer.count(b"\n"))
                return

    def handshake(self) -> bool:
        context = self.server.context
        assert context is not None
        clear = self.conn.dup() if "talks-in-clear" in self.flags else None
        try:
            self.conn = context.wrap_socket(self.conn, server_side=True)
        except (OSError, ValueError):
            if clear is not None:
                clear.sendall(b"-ERR no handshake\r\n+OK goes on\r\n")
            return False
        finally:
            if clear is not None:
                clear.close()
        self.inside = True
        return True

    def line(self) -> bytes:
        while b"\n" not in self.buffer:
            if "idle" in self.flags:
                self.conn.settimeout(0.05)
            if len(self.buffer) > 100000 and "endless" not in self.flags:
                self.conn.sendall(b"-ERR line too long\r\n")
                raise Closed
            data = self.conn.recv(65536)
            if not data:
                if self.buffer == b"QUIT" and "half-quit" in self.flags:
                    self.remove()
                raise Closed
            self.buffer += data.replace(b"\r", b"\n") if "cr-ends" in self.flags else data
            if "no-octets" in self.flags and not data.endswith(b"\n"):
                self.buffer = b""
        line, _, rest = self.buffer.partition(b"\n")
        self.buffer = rest
        if "cuts-lines" in self.flags and len(line) > 39:
            line, self.buffer = (line[:39], line[39:] + b"\n" + self.buffer)
        if "cuts-at-200" in self.flags and len(line) > 200:
            line, self.buffer = (line[:200], line[200:] + b"\n" + self.buffer)
        return line.removesuffix(b"\r")

    def say(self, verb: str, reply: bytes) -> None:
        edit = self.server.faults.edits.get(verb) or self.server.faults.edits.get("*")
        if edit is not None:
            reply = edit(reply)
        if reply == b"CLOSE":
            raise Closed
        self.conn.sendall(reply)

    # Commands

    def answer(self, line: bytes) -> bytes:
        if "silent-empty" in self.flags and not line:
            return b""
        verb, _, rest = line.partition(b" ")
        name = verb.decode("latin-1").upper()
        method = getattr(self, f"do_{name}", None)
        if method is None and "takes-unknown" in self.flags:
            return b"+OK\r\n"
        if method is None:
            self.bad += 1
            return (
                b"CLOSE"
                if "impatient" in self.flags and self.bad > 1
                else b"-ERR unknown command\r\n"
            )
        if name in TRANSACTION and not self.logged_in:
            return b"-ERR log in first\r\n"
        if name in AUTHORIZATION and self.logged_in:
            return b"-ERR logged in\r\n"
        reply: bytes = method(rest if name == "PASS" else rest.rstrip(b" "))
        return reply

    def do_CAPA(self, rest: bytes) -> bytes:
        told = [each.encode() for each in CAPABILITIES]
        if self.server.context and not self.inside:
            told += [] if self.server.stls_gone else [b"STLS"]
        if self.inside and "no-capa-inside" in self.flags:
            return b"-ERR\r\n"
        return b"+OK\r\n" + b"".join(each + b"\r\n" for each in told) + b".\r\n"

    def do_USER(self, rest: bytes) -> bytes:
        if not rest:
            return b"-ERR a name\r\n"
        self.user = rest
        return b"+OK\r\n"

    def do_PASS(self, rest: bytes) -> bytes:
        user = self.user
        self.user = None
        if user is None:
            return b"-ERR USER first\r\n"
        return self.enter(user, rest == PASSWORD)

    def enter(self, user: bytes, right: bool) -> bytes:
        if not right or user != NAME:
            return b"-ERR [AUTH] wrong\r\n"
        with self.server.lock:
            if self.server.holder not in (None, self) and "shared" not in self.flags:
                if "waits" in self.flags:
                    return b""
                if "closes-busy" in self.flags:
                    return b"CLOSE"
                if "evicts" in self.flags:
                    assert isinstance(self.server.holder, Session)
                    with contextlib.suppress(OSError):
                        self.server.holder.conn.shutdown(socket.SHUT_RDWR)
                return b"-ERR [IN-USE] another session\r\n"
            self.server.holder = self
        self.logged_in = True
        self.snapshot = list(self.server.mail)
        return b"+OK\r\n"

    def do_STLS(self, rest: bytes) -> bytes:
        if self.inside or self.server.context is None:
            return b"-ERR TLS already\r\n"
        if rest:
            return b"-ERR no argument\r\n"
        if "injection" not in self.flags and self.buffer:
            raise Closed
        kept = self.buffer
        self.conn.sendall(b"+OK\r\n")
        if not self.handshake():
            raise Closed
        self.buffer = kept
        self.server.stls_gone = "stls-for-all" in self.flags
        self.user = None
        if "greets-again" in self.flags:
            return b"+OK canned\r\n"
        return b""

    def do_QUIT(self, rest: bytes) -> bytes:
        if self.logged_in:
            self.remove()
            if self.server.holder is self and "lock-stuck" not in self.flags:
                self.server.holder = None
        return b"+OK bye\r\n"

    def remove(self) -> None:
        for number in self.marks:
            self.server.mail.pop(self.snapshot[number - 1], None)

    # The maildrop

    def live(self) -> dict[int, str]:
        if "no-snapshot" in self.flags:
            new = [each for each in self.server.mail if each not in self.snapshot]
            self.snapshot += new
        names = self.snapshot
        if "renumbers-live" in self.flags:
            names = [each for each in names if each in self.server.mail]
        shown = {number: name for number, name in enumerate(names, 1) if number not in self.marks}
        if self.marks and "renumbers" in self.flags:
            return dict(enumerate(shown.values(), 1))
        return shown

    def message(self, number: int) -> bytes:
        return self.server.mail.get(self.live()[number], b"")

    def number(self, text: bytes) -> int:
        live = self.live()
        if not re.fullmatch(rb"\d{1,9}", text) or int(text) not in live:
            raise LookupError
        return int(text)

    def do_NOOP(self, rest: bytes) -> bytes:
        return b"+OK\r\n"

    def do_STAT(self, rest: bytes) -> bytes:
        sizes = [len(self.message(number)) for number in self.live()]
        return b"+OK %d %d\r\n" % (len(sizes), sum(sizes))

    def listed(self, rest: bytes, value: Callable[[int], bytes]) -> bytes:
        if rest:
            try:
                number = self.number(rest)
            except LookupError:
                return b"-ERR no such message\r\n"
            return b"+OK %d %b\r\n" % (number, value(number))
        lines = [b"%d %b\r\n" % (number, value(number)) for number in self.live()]
        return b"+OK\r\n" + b"".join(lines) + b".\r\n"

    def do_LIST(self, rest: bytes) -> bytes:
        return self.listed(rest, lambda number: b"%d" % len(self.message(number)))

    def do_UIDL(self, rest: bytes) -> bytes:
        return self.listed(rest, lambda number: self.live()[number].encode())

    def do_RETR(self, rest: bytes) -> bytes:
        try:
            message = self.message(self.number(rest))
        except LookupError:
            return b"-ERR no such message\r\n"
        return b"+OK %d octets\r\n" % len(message) + stuffed(message)

    def do_TOP(self, rest: bytes) -> bytes:
        first, _, lines = rest.partition(b" ")
        try:
            message = self.message(self.number(first))
        except LookupError:
            return b"-ERR no such message\r\n"
        if not lines.isdigit():
            return b"-ERR how many lines?\r\n"
        head, blank, body = message.partition(b"\r\n\r\n")
        wanted = body.split(b"\r\n")[:-1][: int(lines)]
        reply = head + blank + b"".join(each + b"\r\n" for each in wanted)
        if "top-deletes" in self.flags:
            self.marks.add(self.number(first))
        return b"+OK\r\n" + stuffed(reply)

    def do_DELE(self, rest: bytes) -> bytes:
        try:
            self.marks.add(self.number(rest))
        except LookupError:
            return b"-ERR no such message\r\n"
        return b"+OK\r\n"

    def do_RSET(self, rest: bytes) -> bytes:
        self.marks.clear()
        return b"+OK\r\n"


AUTHORIZATION = {"USER", "PASS", "STLS"}
TRANSACTION = {"STAT", "LIST", "RETR", "DELE", "NOOP", "RSET", "TOP", "UIDL"}


def stuffed(message: bytes) -> bytes:
    return (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
