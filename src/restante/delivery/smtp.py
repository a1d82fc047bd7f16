"""SMTP: aiosmtpd's protocol with a DATA of our own, delivering into the maildrops.

    server = await loop.create_server(smtp_protocol(intake, tls=context), "127.0.0.1", 2525)

What aiosmtpd 1.4.6 does is kept, except where mail would be lost, changed or disclosed:

* Its DATA collects the message in memory and refuses lines over 1,001 octets. Ours
  streams to the storage threads, takes lines of any length, NUL and 8-bit, and holds
  one block at a time.
* Only CRLF "." CRLF ends the data; bare LF and lone CR are stored as they came.
* It tells the peer an exception's text. Ours logs it and tells a reference.
* It calls authenticators on the event loop. Ours awaits them.
* It parses addresses with the standard library's header parser, which raises on some
  hostile input. Ours is the same as LMTP's.
"""

from __future__ import annotations

import asyncio
import binascii
import inspect
import logging
import ssl
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from restante.accounts.contract import AccountError
from restante.contained import contained
from restante.delivery.deliver import Delivery, Outcome, Recipient, Trace, new_reference
from restante.delivery.intake import PROGRESS_OCTETS, Intake
from restante.delivery.recipients import Refusal, split_path
from restante.delivery.unstuffing import Unstuffing
from restante.protocol.limits import MAX_FAILED_LOGINS

try:
    from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, TLSSetupException, syntax
except ImportError as error:
    raise ImportError("SMTP needs aiosmtpd: pip install 'restante[server]'") from error

log = logging.getLogger(__name__)
access_log = logging.getLogger("restante.access")

Authenticate: TypeAlias = Callable[[str, str, str], bool | Awaitable[bool]]

_READ_ALL = 1 << 30  # the reader stops the transport at a few hundred KiB
_UNLIMITED = 1 << 62
_INVALID = "535 5.7.8 authentication credentials invalid"
_MALFORMED = "501 5.5.2 malformed credentials"


class HeldOff(Exception):
    """A login that isn't looked at, as there were too many of late."""


def smtp_protocol(
    intake: Intake,
    *,
    tls: ssl.SSLContext | None = None,
    require_tls: bool = False,
    authenticate: Authenticate | None = None,
    auth_without_tls: bool = False,
) -> Callable[[], asyncio.Protocol]:
    """A protocol factory for `loop.create_server`.

    tls: offers STARTTLS with this context; require_tls: nothing else works before it.
    authenticate: name, password and the peer's address ("" on a Unix socket) to an explicit
        True; may raise HeldOff, or AccountError when it can't be told. Offers AUTH PLAIN and
        LOGIN, after STARTTLS only unless `auth_without_tls`.
        A plain function runs on a thread. A login gives no right to relay: recipients are
        local accounts for everybody.
    """

    def factory() -> asyncio.Protocol:
        handler = _Handler(intake, authenticate)
        connection: asyncio.Protocol = SmtpConnection(
            intake,
            handler,
            data_size_limit=intake.max_octets,
            enable_SMTPUTF8=True,
            hostname=intake.hostname,
            ident="ESMTP",
            tls_context=tls,
            require_starttls=require_tls,
            timeout=intake.timeout,
            auth_require_tls=not auth_without_tls,
            auth_exclude_mechanism=() if authenticate else ("PLAIN", "LOGIN"),
            command_call_limit={"AUTH": MAX_FAILED_LOGINS, "*": _UNLIMITED},
            loop=asyncio.get_running_loop(),
        )
        return connection

    return factory


class _Envelope(Envelope):
    def __init__(self) -> None:
        super().__init__()
        self.recipients: list[Recipient] = []


