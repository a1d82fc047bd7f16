"""A row that an operator's query gave becomes an account."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, TypeAlias

from restante.accounts.account import Account, Quota
from restante.accounts.names import check_address, check_name, is_valid_name
from restante.accounts.schemes import split_credential

Row: TypeAlias = Sequence[tuple[str, object]]
"""Columns and their values, in order."""

_TRUE = frozenset({"1", "t", "true", "y", "yes", "on", "\1"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off", "\0"})
_ADDRESSES = (IPv4Address, IPv4Network, IPv6Address, IPv6Network)


def account_of(row: Row, default_scheme: str) -> Account:
    """The account that a row describes.

    default_scheme: of a password that has no `{SCHEME}` before it.

    Raises ValueError that names the column, never its value: for one that isn't known,
    comes twice, or holds what can't be; and when there is no `name`.
    """
    values: dict[str, Any] = {}
    seen: set[str] = set()
    for column, value in row:
        key = column.lower()
        if key not in _READERS:
            known = ", ".join(_READERS)
            raise ValueError(f"the query gives an unknown column {key!r}; known are {known}")
        if key in seen:
            raise ValueError(f"the query gives column {key!r} twice")
        seen.add(key)
        if value is None:
            continue
        try:
            values[key] = _READERS[key](value)
        except (ValueError, TypeError, ArithmeticError):
            raise ValueError(f"column {key!r} holds what can't be there") from None
    if "name" not in values:
        raise ValueError("the query gives no column 'name', or NULL in it")
    texts = [*values.pop("password", ()), *values.pop("credentials", ())]
    values["credentials"] = tuple(
        text if split_credential(text)[0] else f"{{{default_scheme}}}{text}"
        for text in texts
        if text
    )
    quota = Quota.of(values.pop("quota_octets", None), values.pop("quota_messages", None))
    return Account(**values, quota=quota)


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode()
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _name(value: object) -> str:
    name = _text(value)
    if not is_valid_name(name):
        raise ValueError("not a name")
    return name


def _display_name(value: object) -> str:
    text = _text(value).strip()
    return check_name(text) if text else ""


def _lines(value: object) -> list[str]:
    if isinstance(value, list):
        return [_text(each) for each in value]
    return _text(value).replace("\r\n", "\n").split("\n")


def _items(value: object) -> list[str]:
    if isinstance(value, list):
        return [_text(each) for each in value]
    return _text(value).replace(",", " ").split()


def _protocols(value: object) -> frozenset[str]:
    return frozenset(item.lower() for item in _items(value))


def _networks(value: object) -> tuple[str, ...]:
    if isinstance(value, _ADDRESSES):
        value = [value]
    if isinstance(value, list):
        value = [str(each) if isinstance(each, _ADDRESSES) else each for each in value]
    items = _items(value)
    if not items:  # an account has no way to say "from nowhere"
        raise ValueError("no network")
    return tuple(str(ip_network(item)) for item in items)


def _moment(value: object) -> float:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime.combine(value, time.min, UTC).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError("not a time")
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError("not a time")
    return seconds


def _count(value: object) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value < 0:
        raise TypeError("no whole number, 0 or more")
    if value != int(value):
        raise ValueError("no whole number")
    return int(value)


def _truth(value: object) -> bool:
    if isinstance(value, int | Decimal):
        if value in (0, 1):
            return bool(value)
        raise ValueError("neither true nor false")
    text = _text(value).strip(" ").lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("neither true nor false")
    return text in _TRUE


_READERS: dict[str, Callable[[object], object]] = {
    "name": _name,
    "password": lambda value: [_text(value)],
    "credentials": _lines,
    "maildrop": lambda value: _name(value) if _text(value) else None,
    "display_name": _display_name,
    "email": lambda value: check_address(_text(value)),
    "disabled": _truth,
    "master": _truth,
    "protocols": _protocols,
    "networks": _networks,
    "expires": _moment,
    "quota_octets": _count,
    "quota_messages": _count,
    "expire_days": _count,
}
"""By column, what makes an account's value of it."""
