"""`restante undelete`: messages that sessions have removed come back."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Annotated

from restante.app.accounts import find_account, whose_address
from restante.app.cli.command_line import Argument, Exit, Option, UsageError
from restante.app.cli.options import (
    FAILED,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    load_for,
)
from restante.app.cli.output import print_table
from restante.app.cli.store import asked
from restante.app.logs import one_line

_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def undelete(
    *,
    name: Annotated[str, Argument(help="The account's name.")],
    since: Annotated[
        str,
        Option("--since", help="Removed within this time: 90s, 30m, 2h, 7d.", metavar="TIME"),
    ],
    only_list: Annotated[
        bool, Option("--list", help="Put nothing back: list what would come back.")
    ] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Put back what was removed from a maildrop lately.

    Messages have their unique-ids as before, so a client that keeps its mail on the server
    downloads none of them again. What was removed more than store.undelete_days ago is gone, and
    so is what was removed while that was 0.
    """
    found = _TIME.fullmatch(since)
    if found is None:
        raise UsageError(f"--since {since}: allowed is a time such as 90s, 30m, 2h or 7d")
    seconds = float(found[1]) * _SECONDS[found[2]]
    settings = load_for(config, data, sets).settings
    account = find_account(settings, name)
    if account is None:
        complain(f"no account {name!r}{whose_address(settings, name)}")
        raise Exit(FAILED)
    if only_list:
        begin = time.time() - seconds
        rows = [
            (_time(each.removed), one_line(each.unique_id), str(each.octets))
            for each in asked(settings, lambda store: store.removed(account))
            if each.removed >= begin
        ]
        print_table(("Removed", "Unique-id", "Octets"), rows, empty="nothing to put back")
        return
    number = asked(settings, lambda store: store.undelete(account, seconds))
    print(f"{number} message{'' if number == 1 else 's'} put back")


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
