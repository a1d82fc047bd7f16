"""Quotas as people and other programs write them."""

from __future__ import annotations

import re

from restante.accounts.account import Quota

_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"(\d{1,18})\s*([bkmgt]?)b?", re.IGNORECASE | re.ASCII)


def octets_of(text: str, unit: str = "") -> int:
    """The octets that a text means: `1500`, `64K`, `200M`, `1G`, `2T`; K is 1024.

    unit: of a number without one. Raises ValueError, which doesn't quote `text`.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError('no size: allowed is a number of octets, or one with a unit as in "1G"')
    return int(found[1]) * _UNITS[found[2].lower() or unit]


def count_of(text: str) -> int:
    """A whole number, 0 or more. Raises ValueError, which doesn't quote `text`."""
    if not re.fullmatch(r"\d{1,18}", text.strip(), re.ASCII):
        raise ValueError("allowed is a whole number, 0 or more")
    return int(text)


def quota_of_rule(rule: str) -> Quota:
    """What a quota rule of Dovecot's says of the whole maildrop: `*:storage=1G:messages=1000`.

    Raises ValueError for any other rule, as for one of a single folder.
    """
    name, *limits = rule.split(":")
    if name != "*" or not limits:
        raise ValueError("no rule for the whole maildrop")
    octets = messages = None
    for limit in limits:
        what, _, value = limit.partition("=")
        if what in ("storage", "bytes"):
            octets = octets_of(value, "k" if what == "storage" else "")
        elif what == "messages":
            messages = count_of(value)
        else:
            raise ValueError("a limit that isn't known here")
    return Quota(octets, messages)


def shown_octets(octets: int) -> str:
    """Octets for people: the largest unit of which there is at least one, as "1.5 GiB"."""
    size, unit = float(octets), "octets"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{octets} {unit}" if unit == "octets" else f"{size:.1f} {unit}"
