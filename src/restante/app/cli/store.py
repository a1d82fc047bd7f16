"""`restante collect`, `restante leases`: the store of maildrops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, TypeVar

from restante.app.cli.command_line import Argument, Exit, Group
from restante.app.cli.live import JsonOption
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
from restante.app.logs import one_line
from restante.app.maildrops import answered, opened_store
from restante.stores.contract import Answer, Store

T = TypeVar("T")


def _asked(settings: Settings, question: Callable[[Store], Answer[T]]) -> T:
    """What the store answers."""

    async def ask() -> T:
        async with opened_store(settings) as store:
            return await answered(question(store))

    return asyncio.run(ask())


def collect(
    *, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None
) -> None:
    """Remove for good what sessions have removed some time ago.

    That is longer ago than store.undelete_days. What deliveries that never came to their end left
    behind goes, too. A server does this by itself every store.collect_minutes; both may run at the
    same time.
    """
    settings = load_for(config, data, sets).settings
    number = _asked(settings, lambda store: store.collect())
    print(f"{number} message{'' if number == 1 else 's'} removed for good")


def list_(
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """List the maildrops that sessions have now, and who has them: a table on a terminal, else
    lines divided by tabs."""
    settings = load_for(config, data, sets).settings
    found = _asked(settings, lambda store: store.leases())
    if as_json:
        for lease in found:
            print(json.dumps(lease._asdict()))
        return
    rows = [
        (one_line(lease.maildrop_name), one_line(lease.holder), _time(lease.expires))
        for lease in found
    ]
    print_table(("Maildrop", "Holder", "Until"), rows, empty="no session has a maildrop")


def _time(expires: float | None) -> str:
    if expires is None:
        return "its end"
    return f"{datetime.fromtimestamp(expires).astimezone():%Y-%m-%d %H:%M:%S}"


def release(
    *,
    maildrop: Annotated[str, Argument(help="The maildrop's name, as the list has it.")],
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Take a maildrop from the session that has it, which can't remove anything any more.

    The next session opens it at once, without waiting for the lease's end.
    """
    settings = load_for(config, data, sets).settings
    if not _asked(settings, lambda store: store.release(maildrop)):
        complain(f"no session has the maildrop {maildrop!r}")
        raise Exit(FAILED)
    print(f"{maildrop}: released")


leases = Group(
    "Which maildrops sessions have, and taking one away.",
    {"list": list_, "release": release},
    example="list",
)
