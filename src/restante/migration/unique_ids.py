"""Unique-ids as other servers make them of IMAP's numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

DOVECOT = "%08Xu%08Xv"
"""Dovecot's default: UID and UIDVALIDITY in hexadecimal."""

CYRUS = "%v.%u"

_FIELD = re.compile(r"%(?:(0?)(\d{1,2}))?(X?)([uvg])")

_FIELD_24 = re.compile(r"%\{ *(uid|uidvalidity|guid) *(?:\| *(hex) *(?:\( *(8) *\))? *)?\}")
"""The same in the words of Dovecot 2.4."""


def _older(found: re.Match[str]) -> str:
    name, is_hex, digits = found.groups()
    letter = {"uid": "u", "uidvalidity": "v", "guid": "g"}[name]
    return f"%{'08' if digits else ''}{'X' if is_hex else ''}{letter}"


@dataclass(frozen=True, slots=True)
class UniqueIdFormat:
    """How a server's POP3 part writes a message's unique-id, in the words of Dovecot's setting
    `pop3_uidl_format`.

    `%u` is the UID and `%v` the UIDVALIDITY; `%Xu` is hexadecimal, `%08u` has eight digits at
    least. `%g` is the GUID, which only Dovecot's own files have. Dovecot 2.4 writes them so:
    `%{uid}`, `%{uidvalidity | hex}`, `%{uid | hex(8)}`, `%{guid}`; `text` has the older words.

    Raises ValueError for a text without one of `%u` and `%g`, or with anything else after a `%`.
    """

    text: str = DOVECOT

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _FIELD_24.sub(_older, self.text))
        rest = _FIELD.sub("", self.text)
        names = {found[4] for found in _FIELD.finditer(self.text)}
        if "%" in rest or not names & {"u", "g"}:
            raise ValueError(
                f"{self.text!r}: allowed are {DOVECOT} (Dovecot), {CYRUS} (Cyrus) and"
                " others of %u, %v and %g"
            )

    @property
    def needs_guid(self) -> bool:
        """Whether there is a `%g`."""
        return any(found[4] == "g" for found in _FIELD.finditer(self.text))

    def write(self, uid: int, validity: int, guid: str = "") -> str:
        """The unique-id of a message."""

        def field(found: re.Match[str]) -> str:
            if found[4] == "g":
                return guid
            value = (uid if found[4] == "u" else validity) & 0xFFFFFFFF
            digits = f"{value:x}" if found[3] else str(value)
            return digits.rjust(int(found[2] or 0), "0" if found[1] else " ")

        return _FIELD.sub(field, self.text)
