"""The unique-ids that Dovecot gave to the messages of a Maildir that has come from it.

Its file `dovecot-uidlist` is a line for the folder (`3 V<uidvalidity> N<next uid> …`) and
one for each message: `<uid> <fields> :<base name>`; in the older form 1 the fields are
missing. With the setting it comes with, `pop3_uidl_format = %08Xu%08Xv`, the unique-id is
uid and uidvalidity in hexadecimal; a field `P…` holds one of the message's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from restante.stores.maildir.file_names import base_name
from restante.stores.maildir.files import read_lines

UIDLIST_FILE = "dovecot-uidlist"

MAX_UIDLIST = 256 * 1024 * 1024
"""Octets of the list, and how many lines of it are read."""
MAX_LINES = 2_000_000

_HEAD_3 = re.compile(rb"3 (?:.* )?V(\d{1,19})(?: |$)")
_HEAD_1 = re.compile(rb"1 (\d{1,19}) \d+")
_UID = re.compile(rb"\d{1,19}")


class Entry(NamedTuple):
    """What the list has of a message: the file's base name, the unique-id, its place.

    order: messages are listed by Dovecot's POP3 server in the order of these: by the field
    `O…` of those that came from another server, all others after them by their uid.
    """

    base: str
    unique_id: str
    order: tuple[int, int, int]


def read_uidlist(folder: str) -> dict[str, str]:
    """Dovecot's unique-ids by base name; empty when there is no list that can be read.

    Raises OSError.
    """
    return {entry.base: entry.unique_id for entry in _entries(folder)}


def read_pop3_order(folder: str) -> list[str]:
    """Dovecot's unique-ids in the order of its POP3 server. Raises OSError."""
    return [entry.unique_id for entry in sorted(_entries(folder), key=lambda each: each.order)]


def _entries(folder: str) -> Iterator[Entry]:
    try:
        head, *lines = read_lines(f"{folder}/{UIDLIST_FILE}", MAX_UIDLIST, MAX_LINES) or [b""]
    except FileNotFoundError:
        return
    found = _HEAD_3.match(head) or _HEAD_1.match(head)
    if found is None:
        return
    validity = int(found[1]) & 0xFFFFFFFF
    extended = head.startswith(b"3")
    for line in lines:
        uid, _, rest = line.partition(b" ")
        fields, _, name = rest.partition(b":") if extended else (b"", b"", rest)
        if not _UID.fullmatch(uid) or not name:
            continue
        unique_id = f"{int(uid) & 0xFFFFFFFF:08x}{validity:08x}"
        order = (1, 0, int(uid))
        for field in fields.split(b" "):
            if field.startswith(b"P") and len(field) > 1:
                unique_id = field[1:].decode("utf-8", "surrogateescape")
            elif field.startswith(b"O") and _UID.fullmatch(field, 1):
                order = (0, int(field[1:]), int(uid))
        yield Entry(base_name(os.fsdecode(name)), unique_id, order)
