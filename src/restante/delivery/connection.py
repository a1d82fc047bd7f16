"""SMTP and LMTP on sockets: moves octets and performs the session's effects.

    loop = asyncio.get_running_loop()
    server = await loop.create_server(smtp_protocol(intake, tls=context), "127.0.0.1", 2525)
    server = await loop.create_unix_server(lmtp_protocol(intake), "run/lmtp")

LMTP is meant for the mail server on the same machine, on loopback or a Unix socket: there is no
authentication.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import TypeAlias, cast

from restante.accounts.account import Account, AccountError
from restante.delivery.deliver import Delivery
from restante.delivery.envelope import Envelope, new_queue_id
from restante.delivery.intake import STOPPING, Intake
from restante.delivery.recipients import Refusal
from restante.delivery.session import (
    INVALID,
    MAIL_ONLY,
    NOT_AHEAD,
    Abort,
    Authenticate,
    Begin,
    Close,
    Commit,
    Effect,
    Find,
    MailSession,
    Offer,
    Protocol,
    Refused,
    Send,
    StartTls,
    Write,
)
from restante.protocol.claims import PasswordClaim

log = logging.getLogger(__name__)

LoginCheck: TypeAlias = Callable[[str, str, str], bool | Awaitable[bool]]

MAX_PENDING = 256 * 1024
"""Octets taken ahead of the storage; past this the client waits. Blocks of this size make a
message of any length a handful of calls a megabyte."""

PROGRESS_OCTETS = 4096
"""A client in the middle of its data that sends this much has earned itself a fresh
`timeout`. A modem does within a second; a byte a minute never does."""

CLOSE_SECONDS = 10.0
"""How long a client may take to read the last reply and to end TLS."""

TURN_SECONDS = 0.005
"""How long the commands of one client may keep the event loop from the others."""

HANDSHAKE_SECONDS = 60.0
"""How long a TLS handshake may take, if the intake's timeout isn't shorter."""

_HELD_OFF = Refusal(454, "4.7.0", "too many login attempts: try again later")
_CANT_TELL = Refusal(454, "4.7.0", "temporary authentication failure")


_NUMBERS = count(1)
"""Of this process's connections: each has a name in the logs, as POP3 sessions have."""


class HeldOff(Exception):
    """A login that isn't looked at, as there were too many of late."""


def smtp_protocol(
    intake: Intake,
    *,
    tls: ssl.SSLContext | None = None,
    require_tls: bool = False,
    authenticate: LoginCheck | None = None,
    auth_without_tls: bool = False,
) -> Callable[[], asyncio.Protocol]:
    """A protocol factory for `loop.create_server`.

    tls: offers STARTTLS with this context; require_tls: nothing else works before it.
    authenticate: name, password and the client's address ("" on a Unix socket) to an explicit
        True; may raise HeldOff, or AccountError when it can't be told. Offers AUTH PLAIN and
        LOGIN, after STARTTLS only unless `auth_without_tls`.
        A plain function runs on a thread. A login gives no right to relay: recipients are
        local accounts for everybody.
    """
    offer = Offer(
        tls=tls is not None,
        tls_required=require_tls,
        auth=authenticate is not None,
        auth_without_tls=auth_without_tls,
    )
    return lambda: MailConnection(intake, Protocol.SMTP, offer, tls, authenticate)


def lmtp_protocol(intake: Intake) -> Callable[[], asyncio.Protocol]:
    """A protocol factory for `loop.create_server` and `loop.create_unix_server`."""
    return lambda: MailConnection(intake, Protocol.LMTP)


def _nobody(name: str, password: str, peer: str) -> bool:
    return False


class _Silent(Exception):
    """The client has neither sent nor read for too long."""


