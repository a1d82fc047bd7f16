"""Facts of messages that were delivered since the index was last saved.

Whoever delivers has measured the message already and adds a line here, so that the next
session need not read it. Lines are added without a lock and may be lost or torn: each
carries a checksum, and what is not found here is measured.
"""

from __future__ import annotations

import os
import zlib
from array import array
from contextlib import suppress
from pathlib import Path

from restante.protocol.facts import Facts
from restante.stores.maildir.files import Measured, TooMuch, open_regular

JOURNAL_FILE = "restante.facts"
MAX_JOURNAL = 8 * 1024 * 1024
"""Octets. A maildrop that gets mail and is never opened doesn't grow a journal for ever."""


def note(folder: Path, base: str, delivered: Measured) -> None:
    """Add a line for the message `base`. Failing to is no error."""
    facts = delivered.facts
    numbers = (delivered.size, delivered.mtime, facts.octets, facts.header_end)
    text = " ".join(map(str, (*numbers, int(facts.crlf), int(facts.needs_stuffing))))
    dots = ",".join(map(str, facts.dots or ()))
    line = f"{text} {facts.ascii_octets} {facts.utf8} {dots or '-'} {base}".encode()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with suppress(OSError):
        fd = os.open(folder / JOURNAL_FILE, flags, 0o600)
        try:
            if os.fstat(fd).st_size < MAX_JOURNAL:
                os.write(fd, b"%08x %s\n" % (zlib.crc32(line), line))
        finally:
            os.close(fd)


def read_journal(folder: Path, most: int | None = None) -> dict[str, Measured]:
    """What has been noted, by base name. Raises TooMuch for more than `most` octets."""
    try:
        fd, about = open_regular(f"{folder}/{JOURNAL_FILE}")
        with os.fdopen(fd, "rb") as file:
            if most is not None and about.st_size > most:
                raise TooMuch
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    noted = {}
    for line in lines:
        crc, _, text = line.partition(b" ")
        if crc != b"%08x" % zlib.crc32(text) or text.count(b" ") != 9:
            continue
        *numbers, places, base = text.split(b" ")
        size, mtime, octets, header_end, crlf, stuffing, ascii_octets, utf8 = map(int, numbers)
        dots = None if places == b"-" else array("I", map(int, places.split(b",")))
        facts = Facts(octets, header_end, bool(crlf), bool(stuffing), ascii_octets, dots, utf8)
        noted[base.decode("ascii", "replace")] = Measured(size, mtime, facts)
    return noted


def clear(folder: Path | str) -> None:
    """Forget everything: the index has it. Failing to is no error."""
    with suppress(OSError):
        os.unlink(f"{folder}/{JOURNAL_FILE}")  # noqa: PTH108 - at every QUIT that removes all
