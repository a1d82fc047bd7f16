"""Giving free what nobody can ask for any more, from time to time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from restante.accounts.contract import AccountStore
from restante.app.config.settings import Settings
from restante.app.expiring import expire_or_say_why
from restante.calls import Caller
from restante.stores.contract import Store, StoreError

log = logging.getLogger("restante.app")


async def keep_collecting(
    store: Store,
    call: Caller,
    accounts: AccountStore,
    settings: Settings,
    minutes: float,
    *,
    failed: Callable[[Exception], None],
) -> None:
    """Expire mail, and call `Store.collect`, every so many minutes, until it is cancelled.

    failed: is told of the store's errors.

    The first time comes at random within that time: servers that are started together don't
    collect together, and one that is often started anew collects as well.
    """
    seconds = 60 * minutes
    await asyncio.sleep(random.uniform(0, seconds))  # noqa: S311 - no secret
    while True:
        try:
            expired = await expire_or_say_why(store, call, accounts, settings)
            if expired:
                log.info("expired: %d messages were kept for their time and are removed", expired)
            collected = await call(store.collect)
        except StoreError as error:
            failed(error)
            log.error("collecting what was removed failed: %s", error)
        except Exception:
            log.exception("collecting what was removed failed")
        else:
            if collected:
                log.info("collected: %d messages that were removed are gone for good", collected)
        await asyncio.sleep(seconds)
