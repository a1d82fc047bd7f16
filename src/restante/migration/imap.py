"""The INBOX of an IMAP server as a source, for servers whose POP3 part can't be asked any more.

Their POP3 servers make unique-ids of IMAP's UID and UIDVALIDITY. Which way, is to be said: see
`restante.migration.unique_ids`. The mailbox is opened read-only, and no message becomes seen.
"""

from __future__ import annotations

import imaplib
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from socket import SHUT_RDWR
from typing import TypeVar, cast

from restante.calls import Caller
from restante.migration.contract import MAX_MESSAGES, Source, SourceLost, SourceMaildrop
from restante.migration.reading import TooLarge
from restante.migration.servers import Login, Passwords, Server, listing
from restante.migration.unique_ids import UniqueIdFormat
from restante.protocol.listing import Listing, MessageNumber, distinct_unique_ids
from restante.stores.contract import Content, MaildropInUse, MessageGone, StoreError

T = TypeVar("T")

BLOCK = 1024 * 1024
"""Octets of a message that are asked for at a time."""

AT_ONCE = 5000
"""Messages that are asked about at a time."""

MOST = 4 * 1024 * 1024
"""Octets that a server may send beside a message's own until a command has ended."""

_ABOUT = re.compile(rb"UID (\d{1,10})\b")
_BODY = re.compile(rb'BODY\[\](?:<(\d{1,18})>)? (NIL\b|\{|"((?:[^"\\]|\\.)*)")', re.IGNORECASE)
_SIZE = re.compile(rb"RFC822\.SIZE (\d{1,18})\b")


class ImapSource(Source):
    """An IMAP server's INBOXes.

    unique_ids: how its POP3 server makes them.
    """

    def __init__(
        self,
        server: Server,
        passwords: Passwords,
        *,
        max_octets: int,
        unique_ids: UniqueIdFormat | None = None,
    ) -> None:
        self.name = f"{'imaps' if server.tls == 'implicit' else 'imap'}://{server}"
        self._server = server
        self._passwords = passwords
        self._max_octets = max_octets
        self._format = unique_ids or UniqueIdFormat()
        if self._format.needs_guid:
            raise ValueError(f"{self._format.text!r}: IMAP tells no GUID")

    async def open(self, account: str, call: Caller) -> SourceMaildrop:
        """Log in and list the messages. Raises MaildropInUse, StoreError."""
        login = self._passwords.login(account)
        opened = await call(ImapMaildrop, self._server, login, self._format, self._max_octets)
        return cast(SourceMaildrop, opened)

    async def accounts(self) -> list[str] | None:
        """Those in the file of users."""
        found = self._passwords.accounts()
        return None if found is None else list(found)


class _Bounded(imaplib.IMAP4):
    """An IMAP4 that reads no more than it expects for each command."""

    left = MOST

    def read(self, size: int) -> bytes:
        self._take(size)
        return super().read(size)

    def readline(self) -> bytes:
        line = super().readline()
        self._take(len(line))
        return line

    def _take(self, octets: int) -> None:
        self.left -= octets
        if self.left < 0:
            raise SourceLost("the server sends more than it was asked for", temporary=False)


class _BoundedTls(_Bounded, imaplib.IMAP4_SSL):
    pass


