"""Giving free what nobody can ask for any more, from time to time."""

from __future__ import annotations

import asyncio
import logging
import random

from restante.calls import Caller
from restante.stores.contract import Store, StoreError

log = logging.getLogger("restante.app")


async def keep_collecting(store: Store, call: Caller, minutes: float) -> None:
    """Call `Store.collect` every so many minutes, until it is cancelled.

    The first time comes at random within that time: servers that are started together don't
    collect together, and one that is often started anew collects as well.
    """
    seconds = 60 * minutes
    await asyncio.sleep(random.uniform(0, seconds))  # noqa: S311 - no secret
    while True:
        try:
            collected = await call(store.collect)
        except StoreError as error:
            log.error("collecting what was removed failed: %s", error)
        except Exception:
            log.exception("collecting what was removed failed")
        else:
            if collected:
                log.info("collected: %d messages that were removed are gone for good", collected)
        await asyncio.sleep(seconds)
