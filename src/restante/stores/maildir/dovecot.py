"""The unique-ids that Dovecot gave to the messages of a Maildir that has come from it.

Its file `dovecot-uidlist` is a line for the folder (`3 V<uidvalidity> N<next uid> …`) and
one for each message: `<uid> <fields> :<base name>`; in the older form 1 the fields are
missing. With the setting it comes with, `pop3_uidl_format = %08Xu%08Xv`, the unique-id is
uid and uidvalidity in hexadecimal; a field `P…` holds one of the message's own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from restante.stores.maildir.file_names import base_name
from restante.stores.maildir.files import open_regular

UIDLIST_FILE = "dovecot-uidlist"

_HEAD_3 = re.compile(rb"3 (?:.* )?V(\d+)(?: |$)")
_HEAD_1 = re.compile(rb"1 (\d+) \d+")


def read_uidlist(folder: Path) -> dict[str, str]:
    """Dovecot's unique-ids by base name; empty when there is no list that can be read.

    Raises OSError.
    """
    try:
        fd, _ = open_regular(folder / UIDLIST_FILE)
    except FileNotFoundError:
        return {}
    with os.fdopen(fd, "rb") as file:
        head, *lines = file.read().split(b"\n")
    found = _HEAD_3.match(head) or _HEAD_1.match(head)
    if found is None:
        return {}
    validity = int(found[1]) & 0xFFFFFFFF
    extended = head.startswith(b"3")
    unique_ids: dict[str, str] = {}
    for line in lines[:-1]:
        uid, _, rest = line.partition(b" ")
        fields, _, name = rest.partition(b":") if extended else (b"", b"", rest)
        if not uid.isdigit() or not name:
            continue
        unique_id = f"{int(uid) & 0xFFFFFFFF:08x}{validity:08x}"
        for field in fields.split(b" "):
            if field.startswith(b"P") and len(field) > 1:
                unique_id = field[1:].decode("utf-8", "surrogateescape")
        unique_ids[base_name(os.fsdecode(name))] = unique_id
    return unique_ids
