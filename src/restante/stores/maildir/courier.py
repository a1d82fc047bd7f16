"""The unique-ids that Courier's POP3 server gave to the messages of a Maildir.

Its file `courierpop3dsizelist` is a line `/3 <next> <validity>` and one for each message:
`<base name> <octets> <number>:<validity>:<utf8>`; in the older form 2 the last part is missing.
The unique-id is `UID<number>-<validity>`, or `UID<number>` where the validity is 0; a number 0
stands for the file's base name. Anything older has base names throughout.
"""

from __future__ import annotations

import os
import re

from restante.stores.maildir.dovecot import MAX_LINES, MAX_UIDLIST
from restante.stores.maildir.file_names import base_name, own_unique_id
from restante.stores.maildir.files import read_lines

SIZELIST_FILE = "courierpop3dsizelist"

_HEAD = re.compile(rb"/[23] \d{1,19}( \d{1,19})?")
_LINE = re.compile(rb"(.+) \d{1,19} (\d{1,10}):(\d{1,10})(:\d)?")


def read_sizelist(folder: str) -> dict[str, str]:
    """Courier's unique-ids by base name; empty when there is no list that can be read.

    Raises OSError.
    """
    try:
        head, *lines = read_lines(f"{folder}/{SIZELIST_FILE}", MAX_UIDLIST, MAX_LINES) or [b""]
    except FileNotFoundError:
        return {}
    if not _HEAD.fullmatch(head):
        return {}
    unique_ids = {}
    for line in lines:
        if found := _LINE.fullmatch(line):
            base, number, validity = base_name(os.fsdecode(found[1])), int(found[2]), int(found[3])
            unique_id = f"UID{number}-{validity}" if validity else f"UID{number}"
            unique_ids[base] = unique_id if number else own_unique_id(base)
    return unique_ids
