"""Mail that lies in files and folders of other programs; read block by block, never changed.

What is read: mbox files (Unix, Thunderbird, Apple Mail, Takeout), Maildirs, MH folders, `.eml`
and Apple's `.emlx` files, and trees of all these. Files that gzip, bzip2 or xz have compressed
are read as what is in them. What isn't recognised is passed over and counted, with its reason.

Octets: line ends, LF or CRLF, stay as they are. Of a message that lies alone in a file, lines
`From …` and empty lines before its first header field are dropped. In an mbox, a line `>From `,
`>>From ` … loses one `>` (mboxrd). With kind "mboxo" only `>From ` does, as programs of that
older habit never wrote `>>From ` themselves. `restante.delivery.mbox` says where an mbox is cut.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast

from restante.delivery import mbox

KINDS = ("auto", "mbox", "mboxrd", "mboxo", "maildir", "eml")

MAX_HEAD = 64 * 1024
"""Octets at a file's beginning in which a header field must come, or a mark be found."""

MAX_QUOTED = 256
"""Octets of an unfinished line that are held back to see if it is quoted."""

_QUOTED = {
    "mboxrd": re.compile(rb"\n>(>*From )"),
    "mboxo": re.compile(rb"\n>(From )"),
}
_BEFORE_HEADER = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t]*\r?\n|>*From [^\n]*\n)*(?=[!-9;-~]+[ \t]*:)"
)
_MAILDIR_FLAGS = re.compile(r"[:;!]2,([A-Za-z]*)\Z")
_EMLX_COUNT = re.compile(rb"\s*(\d{1,15})\s*\n")
_EMLX_FLAGS = re.compile(rb"<key>flags</key>\s*<integer>(\d{1,19})</integer>")
_DELETED = re.compile(
    rb"^(?:X-Mozilla-Status:[ \t]*[0-9a-f]{2}[0-9a-f][89a-f]|X-Status:[^\r\n]*D)",
    re.IGNORECASE | re.MULTILINE,
)
_INTERNAL = re.compile(rb"^Subject:[^\n]*FOLDER INTERNAL DATA", re.IGNORECASE | re.MULTILINE)
_COMPRESSED = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bz2",
    b"\xfd7z": "lzma",
    b"\x28\xb5\x2f": "compression.zstd",
}

NO_MAIL = "no header field and no mbox line at its beginning"
DELETED = "deleted message"
INTERNAL = "internal message"


class SourceError(Exception):
    """What is to be imported isn't what it was said to be, or nothing is recognised in it."""


@dataclass(frozen=True, slots=True)
class SourceMessage:
    """One message in a file.

    origin: where it is, for reports. octets: what it takes up there, for progress.
    start, end: its place in `path`, as decompressed; end is None for the whole file.
    """

    origin: str
    octets: int
    path: Path
    start: int = 0
    end: int | None = None
    quoting: str | None = None

    def blocks(self) -> Iterator[bytes]:
        """The message's bytes. Raises OSError when the file can't be read."""
        with _open(self.path) as file:
            file.seek(self.start)
            blocks = _read(file, None if self.end is None else self.end - self.start)
            yield from _unquoted(blocks, _QUOTED[self.quoting]) if self.quoting else blocks


class Messages:
    """Messages to import, in order. Iterating reads the source anew.

    A message must be read before the next one is asked for.

    kind: what the source was taken for. octets: what it takes up in all, for a progress bar.
    passed: what was passed over so far, and how often: files by their reason, and messages.
    """

    def __init__(self, kind: str, parts: list[tuple[str, Path]], passed: Counter[str]) -> None:
        self.kind = kind
        self.octets = sum(_size(file) for _, file in parts)
        self._parts = parts
        self._files_passed = passed
        self.passed = Counter(passed)

    def __iter__(self) -> Iterator[SourceMessage]:
        self.passed = passed = Counter(self._files_passed)
        for kind, file in self._parts:
            yield from _READERS[kind](file, kind, passed)

    def passed_over(self) -> str:
        """What was passed over so far, in words, a semicolon before each reason."""
        words = ""
        for reason, number in self.passed.items():
            end = "" if number == 1 else "s"
            if reason in (DELETED, INTERNAL):
                words += f"; {number} {reason}{end} passed over"
            else:
                words += f"; {number} file{end} passed over: {reason}"
        return words


