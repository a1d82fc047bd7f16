"""Removing mail that has been kept for as long as was announced (EXPIRE, RFC 2449 §6.7)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from restante.accounts.account import Account, AccountError
from restante.accounts.contract import AccountStore
from restante.app.accounts import make_store_of, managed_accounts
from restante.app.config.settings import Settings
from restante.calls import Caller, OnThread
from restante.protocol.listing import MessageNumber
from restante.protocol.policy import days_kept
from restante.stores.contract import Maildrop, MaildropInUse, OpenedTooSoon, Store, StoreError
from restante.stores.room import DAY

log = logging.getLogger("restante.app")


async def expire(store: Store, call: Caller, accounts: AccountStore, settings: Settings) -> int:
    """Remove the messages of all accounts whose time is over. Gives their number.

    They are removed as by a session: `undelete` has them back for its time. A maildrop that a
    session has is left for the next time, and so is one that can't be read, which is logged.
    Raises AccountError where the accounts can't be listed.
    """
    if settings.pop3.expire_days is None and settings.pop3.expire_user_days is None:
        return 0
    count = 0
    for account, days in _kept(await call(OnThread, _listed, accounts, settings), settings):
        try:
            count += await _expire_one(store, call, account, time.time() - days * DAY)
        except (MaildropInUse, OpenedTooSoon):
            pass
        except StoreError as error:
            log.warning("maildrop %r: nothing is expired: %s", account.maildrop_name, error)
    return count


def _listed(accounts: AccountStore, settings: Settings) -> Sequence[Account]:
    """All accounts, asked on a thread. Raises AccountError."""
    if "database" not in settings.accounts.kinds:
        return accounts.list()
    found: list[Account] = []  # in the server they are asked by its event loop, one by one
    for kind in settings.accounts.kinds:
        if kind == "database":
            with managed_accounts(settings) as managed:
                found += managed.list()
        else:
            found += make_store_of(settings, kind).list()
    return found


def _kept(accounts: Iterable[Account], settings: Settings) -> list[tuple[Account, int]]:
    """An account for each maildrop from which mail goes, and after how many days.

    Where several share one, the one counts that keeps it longest.
    """
    pop3 = settings.pop3
    found: dict[str, tuple[Account, int | None]] = {}
    for account in accounts:
        days = days_kept(account.expire_days, pop3.expire_days, pop3.expire_user_days)
        _, other = found.get(account.maildrop_name, (account, 0))
        longest = None if days is None or other is None else max(days, other)
        found[account.maildrop_name] = account, longest
    return [(account, days) for account, days in found.values() if days is not None]


async def _expire_one(store: Store, call: Caller, account: Account, before: float) -> int:
    """Raises MaildropInUse, StoreError."""
    looked: Maildrop = await call(OnThread, store.look, account)
    try:
        if not await _old(call, looked, before, most=1):
            return 0
    finally:
        await call(looked.close)
    maildrop: Maildrop = await call(store.open, account)
    try:
        numbers = await _old(call, maildrop, before, most=len(maildrop.listing))
        await call(maildrop.commit, numbers)
    finally:
        await call(maildrop.close)
    return len(numbers)


async def _old(call: Caller, maildrop: Maildrop, before: float, most: int) -> list[MessageNumber]:
    """The messages from the first one on that arrived before this time, `most` of them at most.

    One whose time of arrival nobody knows stays, and those after it.
    """
    numbers: list[MessageNumber] = []
    for number in map(MessageNumber, range(1, min(most, len(maildrop.listing)) + 1)):
        arrived: float | None = await call(OnThread, maildrop.arrived, number)
        if arrived is None or arrived >= before:
            break
        numbers.append(number)
    return numbers


async def expire_or_say_why(
    store: Store, call: Caller, accounts: AccountStore, settings: Settings
) -> int:
    """As `expire`; that accounts can't be listed is logged."""
    try:
        return await expire(store, call, accounts, settings)
    except AccountError as error:
        log.error("no mail is expired: %s", error)
        return 0
