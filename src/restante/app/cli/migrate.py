"""`restante migrate`: maildrops from other servers and stores, and back."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from restante.app.cli.command_line import Argument, Exit, Option, UsageError
from restante.app.cli.options import (
    FAILED,
    ConfigOption,
    DataOption,
    SetOption,
    is_terminal,
    overrides,
)
from restante.app.cli.progress import shown_progress
from restante.app.config.load import load
from restante.app.config.settings import Settings
from restante.app.logs import one_line
from restante.app.moving import (
    FORMATS,
    PlaceError,
    SourceOptions,
    StorePlace,
    configured,
    open_place,
    open_source,
    owned_by,
    read_password_files,
)
from restante.app.owner import become_owner_of
from restante.migration.contract import DEFAULT_MAX_OCTETS, Source
from restante.migration.move import Migration, Watcher
from restante.migration.report import AccountReport, Report, count_messages, described

if TYPE_CHECKING:
    from rich.progress import Progress


def migrate(
    *,
    names: Annotated[
        list[str] | None,
        Argument(help="Whose maildrops; or --all.", metavar="ACCOUNT"),
    ] = None,
    source: Annotated[
        str,
        Option(
            "--from",
            help="Where the mail is: maildir:/srv/{user}, pop3s://HOST, pop3://HOST, imaps://HOST,"
            " imap://HOST, dovecot:, sqlite:FILE or a configuration file.",
            metavar="SOURCE",
        ),
    ],
    format: Annotated[
        str | None,
        Option(
            "--from-format",
            help="Whose unique-ids Maildirs have: own, dovecot or courier. [own; refused where"
            " Dovecot's or Courier's list of them lies]",
            metavar="FORMAT",
        ),
    ] = None,
    unique_ids: Annotated[
        str | None,
        Option(
            "--unique-ids",
            help="How the source's POP3 server makes them of IMAP's: %08Xu%08Xv (Dovecot),"
            " UID%u-%v (Courier), %v.%u (Cyrus).",
            metavar="FORMAT",
        ),
    ] = None,
    users: Annotated[
        Path | None,
        Option("--users", help="File with a line name:password for each account.", metavar="FILE"),
    ] = None,
    master: Annotated[
        Path | None,
        Option(
            "--master",
            help="File with one line, name:password, of a master user.",
            metavar="FILE",
        ),
    ] = None,
    without_tls: Annotated[
        bool, Option("--without-tls", help="Send passwords to the source in the clear.")
    ] = False,
    ca: Annotated[
        Path | None,
        Option("--ca", help="Certificates to trust instead of the system's.", metavar="FILE"),
    ] = None,
    destination: Annotated[
        str | None,
        Option(
            "--to",
            help="Where it goes: maildir:/srv/{user}, sqlite:FILE or a configuration file; else"
            " by --config.",
            metavar="DESTINATION",
        ),
    ] = None,
    everybody: Annotated[bool, Option("--all", help="Every account of the source.")] = False,
    parallel: Annotated[
        int, Option("--parallel", help="Accounts at once.", min=1, max=64, metavar="NUMBER")
    ] = 4,
    max_octets: Annotated[
        int,
        Option("--max-octets", help="Of the largest message that is moved.", metavar="NUMBER"),
    ] = DEFAULT_MAX_OCTETS,
    last: Annotated[
        bool,
        Option(
            "--last",
            help="The source's server is stopped: move what it gave no unique-ids, too.",
        ),
    ] = False,
    report: Annotated[
        Path | None, Option("--report", help="File for a report as JSON.", metavar="FILE")
    ] = None,
    check: Annotated[
        bool,
        Option("--check", help="Move nothing: compare unique-ids, octets and order at both ends."),
    ] = False,
    check_bodies: Annotated[
        bool, Option("--check-bodies", help="The same, and read every message at both ends.")
    ] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Move maildrops from other servers and stores, and back, with their unique-ids.

    The source is only read. What the destination has already stays as it is: a run that was
    stopped is started again, and a later one moves what has come since. Clients download
    nothing again; --check proves it.

    Exit status: 0 when all is moved, or the same; 1 when something isn't, and the lines say
    what; 2 when the command can't be understood.
    """
    if bool(names) == everybody:
        raise UsageError("name accounts, or give --all")
    if format is not None and format not in FORMATS:
        raise UsageError(f"--from-format: allowed is {', '.join(FORMATS)}; {format!r} was given")
    if destination is not None and (config or data or sets):
        raise UsageError("--config, --data and --set don't go with --to, which names another store")
    if max_octets < 1:
        raise UsageError(f"--max-octets: allowed is 1 or more; {max_octets} was given")
    with ExitStack() as stack:
        # What only root may read or write is opened while we may be root.
        out = None if report is None else stack.enter_context(report.open("w", encoding="utf-8"))
        try:
            options = SourceOptions(
                source,
                format,
                unique_ids=unique_ids,
                passwords=read_password_files(users, master),
                tls=not without_tls,
                ca=ca,
                max_octets=max_octets,
            )
            settings = None
            if destination is None:
                settings = load(config, overrides=overrides(data, sets)).settings
                owned = settings.server.data
            else:
                owned = owned_by(destination)
            become_owner_of(owned, keep_root=source.startswith("dovecot:"))
            work = _Work(
                options,
                destination,
                settings,
                names or (),
                parallel=parallel,
                last=last,
                check=check or check_bodies,
                bodies=check_bodies,
            )
            outcome = asyncio.run(work.do())
        except PlaceError as error:
            raise UsageError(str(error)) from error
        if out is not None:
            json.dump(outcome.as_json(), out, indent=2)
            out.write("\n")
    print(_summary(outcome))
    if not outcome.is_well:
        raise Exit(FAILED)