class SmtpConnection(SMTP):
    """One connection."""

    def __init__(self, intake: Intake, handler: _Handler, **settings: Any) -> None:
        super().__init__(handler, **settings)
        self._intake = intake
        self._refused = self._receiving = self._finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.transport is None:
            refusal = self._intake.admit(self)
            if refusal is not None:
                self._refused = True
                cast(asyncio.Transport, transport).write(refusal)
                transport.close()
                return
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._refused else super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._intake.discharge(self)
        if not self._refused and self.transport is not None:
            super().connection_lost(error)

    def finish(self) -> None:
        self._finishing = True
        if self.transport is None or self.transport.is_closing():
            return
        if not self._receiving:
            self._writer.write(b"421 4.3.2 going down, try again later\r\n")
            self.transport.close()

    def drop(self) -> None:
        cast(asyncio.Transport, self._original_transport or self.transport).abort()

    def _timeout_cb(self) -> None:
        transport = cast(asyncio.Transport, self.transport)
        if transport.is_closing() or transport.get_write_buffer_size():
            self.drop()  # it reads nothing, so close() would wait for ever
        else:
            self._writer.write(b"421 4.4.2 timeout\r\n")
            transport.close()

    def _create_envelope(self) -> Envelope:
        return _Envelope()

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        path = split_path(arg)
        if path is None or not path[0].isprintable():
            return None, None
        return path[0] or "<>", path[1]

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str | None) -> None:
        if self._tls_protocol is not None:
            await self.push("503 5.5.1 TLS is on already")
            return
        await super().smtp_STARTTLS(arg or "")
        if self._tls_protocol is not None and (self.session is None or self.session.ssl is None):
            # asyncio reports a connection closed in mid-handshake as a success
            raise TLSSetupException("closed during the handshake")

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:
        if await self.check_helo_needed():
            return
        envelope = self.envelope
        assert isinstance(envelope, _Envelope)
        if arg:
            await self.push("501 5.5.4 DATA takes no argument")
        elif not envelope.recipients:
            await self.push("503 5.5.1 no recipients")
        else:
            self._receiving = True
            await self.push("354 end with <CRLF>.<CRLF>")
            reply = await self._receive(envelope)
            self._receiving = False
            self.envelope = self._create_envelope()
            self._reset_timeout()
            await self.push(reply)
            if self._finishing:
                self.finish()

    async def _receive(self, envelope: _Envelope) -> str:
        trace = self._trace(envelope) if self._intake.trace else None
        delivery = Delivery(self._intake.store, envelope.recipients, together=True, trace=trace)
        try:
            return await self._stream(delivery)
        except BaseException:  # also when the connection is lost, which cancels us
            # Waits, on its thread, for a write that is still going on.
            asyncio.get_running_loop().run_in_executor(self._intake.executor, delivery.abort)
            raise

    async def _stream(self, delivery: Delivery) -> str:
        """Take the message up to its end, whatever happens to it, and give the reply."""
        unstuffing = Unstuffing()
        octets = progress = 0
        while True:
            data = await self._reader.read(_READ_ALL)
            if not data:
                raise ConnectionResetError("connection lost during DATA")
            progress += len(data)
            if progress >= PROGRESS_OCTETS:
                progress = 0
                self._reset_timeout()
            block = unstuffing.feed(data)
            octets += len(block)
            if unstuffing.rest is not None:
                # All that had arrived was read, so this goes back to the front.
                self._reader.feed_data(unstuffing.rest)
            if octets > self._intake.max_octets:
                await self._intake.run(delivery.abort)
                if unstuffing.rest is not None:
                    return "552 5.3.4 message too big"
            elif unstuffing.rest is not None:
                if self._timeout_handle is not None:
                    self._timeout_handle.cancel()  # a slow disk is not the peer's fault
                return _reply(await self._intake.run(delivery.commit, block))
            elif block:
                await self._intake.run(delivery.write, block)

    def _trace(self, envelope: _Envelope) -> Trace:
        session = self.session
        assert session is not None
        protocol = "ESMTP" if session.extended_smtp else "SMTP"
        if envelope.smtp_utf8:
            protocol = "UTF8SMTP"  # RFC 6531 §4.3
        protocol += "S" if session.ssl else ""
        protocol += "A" if session.authenticated else ""
        peer = f"[{session.peer[0]}]" if isinstance(session.peer, tuple) else "local"
        sender = (envelope.mail_from or "").replace("<>", "")
        return Trace(sender, session.host_name or "", peer, self._intake.hostname, protocol)


def _reply(outcomes: list[Outcome]) -> str:
    if all(outcome.unique_id is not None for outcome in outcomes):
        return "250 2.0.0 delivered"
    references = {outcome.reference for outcome in outcomes if outcome.reference}
    return f"451 4.3.0 not delivered (ref {' '.join(sorted(references))})"


def _log_refusal(what: str, name: str, peer: str, mechanism: str) -> None:
    """The same line as of POP3, for whoever watches for them."""
    access_log.warning(
        "%s: account=%r peer=%s mechanism=SMTP-%s", what, name, peer or "unix", mechanism
    )


