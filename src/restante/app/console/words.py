"""Times and numbers, as people read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from restante.accounts.quotas import shown_octets


def octets(number: int) -> str:
    """`1.2 MiB`."""
    return f"{number} B" if number < 1024 else shown_octets(number)


def when(seconds: float | None) -> str:
    """`2026-01-31 12:00:00`, local time."""
    if seconds is None:
        return "never"
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def clock(seconds: float) -> str:
    """`12:00:00`."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S}"


def minute(seconds: float) -> str:
    """`12:00`."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M}"


def moment(seconds: float | None) -> str:
    """`31 Jan 12:00:00`, local time, and the year if it isn't this one: for narrow columns."""
    if seconds is None:
        return "never"
    found = datetime.fromtimestamp(seconds).astimezone()
    return f"{_date(found)} {found:%H:%M:%S}"


def _date(found: datetime) -> str:
    year = "" if found.year == time.localtime().tm_year else f" {found.year}"
    return f"{found.day} {_MONTHS[found.month - 1]}{year}"


def duration(seconds: float) -> str:
    """`3 min`, `2 h 5 min`, `4 d`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        hours, rest = divmod(whole // 60, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{whole // 86_400} d"


def lasts(since: float) -> str:
    """How long something goes on that began then: `3 min`."""
    return duration(time.time() - since)


def count(number: int, one: str, several: str = "") -> str:
    """`1 message`, `2 messages`."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def number(given: int) -> str:
    """`10,000`."""
    return f"{given:,}"


def person(sender: str) -> tuple[str, str]:
    """The name and the address of a From header; one of both where there is no other."""
    name, _, rest = sender.rpartition("<")
    address = rest.rstrip("> ")
    return (name.strip(' "') or address), (address if name.strip(' "') else "")


def day(date: str) -> str:
    """A Date header as `30 Nov 10:12`, and the year if it isn't this one; as it is, if it is none.

    The sender's clock, not ours: that is what the message says.
    """
    try:
        found = parsedate_to_datetime(date)
    except (ValueError, OverflowError, IndexError, TypeError):
        return date
    return f"{_date(found)} {found:%H:%M}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

FILTERS: dict[str, Callable[..., Any]] = {
    "octets": octets,
    "when": when,
    "moment": moment,
    "clock": clock,
    "minute": minute,
    "duration": duration,
    "lasts": lasts,
    "count": count,
    "number": number,
    "person": person,
    "day": day,
}
