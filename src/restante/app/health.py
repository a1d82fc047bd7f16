"""Whether the parts of a server work: what `/readyz` asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, MutableSequence

from restante.app.logs import write_anew
from restante.calls import Caller
from restante.observing.families import PLACES, READY_PARTS
from restante.server.server import Pop3Server
from restante.stores.contract import Store

log = logging.getLogger("restante.app")

CHECK_SECONDS = 5.0
"""How often the parts are looked at, and how long a look may take."""

NOBODY = "readyz"
"""The name that accounts are asked for. It needn't exist."""

_PLACES = {part: PLACES["restante_ready", part] for part in READY_PARTS}


class Health:
    """Looks at storage, accounts and certificate, and writes what it finds into the metrics.

    store: the storage; call: calls its functions. failed: is told why the storage doesn't work.
    That is logged, too, once when it begins and once when it is over.
    """

    def __init__(
        self,
        store: Store,
        call: Caller,
        server: Pop3Server,
        values: MutableSequence[float],
        failed: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._call = call
        self._failed = failed
        self._checking: asyncio.Task[None] | None = None
        self._storage_works = True
        self._server = server
        self._values = values

    async def watch(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(CHECK_SECONDS)

    async def look(self) -> None:
        """Look at each part once."""
        tls = self._server.context.tls
        expired = tls is not None and 0 < tls.expires <= time.time()
        found = {
            "storage": await self._has_storage(),
            "accounts": await self._has_accounts(),
            "certificate": not expired,
        }
        for part, works in found.items():
            self._values[_PLACES[part]] = works

    async def _has_storage(self) -> bool:
        error = await self._storage_error()
        if error is not None:
            self._failed(error)
            if self._storage_works:
                log.error("The storage doesn't work; clients and senders wait: %s", error)
        elif not self._storage_works:
            write_anew()
            log.info("The storage works again")
        self._storage_works = error is None
        return error is None

    async def _storage_error(self) -> Exception | None:
        if self._checking is None:  # else the last one hangs still, and maybe a thread with it
            self._checking = asyncio.get_running_loop().create_task(self._check())
        done, _ = await asyncio.wait({self._checking}, timeout=CHECK_SECONDS)
        if not done:
            return TimeoutError(f"no answer within {CHECK_SECONDS:.0f} seconds")
        checking, self._checking = self._checking, None
        try:
            checking.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, it doesn't work
            return error
        return None

    async def _check(self) -> None:
        await self._call(self._store.check)

    async def _has_accounts(self) -> bool:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._server.context.backend.lookup(NOBODY)
        except Exception:  # noqa: BLE001 - whatever it is, they don't answer
            return False
        return True