class MailConnection(asyncio.Protocol):
    """One connection. Reading pauses while the storage is behind.

    A single task takes the session's effects and performs them one by one. The deadline holds
    only while it waits for the client: a slow disk is not the client's fault.
    """

    def __init__(
        self,
        intake: Intake,
        protocol: Protocol,
        offer: Offer = MAIL_ONLY,
        tls: ssl.SSLContext | None = None,
        login_check: LoginCheck | None = None,
    ) -> None:
        self._intake = intake
        self._protocol = protocol
        self._tls = tls
        self._login_check = login_check or _nobody
        self._session = MailSession(
            protocol,
            intake.hostname,
            max_octets=intake.max_octets,
            max_recipients=intake.max_recipients,
            offer=offer,
        )
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._over = self._eof = self._finishing = False
        self._peer = self._tls_version = ""
        self._identity = f"{os.getpid():x}-m{next(_NUMBERS):x}"
        self._progress = 0
        self._delivery: Delivery | None = None
        self._envelope: Envelope | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        refusal = self._intake.admit(self)
        if refusal is not None:
            self._over = True
            self._transport.write(f"{refusal}\r\n".encode())
            self._transport.close()
            return
        peername = transport.get_extra_info("peername")
        self._peer = peername[0] if isinstance(peername, tuple) else ""
        protocol = "smtp" if self._protocol is Protocol.SMTP else "lmtp"
        self._intake.tell("connected", self._identity, self._peer, protocol)
        self._renew()
        self._task = self._loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._session.feed(data)
        self._progress += len(data)
        if self._session.receiving and self._progress >= PROGRESS_OCTETS:
            self._renew()
        if self._session.pending >= MAX_PENDING:
            self._transport.pause_reading()
        self._wake.set()

    def eof_received(self) -> bool:
        self._eof = True
        self._wake.set()
        return not self._tls_version  # what is complete is still answered; TLS can't do that

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._lost.set()
        self._wake.set()
        self._writable.set()

    # What the intake says

    def finish(self) -> None:
        self._finishing = True
        self._wake.set()

    def drop(self) -> None:
        self._over = True
        self._transport.abort()
        self._wake.set()

    # The task

    async def _serve(self) -> None:
        try:
            await self._work()
        except _Silent:
            if not self._transport.get_write_buffer_size():  # it may still read
                self._transport.write(b"421 4.4.2 timeout\r\n")
            else:
                self._transport.abort()
        except Exception:
            reference = new_queue_id()
            log.exception("connection failed (ref %s)", reference)
            self._transport.write(f"421 4.3.0 internal error (ref {reference})\r\n".encode())
        finally:
            self._over = True
            self._transport.close()
            await self._forget()
            self._intake.tell("closed", self._identity)
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._lost.wait()
            self._transport.abort()
            self._intake.discharge(self)

    async def _work(self) -> None:
        others_waited = self._loop.time()
        while not self._over:
            effect = self._session.next()
            if effect is not None:
                begun = self._loop.time()
                await self._perform(effect)
                now = self._loop.time()
                self._deadline += now - begun
                if now - others_waited > TURN_SECONDS:
                    await asyncio.sleep(0)
                    others_waited = self._loop.time()
            elif self._finishing and not self._session.receiving:
                self._session.shut(*STOPPING)
            elif self._eof:
                return
            else:
                self._wake.clear()
                self._transport.resume_reading()
                await self._until(self._wake)

    def _renew(self) -> None:
        self._progress = 0
        self._deadline = self._loop.time() + self._intake.timeout

    async def _until(self, event: asyncio.Event) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                await event.wait()
        except TimeoutError:
            raise _Silent from None

    async def _perform(self, effect: Effect) -> None:
        session, delivery = self._session, self._delivery
        match effect:
            case Send(data):
                self._transport.write(data)
                self._renew()
                if not self._writable.is_set():
                    await self._until(self._writable)
            case Find(address, octets):
                await self._find(address, octets)
            case Begin():
                self._begin(effect)
            case Write(block):
                assert delivery is not None
                await delivery.write(block)
            case Commit():
                assert delivery is not None
                assert self._envelope is not None
                outcomes = await delivery.commit()
                self._intake.tell("ended", self._envelope)
                session.committed(outcomes, self._envelope.queue_id)
                self._delivery = self._envelope = None
            case Abort():
                await self._forget()
            case Refused():
                self._refused(effect)
            case StartTls(reply):
                await self._start_tls(reply)
            case Authenticate(claim):
                session.authenticated(await self._verify(claim))
            case Close():
                self._over = True

    async def _find(self, address: str, octets: int) -> None:
        try:
            found = await self._intake.recipients.find(address)
            if isinstance(found, Account):
                found = await self._intake.refusal_for(found, octets) or found
        except Exception:
            reference = new_queue_id()
            log.exception("can't look up a recipient (ref %s)", reference)
            self._session.failed(reference)
        else:
            self._session.found(found)

    def _begin(self, effect: Begin) -> None:
        self._envelope = self._make_envelope(effect, queue_id=new_queue_id())
        self._intake.tell("begun", self._envelope)
        together = self._protocol is Protocol.SMTP
        self._delivery = self._intake.deliver(effect.recipients, self._envelope, together=together)

    def _make_envelope(self, effect: Begin | Refused, queue_id: str) -> Envelope:
        return Envelope(
            protocol=effect.protocol,
            sender=effect.sender,
            helo=effect.helo,
            peer=self._peer,
            tls=self._tls_version,
            hostname=self._intake.hostname,
            queue_id=queue_id,
            session=self._identity,
        )

    async def _forget(self) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            await delivery.abort()
            self._intake.tell("ended", self._envelope)

    def _refused(self, effect: Refused) -> None:
        envelope, self._envelope = self._envelope, None
        if envelope is None:  # no message has begun
            envelope = self._make_envelope(effect, queue_id="")
        self._intake.tell("refused", envelope, effect.recipient, str(effect.reply))

    async def _start_tls(self, reply: bytes) -> None:
        """Nothing is read between the check that nothing follows STARTTLS and the handshake."""
        assert self._tls is not None
        self._transport.pause_reading()
        if self._session.pending:
            self._session.shut(*NOT_AHEAD)
            return
        self._transport.write(reply)
        try:
            transport = await self._loop.start_tls(
                self._transport,
                self,
                self._tls,
                server_side=True,
                ssl_handshake_timeout=min(HANDSHAKE_SECONDS, self._intake.timeout),
                ssl_shutdown_timeout=CLOSE_SECONDS,
            )
            # asyncio reports a connection closed in mid-handshake as a success.
            if transport is None or transport.get_extra_info("cipher") is None:
                raise ConnectionResetError("closed during the handshake")
        except OSError as error:  # ssl.SSLError is one
            log.info("TLS handshake failed: peer=%s: %s", self._peer or "local", error)
            self._lost.set()  # asyncio won't say it
            self.drop()
            return
        self._transport = transport
        self._tls_version = transport.get_extra_info("ssl_object").version() or ""
        self._session.secured()

    async def _verify(self, claim: PasswordClaim) -> Refusal | None:
        """Only an explicit True is a yes. None for yes."""
        try:
            intake, check = self._intake, self._login_check
            if await intake.ask(check, claim.name, claim.password, self._peer) is True:
                intake.tell("logged_in", claim.name, self._peer, claim.mechanism, self._identity)
                return None
            what, refusal = "login failed", INVALID
        except HeldOff:
            what, refusal = "login held off", _HELD_OFF
        except AccountError as error:
            log.error("can't look up an account: %s", error)
            return _CANT_TELL
        except Exception:
            reference = new_queue_id()
            log.exception("a login failed by a fault of ours (ref %s)", reference)
            return Refusal(451, "4.3.0", f"internal error (ref {reference})")
        said = what, claim.name, self._peer, claim.mechanism, self._identity
        self._intake.tell("login_refused", *said)
        return refusal
