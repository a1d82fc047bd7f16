"""Whether the parts of a server work: what `/readyz` asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, MutableSequence

from restante.calls import Caller
from restante.observing.families import PLACES, READY_PARTS
from restante.server.server import Pop3Server
from restante.stores.contract import Store

CHECK_SECONDS = 5.0
"""How often the parts are looked at, and how long a look may take."""

NOBODY = "readyz"
"""The name that accounts are asked for. It needn't exist."""

_PLACES = {part: PLACES["restante_ready", part] for part in READY_PARTS}


class Health:
    """Looks at storage, accounts and certificate, and writes what it finds into the metrics.

    store: the storage; call: calls its functions. failed: is told why the storage doesn't work.
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
        if self._checking is None:  # else the last one hangs still, and maybe a thread with it
            self._checking = asyncio.get_running_loop().create_task(self._check())
        done, _ = await asyncio.wait({self._checking}, timeout=CHECK_SECONDS)
        if not done:
            self._failed(TimeoutError(f"no answer within {CHECK_SECONDS:.0f} seconds"))
            return False
        error = self._checking.exception()
        self._checking = None
        if isinstance(error, Exception):
            self._failed(error)
        return error is None

    async def _check(self) -> None:
        await self._call(self._store.check)

    async def _has_accounts(self) -> bool:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._server.context.backend.lookup(NOBODY)
        except Exception:  # noqa: BLE001 - whatever it is, they don't answer
            return False
        return True
