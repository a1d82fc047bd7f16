"""`restante client-settings`: what to type into mail programs."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

from restante.accounts.contract import AccountError
from restante.app.accounts import find_account
from restante.app.cli.command_line import Argument, Exit, Option, UsageError
from restante.app.cli.options import (
    FAILED,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    load_for,
)
from restante.app.client_settings import FORMS, ClientSettingsError, answer, as_it_listens
from restante.app.config.settings import Settings
from restante.app.errors import NoAnswer
from restante.app.logs import one_line
from restante.app.processes.admin_client import ask


def client_settings(
    *,
    address: Annotated[str, Argument(help="The mail address, such as joe@example.org.")],
    form: Annotated[
        str, Option("--format", help=f"One of: {', '.join(FORMS)}.", metavar="FORMAT")
    ] = "text",
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Print what to type into mail programs for an address.

    Ports are those of the running server; those of the configuration if none runs.

    Or the file by which they find out: autoconfig for Thunderbird and others, autodiscover for
    Outlook, mobileconfig for Apple's, dns for the domain's zone.
    """
    if form not in FORMS:
        raise UsageError(f"--format: {form!r}: known are {', '.join(FORMS)}")
    settings = load_for(config, data, sets).settings
    with suppress(NoAnswer):
        settings = as_it_listens(settings, list(ask(settings.admin_socket, "addresses")))
    try:
        answer(form, settings, address)  # what is no address is refused before it is looked up
        found, _ = answer(form, settings, address, login=_login(settings, address))
    except ClientSettingsError as error:
        complain(str(error))
        raise Exit(FAILED) from None
    sys.stdout.write(found.decode("utf-8"))


def _login(settings: Settings, address: str) -> str | None:
    """The name of the account that the address belongs to; None if none is found, which is told."""
    if settings.accounts.kinds == ("sqlite",) and not settings.accounts_file.exists():
        account = None
    else:
        try:
            account = find_account(settings, address, by_address=True)
        except (AccountError, ImportError) as error:
            complain(f"the account can't be looked up, its name is a guess: {error}")
            return None
    if account is None:
        complain(f"no account has the address {one_line(address)}: the user name is a guess")
        return None
    return account.name
