"""Mail that lies in files: mbox, Maildir, .eml; read block by block, never changed.

mbox: a message begins at a line `From … hh:mm…` that is the file's first or follows an
empty line; that line and the one line end before the next are not the message's. A line
`>From `, `>>From ` … in a message loses one `>` (mboxrd). With kind "mboxo" only `>From `
does, as programs of that older habit never wrote `>>From ` themselves. Line ends, LF or
CRLF, stay as they are; Content-Length is not believed.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from restante.accounts.contract import Account
from restante.stores.contract import ReceivesMail, StoreError

log = logging.getLogger(__name__)

KINDS = ("auto", "mbox", "mboxrd", "mboxo", "maildir", "eml")

_BLOCK = 256 * 1024
_WINDOW = 512  # more octets than a separator matches
_SEPARATOR = re.compile(rb"\n\r?\n(?=From [^\n]{0,200}?\d\d:\d\d)")
_QUOTED = {
    "mboxrd": re.compile(rb"\n>(>*From )"),
    "mboxo": re.compile(rb"\n>(From )"),
}
_MAX_QUOTED = 256  # octets of an unfinished line that are held back to see if it is quoted


class SourceError(Exception):
    """What is to be imported isn't what it was said to be."""


@dataclass(frozen=True, slots=True)
class SourceMessage:
    """One message in a file.

    origin: where it is, for reports. octets: what it takes up there, for progress.
    start, end: its place in `path`; end is None for the whole file.
    """

    origin: str
    octets: int
    path: Path
    start: int = 0
    end: int | None = None
    quoting: str | None = None

    def blocks(self) -> Iterator[bytes]:
        """The message's bytes. Raises OSError when the file can't be read."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            blocks = _read(file, None if self.end is None else self.end - self.start)
            yield from _unquoted(blocks, _QUOTED[self.quoting]) if self.quoting else blocks


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages to import, in order. Iterating reads the source anew.

    octets: what the source takes up in all, for a progress bar.
    """

    kind: str
    octets: int
    _iterate: Callable[[], Iterator[SourceMessage]]

    def __iter__(self) -> Iterator[SourceMessage]:
        return self._iterate()


def iter_messages(path: Path | str, kind: str = "auto") -> Messages:
    """The messages of a file or folder.

    kind: one of `KINDS`. "auto" takes a folder with `cur` and `new` for a Maildir and any
        other for a tree of .eml files; a file for one message if it is named .eml, else
        for an mbox if it is empty or begins with "From ", else for one message. "mbox" is "mboxrd".

    A Maildir's messages come in the order of the time in their names; its subfolders are
    other maildrops and not read. Raises SourceError, or OSError.
    """
    path = Path(path)
    if kind not in KINDS:
        raise SourceError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    if kind == "auto":
        kind = _kind_of(path)
    if kind in ("mbox", "mboxrd", "mboxo"):
        kind = "mboxrd" if kind == "mbox" else kind
        if _beginning(path) not in (b"", b"From "):
            raise SourceError(f"{path}: not an mbox, its first line doesn't begin with 'From '")
        return Messages(kind, path.stat().st_size, lambda: _mbox(path, kind))
    files = _maildir_files(path) if kind == "maildir" else _eml_files(path)
    whole = [SourceMessage(str(file), _size(file), file) for file in files]
    return Messages(kind, sum(message.octets for message in whole), lambda: iter(whole))


@dataclass(slots=True)
class ImportResult:
    """What became of an import.

    imported, octets: messages now in the maildrop, and their size in the source.
    known: messages passed over because the journal says an earlier run imported them.
    failed: origin and reason of each message that could not be imported.
    """

    imported: int = 0
    octets: int = 0
    known: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def import_messages(
    store: ReceivesMail,
    account: Account,
    messages: Iterable[SourceMessage],
    *,
    progress: Callable[[int], object] | None = None,
    journal: Path | str | None = None,
) -> ImportResult:
    """Put `messages` into the account's maildrop, in order, each durable before the next.

    progress: called after each message with its octets in the source.
    journal: a file that remembers, by digest, what was imported; an import that was
        interrupted and is run again with the same journal goes on where it stopped. Equal
        messages are counted: a source that holds one twice is imported with both. If the
        machine stops between a message and its line in the journal, that one message
        comes twice. Use one journal for one account.

    A message that can't be read or written is reported in the result, and the rest goes on.
    """
    result = ImportResult()
    with ExitStack() as stack:
        memory = None if journal is None else _Journal(stack, Path(journal))
        for message in messages:
            try:
                _import(store, account, message, memory, result)
            except (OSError, StoreError) as error:
                log.warning("%s not imported: %s", message.origin, error)
                result.failed.append((message.origin, str(error)))
            if progress is not None:
                progress(message.octets)
    return result


