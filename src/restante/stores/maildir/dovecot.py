"""The unique-ids that Dovecot gave to the messages of a Maildir that has come from it.

Its file `dovecot-uidlist` is a line for the folder (`3 V<uidvalidity> N<next uid> …`) and
one for each message: `<uid> <fields> :<base name>`; in the older form 1 the fields are
missing. With the setting it comes with, `pop3_uidl_format = %08Xu%08Xv`, the unique-id is
uid and uidvalidity in hexadecimal; a field `P…` holds one of the message's own.
"""

from __future__ import annotations

import os
import re

from restante.stores.maildir.file_names import base_name
from restante.stores.maildir.files import read_lines

UIDLIST_FILE = "dovecot-uidlist"

MAX_UIDLIST = 256 * 1024 * 1024
"""Octets of the list, and how many lines of it are read."""
MAX_LINES = 2_000_000

_HEAD_3 = re.compile(rb"3 (?:.* )?V(\d{1,19})(?: |$)")
_HEAD_1 = re.compile(rb"1 (\d{1,19}) \d+")
_UID = re.compile(rb"\d{1,19}")


def read_uidlist(folder: str) -> dict[str, str]:
    """Dovecot's unique-ids by base name; empty when there is no list that can be read.

    Raises OSError.
    """
    try:
        head, *lines = read_lines(f"{folder}/{UIDLIST_FILE}", MAX_UIDLIST, MAX_LINES) or [b""]
    except FileNotFoundError:
        return {}
    found = _HEAD_3.match(head) or _HEAD_1.match(head)
    if found is None:
        return {}
    validity = int(found[1]) & 0xFFFFFFFF
    extended = head.startswith(b"3")
    unique_ids: dict[str, str] = {}
    for line in lines:
        uid, _, rest = line.partition(b" ")
        fields, _, name = rest.partition(b":") if extended else (b"", b"", rest)
        if not _UID.fullmatch(uid) or not name:
            continue
        unique_id = f"{int(uid) & 0xFFFFFFFF:08x}{validity:08x}"
        for field in fields.split(b" "):
            if field.startswith(b"P") and len(field) > 1:
                unique_id = field[1:].decode("utf-8", "surrogateescape")
        unique_ids[base_name(os.fsdecode(name))] = unique_id
    return unique_ids
