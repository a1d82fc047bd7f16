"""Facts of messages that were delivered since the index was last saved.

Whoever delivers has measured the message already and adds a line here, so that the next
session need not read it. Lines are added without a lock and may be lost, torn or forged:
each carries a checksum, and what is not found here or is impossible is measured.
"""

from __future__ import annotations

import os
import stat
import zlib
from array import array
from contextlib import suppress

from restante.protocol.facts import INTERNATIONALIZED, Facts
from restante.stores.maildir.files import NO_LINKS, read_lines
from restante.stores.maildir.measured import Measured, is_possible

JOURNAL_FILE = "restante.facts"

MAX_JOURNAL = 8 * 1024 * 1024
"""Octets. A maildrop that gets mail and is never opened doesn't grow a journal for ever."""

MAX_LINE = 16 * 1024
"""Octets of a line. A message with so many dots that it would be longer is noted without."""

MAX_LINES = 100_000

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINKS


def note(folder: str, base: str, delivered: Measured) -> None:
    """Add a line for the message `base`. Failing to is no error."""
    facts = delivered.facts
    numbers = (delivered.size, delivered.mtime, facts.octets, facts.header_end)
    text = " ".join(map(str, (*numbers, int(facts.crlf), int(facts.needs_stuffing))))
    dots = ",".join(map(str, facts.dots or ()))
    if len(dots) > MAX_LINE:
        dots = ""
    line = f"{text} {facts.ascii_octets} {facts.utf8} {dots or '-'} {base}".encode()
    with suppress(OSError):
        fd = os.open(f"{folder}/{JOURNAL_FILE}", _APPEND, 0o600)
        try:
            about = os.stat(fd)
            # Not into somebody else's file that was linked here.
            ours = stat.S_ISREG(about.st_mode) and about.st_nlink == 1
            if ours and about.st_size < MAX_JOURNAL:
                os.write(fd, b"%08x %s\n" % (zlib.crc32(line), line))
        finally:
            os.close(fd)


def journal_size(folder: str) -> int:
    """Octets of the journal; 0 without one."""
    try:
        return os.lstat(f"{folder}/{JOURNAL_FILE}").st_size
    except OSError:
        return 0


def read_journal(folder: str) -> dict[str, Measured]:
    """What has been noted, by base name."""
    try:
        path = f"{folder}/{JOURNAL_FILE}"
        lines = read_lines(path, MAX_JOURNAL + 2 * MAX_LINE, MAX_LINES)
    except OSError:
        return {}
    noted = {}
    for line in lines:
        crc, _, text = line.partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            continue
        with suppress(ValueError, OverflowError):  # a checksum proves no good will
            base, measured = _read(text)
            if is_possible(measured.facts, measured.size):
                noted[base] = measured
    return noted


def _read(text: bytes) -> tuple[str, Measured]:
    *numbers, places, base = text.split(b" ")
    size, mtime, octets, header_end, crlf, stuffing, ascii_octets, utf8 = map(int, numbers)
    dots = None if places == b"-" else array("I", map(int, places.split(b",")))
    if min(size, octets, header_end, ascii_octets) < 0 or max(size, octets, ascii_octets) >> 62:
        raise ValueError("a number that is none of a message")
    if not 0 <= utf8 <= INTERNATIONALIZED:
        raise ValueError("no kind of header")
    if not -(2**63) <= mtime < 2**63:
        raise ValueError("a time that is none of a file")
    facts = Facts(octets, header_end, bool(crlf), bool(stuffing), ascii_octets, dots, utf8)
    return base.decode("ascii"), Measured(size, mtime, facts)


def clear(folder: str) -> None:
    """Forget everything: the index has it. Failing to is no error."""
    with suppress(OSError):
        os.unlink(f"{folder}/{JOURNAL_FILE}")
