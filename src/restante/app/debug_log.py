"""Whose dialogues are logged: a choice in a file, made by one process and heeded by another."""

from __future__ import annotations

import ipaddress
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from restante.app.files import make_private_folder, write_file

Until = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is logged, each until a time in seconds since the epoch.

    everything: 0 when not everything is.
    """

    everything: float = 0.0
    accounts: Until = field(default_factory=dict)
    addresses: Until = field(default_factory=dict)

    def at(self, now: float) -> Choice:
        """What of it still counts at `now`."""
        return Choice(
            self.everything if self.everything > now else 0.0,
            {name: until for name, until in self.accounts.items() if until > now},
            {name: until for name, until in self.addresses.items() if until > now},
        )

    def with_on(
        self, until: float, *, everything: bool, accounts: list[str], addresses: list[str]
    ) -> Choice:
        """The same and these, until then."""
        return Choice(
            until if everything else self.everything,
            {**self.accounts, **dict.fromkeys(accounts, until)},
            {**self.addresses, **dict.fromkeys(addresses, until)},
        )

    def with_off(self, *, everything: bool, accounts: list[str], addresses: list[str]) -> Choice:
        """The same without these. Account names compare without regard to letter case."""
        gone = {name.casefold() for name in accounts}
        kept = {name: at for name, at in self.accounts.items() if name.casefold() not in gone}
        chosen = {name: at for name, at in self.addresses.items() if name not in addresses}
        return replace(
            self,
            everything=0.0 if everything else self.everything,
            accounts=kept,
            addresses=chosen,
        )

    def __bool__(self) -> bool:
        return bool(self.everything or self.accounts or self.addresses)


def read_choice(path: Path) -> Choice:
    """The choice in the file; none when there is no file. Raises OSError, ValueError."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Choice()
    given = _table(json.loads(text))
    return Choice(
        _time(given.get("everything", 0)),
        _times(given.get("accounts", {})),
        _times(given.get("addresses", {})),
    )


def write_choice(path: Path, choice: Choice) -> None:
    """Put the choice where a running server sees it. Raises OSError."""
    make_private_folder(path.parent)
    fields = {
        "everything": choice.everything,
        "accounts": dict(choice.accounts),
        "addresses": dict(choice.addresses),
    }
    write_file(path, json.dumps(fields, indent=1).encode() + b"\n")


def describe(choice: Choice) -> str:
    """What is logged and until when, in words."""
    times = {f"account {name}": until for name, until in choice.accounts.items()}
    times |= {f"address {name}": until for name, until in choice.addresses.items()}
    if choice.everything:
        times["everything"] = choice.everything
    shown = (
        f"{what} until {time.strftime('%Y-%m-%d %H:%M', time.localtime(until))}"
        for what, until in times.items()
    )
    return ", ".join(shown) or "off"


def normal_address(text: str) -> str:
    """An IP address as the server writes it. Raises ValueError."""
    return str(ipaddress.ip_address(text))


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("not a time")
    return float(value)


def _times(value: Any) -> dict[str, float]:
    return {name: _time(until) for name, until in _table(value).items()}


def _table(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError("not a table")
