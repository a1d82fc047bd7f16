"""A POP3 server of a page or two, right in all that is checked, and wrong where a test wants it.

It shares nothing with the checks nor with Restante. A fault is a set of flags, or a function that
changes the right reply to a command.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from restante.testing.conformance.seed import CORPUS

NAME, PASSWORD = b"joe", b"secret"

Edit = Callable[[bytes], bytes]

CAPABILITIES = [
    "TOP", "UIDL", "USER", "SASL PLAIN LOGIN CRAM-MD5", "RESP-CODES", "AUTH-RESP-CODE",
    "PIPELINING", "UTF8", "LANG", "LOGIN-DELAY 0", "EXPIRE NEVER", "IMPLEMENTATION canned",
]  # fmt: skip


@dataclass(frozen=True)
class Faults:
    """edits: by verb, what becomes of the right reply; "" is the greeting. flags: see the code.
    capabilities: in place of CAPABILITIES."""

    edits: Mapping[str, Edit] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    capabilities: tuple[str, ...] = tuple(CAPABILITIES)


class Canned:
    """Listens on a loopback port, a thread for each connection."""

    def __init__(
        self, faults: Faults, context: ssl.SSLContext | None = None, *, implicit: bool = False
    ) -> None:
        self.faults, self.context, self.implicit = faults, context, implicit
        self.ids = itertools.count(1)
        self.mail: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.holder: object = None
        self.stls_gone = False
        for each in CORPUS.values():
            self.put(each.octets)
        self.started = True
        self.removed = 0
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
        self.server, self.conn, self.flags = server, conn, server.flags
        self.buffer = b""
        self.user: bytes | None = None
        self.inside = self.logged_in = False
        self.bad = 0
        self.snapshot: list[str] = []
        self.marks: set[int] = set()
        self.utf8 = False

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
            if isinstance(self.conn, ssl.SSLSocket) and "no-close-notify" not in self.flags:
                with contextlib.suppress(OSError, ValueError):
                    self.conn.settimeout(0.5)
                    self.conn.unwrap()
            self.conn.close()

    def serve(self) -> None:
        if self.server.implicit and not self.handshake():
            return
        stamp = b"<1.2@canned>" if "stamp-fixed" in self.flags else (
            b"<%d.%d@canned>" % (time.time_ns(), secrets.randbelow(10**6))
        )  # fmt: skip
        self.stamp = stamp
        self.say("", b"+OK canned " + stamp + b"\r\n")
        while True:
            line = self.line()
            reply = self.answer(line)
            verb = line.split(b" ")[0].decode("latin-1").upper()
            self.say(verb, reply)
            if verb == "QUIT" and reply.startswith((b"+OK", b"-ERR [SYS")):
                if "stays-open" in self.flags:
                    self.line()
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
        whole_reads = "line-a-read" in self.flags and self.buffer == b""
        while b"\n" not in self.buffer:
            if "idle" in self.flags:
                self.conn.settimeout(0.05)
            if len(self.buffer) > 100_000 and "endless" not in self.flags:
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
        self.buffer = b"" if whole_reads else rest
        if "cuts-lines" in self.flags and len(line) > 39:
            line, self.buffer = line[:39], line[39:] + b"\n" + self.buffer
        if "cuts-at-200" in self.flags and len(line) > 200:
            line, self.buffer = line[:200], line[200:] + b"\n" + self.buffer
        if not line.endswith(b"\r") and "only-crlf" in self.flags:
            return self.line()
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
        if "strict-blanks" in self.flags and line.endswith(b" "):
            return b"-ERR trailing blank\r\n"
        if "silent-empty" in self.flags and not line:
            return b""
        verb, _, rest = line.partition(b" ")
        name = verb.decode("latin-1")
        if "case" not in self.flags:
            name = name.upper()
        method = getattr(self, f"do_{name}", None)
        out_of_state = method is not None and (name in TRANSACTION) > self.logged_in
        if out_of_state and "no-states" in self.flags:
            return b"+OK\r\n"
        if method is None and "takes-unknown" in self.flags:
            return b"+OK\r\n"
        if method is None:
            self.bad += 1
            return b"CLOSE" if "impatient" in self.flags and self.bad > 1 else (
                b"-ERR unknown command\r\n"
            )  # fmt: skip
        if name in TRANSACTION and not self.logged_in:
            return b"-ERR log in first\r\n"
        if name in AUTHORIZATION and self.logged_in:
            return b"+OK\r\n" if "no-states" in self.flags else b"-ERR logged in\r\n"
        reply: bytes = method(rest if name == "PASS" else rest.rstrip(b" "))
        return reply

    def do_CAPA(self, rest: bytes) -> bytes:
        told = [each.encode() for each in self.server.faults.capabilities]
        if self.server.context and (not self.inside or "stls-inside" in self.flags):
            told += [] if self.server.stls_gone else [b"STLS"]
        if self.logged_in and "forgets-top" in self.flags:
            told.remove(b"TOP")
        if self.logged_in and "forgets-sasl" in self.flags:
            told = [each for each in told if not each.startswith(b"SASL")]
        if self.logged_in and "late-uidl" in self.flags:
            told.append(b"UIDL")
        if "capa-changes" in self.flags:
            told.append(b"X%d" % next(self.server.ids))
        if self.logged_in and "no-capa-later" in self.flags:
            return b"-ERR\r\n"
        if self.inside and "no-capa-inside" in self.flags:
            return b"-ERR\r\n"
        return b"+OK\r\n" + b"".join(each + b"\r\n" for each in told) + b".\r\n"

    def do_USER(self, rest: bytes) -> bytes:
        if not rest and "user-empty" not in self.flags:
            return b"-ERR a name\r\n"
        if self.user is not None and "first-user" in self.flags:
            return b"+OK\r\n"
        self.user = rest
        return b"+OK\r\n"

    def do_PASS(self, rest: bytes) -> bytes:
        user = self.user
        if "keeps-user" not in self.flags:
            self.user = None
        if user is None:
            return b"+OK\r\n" if "pass-first" in self.flags else b"-ERR USER first\r\n"
        if "trims" in self.flags:
            rest = rest.rstrip()
        if not rest and "empty-password" in self.flags:
            rest = PASSWORD
        if "once" in self.flags and rest != PASSWORD:
            return b"CLOSE"
        if user != NAME and "tells-unknown" in self.flags:
            return b"-ERR no such user\r\n"
        return self.enter(user, rest == PASSWORD)

    def do_APOP(self, rest: bytes) -> bytes:
        user, _, digest = rest.partition(b" ")
        if "apop-closes" in self.flags:
            return b"CLOSE"
        right = hashlib.md5(self.stamp + PASSWORD).hexdigest().encode() == digest
        return self.enter(user, (right and "no-apop" not in self.flags) or "any" in self.flags)

    def enter(self, user: bytes, right: bool) -> bytes:
        if "any" in self.flags:
            right = True
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
        if "wrong-numbers" in self.flags:
            return b"+OK 999 messages\r\n"
        if "told-count" in self.flags:
            return b"+OK %d messages\r\n" % len(self.snapshot)
        return b"+OK\r\n"

    def do_AUTH(self, rest: bytes) -> bytes:
        mechanism, _, initial = rest.partition(b" ")
        mechanism = mechanism if "case-auth" in self.flags else mechanism.upper()
        if not mechanism:
            return b"+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n"
        if mechanism not in (b"PLAIN", b"LOGIN", b"CRAM-MD5") or "no-auth" in self.flags:
            return b"+OK\r\n" if "takes-unknown" in self.flags else b"-ERR unknown mechanism\r\n"
        try:
            return getattr(self, f"auth_{mechanism.decode().replace('-', '_').lower()}")(initial)  # type: ignore[no-any-return]
        except ValueError:
            return b"+OK\r\n" if "not-base64" in self.flags else b"-ERR malformed\r\n"
        except InterruptedError:
            return b"CLOSE" if "cancel-closes" in self.flags else (
                b"+OK\r\n" if "cancel-ok" in self.flags else b"-ERR cancelled\r\n"
            )  # fmt: skip

    def ask(self, challenge: bytes) -> bytes:
        plus = b"+" if "no-space" in self.flags else b"+OK " if "plus-ok" in self.flags else b"+ "
        raw = "raw-challenge" in self.flags
        self.conn.sendall(plus + (challenge if raw else base64.b64encode(challenge)) + b"\r\n")
        line = self.line()
        if line == b"*":
            raise InterruptedError
        return self.decoded(line)

    def decoded(self, line: bytes) -> bytes:
        if "short-tokens" in self.flags and len(line) > 1000:
            raise Closed
        return base64.b64decode(line, validate=True)

    def auth_plain(self, initial: bytes) -> bytes:
        if initial and "no-initial" in self.flags:
            return b"-ERR no initial response\r\n"
        if initial == b"=" and "equals" not in self.flags:
            return b"-ERR malformed\r\n"
        response = self.decoded(initial) if initial and initial != b"=" else self.ask(b"")
        parts = response.split(b"\0")
        if "lenient-plain" in self.flags:
            parts = (parts if len(parts) > 1 else [b"", NAME, PASSWORD])[:3]
            parts[2] = parts[2].rstrip(b"\r\n")
        if len(parts) != 3:
            return b"-ERR malformed\r\n"
        if parts[0] not in (b"", parts[1]) and "any-authzid" not in self.flags:
            return b"-ERR [AUTH] no\r\n"
        if parts[0] and "no-authzid" in self.flags:
            return b"-ERR [AUTH] no\r\n"
        if parts[2] != PASSWORD and "once" in self.flags:
            return b"CLOSE"
        return self.enter(parts[1], parts[2] == PASSWORD)

    def auth_login(self, initial: bytes) -> bytes:
        user = self.ask(b"Username:")
        return self.enter(user, self.ask(b"Password:") == PASSWORD)

    def auth_cram_md5(self, initial: bytes) -> bytes:
        challenge = b"<1@canned>" if "cram-fixed" in self.flags else (
            b"<%d@canned>" % secrets.randbelow(10**12)
        )  # fmt: skip
        user, _, digest = self.ask(challenge).partition(b" ")
        right = hmac.new(PASSWORD, challenge, "md5").hexdigest().encode()
        return self.enter(user, digest == right and "cram-broken" not in self.flags)

    def do_STLS(self, rest: bytes) -> bytes:
        if "no-stls" in self.flags:
            return b"-ERR not now\r\n"
        if self.inside or self.server.context is None:
            return b"+OK\r\n" if "stls-again" in self.flags else b"-ERR TLS already\r\n"
        if rest and "stls-argument" not in self.flags:
            return b"-ERR no argument\r\n"
        if "injection" not in self.flags and self.buffer:
            raise Closed
        kept = self.buffer
        self.conn.sendall(b"+OK\r\n")
        if not self.handshake():
            raise Closed
        self.buffer = kept
        self.server.stls_gone = "stls-for-all" in self.flags
        if "remembers" not in self.flags:
            self.user = None
        if "greets-again" in self.flags:
            return b"+OK canned\r\n"
        return b""

    def do_UTF8(self, rest: bytes) -> bytes:
        if self.logged_in and "utf8-kills" in self.flags:
            return b"CLOSE"
        self.utf8 = True
        return b"+OK\r\n"

    def do_LANG(self, rest: bytes) -> bytes:
        if not rest:
            return b"+OK\r\nen English\r\ni-default Default\r\n.\r\n"
        known = rest.lower() in (b"en", b"*", b"i-default") or "any-language" in self.flags
        return b"+OK en\r\n" if known else b"-ERR unknown\r\n"

    def do_QUIT(self, rest: bytes) -> bytes:
        if self.logged_in:
            self.remove()
            if self.server.holder is self and "lock-stuck" not in self.flags:
                self.server.holder = None
        return b"+OK bye\r\n"

    def remove(self) -> None:
        gone = [] if "keeps-all" in self.flags else sorted(self.marks)
        if gone and "removes-one-more" in self.flags:
            gone.append(gone[0] % len(self.snapshot) + 1)
        for number in gone:
            self.server.mail.pop(self.snapshot[number - 1], None)
            self.server.removed += 1
        if gone and "renames" in self.flags:
            self.server.mail = {f"new-{key}": each for key, each in self.server.mail.items()}

    # The maildrop

    def live(self) -> dict[int, str]:
        if "no-snapshot" in self.flags:
            new = [each for each in self.server.mail if each not in self.snapshot]
            self.snapshot += new
        names = self.snapshot
        if "renumbers-live" in self.flags:
            names = [each for each in names if each in self.server.mail]
        first = 1 + (self.server.removed if "numbers-go-on" in self.flags else 0)
        shown = {
            number: name for number, name in enumerate(names, first) if number not in self.marks
        }
        if self.marks and "renumbers" in self.flags:
            return dict(enumerate(shown.values(), 1))
        if "lists-marked" in self.flags:
            return dict(enumerate(names, 1))
        return shown

    def message(self, number: int) -> bytes:
        found = self.server.mail.get(self.live()[number], b"")
        if self.utf8 or "raw-header" in self.flags:
            return found
        header, end, body = found.partition(b"\r\n\r\n")
        return re.sub(rb"[\x80-\xff]", b"?", header) + end + body

    def number(self, text: bytes) -> int:
        live = self.live()
        if "any-number" in self.flags:
            return next(iter(live), 1)
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
        extra = 3 if "list-octets" in self.flags else 0
        return self.listed(rest, lambda number: b"%d" % (len(self.message(number)) + extra))

    def do_UIDL(self, rest: bytes) -> bytes:
        now = b"-%d" % next(self.server.ids) if "ids-change" in self.flags else b""
        return self.listed(rest, lambda number: self.live()[number].encode() + now)

    def do_RETR(self, rest: bytes) -> bytes:
        try:
            message = self.message(self.number(rest))
        except LookupError:
            return b"-ERR no such message\r\n"
        if "changes" in self.flags:
            message += b"%d\r\n" % next(self.server.ids)
        if "flags-in-ids" in self.flags:
            name = self.live()[self.number(rest)]
            at = self.snapshot.index(name)
            self.server.mail = {
                (f"{key}S" if key == name else key): each for key, each in self.server.mail.items()
            }
            self.snapshot[at] = f"{name}S"
        return b"+OK %d octets\r\n" % len(message) + stuffed(message)

    def do_TOP(self, rest: bytes) -> bytes:
        first, _, lines = rest.partition(b" ")
        try:
            message = self.message(self.number(first))
        except LookupError:
            return b"-ERR no such message\r\n"
        if not lines.isdigit():
            if "any-number" not in self.flags:
                return b"-ERR how many lines?\r\n"
            lines = b"0"
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
        if "rset-nothing" not in self.flags:
            self.marks.clear()
        return b"+OK\r\n"


AUTHORIZATION = {"USER", "PASS", "APOP", "AUTH", "STLS"}
TRANSACTION = {"STAT", "LIST", "RETR", "DELE", "NOOP", "RSET", "TOP", "UIDL"}


def stuffed(message: bytes) -> bytes:
    return (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