class _Handler:
    """aiosmtpd's hooks, by the names it looks for."""

    def __init__(self, intake: Intake, authenticate: Authenticate | None) -> None:
        self._intake = intake
        self._authenticate = authenticate

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        if self._authenticate is None:
            responses = [line for line in responses if not line.startswith("250-AUTH")]
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: _Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.recipients) >= self._intake.max_recipients:
            return "452 4.5.3 too many recipients"
        result = await self._intake.recipients.find(address)
        if isinstance(result, Refusal):
            return str(result)
        envelope.recipients.append(Recipient(address, result))
        return "250 2.1.5 recipient ok"

    async def handle_exception(self, error: Exception) -> str:
        if isinstance(error, UnicodeError):  # octets that aren't UTF-8, to be repeated to the peer
            return "501 5.5.2 bad characters"
        if isinstance(error, TLSSetupException):
            log.info("TLS handshake failed: %s", error.__cause__ or error)
            return "454 4.7.0 TLS not available"
        reference = new_reference()
        log.error("SMTP command failed (ref %s)", reference, exc_info=error)
        return f"451 4.3.0 internal error (ref {reference})"

    async def auth_PLAIN(self, server: Any, args: list[str]) -> AuthResult | None:
        answer = await self._answer(server, "", args[1:])
        if answer is None:
            return None
        authzid, nul, rest = answer.partition(b"\0")
        name, nul, password = rest.partition(b"\0")
        if not nul or b"\0" in password:
            return AuthResult(success=False, handled=False, message=_MALFORMED)
        if authzid not in (b"", name):
            return AuthResult(success=False, handled=False, message=_INVALID)
        return await self._verify(server, "PLAIN", name, password)

    async def auth_LOGIN(self, server: Any, args: list[str]) -> AuthResult | None:
        name = await self._answer(server, "Username:", args[1:])
        if name is None:
            return None
        password = await self._answer(server, "Password:", [])
        return None if password is None else await self._verify(server, "LOGIN", name, password)

    async def _answer(self, server: Any, challenge: str, initial: list[str]) -> bytes | None:
        """The client's initial response or its answer; None when the peer has been told why not."""
        if not initial:
            try:
                answer = await server.challenge_auth(challenge)
            except ValueError:  # longer than the reader takes; the rest of it is no command
                await server.push("500 5.5.6 line too long")
                server.transport.close()
                return None
            return None if answer is MISSING else answer
        try:
            # RFC 4954 §4: "=" is an initial response of no octets
            return b"" if initial[0] == "=" else b64decode(initial[0], validate=True)
        except (binascii.Error, ValueError):
            await server.push(_MALFORMED)
            return None

    async def _verify(
        self, server: Any, mechanism: str, name: bytes, password: bytes
    ) -> AuthResult:
        """Only an explicit True lets in; octets no password can hold never reach the accounts."""
        if self._authenticate is None or set(name + password) & set(b"\0\r\n"):
            return AuthResult(success=False, handled=False, message=_MALFORMED)
        try:
            texts = name.decode(), password.decode()
        except UnicodeDecodeError:
            return AuthResult(success=False, handled=False, message=_INVALID)
        peer: str = server.session.peer[0] if server.session.peer else ""
        try:
            allowed = await self._ask(*texts, peer)
        except HeldOff:
            _log_refusal("login held off", texts[0], peer, mechanism)
            message = "454 4.7.0 too many login attempts: try again later"
            return AuthResult(success=False, handled=False, message=message)
        except AccountError as error:
            log.error("can't look up an account: %s", error)
            message = "454 4.7.0 temporary authentication failure"
            return AuthResult(success=False, handled=False, message=message)
        if allowed:
            return AuthResult(success=True, handled=False, message=None)
        _log_refusal("login failed", texts[0], peer, mechanism)
        return AuthResult(success=False, handled=False, message=_INVALID)

    async def _ask(self, *claim: str) -> bool:
        authenticate = self._authenticate
        assert authenticate is not None
        with contained:
            if inspect.iscoroutinefunction(authenticate):
                return await authenticate(*claim) is True
            answer = await self._intake.run(authenticate, *claim)
            return (await answer if inspect.isawaitable(answer) else answer) is True
