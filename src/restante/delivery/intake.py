"""Where mail comes in by SMTP and LMTP: settings, limits, live connections, the way to a stop."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from restante.accounts.account import Account
from restante.calls import Caller
from restante.delivery.deliver import Delivery, Recipient
from restante.delivery.envelope import Envelope
from restante.delivery.observer import AccessLog, DeliveryObserver, tell
from restante.delivery.recipients import FULL, NEVER_FITS, THREADS, Recipients, Refusal
from restante.networks import A_HOST_NAME, check_host_name, own_host_name
from restante.settings_fields import check_setting, suggest_settings
from restante.stores.contract import OverQuota, Store, StoreError
from restante.stores.room import quota_for
from restante.threads import WorkerThreads

log = logging.getLogger(__name__)

BUSY = Refusal(421, "4.3.2", "too many connections, try again later")
STOPPING = Refusal(421, "4.3.2", "going down, try again later")

DROP_SECONDS = 2.0
"""How long a stop waits for the clearing away of what was received by halves."""


class LiveConnection(Protocol):
    """A connection as the intake sees it."""

    def finish(self) -> None:
        """Close now, or after the reply to the message that is being received."""

    def drop(self) -> None:
        """Close at once."""


@suggest_settings
@dataclass(kw_only=True, eq=False)
class Intake:
    """Where mail comes in: shared by the connections of one or several listeners.

    max_octets: size of a message, without stuffing (RFC 1870).
    max_recipients: of one message; RFC 5321 §4.5.3.1.8 asks for at least 100.
    max_connections: at the same time, over all listeners that share this.
    timeout: seconds for a command, or for `PROGRESS_OCTETS` of data (RFC 5321 §4.5.3.2.7
        asks for at least 300).
    trace: put Return-Path, Delivered-To and Received before the message. Off, its octets
        are stored as they came.
    spool: a folder for copies that could not be delivered when others had theirs; see
        `Delivery`. None: the sender is told to try again, and the others get a second copy.
    threads: where functions of the store run that may block; its own by default.
    observer: is told of each message delivered, not delivered or refused; None: nobody is.
    elsewhere: connections that are open in other processes of the same server.
    """

    recipients: Recipients
    store: Store
    hostname: str = field(default_factory=own_host_name)
    max_octets: int = 50 * 1024 * 1024
    max_recipients: int = 100
    max_connections: int = 200
    timeout: float = 300.0
    trace: bool = False
    spool: Path | None = None
    threads: WorkerThreads | None = None
    observer: DeliveryObserver | None = field(default_factory=AccessLog)
    elsewhere: int = 0
    _live: set[LiveConnection] = field(default_factory=set, init=False)
    _stopping: bool = field(default=False, init=False)
    _gone: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __post_init__(self) -> None:
        check_setting("hostname", self.hostname, A_HOST_NAME, check_host_name)
        self._own = WorkerThreads("delivery", 0, THREADS)
        threads = self.threads or self._own
        self.ask = Caller(threads, blocking=True)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._live)

    def admit(self, connection: LiveConnection) -> Refusal | None:
        """Count a new connection in; or, when it can't be served, what to tell it."""
        if self._stopping:
            return STOPPING
        if len(self._live) + self.elsewhere >= self.max_connections:
            return BUSY
        self._live.add(connection)
        return None

    def discharge(self, connection: LiveConnection) -> None:
        """A connection has ended."""
        self._live.discard(connection)
        self._gone.set()

    def deliver(
        self, recipients: tuple[Recipient, ...], envelope: Envelope, *, together: bool
    ) -> Delivery:
        """Begin a message."""
        return Delivery(
            self.store,
            recipients,
            envelope,
            call=self.ask,
            observer=self.observer,
            together=together,
            trace=self.trace,
            spool=self.spool,
        )

    async def refusal_for(self, account: Account, octets: int) -> Refusal | None:
        """Why the account's maildrop can't take a message of so many octets; None if it may.

        octets: 0 if nobody has said it yet.
        """
        if quota_for(account, self.store.quota) is None:
            return None
        try:
            await self.ask(self.store.admit, account, octets)
        except OverQuota as error:
            return NEVER_FITS if error.never else FULL
        except StoreError as error:
            log.warning("can't tell whether a maildrop has room: %s", error)
        return None

    def tell(self, what: str, *args: object) -> None:
        """Call the observer's method of this name, if there is an observer."""
        if self.observer is not None:
            tell(getattr(self.observer, what), *args)

    async def stop(self, deadline: float = 10.0) -> None:
        """Take no new connections, end the idle ones, and wait for messages in flight.

        What is still open after `deadline` seconds is closed without a reply; its sender
        has had no 250 and tries again.
        """
        self._stopping = True
        for connection in tuple(self._live):
            connection.finish()
        if not await self._empty_within(deadline):
            for connection in tuple(self._live):
                connection.drop()
            await self._empty_within(DROP_SECONDS)
        self._own.stop(0.0)

    async def _empty_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while self._live:
                    self._gone.clear()
                    await self._gone.wait()
        except TimeoutError:
            return False
        return True
