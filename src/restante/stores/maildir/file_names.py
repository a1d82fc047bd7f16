"""Names of message files in a Maildir: what they tell, and how new ones are made."""

from __future__ import annotations

import os
import re
import time
from itertools import count
from secrets import token_hex

from restante.networks import own_host_name
from restante.protocol.listing import UniqueId, as_unique_id

# Windows has no ":" in file names, and programs there put one of two others before the flags.
# A Maildir may have come from there.
_FLAGS_OF_WINDOWS = re.compile(r"[;!][12],[A-Za-z]*\Z")
_SIZES = re.compile(r",[SW]=\d+(?=,|\Z)")
_TIME = re.compile(r"([0-9]+)(?:\.[^.]*?M([0-9]+))?")
_counter = count(1)

SUBFOLDERS = ("new", "cur")
"""Where messages lie, in the order in which they are moved."""


def base_name(name: str) -> str:
    """A file's name without its flags: it stays the same as long as the message lives."""
    base = name.partition(":")[0]
    if ";" in base or "!" in base:
        return _FLAGS_OF_WINDOWS.sub("", base)
    return base


def own_unique_id(base: str) -> UniqueId:
    """The unique-id that a base name gives: itself, without the sizes (`,S=` and `,W=`) that
    some programs add later, where RFC 1939 §7 allows it."""
    return as_unique_id(_SIZES.sub("", base) if "=" in base else base)


def delivery_order(base: str) -> tuple[int, int, str]:
    """Sorts messages by their time of delivery: seconds, microseconds, then by name."""
    found = _TIME.match(base)
    if found is None:
        return 0, 0, base
    seconds, micros = found.groups()
    return int(seconds), int(micros or 0), base


def moment(base: str) -> float:
    """Seconds of the time of delivery: never in another order than `delivery_order`, but
    equal for some that this tells apart."""
    found = _TIME.match(base)
    if found is None:
        return 0.0
    seconds, micros = int(found[1]), int(found[2] or 0)
    if seconds >= 10**15:  # no time, and past what a float tells apart
        return 1e15
    return seconds + min(micros, 999_999) / 1e6


def new_name(micros: int | None = None) -> str:
    """A base name, without sizes, that no other delivery on any host makes.

    micros: the time in it, in microseconds since 1970; None: now. Short enough to be a unique-id
    as it is.
    """
    if micros is None:
        micros = time.time_ns() // 1000
    parts = f"M{micros % 1_000_000:06d}P{os.getpid()}Q{next(_counter)}R{token_hex(4)}"
    return f"{micros // 1_000_000}.{parts}.{own_host_name()}"[:70]
