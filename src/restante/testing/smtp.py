"""SMTP of a test's server: mail comes into the same maildrops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from restante.accounts.contract import AccountStore
from restante.delivery import DeliveryObserver, Envelope, HeldOff, Intake, Recipients, smtp_protocol
from restante.server import login
from restante.server.server import Pop3Server
from restante.stores.contract import Store
from restante.threads import WorkerThreads

THREADS = 2


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that came in by SMTP, for one recipient.

    sender, recipient: the addresses of its envelope. unique_id: in the recipient's maildrop.
    octets: its size as it came.
    """

    sender: str
    recipient: str
    unique_id: str
    octets: int


class Deliveries(DeliveryObserver):
    """Records what comes in. changed: called after each delivery."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.all: list[Delivered] = []
        self._changed = changed

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        self.all.append(Delivered(envelope.sender, recipient, unique_id, octets))
        self._changed()


class SmtpListener:
    """Listens for SMTP, beside a POP3 server with the same accounts and the same store.

    tls: offers STARTTLS with this context. changed: called after each message that came in.
    A login is possible and not needed; the domain of an address decides nothing.
    """

    def __init__(
        self,
        pop3: Pop3Server,
        accounts: AccountStore,
        store: Store,
        *,
        tls: ssl.SSLContext | None,
        host: str,
        port: int,
        changed: Callable[[], None],
    ) -> None:
        self.deliveries = Deliveries(changed)
        self.address: tuple[str, int] | None = None
        self._pop3 = pop3
        self._accounts = accounts
        self._store = store
        self._tls = tls
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen, in the running loop. Raises OSError."""
        threads = self._threads = WorkerThreads("delivery", 0, THREADS)
        self._intake = Intake(
            recipients=Recipients(self._accounts, threads=threads),
            store=self._store,
            hostname="localhost",
            threads=threads,
            observer=self.deliveries,
        )
        factory = smtp_protocol(
            self._intake, tls=self._tls, authenticate=self._authenticate, auth_without_tls=True
        )
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(factory, self._host, self._port)
        host, self._port = self._server.sockets[0].getsockname()[:2]
        self.address = host, self._port

    async def close(self, seconds: float) -> None:
        """Stop; what is in flight has so many seconds. Harmless when repeated."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        await self._intake.stop(seconds)
        await asyncio.get_running_loop().run_in_executor(None, self._threads.stop)

    async def _authenticate(self, name: str, password: str, address: str) -> bool:
        try:
            return await login.log_in_by_smtp(self._pop3.context, name, password, address)
        except login.HeldOff:
            raise HeldOff from None