def _import(
    store: ReceivesMail,
    account: Account,
    message: SourceMessage,
    journal: _Journal | None,
    result: ImportResult,
) -> None:
    digest = "" if journal is None else _digest(message)
    if journal is not None and journal.knows(digest):
        result.known += 1
        return
    incoming = store.receive(account)
    try:
        for block in message.blocks():
            incoming.write(block)
        incoming.commit()
    finally:
        incoming.abort()
    result.imported += 1
    result.octets += message.octets
    if journal is not None:
        journal.add(digest)


class _Journal:
    """Digests of what was imported, one a line, each as often as it was."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        self._file = stack.enter_context(path.open("a+", encoding="ascii", errors="replace"))
        self._file.seek(0)
        # A line cut short by a crash is no digest and is never matched.
        self._known = Counter(line.strip() for line in self._file)
        if self._file.tell():
            self._file.write("\n")

    def knows(self, digest: str) -> bool:
        """Whether an earlier run imported this message; each answer of yes uses up one."""
        self._known[digest] -= 1
        return self._known[digest] >= 0

    def add(self, digest: str) -> None:
        self._file.write(digest + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _digest(message: SourceMessage) -> str:
    digest = sha256()
    for block in message.blocks():
        digest.update(block)
    return digest.hexdigest()


def _kind_of(path: Path) -> str:
    if path.is_dir():
        return "maildir" if (path / "cur").is_dir() and (path / "new").is_dir() else "eml"
    if path.suffix.lower() == ".eml":
        return "eml"
    return "mboxrd" if _beginning(path) in (b"", b"From ") else "eml"


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(5)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # reported when it is read


def _maildir_files(path: Path) -> list[Path]:
    folders = [path / "new", path / "cur"]
    if not all(folder.is_dir() for folder in folders):
        raise SourceError(f"{path}: not a Maildir, new/ or cur/ is missing")
    files = [file for folder in folders for file in folder.iterdir() if file.name[0] != "."]
    return sorted((file for file in files if file.is_file()), key=_maildir_order)


def _maildir_order(file: Path) -> tuple[int, str]:
    seconds = file.name.partition(".")[0]
    if seconds.isascii() and seconds.isdigit():
        return int(seconds[:20]), file.name
    return int(file.stat().st_mtime), file.name


def _eml_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        found += [Path(folder, name) for name in sorted(names) if name.lower().endswith(".eml")]
    return found


def _mbox(path: Path, quoting: str) -> Iterator[SourceMessage]:
    for number, (start, end, after) in enumerate(_mbox_places(path), 1):
        first = _after_line(path, start)
        yield SourceMessage(f"{path}, message {number}", after - start, path, first, end, quoting)


def _mbox_places(path: Path) -> Iterator[tuple[int, int, int]]:
    """Where each message's From_ line begins, the message ends, and the next one's begins."""
    with path.open("rb") as file:
        start = offset = 0  # of the message that is looked for; of `data` in the file
        data, last = b"", False
        while not last:
            block = file.read(_BLOCK)
            last = not block
            data += block
            # A separator near the end of `data` is looked at again when more of it is there.
            limit = len(data) if last else max(len(data) - _WINDOW, 0)
            for match in _SEPARATOR.finditer(data):
                if match.start() >= limit:
                    break
                after = offset + match.end()
                yield start, offset + match.start() + 1, after
                start = after
            keep = 0 if last else limit
            offset, data = offset + keep, data[keep:]
        size = offset + len(data)
        if size > start:
            yield start, size - _final_blank_line(data), size


def _final_blank_line(data: bytes) -> int:
    """Octets of the empty line that mbox writers put behind a message, if it is there."""
    for end in (b"\n\r\n", b"\n\n"):
        if data.endswith(end):
            return len(end) - 1
    return 0


def _after_line(path: Path, start: int) -> int:
    """The offset after the line that begins at `start`."""
    with path.open("rb") as file:
        file.seek(start)
        while (line := file.readline(_BLOCK)) and not line.endswith(b"\n"):
            pass
        return file.tell()


def _read(file: BinaryIO, octets: int | None) -> Iterator[bytes]:
    while octets is None or octets > 0:
        block = file.read(_BLOCK if octets is None else min(octets, _BLOCK))
        if not block:
            return
        if octets is not None:
            octets -= len(block)
        yield block


def _unquoted(blocks: Iterable[bytes], quoted: re.Pattern[bytes]) -> Iterator[bytes]:
    """Take the `>` off quoted From_ lines, wherever the blocks are cut."""
    held, before = b"", b"\n"  # a message begins a line
    for block in blocks:
        data = held + block
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > _MAX_QUOTED:
            cut = len(data)
        held, data = data[cut:], data[:cut]
        if data:
            yield quoted.sub(rb"\n\1", before + data)[1:]
            before = data[-1:]
    if held:
        yield quoted.sub(rb"\n\1", before + held)[1:]
