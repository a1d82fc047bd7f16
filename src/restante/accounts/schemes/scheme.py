"""What a scheme is, and the spellings of names and data that all stand for one."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Spelling: TypeAlias = Literal["text", "base64", "hex"]

ALIASES = {
    "CLEAR": "PLAIN",
    "CLEARTEXT": "PLAIN",
    "SHA1": "SHA",
    "HMAC-MD5": "CRAM-MD5",
}
"""Dovecot's other names of schemes."""

_SUFFIXES: dict[str, Spelling] = {"B64": "base64", "BASE64": "base64", "HEX": "hex"}


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to keep a secret. `data` is what follows `{NAME}`.

    slow: a check takes more than a millisecond or so, most of them on purpose, so it belongs
        on a worker thread.
    make: data for a password; None when no new ones are to be made. ValueError when the
        scheme can't keep that password.
    matches: whether a password is the one that `data` keeps; ValueError means that `data`
        is damaged, or would cost more than we are ready to pay.
    outdated: whether a new credential of the default scheme would be better.
    spelling: how `data` writes its octets.
    """

    name: str
    slow: bool
    make: Callable[[str], str] | None
    matches: Callable[[str, str], bool]
    outdated: Callable[[str], bool]
    spelling: Spelling = "text"


def octets_of(password: str) -> bytes:
    """The octets that a password came as."""
    return password.encode("utf-8", "surrogateescape")


def always(data: str) -> bool:
    """Every hash of a weak scheme is outdated."""
    return True


def never(data: str) -> bool:
    """What a challenge-response mechanism needs is never outdated: a hash couldn't replace it."""
    return False


def split_suffix(name: str) -> tuple[str, Spelling | None]:
    """The name without Dovecot's suffix for a spelling, and that spelling."""
    base, dot, suffix = name.rpartition(".")
    spelling = _SUFFIXES.get(suffix)
    return (base, spelling) if dot and spelling else (name, None)


def respell(data: str, old: Spelling, new: Spelling) -> str:
    """`data` in another spelling. Raises ValueError when it isn't in the old one."""
    return data if old == new else _written(_read(data, old), new)


def _read(data: str, spelling: Spelling) -> bytes:
    if spelling == "text":
        return octets_of(data)
    if spelling == "hex":
        return unhex(data)
    return b64decode(data, validate=True)


def _written(octets: bytes, spelling: Spelling) -> str:
    if spelling == "text":
        return octets.decode("utf-8", "surrogateescape")
    return octets.hex() if spelling == "hex" else b64encode(octets).decode("ascii")


def unhex(data: str) -> bytes:
    """The octets in `data`. Raises ValueError for anything but digits, blanks included."""
    if not data.isalnum():
        raise ValueError("not hexadecimal")
    return bytes.fromhex(data)
