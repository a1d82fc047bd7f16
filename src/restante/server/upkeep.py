"""What a server sees to once a second: time limits, usable mechanisms, the guard's ban store."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from restante.server.listen.listener import Listener

if TYPE_CHECKING:
    from restante.server.server import Pop3Server

SWEEP_SECONDS = 1.0
"""How often it is done."""


class Upkeep:
    """Keeps one server's listeners and connections in order."""

    def __init__(self, server: Pop3Server) -> None:
        self._server = server

    async def begin(self) -> None:
        """See to everything once, before anybody is let in. Raises AccountError."""
        await self._ask_schemes()
        await self._server.storage.run(self._server.guard.refresh)
        self.set_policies()

    async def run(self) -> None:
        """Go on until cancelled."""
        refreshing: asyncio.Task[None] | None = None
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            crowded = self._server.guard.is_filling
            for connection in self._server.connections:
                connection.check_time(now, crowded=crowded)
            if refreshing is None or refreshing.done():
                # Not waited for: time limits hold while all worker threads are busy.
                refreshing = self._server.spawn(self._refresh())

    async def _refresh(self) -> None:
        try:
            await self._ask_schemes()
        except Exception as error:
            where = "asking the accounts for their schemes"
            await self._server.events.report(error, None, where)
        await self._server.storage.run(self._server.guard.refresh)

    async def _ask_schemes(self) -> None:
        """What changes while the server runs: which mechanisms some account can use."""
        held = await self._server.calls.held_schemes()
        self._server.logins.held_schemes = held
        for listener in self._server.listeners:
            listener.policy = replace(listener.policy, held_schemes=held)

    def set_policies(self) -> None:
        """Tell the listeners' sessions what they may do; again when their ports are known."""
        for listener in self._server.listeners:
            self._set_policy(listener)

    def _set_policy(self, listener: Listener) -> None:
        server, settings = self._server, self._server.settings
        implicit = [each.address for each in server.listeners if each.tls == "implicit"]
        listener.policy = replace(
            listener.policy,
            tls_port=implicit[0][1] if implicit and implicit[0] else None,
            commands=server.commands,
            mechanisms=server.mechanisms,
            hostname=server.hostname,
            tls=listener.tls,
            plaintext=settings.allow_plaintext,
            use_auth=settings.use_auth,
            expire_days=settings.expire_days,
            login_delay=settings.login_delay,
            utf8=settings.utf8,
            utf8_headers=settings.utf8_headers,
            asks=server.asks,
        )