@dataclass(frozen=True, slots=True)
class _Work:
    """What the command line asks for. names: none for every account."""

    source: SourceOptions
    destination: str | None
    settings: Settings | None
    names: Sequence[str]
    parallel: int
    last: bool
    check: bool
    bodies: bool

    async def do(self) -> Report:
        """Move, or check. Raises PlaceError, ConfigError, StoreError."""
        async with AsyncExitStack() as stack:
            to = await self._open_destination(stack)
            origin = await open_source(self.source, stack)
            names = self.names or await _everybody(origin, to)
            watcher = stack.enter_context(_watching(names, checked=self.check))
            migration = Migration(
                origin,
                to.store,
                to.find,
                destination=to.name,
                parallel=self.parallel,
                max_octets=self.source.max_octets,
                last=self.last,
                watcher=watcher,
            )
            if self.check:
                return await migration.check(names, bodies=self.bodies)
            return await migration.move(names)

    async def _open_destination(self, stack: AsyncExitStack) -> StorePlace:
        if self.destination is not None:
            return await open_place(self.destination, stack, made=not self.check)
        assert self.settings is not None
        return await configured(self.settings, stack)


async def _everybody(origin: Source, to: StorePlace) -> Sequence[str]:
    """All accounts of the source or, where it can't tell them, of the destination."""
    names = await origin.accounts()
    if names is None:
        names = await to.names()
    if names is None:
        raise PlaceError("neither end can list its accounts: name them instead of giving --all")
    if not names:
        raise PlaceError(f"{origin.name}: there are no accounts")
    return names


class _Lines(Watcher):
    """Tells of each account once it is done with."""

    def __init__(self, *, checked: bool) -> None:
        self._checked = checked

    def found(self, account: str, messages: int, octets: int) -> None:
        pass

    def advanced(self, account: str, octets: int) -> None:
        pass

    def ended(self, report: AccountReport) -> None:
        for line in described(report, checked=self._checked):
            print(one_line(line), flush=True)


class _Bar(_Lines):
    """The same, below it a bar that moves on by octets."""

    def __init__(self, progress: Progress, accounts: int, *, checked: bool) -> None:
        super().__init__(checked=checked)
        self._progress = progress
        self._accounts = accounts
        self._ended = 0
        self._done: dict[str, int] = {}
        self._all: dict[str, int] = {}
        self._task = progress.add_task(self._text(), total=None)

    def _text(self) -> str:
        return f"{self._ended} of {self._accounts} accounts"

    def found(self, account: str, messages: int, octets: int) -> None:
        self._done[account], self._all[account] = 0, octets
        self._show()

    def advanced(self, account: str, octets: int) -> None:
        self._done[account] += octets
        self._show()

    def ended(self, report: AccountReport) -> None:
        self._ended += 1
        self._done[report.account] = self._all.setdefault(report.account, 0)
        self._show()
        super().ended(report)

    def _show(self) -> None:
        # What accounts that weren't opened yet hold is taken to be the average of the others.
        total = sum(self._all.values()) * self._accounts // max(1, len(self._all))
        self._progress.update(
            self._task,
            completed=sum(self._done.values()),
            total=total,
            description=self._text(),
        )


@contextmanager
def _watching(names: Sequence[str], *, checked: bool) -> Iterator[Watcher]:
    """A bar on a terminal; elsewhere a line for each account."""
    if not is_terminal(sys.stderr):
        yield _Lines(checked=checked)
        return
    with shown_progress() as progress:
        yield _Bar(progress, len(names), checked=checked)


def _summary(report: Report) -> str:
    accounts = len(report.accounts)
    count = f"{accounts} account{'' if accounts == 1 else 's'}"
    bad = sum(not each.is_well for each in report.accounts)
    if report.checked:
        text = f"{count} compared, {count_messages(report.total('messages'))}"
        return f"{text}: {bad} differ" if bad else f"{text}: all the same"
    moved = count_messages(report.total("moved"))
    text = f"{count}: {moved} moved, {report.total('moved_octets')} octets"
    if report.total("there"):
        text += f"; {report.total('there')} were there already"
    if waiting := report.total("waiting"):
        text += f"; {waiting} wait: stop the source's server, and run this again with --last"
    return f"{text}; {bad} not complete: see above" if bad else text
