"""`restante collect`, `restante leases`: the store of maildrops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, TypeVar

from restante.app.accounts import opened_accounts
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
from restante.app.expiring import expire
from restante.app.logs import one_line
from restante.app.maildrops import answered, opened_store
from restante.calls import Caller
from restante.stores.contract import Answer, Store
from restante.threads import WorkerThreads

T = TypeVar("T")


def asked(settings: Settings, question: Callable[[Store], Answer[T]]) -> T:
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
    behind goes, too. Before that it removes mail that is older than pop3.expire_days, or than its
    account says; see pop3.expire_user_days. A server does all this by itself every
    store.collect_minutes; both may run at the same time.
    """
    settings = load_for(config, data, sets).settings
    expired = asyncio.run(_expire(settings))
    if expired:
        print(f"{expired} message{'' if expired == 1 else 's'} expired")
    number = asked(settings, lambda store: store.collect())
    print(f"{number} message{'' if number == 1 else 's'} removed for good")


async def _expire(settings: Settings) -> int:
    threads = WorkerThreads("collect", 0, 1)
    try:
        async with opened_store(settings) as store, opened_accounts(settings) as accounts:
            return await expire(store, Caller(threads, blocking=store.blocking), accounts, settings)
    finally:
        threads.stop()


def list_(
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """List the maildrops that sessions have now, who has them, and when that ends by itself unless
    the session goes on: a table on a terminal, else lines divided by tabs."""
    settings = load_for(config, data, sets).settings
    found = asked(settings, lambda store: store.leases())
    if as_json:
        for lease in found:
            print(json.dumps(lease._asdict()))
        return
    rows = [
        (one_line(lease.maildrop_name), one_line(lease.holder), _time(lease.expires))
        for lease in found
    ]
    print_table(("Maildrop", "Holder", "Lease ends"), rows, empty="no session has a maildrop")


def _time(expires: float | None) -> str:
    if expires is None:
        return "with its session"
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
    if not asked(settings, lambda store: store.release(maildrop)):
        complain(f"no session has the maildrop {maildrop!r}")
        raise Exit(FAILED)
    print(f"{maildrop}: released")


leases = Group(
    "Which maildrops sessions have, and taking one away.",
    {"list": list_, "release": release},
    example="list",
)
