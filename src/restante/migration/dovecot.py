"""Dovecot's mail of any format (mdbox, sdbox, mbox, Maildir …) as a source, by its own tools.

`doveadm` lists the INBOX and prints its messages; nothing is copied to the disk or changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, NamedTuple, cast

from restante.calls import Caller
from restante.migration.contract import MAX_MESSAGES, Source, SourceLost, SourceMaildrop
from restante.migration.unique_ids import UniqueIdFormat
from restante.protocol.listing import Listing, MessageNumber, distinct_unique_ids
from restante.stores.contract import Content, MessageGone, StoreError

BLOCK = 256 * 1024

MAX_LINE = 4096
"""Octets of a line that `doveadm` prints about a message."""

NO_USER = 67
"""Its exit status for a user that there isn't."""

_FIELDS = "uid date.received.unixtime size.virtual guid pop3.order pop3.uidl"


class DovecotSource(Source):
    """What a Dovecot that runs on this machine has in its users' INBOXes.

    config: its configuration file; None: the usual one. unique_ids: `pop3_uidl_format`; None:
    as the configuration says. Messages whose unique-ids Dovecot has saved keep those.

    As root's real user, `doveadm` is run as root, whoever else this process works as.
    """

    def __init__(
        self,
        config: str | None = None,
        *,
        unique_ids: UniqueIdFormat | None = None,
        doveadm: str = "doveadm",
        doveconf: str = "doveconf",
    ) -> None:
        self.name = f"dovecot:{config or ''}"
        self._options = [] if config is None else ["-c", config]
        self._programs = {"doveadm": doveadm, "doveconf": doveconf}
        self._format = unique_ids

    async def open(self, account: str, call: Caller) -> SourceMaildrop:
        """List the messages. Raises StoreError."""
        if re.search(r"[*?]|^-|[\0\r\n]", account) or not account:
            raise StoreError("not the name of one user of Dovecot", temporary=False)
        if self._format is None:
            text = str(await call(self.output, "doveconf", "-h", "pop3_uidl_format")).strip()
            try:
                self._format = UniqueIdFormat(text)
            except ValueError as error:
                raise StoreError(f"pop3_uidl_format: {error}", temporary=False) from error
        return cast(SourceMaildrop, await call(DovecotMaildrop, self, account, self._format))

    async def accounts(self) -> Sequence[str] | None:
        """The users that Dovecot can list; None if its userdb can't."""
        try:
            return self.output("doveadm", "user", "*").split()
        except StoreError:
            return None

    def start(self, program: str, *arguments: str, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start one of Dovecot's tools. Raises StoreError."""
        path = shutil.which(self._programs[program], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            raise StoreError(f"{program} isn't installed here", temporary=False)
        root = hasattr(os, "getuid") and os.getuid() == 0 != os.geteuid()
        return subprocess.Popen(  # noqa: S603 - the program is the operator's choice
            [path, *self._options, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            user=0 if root else None,
            group=0 if root else None,
        )

    def output(self, program: str, *arguments: str) -> str:
        """What one of Dovecot's tools prints. Raises StoreError."""
        with tempfile.TemporaryFile() as errors:
            running = self.start(program, *arguments, errors=errors)
            printed, _ = running.communicate()
            if running.returncode != 0:
                raise failure(program, running.returncode, errors)
        return printed.decode("utf-8", "surrogateescape")


def failure(program: str, status: int, errors: IO[bytes]) -> StoreError:
    """What a tool has said when it failed."""
    errors.seek(0)
    said = errors.read(2000).decode("utf-8", "replace").strip() or f"exit status {status}"
    if status == NO_USER:
        return StoreError("the source has no such account", temporary=False)
    return StoreError(f"{program}: {said}", temporary=False)


class _Message(NamedTuple):
    """What Dovecot tells of a message. order: its place in the listing of POP3."""

    order: tuple[int, int]
    uid: int
    unique_id: str
    octets: int
    arrived: float


class DovecotMaildrop(SourceMaildrop):
    """A user's INBOX. The messages are printed by one `doveadm` after another, each from the
    message on that is wanted."""

    slack = 2  # a last line end that POP3 adds

    def __init__(self, source: DovecotSource, account: str, unique_ids: UniqueIdFormat) -> None:
        self._source = source
        self._account = account
        self._printing: _Printing | None = None
        status = source.output(
            "doveadm", "mailbox", "status", "-u", account, "uidvalidity", "INBOX"
        )
        found = re.search(r"uidvalidity=(\d+)", status)
        validity = int(found[1]) if found else 0
        messages = sorted(self._messages(unique_ids, validity))
        self._messages_by_number = messages
        texts = [message.unique_id for message in messages]
        self.listing = Listing(distinct_unique_ids(texts), [message.octets for message in messages])
        pairs = zip(self.listing.unique_ids, texts, strict=True)
        self.mapped = {has: text for has, text in pairs if has != text}

    def _messages(self, unique_ids: UniqueIdFormat, validity: int) -> Iterator[_Message]:
        query = ("fetch", "-u", self._account, _FIELDS, "mailbox", "INBOX")
        printed = self._source.output("doveadm", "-f", "tab", *query)
        for line in printed.split("\n")[1 : MAX_MESSAGES + 2]:
            if not line:
                continue
            try:
                uid, arrived, octets, guid, order, saved = line.split("\t")
                yield _Message(
                    (0, int(order)) if order not in ("", "0") else (1, int(uid)),
                    int(uid),
                    saved or unique_ids.write(int(uid), validity, guid),
                    int(octets),
                    float(arrived),
                )
            except ValueError:
                raise StoreError(f"doveadm fetch prints {line!r:.200}", temporary=False) from None

    def arrived(self, number: MessageNumber) -> float:
        """When Dovecot got the message."""
        return self._messages_by_number[number - 1].arrived

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        """A message, read while it is printed. Raises MessageGone, StoreError, SourceLost."""
        wanted = self._messages_by_number[number - 1].uid
        if self._printing is None or not self._printing.skip_to(wanted):
            self.close()
            self._printing = _Printing(self._source, self._account, wanted)
            if not self._printing.skip_to(wanted):
                raise MessageGone("Dovecot doesn't list it any more")
        return Content(self._printing.blocks())

    def close(self) -> None:
        """Have `doveadm` end. Harmless when repeated."""
        printing, self._printing = self._printing, None
        if printing is not None:
            printing.close()


class _Printing:
    """A `doveadm` that prints messages: of each its uid, its size, and itself."""

    def __init__(self, source: DovecotSource, account: str, first: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        query = ("uid size.physical text", "mailbox", "INBOX", "uid", f"{first}:*")
        self._running = source.start("doveadm", "fetch", "-u", account, *query, errors=self._errors)
        assert self._running.stdout is not None
        self._out = self._running.stdout
        self._left = 0  # octets of the current message that weren't read
        self._uid = 0
        self._is_fresh = False  # nothing of the current message was read
        self._ended = False

    def skip_to(self, uid: int) -> bool:
        """Go on to this message; False when it was passed, or is none of those to come."""
        while self._uid < uid and not self._ended:
            for _ in self.blocks():
                pass
            self._next()
        return self._uid == uid and self._is_fresh and not self._ended

    def _next(self) -> None:
        """Read what comes before a message."""
        fields = []
        for name in (b"uid", b"size.physical", b"text"):
            line = self._out.readline(MAX_LINE)
            if not line and name == b"uid":
                self._ended = True
                self._check_end()
                return
            key, colon, value = line.partition(b":")
            if key != name or not colon:
                raise SourceLost(f"doveadm prints {line!r:.80}", temporary=False)
            fields.append(value.strip())
        self._uid, self._left, self._is_fresh = int(fields[0]), int(fields[1]), True

    def blocks(self) -> Iterator[bytes]:
        """What is left of the current message. Raises SourceLost when it isn't of its size."""
        if not self._uid or self._left < 0:
            return
        self._is_fresh = False
        while self._left:
            block = self._out.read(min(BLOCK, self._left))
            if not block:
                self._check_end()
                raise SourceLost("doveadm ends within a message")
            self._left -= len(block)
            yield block
        self._left = -1
        end = self._out.readline(3)
        if end == b"\n":
            end = self._out.readline(3)
        if end not in (b"\f\n", b""):
            raise SourceLost("a message has another size than Dovecot says", temporary=False)

    def _check_end(self) -> None:
        """Raises StoreError when `doveadm` has failed."""
        if status := self._running.wait():
            raise failure("doveadm", status, self._errors)

    def close(self) -> None:
        """Have it end."""
        with suppress(OSError):
            self._running.kill()
        self._running.wait()
        self._out.close()
        self._errors.close()
