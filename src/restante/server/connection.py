"""One connection: bytes between a transport and a session, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from restante.contained import contained
from restante.guard.admission import Admission
from restante.protocol.effects import Effect, StartTls
from restante.protocol.errors import LineTooLong, Pop3Error
from restante.protocol.limits import MAX_PENDING_INPUT
from restante.protocol.redaction import safe_line
from restante.protocol.replies import Body, Continue, Err, Ok, Prepared, Reply, Silent
from restante.protocol.session import Outcome, Session
from restante.protocol.states import State
from restante.server.at_once import LATER
from restante.server.client import ClientSession
from restante.server.listen.proxied import Proxied
from restante.server.outgoing import FLUSH_AT, Outgoing
from restante.server.peer import Peer
from restante.server.perform import Performer
from restante.server.sending import encoded_whole, send_body
from restante.server.timeouts import Patience, Verdict
from restante.server.tls.settings import upgrade
from restante.server.transcript import first_line

if TYPE_CHECKING:
    from restante.server.listen.listener import Listener
    from restante.server.server import Pop3Server

log = logging.getLogger("restante.server")

LINGER_SECONDS = 2.0
"""How long a peer that is being refused may go on sending before the connection is cut."""

MAX_LINGER = 16 * 1024 * 1024
"""Octets such a peer may send meanwhile; they are thrown away."""

STRANGER_SECONDS = 30.0
"""How long a peer may be silent before login while places are short: some attack is going on."""


class Connection(asyncio.Protocol):
    """Drives one `Session` from a transport.

    Commands that need nothing done are answered within `data_received`, all replies of
    one read in one write. Everything else runs in one task, during which lines wait.
    """

    __slots__ = (
        "_arrived",
        "_client",
        "_close_wanted",
        "_counted_in",
        "_eof",
        "_gone",
        "_greeted",
        "_lingering",
        "_number",
        "_out",
        "_patience",
        "_peer",
        "_performer",
        "_proxied",
        "_reading",
        "_task",
        "_transport",
        "address",
        "admission",
        "listener",
        "lost",
        "server",
        "session",
        "since",
    )  # fmt: skip

    def __init__(
        self,
        server: Pop3Server,
        listener: Listener,
        proxied: Proxied | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.server = server
        self.listener = listener
        self._proxied = proxied
        self._counted_in = admission
        self.lost = False
        self.session: Session
        self.admission: Admission
        self.address: tuple[str, int]
        """Where the client is: host, empty for a Unix socket, and port."""
        self._client: ClientSession | None = None
        self._number = 0
        self._peer: Peer
        self._performer: Performer
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None
        self._out: Outgoing
        self._arrived: asyncio.Future[None] | None = None
        self._gone: asyncio.Event | None = None  # somebody waits for the peer to leave
        self._reading = True
        self._greeted = False
        self._lingering = -1  # octets thrown away so far, once the peer has been refused
        self._close_wanted = False
        self._eof = False
        self._patience = Patience(server.settings.idle_timeout, server.settings.stall_timeout)

    @property
    def id(self) -> str:
        """The connection's name in the logs."""
        return self.server.numbering.name(self._number)

    @property
    def client(self) -> ClientSession:
        """What handlers see of the connection."""
        if self._client is None:
            self._client = ClientSession(self, self.session)
        return self._client

    # Transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._out = Outgoing(self._transport)
        self._peer = peer = Peer(self._transport, self._proxied)
        policy = self.listener.policy
        self.session = Session(
            policy,
            tls=peer.tls,
            trusted=peer.trusted,
            timestamp=self.server.numbering.timestamp() if policy.offers_apop() else None,
            proxy=self.listener.hears_xclient(peer.address[0]),
        )
        if peer.tls:
            self.session.channel = self.server.channel_of(peer)
        self.address = peer.address
        self._number = self.server.numbering.next()
        self.since = time.time()
        self.admission = self._counted_in or Admission(self.server.guard, peer.address[0])
        self._performer = Performer(self)
        self._set_limit()
        refusal = self.server.admit(self)
        if refusal is not None:
            self._turn_away(refusal)
        elif self.server.events.heard("accept_connection"):
            self._start(self._welcome())
        else:
            self._greet()

    def data_received(self, data: bytes) -> None:
        if self._lingering >= 0:
            self._lingering += len(data)
            if self._lingering > MAX_LINGER:
                self._transport.abort()
            return
        waiting = self.session.buffer
        waiting += data
        if self._arrived is not None:
            self._wake()
        if self._task is None and self._greeted:
            self._pump()
        if len(waiting) > MAX_PENDING_INPUT or not self._reading:
            self._pace_reading()

    def eof_received(self) -> bool:
        # A client that has said everything may still be reading its replies.
        self._eof = True
        self._wake()
        if self._task is None and self._greeted:
            self._pump()
        return self._transport.get_extra_info("ssl_object") is None

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def pause_writing(self) -> None:
        self._out.writable = False

    def resume_writing(self) -> None:
        self._out.resume()
        if self._task is None and self._greeted and self._lingering < 0:
            self._pump()
            self._pace_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        self._out.resume()
        if self._gone is not None:
            self._gone.set()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_exception(ConnectionResetError("client has left"))
        if self._task is None and self._may_go_quietly():
            self.server.forget(self)
            self._let_go()
        else:
            self.server.spawn(self._bury())

    def _may_go_quietly(self) -> bool:
        """Nothing is left to be done, but perhaps to give back a lease in place."""
        if self.session.deleted or self.server.events.heard("close_connection"):
            return False
        return self._performer.give_back_at_once()

    def _let_go(self) -> None:
        """Drop what refers back here, so that it needn't be found by the garbage collector."""
        if self._lingering < 0:
            self._client = None
            del self._performer

    async def _bury(self) -> None:
        """After the end: let the work in hand stop, give the lease back, tell who listens."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._performer.give_back()
        self.server.forget(self)
        await self.server.events.tell("close_connection", self.client)

    # The beginning

    async def _welcome(self) -> None:
        try:
            answers = await self.server.events.ask("accept_connection", self.client)
        except Pop3Error as error:
            self._turn_away(Err(error.text, error.code))
            return
        except Exception as error:
            self._turn_away(await self._performer.failure(error))
            return
        if any(answer is False for answer in answers):
            self._turn_away(Err("connection refused"))
        else:
            self._greet()

    def _greet(self) -> None:
        self._greeted = True
        self._reply(self.session.greeting())
        self._out.flush()

    def _turn_away(self, refusal: Reply) -> None:
        """Close without a greeting. At once: those turned away may be many."""
        self.session.closing = True
        self._reply(refusal)
        self._close()

    # Lines in, replies out

    def _pump(self) -> None:
        """Answer the lines that are there, until one needs something done."""
        session = self.session
        waiting = session.buffer
        watched = self.server.events.watches_commands
        try:
            # For as long as the client takes its replies, and nobody wants an end.
            while (
                waiting
                and self._out.writable
                and not self._close_wanted
                and (line := session.take_line()) is not None
            ):
                self._patience.renewed = True
                if watched:
                    self._start(self._answer_watched(line))
                    return
                outcome = self._receive(line)
                if isinstance(outcome, Effect):
                    outcome = self._perform_at_once(outcome)
                if isinstance(outcome, Effect) or not self._reply(outcome):
                    self._start(self._answer(outcome))
                    return
                if waiting and not self._out.replies:
                    self._start(asyncio.sleep(0))  # enough was written: others have their turn
                    return
        except LineTooLong as error:
            self._reply(session.give_up(error))
            self._performer.give_back_at_once()  # before the client hears of the end
            self._out.flush()
            self._linger()
            return
        self._out.flush()
        if session.closing and waiting:
            self._linger()
        elif session.closing or self._close_wanted or (self._eof and self._out.writable):
            self._close()

    def _perform_at_once(self, outcome: Outcome) -> Outcome:
        """Go on until there is a reply, or an effect that needs time."""
        while isinstance(outcome, Effect):
            if isinstance(outcome, StartTls):
                # At once: whatever arrives from here on belongs to the handshake.
                self._transport.pause_reading()
                return outcome
            result = self.server.at_once.perform(self._performer, outcome)
            if result is LATER:
                return outcome
            outcome = self.session.resume(result)
        return outcome

    def _receive(self, line: bytes) -> Outcome:
        """Hand a line to the session, and to the debug log if it is wanted there."""
        if self.server.transcript.active:
            self.server.transcript.received(self.client, self._safe(line))
        return self.session.receive(line)

    def _safe(self, line: bytes) -> str:
        commands = self.session.policy.commands
        return safe_line(line, commands, in_exchange=self.session.in_exchange)

    def _reply(self, reply: Reply) -> bool:
        """Put a reply among the bytes to go; False for a body that must be streamed."""
        wording, octets = self.session.wording, 0
        pieces: Sequence[bytes | memoryview]
        if isinstance(reply, Body):
            body = encoded_whole(reply, 2 * self.server.batch_size)
            if body is None:
                return False
            pieces = [wording.encode(reply), *body]
            octets = len(reply.content.source)
        elif isinstance(reply, Prepared):
            pieces, octets = wording.pieces(reply), len(reply.block)
        else:
            pieces = [wording.encode(reply)]
        if self.server.transcript.active and pieces[0]:
            self.server.transcript.sent(self.client, first_line(bytes(pieces[0]), reply))
        self._out.add(pieces, octets + len(pieces[0]))
        return True

    def _pace_reading(self) -> None:
        """Read ahead of the work in hand, but not without bound."""
        wanted = len(self.session.buffer) <= MAX_PENDING_INPUT and not self.lost
        if wanted != self._reading and not self._transport.is_closing():
            self._reading = wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    # Work that takes time

    def _start(self, work: Any) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work(work))
        self.server.give_way()

    async def _work(self, work: Any) -> None:
        try:
            with contained:
                await work
        except Exception as error:
            # Nothing sensible can be sent any more: half a message may be on the wire.
            if not (isinstance(error, ConnectionError) and self._has_left):
                await self.server.events.report(error, self.client, f"in session {self.id}")
            self._transport.abort()
        finally:
            self._task = None
            self._patience.renewed = True
        if self.lost or not self._greeted or self._lingering >= 0 or self._transport.is_closing():
            return
        self._pump()
        self._pace_reading()

    async def _answer_watched(self, line: bytes) -> None:
        await self.server.events.tell("receive_command", self.client, self._safe(line))
        await self._answer(self._receive(line))

    async def _answer(self, outcome: Outcome) -> None:
        """Perform effects until there is a reply, and send that."""
        while isinstance(outcome, Effect):
            outcome = self.session.resume(await self.perform(outcome))
        await self._send(outcome)

    async def perform(self, effect: Effect) -> object:
        """Perform an effect; a failure becomes the `Err` that the peer is told."""
        if isinstance(effect, StartTls):
            await self._start_tls()
            return None
        try:
            with contained:
                return await self._performer.perform(effect)
        except Exception as error:
            if isinstance(error, ConnectionError) and self._has_left:
                raise
            return await self._performer.failure(error)

    async def ask_peer(self, challenge: Continue) -> bytes:
        """Send a challenge and wait for the response, for a handler's `default`."""
        await self._send(challenge)
        self._out.flush()
        try:
            line = await self._next_response()
        except LineTooLong as error:
            self.session.give_up(error)
            raise
        shown = safe_line(line, self.session.policy.commands, in_exchange=True)
        if self.server.transcript.active:
            self.server.transcript.received(self.client, shown)
        await self.server.events.tell("receive_command", self.client, shown)
        return line

    async def _next_response(self) -> bytes:
        while (line := self.session.take_response()) is None:
            if self._eof:
                raise ConnectionResetError("client has left")
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        return line

    async def _send(self, reply: Reply) -> None:
        if isinstance(reply, Silent):
            return
        if self.server.events.heard("send_response"):
            status = self.session.wording.encode(reply)
            await self.server.events.tell("send_response", self.client, first_line(status, reply))
        if self._reply(reply):
            return
        assert isinstance(reply, Body)
        status = self.session.wording.encode(reply)
        if self.server.transcript.active:
            self.server.transcript.sent(self.client, first_line(status, reply))
        self._out.add([status], len(status))
        self._out.flush()
        await send_body(
            reply, self._out, self.server.batch_size, self.server.calls.store, self.server.at_once
        )

    async def _start_tls(self) -> None:
        context = self.server.tls_context()
        self._transport.pause_reading()
        self._reply(Ok("begin TLS"))
        self._out.flush()
        timeout = self.server.settings.handshake_timeout
        transport = await upgrade(self._transport, self, context, timeout)
        if transport is None:
            # The transport has been taken from us, so nobody else tells us of its end.
            self._transport.abort()
            self.connection_lost(None)
            raise ConnectionResetError("no TLS, no session")
        self._transport = self._out.transport = transport
        self._peer.upgraded(transport)
        self.session.channel = self.server.channel_of(self._peer)
        self._set_limit()

    def _set_limit(self) -> None:
        """Let one block of a message wait to be sent."""
        if self.server.batch_size > FLUSH_AT:
            self._transport.set_write_buffer_limits(high=self.server.batch_size)

    # The end

    async def stays(self, seconds: float) -> bool:
        """Wait so long, but no longer than the peer does. Whether it is still there."""
        self._gone = asyncio.Event()
        if not self.lost:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), seconds)
        self._gone = None
        return not self.lost

    def request_close(self) -> None:
        """End the connection after the reply in hand. From any thread."""
        self.server.call_soon(self._request_close)

    def _request_close(self) -> None:
        self._close_wanted = True
        if self._task is None and not self.lost:
            self._close()

    def _close(self) -> None:
        self._out.flush()
        self._close_transport()

    def _close_transport(self) -> None:
        # Closed a second time, asyncio's TLS transport fails whenever it is asked something.
        if not self._transport.is_closing():
            self._transport.close()

    def _linger(self) -> None:
        """Close so that the last reply arrives: a close with unread input would destroy it."""
        self._lingering = 0
        self.session.drop_input()
        self.server.spawn(self._performer.give_back())  # the next session may begin
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close_transport)

    def abort(self) -> None:
        """Cut the connection now."""
        self._transport.abort()

    def check_time(self, now: float, *, crowded: bool = False) -> None:
        """Close if the peer has been silent, or has not read, for too long.

        RFC 1939 §3: an autologout sends nothing and removes nothing.
        crowded: others wait for the places of those who don't log in.
        """
        stranger = crowded and self.session.state is State.AUTHORIZATION
        verdict = self._patience.check(
            now,
            unsent=self._transport.get_write_buffer_size(),
            written=self._out.written,
            blocked=not self._out.writable,
            waiting=self._waits_for_peer,
            idle=STRANGER_SECONDS if stranger else None,
        )
        if verdict is None:
            return
        log.info("session %s: closed, %s", self.id, verdict.value)
        if verdict is Verdict.STALLED:
            self._transport.abort()
        else:
            self._close_transport()

    @property
    def _has_left(self) -> bool:
        """The peer says no more, or nothing can be said to it."""
        return self.lost or self._eof or self._transport.is_closing()

    @property
    def _waits_for_peer(self) -> bool:
        """It is the peer's turn: no work is in hand, or that work has asked it something."""
        return self._task is None or (self._arrived is not None and not self._arrived.done())

    def peer_certificate(self) -> dict[str, Any] | None:
        """The client's verified certificate, if it gave one."""
        return None if self.session.introduced else self._peer.certificate()
