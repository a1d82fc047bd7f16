"""LMTP on a socket: moves octets and performs the session's effects.

Meant for the MTA next guard, on loopback or a Unix socket: there is no authentication.

    server = await loop.create_server(lmtp_protocol(intake), "127.0.0.1", 2424)
    server = await loop.create_unix_server(lmtp_protocol(intake), "run/lmtp")
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from restante.delivery.deliver import Delivery, Trace, new_reference
from restante.delivery.intake import PROGRESS_OCTETS, Intake
from restante.delivery.lmtp_session import (
    Abort,
    Begin,
    Close,
    Commit,
    Effect,
    Find,
    LmtpSession,
    Send,
    Write,
)

log = logging.getLogger(__name__)

MAX_PENDING = 256 * 1024
"""Octets taken ahead of the storage thread; past this the peer waits. Blocks of this size
make a message of any length a handful of thread calls a megabyte."""


def lmtp_protocol(intake: Intake) -> Callable[[], asyncio.Protocol]:
    """A protocol factory for `loop.create_server` and `loop.create_unix_server`."""
    return lambda: LmtpConnection(intake)


class LmtpConnection(asyncio.Protocol):
    """One connection. Reading pauses while a storage thread is behind."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._session = LmtpSession(
            intake.hostname, max_octets=intake.max_octets, max_recipients=intake.max_recipients
        )
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._over = self._eof = self._finishing = False
        self._progress = 0
        self._delivery: Delivery | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        refusal = self._intake.admit(self)
        if refusal is not None:
            self._transport.write(refusal)
            self._transport.close()
            return
        self._restart_timer()
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._session.feed(data)
        self._progress += len(data)
        if self._session.receiving and self._progress >= PROGRESS_OCTETS:
            self._restart_timer()
        if self._session.pending >= MAX_PENDING:
            self._transport.pause_reading()
        self._wake.set()

    def eof_received(self) -> bool:
        self._eof = True
        self._wake.set()
        return True  # what is complete is still answered

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._intake.discharge(self)
        self._stop_timer()
        self._wake.set()
        self._writable.set()

    def finish(self) -> None:
        self._finishing = True
        self._wake.set()

    def drop(self) -> None:
        self._over = True
        self._transport.abort()

    async def _serve(self) -> None:
        try:
            await self._work()
        except Exception:
            reference = new_reference()
            log.exception("LMTP connection failed (ref %s)", reference)
            self._transport.write(f"421 4.3.0 internal error (ref {reference})\r\n".encode())
        finally:
            self._over = True
            self._transport.close()
            if self._delivery is not None:
                await self._intake.run(self._delivery.abort)

    async def _work(self) -> None:
        while not self._over:
            effect = self._session.next()
            if effect is not None:
                await self._perform(effect)
            elif self._finishing and not self._session.receiving:
                self._session.shut(421, "4.3.2", "going down, try again later")
            elif self._eof:
                return
            else:
                self._wake.clear()
                self._transport.resume_reading()
                await self._wake.wait()

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(data):
                self._transport.write(data)
                self._restart_timer()
                await self._writable.wait()
            case Find(address):
                self._session.found(await self._intake.recipients.find(address))
            case Begin():
                self._delivery = self._begin(effect)
            case Write(block):
                assert self._delivery is not None
                await self._intake.run(self._delivery.write, block)
            case Commit():
                assert self._delivery is not None
                self._stop_timer()  # a slow disk is not the peer's fault
                self._session.committed(await self._intake.run(self._delivery.commit))
                self._delivery = None
            case Abort():
                assert self._delivery is not None
                await self._intake.run(self._delivery.abort)
            case Close():
                self._over = True

    def _begin(self, effect: Begin) -> Delivery:
        trace = None
        if self._intake.trace:
            peername = self._transport.get_extra_info("peername")
            peer = f"[{peername[0]}]" if isinstance(peername, tuple) else "local"
            trace = Trace(effect.sender, effect.helo, peer, self._intake.hostname, "LMTP")
        return Delivery(self._intake.store, effect.recipients, trace=trace)

    def _restart_timer(self) -> None:
        self._stop_timer()
        self._progress = 0
        self._timer = asyncio.get_running_loop().call_later(self._intake.timeout, self._timed_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _timed_out(self) -> None:
        self._over = True
        if self._transport.get_write_buffer_size():  # it reads nothing, so close() would wait
            self._transport.abort()
        self._transport.write(b"421 4.4.2 timeout\r\n")
        self._transport.close()
        self._wake.set()
        self._writable.set()
