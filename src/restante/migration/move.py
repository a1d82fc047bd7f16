"""Moving the maildrops of many accounts, several at a time.

A run has no memory of its own: the unique-ids that the destination shows tell what is there.
So a run that was killed is simply started again, and one that is started for a second time
moves what has come since.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from functools import partial
from math import inf
from typing import Any, Protocol

from restante.accounts.contract import Account, AccountError
from restante.calls import Caller
from restante.migration.compare import compare
from restante.migration.contract import (
    DEFAULT_MAX_OCTETS,
    MAX_MESSAGES,
    Source,
    SourceLost,
    SourceMaildrop,
)
from restante.migration.reading import TooLarge, TooShort, WireForm, blocks, close
from restante.migration.report import AccountReport, Report, Trouble
from restante.protocol.listing import MessageNumber
from restante.stores.contract import (
    MaildropInUse,
    MessageGone,
    OverQuota,
    Store,
    StoreError,
    UniqueIdTaken,
)
from restante.threads import WorkerThreads

log = logging.getLogger("restante.migration")

TRIES = 6
"""How often an account is begun whose maildrop is in use or can't be reached."""

FIRST_PAUSE = 1.0
"""Seconds before the second try; each further pause is twice as long: 31 seconds in all."""

MOST_FAILURES = 20
"""Messages in a row that can't be moved, after which an account is given up: what ails it isn't
the messages."""

LEAST_SHARE = 0.9
"""Of the octets that a source lists for a message, what must come at least. Some servers list wrong
numbers; a message that is much shorter is taken for one that was cut."""

LEAST_STEP = 0.000_001
"""Seconds that a message arrived after the one before it, at least: so stores that put messages
into the order of their arrival keep the order of the source."""

Find = Callable[[str], Awaitable[Account | None]]
"""The destination's account for a name; None if there is none."""


class Watcher(Protocol):
    """Is told how a migration gets on."""

    def found(self, account: str, messages: int, octets: int) -> None:
        """The maildrop of an account was opened at the source."""

    def advanced(self, account: str, octets: int) -> None:
        """One message more is done with."""

    def ended(self, report: AccountReport) -> None:
        """An account is done with."""


