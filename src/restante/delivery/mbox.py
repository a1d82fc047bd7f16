"""Where the messages of an mbox begin and end.

A line that begins with `From ` separates two messages when at least two of these hold:

- an empty line stands before it, or one of blanks only, or it is the file's first line;
- it ends with a date and a time;
- a header field follows it. Where the line has no date and further words besides a sender, only
  fields that mail usually begins with count, since "Note: …" may follow "From here on" in a text.

The one empty line before a separator, if there is one, belongs to neither message. A
Content-Length is believed where a separator or the file's end stands at its offset, perhaps
after an empty line: then no line within is looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

BLOCK = 256 * 1024
"""Octets read at a time."""

MAX_FROM_LINE = 4096
"""Octets of a separator; a longer line is none."""

MAX_HEADER = 64 * 1024
"""Octets of a message in which Content-Length is looked for."""

WINDOW = 256
"""Octets that are looked at before a separator, and behind it."""

_FROM = b"From "
_MARK = b"\nFrom "
_LINE_END = re.compile(rb"\A\r?\n")
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t]*\r?\n)*")
_BLANK_BEFORE = re.compile(rb"\n[ \t]*\r?\n\Z")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_USUAL_FIELD = re.compile(
    rb"(?:From|To|Cc|Bcc|Subject|Date|Received|Return-Path|Delivered-To|Message-ID|MIME-Version"
    rb"|Reply-To|Sender|Status|(?:X|Content|Resent|List|DKIM)-[!-9;-~]+)[ \t]*:",
    re.IGNORECASE,
)
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME, _DAY, _YEAR = rb"\d{1,2}:\d\d(?::\d\d)?", rb"[0-3]?\d,?", rb"(?:\d{4}|\d\d)"
_ZONE = rb"(?:[ ]+(?:[A-Z]{1,5}|\(?[+-]\d{4}\)?))*"
_DATE = re.compile(
    rb"[ ](?:"
    rb"%(m)b[ ]+%(d)b[ ]+%(t)b%(z)b[ ]+%(y)b%(z)b"  # as of asctime, a zone here or there
    rb"|%(m)b[ ]+%(d)b[ ]+%(y)b[ ]+%(t)b%(z)b"
    rb"|%(d)b[ ]+%(m)b[ ]+%(y)b[ ]+%(t)b%(z)b"  # as of RFC 5322
    rb")(?:[ ]+remote from [^ ]+)?\s*\Z"
    % {b"m": _MONTH, b"d": _DAY, b"t": _TIME, b"y": _YEAR, b"z": _ZONE}
)
_LENGTH = re.compile(rb"^Content-Length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_HEADER_END = re.compile(rb"\n\r?\n")


class Place(NamedTuple):
    """Where a message is: its separator's offset, its own octets, the next separator.

    quoted: whether lines may be quoted with `>`; not where unquoted ones stand in it.
    """

    separator: int
    start: int
    end: int
    after: int
    quoted: bool = True


def beginning(head: bytes) -> int:
    """The offset of the first line after a byte order mark and empty lines."""
    found = _BEGINNING.match(head)
    assert found is not None
    return found.end()


def is_mbox(head: bytes) -> bool:
    """Whether a file that begins like this is an mbox."""
    first = head[beginning(head) :]
    return first.startswith(_FROM) and _is_separator(first, blank_before=True)


def places(path: Path) -> Iterator[Place]:
    """The messages of an mbox whose first line begins with `From `, in order. Raises OSError."""
    with path.open("rb") as file, path.open("rb") as look:
        size = os.fstat(file.fileno()).st_size
        separator = start = believed = -1
        quoted = True
        for offset in _from_lines(file):
            if offset < believed:
                quoted = False
            elif separator < 0 or believed >= 0 or _separates(look, offset):
                if separator >= 0:
                    end = _end(look, start, believed, offset)
                    yield Place(separator, start, end, offset, quoted)
                separator, start, quoted = offset, _after_line(look, offset), True
                believed = _content_end(look, start, size)
        if separator >= 0:
            yield Place(separator, start, _end(look, start, believed, size), size, quoted)


def _from_lines(file: BinaryIO) -> Iterator[int]:
    """The offsets of lines that begin with `From `."""
    offset = beginning(file.read(MAX_FROM_LINE))
    file.seek(offset)
    data = b"\n"  # stands for the end of the line before
    while block := file.read(BLOCK):
        data += block
        offset += len(block)
        found = data.find(_MARK)
        while found >= 0:
            yield offset - len(data) + found + 1
            found = data.find(_MARK, found + 1)
        data = data[-len(_FROM) :]


def _separates(look: BinaryIO, offset: int) -> bool:
    before = _read_at(look, max(0, offset - WINDOW), min(offset, WINDOW))
    text = _read_at(look, offset, MAX_FROM_LINE + WINDOW)
    return _is_separator(text, blank_before=bool(_BLANK_BEFORE.search(before)))


def _is_separator(text: bytes, *, blank_before: bool) -> bool:
    line, _, rest = text.partition(b"\n")
    if len(line) > MAX_FROM_LINE:
        return False
    line = line.rstrip()
    dated = _DATE.search(line[-WINDOW:]) is not None
    field = _FIELD if dated or len(line.split()) <= 2 else _USUAL_FIELD
    return blank_before + dated + (field.match(rest) is not None) >= 2


def _content_end(look: BinaryIO, start: int, size: int) -> int:
    """Where the message ends by its Content-Length; -1 if it has none that can be believed."""
    head = _read_at(look, start, MAX_HEADER)
    header_end = _HEADER_END.search(b"\n" + head)
    length = header_end and _LENGTH.search(head, 0, header_end.start())
    if not header_end or not length:
        return -1
    end = start + header_end.end() - 1 + int(length[1])
    if end > size:
        return -1
    around = _read_at(look, end - 1, MAX_FROM_LINE + WINDOW)
    follows = _LINE_END.sub(b"", around[1:], count=1)
    if not follows:
        return end
    at_a_line = len(follows) < len(around) - 1 or around.startswith(b"\n")
    separates = follows.startswith(_FROM) and _is_separator(follows, blank_before=True)
    return end if at_a_line and separates else -1


def _end(look: BinaryIO, start: int, believed: int, next_separator: int) -> int:
    if believed >= 0:
        return believed
    last = _read_at(look, max(0, next_separator - 3), min(next_separator, 3))
    empty = 2 if last.endswith(b"\n\r\n") else 1 if last.endswith(b"\n\n") else 0
    return max(start, next_separator - empty)


def _after_line(look: BinaryIO, offset: int) -> int:
    """The offset after the line that begins at `offset`."""
    look.seek(offset)
    while (line := look.readline(BLOCK)) and not line.endswith(b"\n"):
        pass
    return look.tell()


def _read_at(look: BinaryIO, offset: int, octets: int) -> bytes:
    look.seek(offset)
    return look.read(octets)