class ImapMaildrop(SourceMaildrop):
    """A session with the server."""

    slack = 2  # a last line end that POP3 adds

    def __init__(
        self, server: Server, login: Login, unique_ids: UniqueIdFormat, max_octets: int
    ) -> None:
        self._server = server
        self._login = login
        self._max_octets = max_octets
        self._imap = self._told(self._connect)
        try:
            with listing(server, lambda: self._imap.socket().shutdown(SHUT_RDWR)):
                self._told(lambda: self._log_in(login))
                self._told(lambda: self._list(unique_ids))
        except BaseException:
            self.close()
            raise

    def _told(self, work: Callable[[], T]) -> T:
        """Do something; what goes wrong is a StoreError, and SourceLost if the connection is."""
        try:
            return work()
        except imaplib.IMAP4.abort as error:
            raise SourceLost(f"{self._server}: {self._said(error)}") from error
        except imaplib.IMAP4.error as error:
            text = self._said(error)
            if "[INUSE]" in text.upper():
                raise MaildropInUse(f"the source is in use: {text}") from error
            again = "[UNAVAILABLE]" in text.upper()
            raise StoreError(f"{self._server}: {text}", temporary=again) from error
        except OSError as error:
            again = not isinstance(error, ssl.SSLCertVerificationError)
            raise SourceLost(f"{self._server}: {error}", temporary=again) from error

    def _said(self, error: Exception) -> str:
        """The server's words. The password is masked first: a part of it is none that is found."""
        return self._login.masked(str(error).encode("utf-8", "replace")).decode()[:200]

    def _connect(self) -> _Bounded:
        server = self._server
        if server.tls == "implicit":
            return _BoundedTls(
                server.host,
                server.port,
                ssl_context=server.tls_context(),
                timeout=server.timeout,
            )
        imap = _Bounded(server.host, server.port, timeout=server.timeout)
        if server.tls == "upgrade":
            try:
                imap.starttls(server.tls_context())
            except BaseException:
                imap.shutdown()
                raise
        return imap

    def _log_in(self, login: Login) -> None:
        imap = self._imap
        if login.master is None and "AUTH=PLAIN" not in imap.capabilities:
            imap.login(login.user, login.password)
            return
        status, data = imap.authenticate("PLAIN", lambda _: login.plain)
        if status != "OK":  # not as the library is today
            raise imap.error(str(data))

    def _list(self, unique_ids: UniqueIdFormat) -> None:
        imap = self._imap
        imap.left = MOST
        status, data = imap.select("INBOX", readonly=True)
        if status != "OK" or data[0] is None:
            raise imap.error(f"EXAMINE INBOX: {data!r}")
        count = int(data[0])
        if count > MAX_MESSAGES:
            raise imap.error(f"the INBOX has more than {MAX_MESSAGES} messages")
        _, validities = imap.response("UIDVALIDITY")
        validity = int((validities and validities[0]) or 0)
        found: dict[int, tuple[int, float | None]] = {}
        for first in range(1, count + 1, AT_ONCE):
            imap.left = MOST
            last = min(count, first + AT_ONCE - 1)
            status, rows = imap.fetch(f"{first}:{last}", "(UID RFC822.SIZE INTERNALDATE)")
            if status != "OK":
                raise imap.error(f"FETCH: {rows!r}")
            for row in rows:
                about, size = _ABOUT.search(_bytes(row)), _SIZE.search(_bytes(row))
                if about and size:
                    found[int(about[1])] = int(size[1]), _moment(_bytes(row))
        if len(found) != count:
            raise imap.abort(f"the INBOX has {count} messages, and FETCH lists {len(found)}")
        self._uids = sorted(found)
        texts = [unique_ids.write(uid, validity) for uid in self._uids]
        self.listing = Listing(distinct_unique_ids(texts), [found[uid][0] for uid in self._uids])
        pairs = zip(self.listing.unique_ids, texts, strict=True)
        self.mapped = {has: text for has, text in pairs if has != text}
        self._moments = [found[uid][1] for uid in self._uids]

    def arrived(self, number: MessageNumber) -> float | None:
        """IMAP's internal date."""
        return self._moments[number - 1]

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        """A message, in blocks. Raises MessageGone, StoreError, SourceLost."""
        uid = self._uids[number - 1]
        first = self._block(uid, 0)
        return Content(first if len(first) < BLOCK else self._blocks(uid, first))

    def _blocks(self, uid: int, block: bytes) -> Iterator[bytes]:
        octets = len(block)
        yield block
        while len(block) == BLOCK:
            block = self._block(uid, octets)
            octets += len(block)
            if octets > self._max_octets:
                raise TooLarge(self._max_octets)
            if block:
                yield block

    def _block(self, uid: int, start: int) -> bytes:
        def ask() -> bytes:
            self._imap.left = MOST + BLOCK
            what = f"(BODY.PEEK[]<{start}.{BLOCK}>)"
            status, rows = self._imap.uid("FETCH", str(uid), what)
            if status != "OK":
                raise self._imap.error(f"UID FETCH: {rows!r}")
            others = False
            for at, row in enumerate(rows):
                if (body := _BODY.search(_bytes(row))) is None:
                    continue
                octets = body[3]  # None for NIL
                told = body.string[: body.start()] + body.string[body.end() :]
                if isinstance(row, tuple):  # a literal, which other items may follow
                    told += b"".join(map(_bytes, rows[at + 1 : at + 2]))
                    octets = row[1]
                elif octets is not None:
                    octets = re.sub(rb"\\(.)", rb"\1", octets)
                about = _ABOUT.search(told)
                if about and int(about[1]) == uid and int(body[1] or 0) == start:
                    return bytes(octets or b"")
                others = True
            if others:
                raise StoreError("FETCH: the server sends what it wasn't asked for")
            raise MessageGone("the server doesn't list it any more")

        block = self._told(ask)
        if len(block) > BLOCK:
            raise SourceLost(f"{self._server}: the server sends more than it was asked for")
        return block

    def close(self) -> None:
        """Log out. Harmless when repeated."""
        with suppress(imaplib.IMAP4.error, StoreError, OSError):
            self._imap.logout()
        with suppress(OSError):  # which it leaves open when the server doesn't answer
            self._imap.shutdown()


def _bytes(row: object) -> bytes:
    if isinstance(row, tuple):
        row = row[0]
    return row if isinstance(row, bytes) else b""


def _moment(row: bytes) -> float | None:
    found = imaplib.Internaldate2tuple(row)
    with suppress(OverflowError, ValueError):
        return None if found is None else time.mktime(found)
    return None