def iter_messages(path: Path | str, kind: str = "auto") -> Messages:
    """The messages of a file or folder.

    kind: one of `KINDS`. "auto" takes a folder with `cur` or `new` for a Maildir and any other
        for a tree of files and folders with mail; a file for one message if it is named .eml
        or .emlx, else for an mbox if it is empty or begins like one, else for one message.
        "mbox" is "mboxrd". With "eml" a file is one message, whatever is in it.

    A Maildir's messages come in the order of the time in their names; its subfolders are
    other maildrops and not read. Raises SourceError, also when nothing is recognised, or
    OSError.
    """
    path = Path(path)
    if kind not in KINDS:
        raise SourceError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    if kind == "maildir" or (kind == "auto" and _is_maildir(path)):
        return Messages("maildir", _maildir_files(path), Counter())
    if path.is_dir() and kind in ("auto", "eml"):
        passed: Counter[str] = Counter()
        messages = Messages("folder", list(_tree(path, passed)), passed)
        if not messages.octets:
            raise SourceError(f"{path}: no mail in this folder{messages.passed_over()}")
        return messages
    head = _head(path)
    if kind == "auto":
        found = _recognised(path)
        if found is None:
            raise SourceError(f"{path}: {NO_MAIL}")
        kind = found
    elif kind == "mbox":
        kind = "mboxrd"
    if kind.startswith("mbox") and head and not head.startswith(b"From ", mbox.beginning(head)):
        raise SourceError(f"{path}: not an mbox, its first line doesn't begin with 'From '")
    return Messages(kind, [(kind, path)], Counter())


# What a file or folder is


def _recognised(path: Path) -> str | None:
    """The kind of reader for a file; None when it holds no mail that we know."""
    suffix = path.suffix.lower()
    head = _head(path)
    if suffix == ".emlx":
        return "emlx" if _EMLX_COUNT.match(head) else None
    if suffix != ".eml" and (not head or mbox.is_mbox(head)):
        return "mboxrd"
    return "eml" if _BEFORE_HEADER.match(head) else None


def _is_maildir(path: Path) -> bool:
    return (path / "cur").is_dir() or (path / "new").is_dir()


def _tree(path: Path, passed: Counter[str]) -> Iterator[tuple[str, Path]]:
    """The files with mail in a tree, folder by folder, MH's by number, others by name."""
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(folders):
            if _is_maildir(Path(folder, name)):
                folders.remove(name)
                yield from _maildir_files(Path(folder, name))
        for name in sorted(names, key=lambda name: (int(name) if _is_number(name) else 0, name)):
            file = Path(folder, name)
            if name.startswith((".", ",")):  # MH deletes a message by a comma
                continue
            if not file.is_file():
                passed["not a file"] += 1
                continue
            try:
                kind = _recognised(file)
            except OSError as error:
                passed[error.strerror or str(error)] += 1
                continue
            single = file.suffix.lower() in (".eml", ".emlx") or _is_number(name)
            if kind is None or (kind == "eml" and not single):
                passed[NO_MAIL] += 1
            elif _size(file):
                yield kind, file


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 20


def _maildir_files(path: Path) -> list[tuple[str, Path]]:
    if not _is_maildir(path):
        raise SourceError(f"{path}: not a Maildir, it has neither new/ nor cur/")
    folders = [folder for name in ("new", "cur") if (folder := path / name).is_dir()]
    files = [file for folder in folders for file in folder.iterdir() if file.name[0] != "."]
    found = sorted((file for file in files if file.is_file()), key=_maildir_order)
    return [("maildir", file) for file in found]


