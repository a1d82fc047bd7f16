"""`restante deliver` and `restante import`: mail from pipes and from files."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

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
from restante.app.history import make_history
from restante.app.maildrops import opened_store
from restante.calls import Caller
from restante.delivery.deliver import Delivery, Recipient
from restante.delivery.envelope import Envelope
from restante.delivery.observer import AccessLog, DeliveryObserver, DeliveryObservers
from restante.delivery.recipients import (
    BAD_ADDRESS,
    DISABLED,
    FOREIGN,
    UNCERTAIN,
    UNKNOWN,
    Recipients,
    Refusal,
)
from restante.threads import WorkerThreads

if TYPE_CHECKING:  # of no use to deliveries
    from restante.delivery.importer import ImportResult
    from restante.delivery.sources import Messages

_KINDS = "One of: auto, mbox, mboxrd, mboxo, maildir, eml."

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
    disabled, 65 bad address or message too big, 75 try again later, as when there is no room.
    """
    settings = load_for(config, data, sets).settings
    with ExitStack() as stack:
        threads = WorkerThreads("deliver", 0, 1)
        stack.callback(threads.stop)
        asyncio.run(_deliver(settings, to, threads, _observer(settings, stack)))


async def _deliver(
    settings: Settings, addresses: list[str], threads: WorkerThreads, observer: DeliveryObserver
) -> None:
    """Exits with the status that says why a message isn't delivered."""
    recipients = await _find(settings, addresses, threads, observer)
    if is_terminal(sys.stdin):
        complain("reading the message from the terminal, up to its end (Ctrl-D)")
    sender, blocks = _message(sys.stdin.buffer)
    envelope = Envelope(protocol="deliver", sender=sender)
    size, limit = 0, settings.delivery.size_limit
    async with opened_store(settings) as store:
        delivery = Delivery(
            store,
            recipients,
            envelope,
            call=Caller(threads, blocking=True),
            observer=observer,
            together=True,
            spool=settings.spool_folder,
        )
        try:
            for block in blocks:
                size += len(block)
                if size > limit:
                    complain(f"more than delivery.size_limit, {limit} octets")
                    observer.refused(envelope, "", f"more than {limit} octets")
                    raise Exit(EX_DATAERR)
                await delivery.write(block)
            outcomes = await delivery.commit()
        finally:
            await delivery.abort()
    for outcome in outcomes:
        if outcome.reason:
            kept = f"; it is kept in {outcome.kept}" if outcome.kept is not None else ""
            complain(f"{outcome.recipient.address!r}: not delivered: {outcome.reason}{kept}")
    failed = [outcome for outcome in outcomes if not outcome.taken]
    if failed:
        never = all(each.over_quota is not None and each.over_quota.never for each in failed)
        raise Exit(EX_DATAERR if never and len(failed) == len(outcomes) else EX_TEMPFAIL)


def _observer(settings: Settings, stack: ExitStack) -> DeliveryObserver:
    """Writes to the server's log, if that is a file, and to its history, if there is one.

    Standard error is the mail server's. stack: at its end the history is written.
    """
    observers: list[DeliveryObserver] = []
    file = settings.history_file
    # A file that this user made might be one that the server's can't write.
    history = make_history(settings) if file is None or os.access(file, os.W_OK) else None
    if history is not None:
        stack.callback(history.close)
        observers.append(history.deliveries)
    log = settings.log
    if log.file is not None:
        from restante.app.logs import configure  # noqa: PLC0415 - seldom needed

        try:
            configure(format=log.format, level=log.level, file=log.file)
        except OSError as error:
            complain(f"log.file = {log.file}: {error}")
        else:
            observers.append(AccessLog())
    return DeliveryObservers(*observers)


async def _find(
    settings: Settings, addresses: list[str], threads: WorkerThreads, observer: DeliveryObserver
) -> list[Recipient]:
    """The accounts of all addresses. Exits with the status that says why one has none."""
    delivery = settings.delivery
    found = []
    async with opened_accounts(settings) as accounts:
        finder = Recipients(
            accounts,
            domains=delivery.domains,
            catch_all=delivery.catch_all,
            separator=delivery.separator,
            threads=threads,
        )
        for address in addresses:
            result = await finder.find(address)
            if isinstance(result, Refusal):
                complain(f"{address!r}: {result.text}")
                observer.refused(Envelope(protocol="deliver", queue_id=""), address, str(result))
                raise Exit(_STATUS[result])
            found.append(Recipient(address, result))
    return found


def _message(stream: BinaryIO) -> tuple[str, Iterator[bytes]]:
    """The sender, and the message without the line that pipes put before it.

    The line is "From ", the sender and a date. Without it the sender is empty.
    """
    beginning, sender = stream.read(5), ""
    if beginning == b"From ":
        line = stream.readline(_BLOCK)
        sender = line[:256].partition(b" ")[0].decode(errors="replace").strip()
        while line and not line.endswith(b"\n"):
            line = stream.readline(_BLOCK)
        beginning = b""

    def blocks() -> Iterator[bytes]:
        if beginning:
            yield beginning
        while block := stream.read(_BLOCK):
            yield block

    return sender, blocks()


def import_(
    *,
    path: Annotated[
        Path, Argument(help="mbox, .eml or .emlx file, Maildir, MH folder or a folder of them.")
    ],
    account: Annotated[str, Option("--account", help="Whose maildrop it goes into.")],
    kind: Annotated[str, Option("--kind", help=_KINDS)] = "auto",
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
    from restante.delivery.sources import iter_messages  # noqa: PLC0415 - not for deliveries

    settings = load_for(config, data, sets).settings
    found = find_account(settings, account)
    if found is None:
        complain(f"no account {account!r}")
        raise Exit(FAILED)
    messages = iter_messages(path, kind)
    journal = None if again else _journal(settings, found)
    result = _import(settings, found, messages, journal)
    for origin, reason in result.failed:
        complain(f"{origin} not imported: {reason}")
    passed = messages.passed_over()
    if not (result.imported or result.known or result.failed):
        complain(f"{path}: no messages in it{passed}")
        raise Exit(FAILED)
    known = f"; {result.known} were imported before (--again repeats them)" if result.known else ""
    failed = f"; {len(result.failed)} failed" if result.failed else ""
    imported = f"{result.imported} message{'' if result.imported == 1 else 's'} imported"
    print(f"{imported}, {result.octets} octets{known}{failed}{passed}")
    if result.failed:
        raise Exit(FAILED)


def _journal(settings: Settings, account: Account) -> Path:
    folder = settings.server.data / "imports"
    make_private_folder(folder)
    return folder / sha256(account.maildrop_name.encode()).hexdigest()[:32]


def _import(
    settings: Settings, account: Account, messages: Messages, journal: Path | None
) -> ImportResult:
    from restante.delivery.importer import import_messages  # noqa: PLC0415

    with ExitStack() as stack:
        advance = None
        if is_terminal(sys.stderr):
            advance = _progress_bar(stack, messages.octets)

        async def work() -> ImportResult:
            async with opened_store(settings) as store:
                return await import_messages(
                    store,
                    account,
                    messages,
                    progress=advance,
                    journal=journal,
                    observer=_observer(settings, stack),
                )

        return asyncio.run(work())


def _progress_bar(stack: ExitStack, octets: int) -> Callable[[int], None]:
    """Show a bar until the stack ends. Gives the function that moves it on, by octets."""
    from restante.app.cli.progress import shown_progress  # noqa: PLC0415 - not for deliveries

    progress = stack.enter_context(shown_progress())
    task = progress.add_task("Importing", total=octets)
    return lambda moved: progress.advance(task, moved)
