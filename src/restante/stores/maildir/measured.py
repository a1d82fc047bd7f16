"""What there is to know of one message file."""

from __future__ import annotations

import logging
import os
from operator import ge
from typing import NamedTuple

from restante.protocol.facts import Facts, Measure, measure, measure_whole
from restante.stores.maildir.compressed import MAGIC, Damaged, Decompressed, form_told
from restante.stores.maildir.files import BLOCK

log = logging.getLogger("restante.stores")


class Measured(NamedTuple):
    """A message file: octets as stored, modification time in ns, facts.

    compressed: the facts are those of the message that decompressing gives.
    """

    size: int
    mtime: int
    facts: Facts
    compressed: bool = False


def is_possible(facts: Facts, size: int, *, compressed: bool = False) -> bool:
    """Whether a file of so many octets can have these facts. What was noted may be forged."""
    octets, header_end, crlf, stuffing, _, dots, _ = facts
    if dots is not None:
        if not (stuffing and (compressed or dots[-1] < size)):
            return False
        if len(dots) > 1 and any(map(ge, dots, dots[1:])):
            return False
    return compressed or (
        header_end <= size and (octets == size if crlf else size < octets <= 2 * size + 2)
    )


def measure_open(fd: int, about: os.stat_result, name: str) -> Measured:
    """Read a message file to its end. It is open, at its beginning. Raises OSError."""
    size, mtime = about.st_size, about.st_mtime_ns
    wanted = min(BLOCK, size + 1)  # no more: memory that isn't filled costs as much
    block = os.read(fd, wanted)
    form = form_told(block, name, size) if block[:1] in MAGIC else None
    if form is not None and block:
        try:
            os.lseek(fd, 0, os.SEEK_SET)
            return Measured(size, mtime, measure(Decompressed(os.dup(fd), form)), compressed=True)
        except Damaged as error:
            log.warning("%s is served as it lies: %s", name, error)
            os.lseek(fd, len(block), os.SEEK_SET)
    if len(block) == size < wanted:
        return Measured(size, mtime, measure_whole(block))
    meter, seen = Measure(), 0
    while block:
        meter.feed(block)
        seen += len(block)
        if seen == size and len(block) < wanted:
            break
        block = os.read(fd, wanted)
    return Measured(size, mtime, meter.finish())