def _maildir_order(file: Path) -> tuple[int, str]:
    seconds = file.name.partition(".")[0]
    if _is_number(seconds):
        return int(seconds), file.name
    return int(file.stat().st_mtime), file.name


# Readers: the messages of one file


def _mbox(path: Path, kind: str, passed: Counter[str]) -> Iterator[SourceMessage]:
    with _unpacked(path) as plain:
        for number, place in enumerate(mbox.places(plain), 1):
            with plain.open("rb") as file:
                file.seek(place.start)
                head = file.read(min(MAX_HEAD, place.end - place.start))
            header = re.split(rb"\n\r?\n", head, maxsplit=1)[0]
            if _DELETED.search(header):
                passed[DELETED] += 1
            elif number == 1 and _INTERNAL.search(header):
                passed[INTERNAL] += 1
            else:
                yield SourceMessage(
                    f"{path}, message {number}",
                    place.after - place.separator,
                    *(plain, place.start, place.end),
                    kind if place.quoted else None,
                )


def _whole(path: Path, kind: str, passed: Counter[str]) -> Iterator[SourceMessage]:
    flags = _MAILDIR_FLAGS.search(path.name) if kind == "maildir" else None
    if flags is not None and "T" in flags[1]:
        passed[DELETED] += 1
        return
    start = 0
    try:
        if before := _BEFORE_HEADER.match(_head(path)):
            start = before.end()
    except OSError:
        pass  # reported when it is read
    yield SourceMessage(str(path), _size(path), path, start)


def _emlx(path: Path, kind: str, passed: Counter[str]) -> Iterator[SourceMessage]:
    count = _EMLX_COUNT.match(_head(path))
    assert count is not None
    end = count.end() + int(count[1])
    with _open(path) as file:
        file.seek(end)
        flags = _EMLX_FLAGS.search(file.read(MAX_HEAD))
    if flags is not None and int(flags[1]) & 2:
        passed[DELETED] += 1
    else:
        yield SourceMessage(str(path), _size(path), path, count.end(), end)


_READERS = {
    **dict.fromkeys(("mboxrd", "mboxo"), _mbox),
    **dict.fromkeys(("eml", "maildir"), _whole),
    "emlx": _emlx,
}


# Octets


def _open(path: Path) -> BinaryIO:
    """Open a file, decompressing it if need be. Raises OSError."""
    file = path.open("rb")
    module = _COMPRESSED.get(file.read(3))
    file.seek(0)
    if module is None:
        return file
    file.close()
    try:
        opened = import_module(module).open(path, "rb")
    except ImportError as error:
        raise OSError(f"compressed, and this Python can't read it: {error}") from error
    return cast(BinaryIO, opened)


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file itself, or a decompressed copy of it while it is needed."""
    with path.open("rb") as file:
        if file.read(3) not in _COMPRESSED:
            yield path
            return
    with TemporaryDirectory(prefix="restante-") as folder:
        plain = Path(folder, "mbox")
        with _open(path) as packed, plain.open("wb") as copy:
            copy.writelines(_read(packed, None))
        yield plain


def _head(path: Path) -> bytes:
    with _open(path) as file:
        return b"".join(_read(file, MAX_HEAD))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # reported when it is read


def _read(file: BinaryIO, octets: int | None) -> Iterator[bytes]:
    while octets is None or octets > 0:
        try:
            block = file.read(mbox.BLOCK if octets is None else min(octets, mbox.BLOCK))
        except OSError:
            raise
        except Exception as error:  # each kind of compression has its own
            raise OSError(f"damaged: {error}") from error
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
        if len(data) - cut > MAX_QUOTED:
            cut = len(data)
        held, data = data[cut:], data[:cut]
        if data:
            yield quoted.sub(rb"\n\1", before + data)[1:]
            before = data[-1:]
    if held:
        yield quoted.sub(rb"\n\1", before + held)[1:]
