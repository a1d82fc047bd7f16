"""Mail that checks put into an account: a corpus, and the ways in."""

from __future__ import annotations

import imaplib
import os
import re
import secrets
import smtplib
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MARK = b"X-Conformance"
"""The field that says which message of the corpus it is."""

SECONDS = 10.0
"""How long is waited for each answer of a server that mail is brought in by."""


@dataclass(frozen=True)
class Message:
    """body: with CRLF. raw: only a way in that leaves octets as they are can bring it."""

    octets: bytes
    body: bytes
    raw: bool = False


def _message(name: str, body: bytes, fields: bytes = b"", raw: bool = False) -> Message:
    header = (
        b"From: Conformance <conformance@example.org>\r\nTo: joe@example.org\r\n"
        b"Subject: Conformance %b\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n"
        b"Message-ID: <%b@conformance.example.org>\r\n%b: %b\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n%b\r\n"
    ) % (name.encode(), name.encode(), MARK, name.encode(), fields)
    return Message(header + body, body, raw)


def _lines(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)


def _walking_dots() -> bytes:
    """Some 300 KiB, with a dot at the start of a line near every place where blocks may meet."""
    return b"".join(b".%b\r\n" % (b"x" * (each % 97)) for each in range(6000))


CORPUS = {
    "plain": _message("plain", _lines(*(b"line %d" % each for each in range(1, 9)))),
    "dots": _message(
        "dots", _lines(b".first", b".", b"..", b"...", b" .", b"a.", b".", b"x", b".last")
    ),
    "dot-last": _message("dot-last", _lines(b"a", b".")),
    "long-line": _message("long-line", _lines(b"l" * 998, b".", b"." + b"m" * 997, b"end")),
    "octets": _message("octets", _lines(bytes(range(128, 256)), b"\t\x01\x7f", b"end")),
    "blank-lines": _message("blank-lines", _lines(b"", b"", b"middle", b"", b"")),
    "header-only": _message("header-only", b""),
    "large": _message("large", _walking_dots()),
    "no-final-newline": _message("no-final-newline", b"one\r\ntwo", raw=True),
    "very-long-line": _message("very-long-line", _lines(b"v" * 70_000, b"end"), raw=True),
    "utf-8": _message(
        "utf-8", _lines(b"text"), "Reply-To: naïve <joe@example.org>\r\n".encode(), raw=True
    ),
}
"""Messages by their name, in the order in which they are brought in."""


class SeedError(Exception):
    """Mail can't be brought in; the text says why."""


class Seed(Protocol):
    """A way in. raw: whether it leaves a message's octets as they are but for line ends."""

    raw: bool

    def put(self, message: bytes) -> None:
        """Bring a message in, given with CRLF. Raises SeedError."""

    def empty(self) -> bool:
        """Remove all mail without the server, whose DELE doesn't. Whether that can be done.

        Raises SeedError.
        """


def _explained(host: str, port: int, error: Exception, seconds: float) -> SeedError:
    silent = isinstance(error, TimeoutError) or "timed out" in str(error)
    if silent:
        return SeedError(f"{host}:{port} says nothing for {seconds:g} seconds")
    return SeedError(f"{host}:{port}: {error}")


class SmtpSeed:
    """By SMTP or LMTP. seconds: how long it waits for each answer."""

    raw = False

    def __init__(
        self,
        host: str,
        port: int,
        recipient: str,
        lmtp: bool = False,
        seconds: float = SECONDS,
    ) -> None:
        self._where, self._recipient, self._lmtp = (host, port), recipient, lmtp
        self._seconds = seconds

    def put(self, message: bytes) -> None:
        """Send it. Raises SeedError."""
        kind = smtplib.LMTP if self._lmtp else smtplib.SMTP
        try:
            client = kind(*self._where, timeout=self._seconds)
            with client:
                if client.sock is not None:
                    client.sock.settimeout(self._seconds)
                client.sendmail("conformance@example.org", [self._recipient], message)
        except (OSError, smtplib.SMTPException) as error:
            raise _explained(*self._where, error, self._seconds) from None

    def empty(self) -> bool:
        """By SMTP no mail goes out."""
        return False


