"""`restante log`: the debug log, switched while the server runs."""

from __future__ import annotations

import time
from typing import Annotated, TypeAlias

from restante.app.cli.command_line import Group, Option, UsageError
from restante.app.cli.options import ConfigOption, DataOption, SetOption, load_for
from restante.app.debug_log import Choice, describe, normal_address, read_choice, write_choice

Accounts: TypeAlias = Annotated[
    list[str] | None, Option("--account", help="Account's name; may be repeated.")
]
Addresses: TypeAlias = Annotated[
    list[str] | None, Option("--address", help="Client's IP address; may be repeated.")
]
Everything: TypeAlias = Annotated[bool, Option("--everything", help="All sessions.")]


def _normal(addresses: list[str] | None) -> list[str]:
    try:
        return [normal_address(each) for each in addresses or ()]
    except ValueError as error:
        raise UsageError(str(error)) from None


def on(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    account: Accounts = None,
    address: Addresses = None,
    everything: Everything = False,
    minutes: Annotated[float, Option(min=0.01, max=1e6, help="How long, from now.")] = 60,
) -> None:
    """Log these dialogues for a while. The server heeds it within a second or two."""
    addresses = _normal(address)
    if not (account or addresses or everything):
        raise UsageError("give --account, --address or --everything")
    path = load_for(config, data, sets).settings.debug_log_file
    now = time.time()
    choice = (
        read_choice(path)
        .at(now)
        .with_on(
            now + minutes * 60, everything=everything, accounts=account or [], addresses=addresses
        )
    )
    write_choice(path, choice)
    print(f"debug log: {describe(choice)}")


def off(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    account: Accounts = None,
    address: Addresses = None,
    everything: Everything = False,
) -> None:
    """Log these no more; without options, none at all."""
    addresses = _normal(address)
    path = load_for(config, data, sets).settings.debug_log_file
    choice = Choice()
    if account or addresses or everything:
        choice = (
            read_choice(path)
            .at(time.time())
            .with_off(everything=everything, accounts=account or [], addresses=addresses)
        )
    write_choice(path, choice)
    print(f"debug log: {describe(choice)}")


def show(config: ConfigOption = None, data: DataOption = None, sets: SetOption = None) -> None:
    """Tell what is logged now."""
    settings = load_for(config, data, sets).settings
    choice = read_choice(settings.debug_log_file).at(time.time())
    always = ", everything always (log.protocol)" if settings.log.protocol else ""
    print(f"debug log: {describe(choice)}{always}")


app = Group(
    "Log the dialogue of an account or an address, while the server runs.",
    {"on": on, "off": off, "show": show},
    example="show",
)