class Migration:
    """Moves accounts from `source` to `store`, or compares both.

    find: the destination's account for a name. destination: its name in reports.
    parallel: how many accounts at once. max_octets: of the largest message that is moved.
    last: the source's server is stopped, so messages move that wait for their unique-ids there.
    tries, pause: how often an account is begun that can't be had now and doesn't get on, and how
    many seconds lie between the first two.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        find: Find,
        *,
        destination: str = "",
        parallel: int = 4,
        max_octets: int = DEFAULT_MAX_OCTETS,
        last: bool = False,
        tries: int = TRIES,
        pause: float = FIRST_PAUSE,
        watcher: Watcher | None = None,
    ) -> None:
        for name, value in (("parallel", parallel), ("max_octets", max_octets), ("tries", tries)):
            if value < 1:
                raise ValueError(f"{name}={value!r}: allowed is 1 or more")
        self._source = source
        self._store = store
        self._find = find
        self._destination = destination
        self._parallel = parallel
        self._max_octets = max_octets
        self._last = last
        self._tries = tries
        self._pause = pause
        self._watcher = watcher
        self._call: Caller

    async def move(self, accounts: Iterable[str]) -> Report:
        """Move what isn't there yet. What can't be moved is in the report."""
        return await self._run(accounts, self._move, Report(self._source.name, self._destination))

    async def check(self, accounts: Iterable[str], *, bodies: bool = False) -> Report:
        """Compare source and destination; see `restante.migration.compare.compare`."""
        report = Report(self._source.name, self._destination, checked=True)
        return await self._run(accounts, partial(self._check, bodies), report)

    async def _run(
        self,
        accounts: Iterable[str],
        work: Callable[[AccountReport, Account, SourceMaildrop], Awaitable[None]],
        report: Report,
    ) -> Report:
        begun = time.monotonic()
        report.accounts = [AccountReport(name) for name in dict.fromkeys(accounts)]
        waiting = iter(report.accounts)
        # Each account's maildrop is read and written by one thread at a time.
        threads = WorkerThreads("migrate", 0, self._parallel)
        self._call = Caller(threads, blocking=True)

        async def worker() -> None:
            for each in waiting:
                await self._persist(each, work)
                if self._watcher is not None:
                    self._watcher.ended(each)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._parallel, len(report.accounts))):
                    group.create_task(worker())
        finally:
            threads.stop()
        report.seconds = time.monotonic() - begun
        return report

    async def _persist(
        self,
        report: AccountReport,
        work: Callable[[AccountReport, Account, SourceMaildrop], Awaitable[None]],
    ) -> None:
        """Do an account's work, again after a while if it can't be done now."""
        pause, failures = self._pause, 0
        while True:
            report.tries += 1
            report.begin_again()
            before = report.moved
            try:
                await self._try(report, work)
            except (StoreError, AccountError, OSError) as error:
                if report.moved > before:  # it gets on, if with interruptions
                    pause, failures = self._pause, 0
                failures += 1
                report.error = str(error) or type(error).__name__
                final = isinstance(error, StoreError) and not error.temporary
                if final or failures >= self._tries:
                    return
            except Exception as error:  # a store is somebody's own; the other accounts go on
                log.exception("account %r", report.account)
                report.error = f"{type(error).__name__}: {error}"
                return
            else:
                report.error = ""
                return
            await asyncio.sleep(pause)
            pause *= 2

    async def _try(
        self,
        report: AccountReport,
        work: Callable[[AccountReport, Account, SourceMaildrop], Awaitable[None]],
    ) -> None:
        account = await self._find(report.account)
        if account is None:
            raise StoreError("the destination has no such account", temporary=False)
        maildrop = await self._source.open(report.account, self._call)
        try:
            listing = maildrop.listing
            if len(listing) > MAX_MESSAGES:
                text = f"the source lists more than {MAX_MESSAGES} messages"
                raise StoreError(text, temporary=False)
            report.messages, report.octets = len(listing), listing.total
            report.mapped += [
                Trouble(unique_id, f"at the source it is {given!r:.200}")
                for unique_id, given in maildrop.mapped.items()
            ]
            if self._watcher is not None:
                self._watcher.found(report.account, report.messages, report.octets)
            await work(report, account, maildrop)
        finally:
            await self._call(maildrop.close)

    async def _there(self, account: Account) -> set[str]:
        """The unique-ids that the destination shows."""
        maildrop = await self._call(self._store.look, account)
        try:
            return set(maildrop.listing.unique_ids)
        finally:
            await self._call(maildrop.close)

    async def _move(
        self, report: AccountReport, account: Account, maildrop: SourceMaildrop
    ) -> None:
        listing = maildrop.listing
        there = await self._there(account)
        missing = [at for at, has in enumerate(listing.unique_ids) if has not in there]
        last = missing[-1] if missing else -1
        arrived: float | None = None
        earliest, failures = -inf, 0
        for at, unique_id in enumerate(listing.unique_ids):
            number = MessageNumber(at + 1)
            try:
                if at <= last:  # asked of those that are there, too: a second run tells the same
                    arrived = await self._call(maildrop.arrived, number)
                if arrived is not None:
                    arrived = earliest = max(arrived, earliest + LEAST_STEP)
                if unique_id in there:
                    report.there += 1
                elif unique_id in maildrop.waiting and not self._last:
                    report.waiting += 1
                else:
                    await self._move_one(report, account, maildrop, number, arrived=arrived)
                    failures = 0
            except (SourceLost, MaildropInUse):
                raise
            except (StoreError, OSError) as error:
                report.failed.append(Trouble(unique_id, str(error) or type(error).__name__))
                failures += 1
                self._may_go_on(error, failures, report.messages - at)
            if self._watcher is not None:
                self._watcher.advanced(report.account, listing.octets[at])

    async def _move_one(
        self,
        report: AccountReport,
        account: Account,
        maildrop: SourceMaildrop,
        number: MessageNumber,
        *,
        arrived: float | None,
    ) -> None:
        """Move a message; one that comes cut is asked for twice. Raises StoreError, OSError."""
        octets = maildrop.listing.octets[number - 1]
        try:
            if octets > self._max_octets:
                raise TooLarge(self._max_octets)
            try:
                came = await self._copy(account, maildrop, number, arrived)
            except TooShort:
                came = await self._copy(account, maildrop, number, arrived)
        except MessageGone:
            report.vanished += 1
        except UniqueIdTaken:
            report.removed += 1
        else:
            report.moved += 1
            report.moved_octets += octets
            if not octets <= came <= octets + maildrop.slack:
                reason = f"the source lists {octets} octets, and {came} came"
                report.other_octets.append(Trouble(maildrop.listing.unique_ids[number - 1], reason))

    def _may_go_on(self, error: Exception, failures: int, left: int) -> None:
        """Whether a message that failed leaves hope for the next. Raises StoreError if not."""
        full = isinstance(error, OverQuota) and not error.never
        if full or failures >= MOST_FAILURES:
            again = not full and (not isinstance(error, StoreError) or error.temporary)
            text = f"{error}; messages that are not moved: {left}"
            raise StoreError(text, temporary=again) from error

    async def _copy(
        self,
        account: Account,
        maildrop: SourceMaildrop,
        number: MessageNumber,
        arrived: float | None,
    ) -> int:
        """Put a message into the destination, durably; its octets, as RETR sends them."""
        call, unique_id = self._call, maildrop.listing.unique_ids[number - 1]
        content = await call(maildrop.fetch, number)
        incoming: Any = None
        octets, form = 0, WireForm()
        try:
            incoming = await call(partial(self._store.restore, account, unique_id, arrived=arrived))
            async with aclosing(blocks(content.source, call)) as reading:
                async for block in reading:
                    octets += len(block)
                    if octets > self._max_octets:
                        raise TooLarge(self._max_octets)
                    form.feed(block)
                    await call(incoming.write, block)
            form.finish()
            listed = maildrop.listing.octets[number - 1]
            if form.octets < listed * LEAST_SHARE:
                raise TooShort(form.octets, listed)
            await call(incoming.commit)
            return form.octets
        finally:
            await close(content.source, call)
            if incoming is not None:
                with suppress(StoreError):
                    await call(incoming.abort)

    async def _check(
        self, bodies: bool, report: AccountReport, account: Account, maildrop: SourceMaildrop
    ) -> None:
        other = await self._call(self._store.look, account)
        try:
            await compare(
                report,
                maildrop,
                other,
                call=self._call,
                bodies=bodies,
                max_octets=self._max_octets,
                watcher=self._watcher,
            )
        finally:
            await self._call(other.close)