class MaildirSeed:
    """Into a Maildir folder on this machine, with LF. Files get the folder's owner."""

    raw = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._given = 0

    def put(self, message: bytes) -> None:
        """Write a file into `new`. Raises SeedError."""
        self._given += 1
        name = f"{int(time.time())}.C{self._given:06}{secrets.token_hex(4)}.conformance"
        written = self._folder / "tmp" / name
        try:
            owner = self._folder.stat()
            for part in ("tmp", "new", "cur"):
                place = self._folder / part
                if not place.exists():
                    place.mkdir()
                    _give(place, owner)
            written.write_bytes(message.replace(b"\r\n", b"\n"))
            _give(written, owner)
            written.rename(self._folder / "new" / name)
        except OSError as error:
            raise SeedError(str(error)) from None

    def empty(self) -> bool:
        """Remove the files in `new` and `cur`. Raises SeedError."""
        try:
            for part in ("new", "cur"):
                for each in (self._folder / part).glob("*"):
                    each.unlink(missing_ok=True)
        except OSError as error:
            raise SeedError(str(error)) from None
        return True


def _give(path: Path, owner: os.stat_result) -> None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


class MboxSeed:
    """At the end of an mbox file on this machine, with LF and `>From `."""

    raw = False

    def __init__(self, file: Path) -> None:
        self._file = file

    def put(self, message: bytes) -> None:
        """Append it. Raises SeedError."""
        text = re.sub(rb"^(>*From )", rb">\1", message.replace(b"\r\n", b"\n"), flags=re.M)
        try:
            with self._file.open("ab") as file:
                file.write(b"From conformance Mon Nov  2 10:00:00 2026\n" + text + b"\n")
        except OSError as error:
            raise SeedError(str(error)) from None

    def empty(self) -> bool:
        """The server may have the file open: nobody else may cut it short."""
        return False


class ImapSeed:
    """By IMAP APPEND into INBOX. seconds: how long it waits for each answer."""

    raw = True

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        context: ssl.SSLContext | None = None,
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._where, self._login, self._context = (host, port), (user, password), context
        self._seconds = seconds

    def put(self, message: bytes) -> None:
        """Append it. Raises SeedError."""
        host, port = self._where
        try:
            client = (
                imaplib.IMAP4(host, port, timeout=self._seconds)
                if self._context is None
                else imaplib.IMAP4_SSL(host, port, ssl_context=self._context, timeout=self._seconds)
            )
            with client:
                client.login(*self._login)
                answer, said = client.append("INBOX", "", "", message)
        except (OSError, imaplib.IMAP4.error) as error:
            raise _explained(host, port, error, self._seconds) from None
        if answer != "OK":
            raise SeedError(f"{host}:{port}: APPEND is answered {answer} {said!r}")

    def empty(self) -> bool:
        """It hasn't been needed so far."""
        return False


WAYS = (
    "smtp:HOST:PORT:RECIPIENT",
    "lmtp:HOST:PORT:RECIPIENT",
    "maildir:FOLDER",
    "mbox:FILE",
    "imap:HOST:PORT",
    "imaps:HOST:PORT",
)


def parse_seed(
    text: str,
    user: str,
    password: str,
    context: ssl.SSLContext | None = None,
    seconds: float = SECONDS,
) -> Seed:
    """The way that `text` names, see `WAYS`. Raises ValueError.

    user, password: for IMAP. context: for IMAP inside TLS. seconds: how long each answer of a
    server is waited for.
    """
    kind, _, rest = text.partition(":")
    if kind == "maildir" and rest:
        if not Path(rest).is_dir():
            raise ValueError(f"{text!r}: there is no folder {rest}")
        return MaildirSeed(Path(rest))
    if kind == "mbox" and rest:
        return MboxSeed(Path(rest))
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+):(\d{1,5})(?::(.+))?", rest)
    if found and 0 < int(found[2]) < 65536:
        host, port, recipient = found[1].strip("[]"), int(found[2]), found[3]
        if kind in ("smtp", "lmtp") and recipient:
            return SmtpSeed(host, port, recipient, kind == "lmtp", seconds)
        if kind in ("imap", "imaps") and not recipient:
            inside = (context or ssl.create_default_context()) if kind == "imaps" else None
            return ImapSeed(host, port, user, password, inside, seconds=seconds)
    raise ValueError(f"{text!r}: no way to bring mail in; known are {', '.join(WAYS)}")
