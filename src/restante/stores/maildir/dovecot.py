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
    """What the list has of a message.

    order: the place in the listing of Dovecot's POP3 server: by the field `O…` of messages that
        came from another server, then all others by their uid. base: of the file's name.
    guid: the field `G…` or, where there is none, the base name. saved: the field `P…`, a
        unique-id of the message's own; else empty.
    """

    order: tuple[int, int, int]
    base: str
    uid: int
    validity: int
    guid: str
    saved: str

    @property
    def unique_id(self) -> str:
        """What Dovecot's POP3 server shows by its defaults."""
        return self.saved or f"{self.uid:08x}{self.validity:08x}"


def read_uidlist(folder: str) -> dict[str, str]:
    """Dovecot's unique-ids by base name; empty when there is no list that can be read.

    Raises OSError.
    """
    return {entry.base: entry.unique_id for entry in read_entries(folder)}


def read_entries(folder: str) -> Iterator[Entry]:
    """What the list has, in no certain order; nothing when there is none. Raises OSError."""
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
        number, _, rest = line.partition(b" ")
        fields, _, name = rest.partition(b":") if extended else (b"", b"", rest)
        if not _UID.fullmatch(number) or not name:
            continue
        base = base_name(os.fsdecode(name))
        uid, guid, saved, place = int(number) & 0xFFFFFFFF, base, "", 0
        for field in fields.split(b" "):
            kind, value = field[:1], field[1:]
            if kind == b"P" and value:
                saved = value.decode("utf-8", "surrogateescape")
            elif kind == b"G" and value:
                guid = value.decode("utf-8", "surrogateescape")
            elif kind == b"O" and _UID.fullmatch(value):
                place = int(value)
        order = (0 if place else 1, place, uid)
        yield Entry(order, base, uid, validity, guid, saved)
