"""Whether the parts of a server work: what `/readyz` asks."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import MutableSequence

from restante.app.config.settings import Settings
from restante.observing.families import PLACES, READY_PARTS
from restante.server.server import Pop3Server

CHECK_SECONDS = 5.0
"""How often the parts are looked at, and how long a look may take."""

NOBODY = "readyz"
"""The name that accounts are asked for. It needn't exist."""

_PLACES = {part: PLACES["restante_ready", part] for part in READY_PARTS}


class Health:
    """Looks at storage, accounts and certificate, and writes what it finds into the metrics."""

    def __init__(
        self, settings: Settings, server: Pop3Server, values: MutableSequence[float]
    ) -> None:
        self._settings = settings
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
        folder = self._settings.mail_folder
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await asyncio.to_thread(
                    lambda: folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)
                )
        except (OSError, TimeoutError):
            return False

    async def _has_accounts(self) -> bool:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._server.context.backend.lookup(NOBODY)
        except Exception:  # noqa: BLE001 - whatever it is, they don't answer
            return False
        return True
