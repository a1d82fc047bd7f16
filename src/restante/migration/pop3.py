"""A live POP3 server as a source: any server, by the network alone.

Nothing that the server sends is trusted: lines, lists and messages have an end. Python's poplib
isn't used, as it refuses lines of more than 2,048 octets, which mail has, and holds a whole
message in memory.
"""

from __future__ import annotations

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress

from restante.calls import Caller
from restante.migration.contract import MAX_MESSAGES, Source, SourceLost, SourceMaildrop
from restante.migration.reading import TooLarge
from restante.migration.servers import Login, Passwords, Server, listing
from restante.protocol.listing import Listing, MessageNumber, UniqueId, distinct_unique_ids
from restante.protocol.unstuffing import Unstuffing
from restante.stores.contract import Content, MaildropInUse, MessageGone, StoreError

BLOCK = 64 * 1024

MAX_LINE = 4096
"""Octets of a reply's line: RFC 2449 §4 has 512, and unique-ids of some servers are long."""

MAX_CAPABILITIES = 200
"""Lines of the reply to CAPA."""

_LISTED = re.compile(rb"(\d{1,9})[ \t]+(\d{1,18})\b")
_IDENTIFIED = re.compile(rb"(\d{1,9})[ \t]+(.*)", re.DOTALL)


class Refused(StoreError):
    """The server answered -ERR. code: the response code in brackets, in capitals, or nothing."""

    def __init__(self, what: str, line: bytes) -> None:
        text = line.decode("ascii", "replace").removeprefix("-ERR").strip()
        found = re.match(r"\[([A-Za-z0-9/-]{1,40})\]", text)
        self.code = found[1].upper() if found else ""
        super().__init__(f"{what}: the server says {text!r:.200}", temporary=self.is_temporary)

    @property
    def is_temporary(self) -> bool:
        """Whether the server says that trying again may help (RFC 2449 §8.1, RFC 3206)."""
        return self.code in ("IN-USE", "LOGIN-DELAY", "SYS/TEMP")

    @property
    def is_in_use(self) -> bool:
        """Whether another session has the maildrop; older servers say so in words only."""
        words = re.search(r"\b(locked|lock|in use|busy)\b", str(self), re.IGNORECASE)
        return self.code == "IN-USE" or (not self.code and words is not None)


class Wire:
    """One connection: lines with an end, and everything that goes wrong as SourceLost."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._data, self._at = b"", 0  # what has come, and how much of it was taken
        with _lost(server):
            self._socket = socket.create_connection((server.host, server.port), server.timeout)
            if server.tls == "implicit":
                self.begin_tls()

    def begin_tls(self) -> None:
        """Go on inside TLS. Raises SourceLost, also when the server has sent more in the clear:
        somebody on the way may have put it there."""
        if self._at < len(self._data):
            raise SourceLost(f"{self._server}: octets in the clear after STLS", temporary=False)
        with _lost(self._server):
            plain = self._socket
            context = self._server.tls_context()
            try:
                self._socket = context.wrap_socket(plain, server_hostname=self._server.host)
            except BaseException:
                plain.close()
                raise

    def close(self) -> None:
        """Harmless when repeated."""
        with suppress(OSError):
            self._socket.close()

    def stop(self) -> None:
        """End the connection, whatever another thread does with it."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, line: bytes) -> None:
        """Send a command, whose CRLF is added. Raises SourceLost."""
        with _lost(self._server):
            self._socket.sendall(line + b"\r\n")

    def block(self) -> bytes:
        """What comes next, up to BLOCK octets; never nothing. Raises SourceLost."""
        if self._at < len(self._data):
            rest, self._at = self._data[self._at :], len(self._data)
            return rest
        with _lost(self._server):
            data = self._socket.recv(BLOCK)
        if not data:
            raise SourceLost(f"{self._server}: the server has closed the connection")
        return data

    def put_back(self, data: bytes) -> None:
        """What comes next after all, where `block` was the last that was called."""
        self._data, self._at = data, 0

    def line(self) -> bytes:
        """The next line, without its end. Raises SourceLost."""
        while (end := self._data.find(b"\n", self._at)) < 0:
            if len(self._data) - self._at > MAX_LINE:
                break
            rest = self._data[self._at :]
            self._at = len(self._data)
            self.put_back(rest + self.block())
        if end < 0 or end - self._at > MAX_LINE:
            text = f"{self._server}: the server sends a line without an end"
            raise SourceLost(text, temporary=False)
        line, self._at = self._data[self._at : end], end + 1
        return line.removesuffix(b"\r")

    def lines(self, most: int) -> Iterator[bytes]:
        """The lines of a multi-line reply after its first. Raises SourceLost."""
        for _ in range(most + 1):
            line = self.line()
            if line == b".":
                return
            yield line.removeprefix(b".")
        text = f"{self._server}: the server lists more than {most} lines"
        raise SourceLost(text, temporary=False)


