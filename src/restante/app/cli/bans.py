"""`restante bans`: who is turned away, seen and changed while the server runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, TypeAlias

from restante.app.cli.command_line import Argument, Exit, Group, Option, UsageError
from restante.app.cli.options import (
    FAILED,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    load_for,
)
from restante.app.cli.output import print_table
from restante.app.config.settings import Settings
from restante.app.files import make_private_folder
from restante.app.guard import make_guard
from restante.app.logs import one_line
from restante.guard.ban_store import Ban, BanStoreError
from restante.guard.failures import Throttled
from restante.guard.guard import Guard
from restante.networks import parse_network, shown

Which: TypeAlias = Annotated[
    str, Argument(metavar="NETWORK", help="An address, or a network such as 192.0.2.0/24.")
]

MAX_SECONDS = 10 * 365 * 86_400
MAX_REASON = 200

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"(?:\d{1,9}[smhdw])+", re.ASCII)
_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)
_HEADINGS = ("What", "Which", "Until", "Failures", "Reason")
_SLOWED = "slowed down: too many failed logins"


@contextmanager
def _opened(settings: Settings, *, make: bool) -> Iterator[Guard]:
    """The guard as the ban store has it; what is changed is written. Exits when that can't be.

    make: make a file if there is none; else there is a guard that knows of nothing.
    """
    file = settings.bans_file
    if make and file is not None:
        make_private_folder(file.parent)
    try:
        guard = make_guard(settings) if make or file is None or file.exists() else Guard()
    except BanStoreError as error:
        complain(str(error))
        raise Exit(FAILED) from None
    try:
        guard.exchange()
        yield guard
        guard.exchange()
    except BanStoreError as error:  # the ban store has closed itself
        complain(str(error))
        raise Exit(FAILED) from None
    except BaseException:
        guard.close()
        raise
    guard.close()


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `15m`, `1h`, `7d`, `2w`, or several of them. Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r}: not a time such as 90s, 15m, 1h30m, 7d or 2w")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"{text!r}: more than 0 and up to ten years")
    return float(seconds)


def _network(text: str) -> str:
    try:
        return shown(parse_network(text))
    except ValueError as error:
        raise UsageError(str(error)) from None


def list_(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    as_json: Annotated[bool, Option("--json", help="As one JSON object.")] = False,
) -> None:
    """List bans, and addresses and accounts with too many failures: a table on a terminal,
    else lines divided by tabs."""
    with _opened(load_for(config, data, sets).settings, make=False) as guard:
        bans, throttled = guard.bans(), guard.throttled()
    if as_json:
        print(json.dumps(_as_json(bans, throttled), indent=2))
        return
    rows = [
        ("ban", ban.network, _time(ban.until) or "until lifted", "", one_line(ban.reason))
        for ban in bans
    ] + [
        (each.kind, one_line(each.name), _time(each.until), str(each.failures), _SLOWED)
        for each in throttled
    ]
    print_table(_HEADINGS, rows, empty="no bans, and nobody is slowed down")


def ban(
    *,
    which: Which,
    duration: Annotated[
        str | None,
        Option("--for", help="How long, such as 90s, 15m, 1h, 7d.  [until it is lifted]"),
    ] = None,
    reason: Annotated[str, Option(help="For those who read the list.")] = "",
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Turn an address or a network away. A running server heeds it within a second or two.

    Connections that are open stay open, but nobody logs in on them any more.
    """
    network = _network(which)
    try:
        seconds = None if duration is None else parse_duration(duration)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if len(reason) > MAX_REASON:
        raise UsageError(f"--reason: at most {MAX_REASON} characters")
    with _opened(load_for(config, data, sets).settings, make=True) as guard:
        made = guard.ban(network, seconds, reason)
    print(f"{made.network} is banned until {_time(made.until) or 'lifted'}")


def unban(
    *,
    which: Which,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Let an address or a network in again, its failures forgotten."""
    network = _network(which)
    with _opened(load_for(config, data, sets).settings, make=False) as guard:
        if guard.unban(network):
            print(f"{network} is not banned any more, its failures are forgotten")
            return
        wider = [each.network for each in guard.bans() if _is_within(network, each.network)]
    complain(f"{network} is not banned" + (f", but {', '.join(wider)} is" if wider else ""))
    raise Exit(FAILED)


def _is_within(network: str, wider: str) -> bool:
    inner, outer = parse_network(network), parse_network(wider)
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _time(until: float | None) -> str:
    """As people read it; "" for no time at all."""
    if until is None:
        return ""
    return f"{datetime.fromtimestamp(until).astimezone():%Y-%m-%d %H:%M:%S}"


def _as_json(bans: list[Ban], throttled: list[Throttled]) -> dict[str, Any]:
    """Times are in seconds since 1970; null: for good."""
    return {
        "bans": [asdict(each) for each in bans],
        "throttled": [asdict(each) for each in throttled],
    }


app = Group(
    "Who is turned away or slowed down, and who shall be.",
    {"list": list_, "ban": ban, "unban": unban},
    example="list",
)
