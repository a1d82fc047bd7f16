"""`restante deliver` and `restante import`: mail from pipes and from files."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, BinaryIO

from restante.accounts.contract import Account
from restante.app.accounts import find_account, opened_accounts
from restante.app.cli.command_line import Argument, Exit, Option
from restante.app.cli.options import (
    FAILED,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    is_terminal,
    load_for,
)
from restante.app.config.settings import Settings
from restante.app.files import make_private_folder
from restante.app.maildrops import make_store
from restante.delivery.deliver import Delivery, Recipient
from restante.delivery.importer import KINDS, ImportResult, Messages, import_messages, iter_messages
from restante.delivery.recipients import (
    BAD_ADDRESS,
    DISABLED,
    FOREIGN,
    UNCERTAIN,
    UNKNOWN,
    Recipients,
    Refusal,
)

# Statuses of sysexits.h: mail servers that pipe messages in read them.
EX_DATAERR = 65
EX_NOUSER = 67
EX_TEMPFAIL = 75
EX_NOPERM = 77

_STATUS = {
    BAD_ADDRESS: EX_DATAERR,
    UNKNOWN: EX_NOUSER,
    FOREIGN: EX_NOUSER,
    DISABLED: EX_NOPERM,
    UNCERTAIN: EX_TEMPFAIL,
}
_BLOCK = 256 * 1024


def run_safely(command: Callable[[], int]) -> int:
    """What an operator can mend is EX_TEMPFAIL: the message stays in the mail server's queue.

    Any status that isn't of sysexits.h would make it bounce.
    """
    try:
        status = command()
    except Exception:  # noqa: BLE001 - nothing may bounce because of a fault of ours
        traceback.print_exc()
        return EX_TEMPFAIL
    return status if status == 0 or status in _STATUS.values() else EX_TEMPFAIL


def deliver(
    *,
    to: Annotated[list[str], Option("--to", help="Account or address; may be repeated.")],
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Deliver the message on standard input, durably, to local accounts.

    Exit statuses are those of sysexits.h: 0 delivered, 67 no such user, 77 account
    disabled, 65 bad address or message too big, 75 try again later.
    """
    settings = load_for(config, data, sets).settings
    recipients = asyncio.run(_find(settings, to))
    if is_terminal(sys.stdin):
        complain("reading the message from the terminal, up to its end (Ctrl-D)")
    delivery = Delivery(make_store(settings), recipients, together=True)
    make_private_folder(settings.mail_folder)
    try:
        size = 0
        for block in _blocks(sys.stdin.buffer):
            size += len(block)
            if size > settings.delivery.size_limit:
                complain(f"more than delivery.size_limit, {settings.delivery.size_limit} octets")
                raise Exit(EX_DATAERR)
            delivery.write(block)
        outcomes = delivery.commit()
    finally:
        delivery.abort()
    if any(outcome.unique_id is None for outcome in outcomes):
        raise Exit(EX_TEMPFAIL)


async def _find(settings: Settings, addresses: list[str]) -> list[Recipient]:
    """The accounts of all addresses. Exits with the status that says why one has none."""
    delivery = settings.delivery
    found = []
    async with opened_accounts(settings) as accounts:
        finder = Recipients(
            accounts,
            domains=delivery.domains,
            catch_all=delivery.catch_all,
            separator=delivery.separator,
        )
        for address in addresses:
            result = await finder.find(address)
            if isinstance(result, Refusal):
                complain(f"{address!r}: {result.text}")
                raise Exit(_STATUS[result])
            found.append(Recipient(address, result))
    return found


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The message, without the "From " line that pipes put before it."""
    beginning = stream.read(5)
    if beginning == b"From ":
        while (line := stream.readline(_BLOCK)) and not line.endswith(b"\n"):
            pass
    elif beginning:
        yield beginning
    while block := stream.read(_BLOCK):
        yield block


def import_(
    *,
    path: Annotated[Path, Argument(help="mbox file, Maildir, .eml file or folder of them.")],
    account: Annotated[str, Option("--account", help="Whose maildrop it goes into.")],
    kind: Annotated[str, Option("--kind", help=f"One of: {', '.join(KINDS)}.")] = "auto",
    again: Annotated[
        bool, Option("--again", help="Import what was imported before once more.")
    ] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Import mail from files, which stay as they are.

    An import that was interrupted goes on where it stopped when it is started again.
    """
    settings = load_for(config, data, sets).settings
    found = find_account(settings, account)
    if found is None:
        complain(f"no account {account!r}")
        raise Exit(FAILED)
    messages = iter_messages(path, kind)
    make_private_folder(settings.mail_folder)
    journal = None if again else _journal(settings, found)
    result = _import(settings, found, messages, journal)
    for origin, reason in result.failed:
        complain(f"{origin} not imported: {reason}")
    known = f"; {result.known} were imported before (--again repeats them)" if result.known else ""
    failed = f"; {len(result.failed)} failed" if result.failed else ""
    print(f"{result.imported} messages imported, {result.octets} octets{known}{failed}")
    if result.failed:
        raise Exit(FAILED)


def _journal(settings: Settings, account: Account) -> Path:
    folder = settings.server.data / "imports"
    make_private_folder(folder)
    return folder / sha256(account.maildrop_name.encode()).hexdigest()[:32]


def _import(
    settings: Settings, account: Account, messages: Messages, journal: Path | None
) -> ImportResult:
    from rich.console import Console  # noqa: PLC0415 - not for deliveries
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    quiet = not is_terminal(sys.stderr)
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("Importing", total=messages.octets)
        return import_messages(
            make_store(settings),
            account,
            messages,
            progress=lambda octets: progress.advance(task, octets),
            journal=journal,
        )