class _lost:
    """What goes wrong with a connection, as SourceLost."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            text = f"{self._server}: no answer within {self._server.timeout:g} seconds"
            raise SourceLost(text) from error
        if isinstance(error, OSError):  # of TLS, too
            again = not isinstance(error, ssl.SSLCertVerificationError)
            raise SourceLost(f"{self._server}: {error}", temporary=again) from error


class Pop3Source(Source):
    """A POP3 server. Its sessions never send DELE."""

    def __init__(self, server: Server, passwords: Passwords, *, max_octets: int) -> None:
        self.name = f"{'pop3s' if server.tls == 'implicit' else 'pop3'}://{server}"
        self._server = server
        self._passwords = passwords
        self._max_octets = max_octets

    async def open(self, account: str, call: Caller) -> SourceMaildrop:
        """Log in and list the messages. Raises MaildropInUse, StoreError."""
        login = self._passwords.login(account)
        return await call(Pop3Maildrop, self._server, login, self._max_octets)  # type: ignore[no-any-return]

    async def accounts(self) -> list[str] | None:
        """Those in the file of users."""
        found = self._passwords.accounts()
        return None if found is None else list(found)


class Pop3Maildrop(SourceMaildrop):
    """A session with the server; another one follows where a message isn't read to its end."""

    slack = 2  # of servers that don't count a last line end that they add

    def __init__(self, server: Server, login: Login, max_octets: int) -> None:
        self._server = server
        self._login = login
        self._max_octets = max_octets
        self._is_reading = False
        self._connect()
        texts, sizes = zip(*self._listed.values(), strict=True) if self._listed else ((), ())
        self.listing = Listing(list(self._listed), sizes)
        pairs = zip(self._listed, texts, strict=True)
        self.mapped = {
            has: login.masked(text.encode("latin-1")).decode("latin-1")
            for has, text in pairs
            if has != text
        }

    def _connect(self) -> None:
        server = self._server
        self._wire = Wire(server)
        try:
            with listing(server, self._wire.stop):
                self._ask("the greeting", None)
                if server.tls == "upgrade":
                    self._ask("STLS", b"STLS")
                    self._wire.begin_tls()
                self._ask_for_utf8()
                self._log_in(self._login)
                self._list()
        except BaseException:
            self._wire.close()
            raise

    def _ask(self, what: str, command: bytes | None) -> bytes:
        """Send a command, and give its +OK line. Raises Refused, SourceLost."""
        if command is not None:
            self._wire.send(command)
        line = self._wire.line()
        if line.startswith(b"+OK"):
            return line
        line = self._login.masked(line)
        if line.startswith(b"-ERR"):
            raise Refused(what, line)
        raise SourceLost(f"{self._server}: {what}: this is no answer of POP3: {line!r:.80}")

    def _ask_for_utf8(self) -> None:
        """Have messages with UTF-8 in their headers as they are, where the server would change
        them otherwise (RFC 6856 §2)."""
        with suppress(Refused):  # an old server
            self._ask("CAPA", b"CAPA")
            capabilities = [line.upper() for line in self._wire.lines(MAX_CAPABILITIES)]
            if any(line.split()[:1] == [b"UTF8"] for line in capabilities):
                self._ask("UTF8", b"UTF8")

    def _log_in(self, login: Login) -> None:
        try:
            if login.master is None:
                self._ask("USER", b"USER " + login.user.encode())
                self._ask("logging in", b"PASS " + login.password.encode())
                return
            self._wire.send(b"AUTH PLAIN")
            if not (line := self._wire.line()).startswith(b"+"):
                raise Refused("AUTH PLAIN", login.masked(line))
            self._ask("logging in", b64encode(login.plain))
        except Refused as error:
            if error.is_in_use:
                raise MaildropInUse(f"the source is in use: {error}") from error
            raise

    def _list(self) -> None:
        sizes: dict[int, int] = {}
        self._ask("LIST", b"LIST")
        for line in self._wire.lines(MAX_MESSAGES):
            if (found := _LISTED.match(line)) is None:
                said = self._login.masked(line)
                raise SourceLost(f"{self._server}: LIST: this is no scan listing: {said!r:.80}")
            sizes[int(found[1])] = int(found[2])
        given: dict[int, str] = {}
        self._ask("UIDL", b"UIDL")
        for line in self._wire.lines(MAX_MESSAGES):
            if (found := _IDENTIFIED.match(line)) is None:
                said = self._login.masked(line)
                raise SourceLost(f"{self._server}: UIDL: this is no unique-id: {said!r:.80}")
            given[int(found[1])] = found[2].rstrip().decode("latin-1")
        if sizes.keys() != given.keys():
            raise SourceLost(f"{self._server}: LIST and UIDL have different messages")
        numbers = sorted(sizes)
        unique_ids = distinct_unique_ids(given[number] for number in numbers)
        pairs = list(zip(unique_ids, numbers, strict=True))
        self._listed = {has: (given[number], sizes[number]) for has, number in pairs}
        self._numbers = dict(pairs)

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        """A message, read while it comes. Raises MessageGone, StoreError, SourceLost."""
        if self._is_reading:
            self._wire.close()
            self._is_reading = False
            self._connect()
        there = self._numbers.get(UniqueId(self.listing.unique_ids[number - 1]))
        if there is None:
            raise MessageGone("the server doesn't list it any more")
        self._ask("RETR", b"RETR %d" % there)
        return Content(self._message())

    def _message(self) -> Iterator[bytes]:
        self._is_reading = True
        unstuffing, octets = Unstuffing(), 0
        while unstuffing.rest is None:
            block = unstuffing.feed(self._wire.block())
            octets += len(block)
            if octets > self._max_octets:
                raise TooLarge(self._max_octets)
            if block:
                yield block
        self._wire.put_back(unstuffing.rest)
        self._is_reading = False

    def close(self) -> None:
        """Log out. Nothing is removed. Harmless when repeated."""
        with suppress(StoreError):
            if not self._is_reading:
                self._wire.send(b"QUIT")
        self._wire.close()
