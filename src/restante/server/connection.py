"""One connection: bytes between a transport and a session."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from restante.calls import go_on
from restante.guard.admission import Admission
from restante.protocol.effects import Effect
from restante.protocol.errors import LineTooLong, Pop3Error
from restante.protocol.limits import MAX_PENDING_INPUT
from restante.protocol.mechanisms import NO_CHANNEL
from restante.protocol.redaction import safe_line
from restante.protocol.replies import (
    DEFAULT_WORDING,
    Body,
    Continue,
    Err,
    Ok,
    Prepared,
    Reply,
    Silent,
)
from restante.protocol.session import NO_COMMAND, Outcome, Session
from restante.protocol.states import State
from restante.server.client import ClientSession
from restante.server.context import Context
from restante.server.listen.listener import Listener
from restante.server.listen.proxied import Proxied
from restante.server.listen.xclient import parse_xclient, speaks_in_clear
from restante.server.notes import Notes
from restante.server.peer import Peer, peer_of
from restante.server.perform import Performer
from restante.server.sending import encoded_whole, send_body
from restante.server.tls.settings import upgrade
from restante.server.transport.transport import SocketTransport

log = logging.getLogger("restante.server")

FLUSH_AT = 256 * 1024
"""Octets of replies gathered for one write. Others have their turn after each."""

MAX_JOINED = 1024 * 1024
"""Octets of replies that are copied to be written as one."""

LINGER_SECONDS = 2.0
"""How long a client that is being refused may go on sending before the connection is cut."""

MAX_LINGER = 16 * 1024 * 1024
"""Octets such a client may send meanwhile; they are thrown away."""

STRANGER_SECONDS = 30.0
"""How long a client may be silent before login while few such connections may still come in, as
under an attack."""


class Connection(asyncio.Protocol):
    """Drives one `Session` from a transport, and its effects by a `Performer`.

    What needs no waiting is answered within `data_received`, all replies of one read in one
    write. As soon as something waits, a task goes on with it, and further lines wait for that.

    admission: what the guard has counted for a client that it let in before the TLS handshake.
    """

    __slots__ = (
        "_admission", "_answers", "_arrived", "_blocked", "_close_wanted", "_context", "_eof",
        "_gathered", "_gone", "_greeted", "_lingering", "_listener", "_peer", "_performer",
        "_progress", "_proxied", "_reading", "_ready", "_renewed", "_replies", "_since", "_task",
        "_transport", "_written", "client", "lost", "session",
    )  # fmt: skip

    session: Session
    client: ClientSession
    _peer: Peer
    _performer: Performer
    _transport: asyncio.Transport
    _since: float  # how long the client has been silent, or has taken nothing
    _progress: tuple[int, int]  # by then

    def __init__(
        self,
        context: Context,
        listener: Listener,
        proxied: Proxied | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._context = context
        self._listener = listener
        self._proxied = proxied
        self._admission = admission
        self.lost = False
        self._task: asyncio.Task[None] | None = None
        self._arrived: asyncio.Future[None] | None = None  # work waits for the client's line
        self._gone: asyncio.Event | None = None  # set when the client left, or its time is up
        self._answers = False  # see `_look_again`
        self._greeted = False
        self._lingering = -1  # octets thrown away so far, once the client has been refused
        self._close_wanted = False
        self._eof = False
        self._reading = True
        # What is to be sent.
        self._replies: list[bytes | memoryview] = []
        self._gathered = 0  # their octets
        self._written = 0  # octets of messages
        self._blocked = False  # the client doesn't take what it is sent
        self._ready: asyncio.Future[None] | None = None  # work waits for that to end
        self._renewed = True  # a command came, or work has ended, since the last look

    # Transport's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        context, listener = self._context, self._listener
        self._transport = transport
        self._peer = peer = peer_of(transport, self._proxied)
        address = peer.address[0]
        policy = listener.policy
        self.session = session = Session(
            policy,
            tls=peer.tls,
            trusted=peer.trusted,
            timestamp=context.numbering.timestamp() if policy.offers_apop() else None,
            proxy=listener.xclient and listener.hears_xclient(address),
        )
        if peer.tls:
            session.channel = context.channel_of(peer)
        identity = context.numbering.identity()
        self.client = ClientSession(identity, time.time(), peer, session, self.request_close)
        admission = self._admission or Admission(context.guard, context.login_delay, address)
        self._performer = performer = Performer(context, session, self.client, peer, self)
        performer.admission = admission
        if context.settings.batch_size > FLUSH_AT:
            self._set_limit()
        refusal = context.live.admit(self)
        if refusal is None and not session.proxy:
            refusal = admission.arrive()
        if refusal is not None:
            self._turn_away(refusal)
        elif context.hooks.accept_connection:
            self._begin(self._ask_then_greet())
        else:
            self._greet()

    def data_received(self, data: bytes) -> None:
        """Answer the lines that are there, until something waits.

        data: what has come; empty, to go on with what came before.
        """
        if not self._answers:
            self._keep(data)
            return
        session, context = self.session, self._context
        waiting = session.buffer
        waiting += data
        watched = context.observers.lines or context.hooks.each_command
        try:
            while (line := session.take_line()) is not None:
                self._renewed = True
                if watched:
                    ended = self._begin(self._answer_watched(line))
                elif isinstance(outcome := session.receive(line), Effect):
                    ended = self._begin(self._answer(outcome))
                else:
                    ended = self._reply(outcome)  # it is: a body comes of an effect
                if not ended:
                    return
                if not waiting or not self._answers:
                    break
                if not self._replies:
                    self._begin(asyncio.sleep(0))  # `FLUSH_AT` was written: others have their turn
                    return
        except LineTooLong as error:
            self._note_end("line too long")
            refusal = session.give_up(error)
            self._tell_reply(refusal)
            self._reply(refusal)
            self._linger()
            return
        if self._replies:
            self._flush()
        if session.closing:
            self._end()

    def _keep(self, data: bytes) -> None:
        """Keep what has come while no line is answered, but not without bound."""
        if self._lingering >= 0:
            self._lingering += len(data)
            if self._lingering > MAX_LINGER:
                self._transport.abort()
            return
        self.session.buffer += data
        self._wake()
        self._pace_reading()

    def eof_received(self) -> bool:
        # A client that has said everything may still be reading its replies.
        self._eof = True
        self._wake()
        self._go_on()
        return self._transport.get_extra_info("ssl_object") is None

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def pause_writing(self) -> None:
        self._blocked = True
        self._look_again()

    def resume_writing(self) -> None:
        self._unblock()
        self._go_on()

    def _unblock(self) -> None:
        self._blocked = False
        self._look_again()
        ready, self._ready = self._ready, None
        if ready is not None and not ready.done():
            ready.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        if not self.client.ended:
            self.client.ended = "client left"
        if self._task is not None:
            self._end_waiting()
        self._context.live.begin(self._bury(self._task))

    def _end_waiting(self) -> None:
        """The client has left: the work in hand waits for it no longer."""
        self._unblock()
        if self._gone is not None:
            self._gone.set()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_exception(ConnectionResetError("client has left"))

    async def _bury(self, task: asyncio.Task[None] | None) -> None:
        """After the end: let the work in hand stop, release the lease, tell who listens."""
        context, client = self._context, self.client
        if task is not None:
            await asyncio.wait([task])
        if self._performer.maildrop is not None:
            await self._give_back()
        context.live.forget(self)
        self._performer.admission.leave()
        if self._greeted:
            if (tell := context.observers.noted) is not None:
                notes = client.notes or Notes()
                notes.last = True
                tell(client, notes)
            if (tell := context.observers.closed) is not None:
                tell(client)
        if context.hooks.close_connection:
            await context.hooks.tell("close_connection", client)
        if self._lingering < 0:
            # What refers back here would have to be found by the garbage collector.
            client.detach()
            del self._performer

    async def _give_back(self) -> None:
        """Close a maildrop that is still open: messages that are marked stay."""
        if self._performer.maildrop is not None and (discarded := len(self.session.deleted)):
            log.info("session %s: %d deletions discarded, no QUIT", self.client.id, discarded)
        await self._performer.release()

    def _note_end(self, how: str) -> None:
        """Note how the connection ends, unless that is known already."""
        if not self.client.ended:
            self.client.ended = how

    # The beginning

    async def _ask_then_greet(self) -> None:
        try:
            await self._context.hooks.ask("accept_connection", self.client)
        except Pop3Error as error:
            self._turn_away(Err(error.text, error.code))
        except Exception as error:
            self._turn_away(await self._performer.failure(error))
        else:
            self._greet()

    def _greet(self) -> None:
        self._greeted = True
        self._answers = self._task is None  # its end looks again
        observers, greeting = self._context.observers, self.session.greeting()
        if (tell := observers.connected) is not None:
            tell(self.client)
        if observers.reply is not None:
            self._tell_reply(greeting)
        self._reply(greeting)
        if observers.noted is not None:
            self.client.notes = Notes()

    def _turn_away(self, refusal: Reply) -> None:
        """Close without a greeting. At once: those turned away may be many."""
        self._note_end("turned away")
        if (tell := self._context.observers.turned_away) is not None:
            tell(self.client, self._status(refusal))
        self.session.closing = True
        self._tell_reply(refusal)
        self._reply(refusal)
        self._close()

    # Lines in, replies out

    def _look_again(self) -> None:
        """Find out anew whether lines are answered as they come.

        They are once the client was greeted, while nothing waits and nobody wants an end.
        """
        self._answers = (
            self._greeted
            and self._task is None
            and not self._blocked
            and not self._close_wanted
            and self._lingering < 0
        )

    def _end(self) -> None:
        """Close after the session's last reply."""
        session, policy = self.session, self.session.policy
        if not self.client.ended:
            given_up = (
                session.failed_logins >= policy.max_failed_logins
                or session.bad_commands >= policy.max_bad_commands
            )
            self.client.ended = "too many errors" if given_up else "QUIT"
        if session.buffer:  # the client has said more
            self._linger()
        else:
            self._close_transport()

    def _begin(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do work in place as far as it needn't wait; a task does the rest. True if it ended."""
        try:
            waits_for = work.send(None)
        except StopIteration:
            return True
        except Exception as error:
            self._start(self._fail(error))
        else:
            self._start(go_on(work, waits_for))
        return False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work(work))
        self._answers = False
        self._context.live.give_way()

    async def _work(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            await self._fail(error)
        except BaseException:
            self._transport.abort()
            raise
        finally:
            self._task = None
            self._look_again()
            self._renewed = True
        # Not from here: what is begun next would find this task to be the current one, and it
        # ends now.
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Answer the lines that have come while something waited."""
        if self._task is not None or self.lost or self._lingering >= 0:
            return
        if self._transport.is_closing():
            return
        if self._answers:
            self.data_received(b"")
            self._pace_reading()
        elif self.session.closing:
            self._flush()
            self._end()
        if self._close_wanted or (self._eof and self._answers):
            self._close()

    async def _fail(self, error: Exception) -> None:
        """Nothing sensible can be sent any more: half a message may be on the wire."""
        if not (isinstance(error, ConnectionError) and self.has_left):
            self._note_end("error")
            await self._context.hooks.report(error, self.client, f"in session {self.client.id}")
        self._transport.abort()

    async def _answer_watched(self, line: bytes) -> None:
        context = self._context
        safe = self._safe(line)
        if (tell := context.observers.line) is not None:
            tell(self.client, safe)
        try:
            await context.hooks.ask_each("receive_command", self.client, safe)
        except Pop3Error as error:
            if self.session.in_exchange:
                line = b"*"  # RFC 5034 §4: cancels it
            else:
                self.session.command = NO_COMMAND  # it was refused before it was read
                await self._answer(Err(error.text, error.code))
                return
        await self._answer(self.session.receive(line))

    async def _answer(self, outcome: Outcome) -> None:
        """Perform effects until there is a reply, and send that."""
        while isinstance(outcome, Effect):
            outcome = self.session.resume(await self._performer.perform(outcome))
        context = self._context
        if context.hooks.send_response and type(outcome) is not Silent:
            await context.hooks.tell("send_response", self.client, self._status(outcome))
        if context.observers.reply is not None:
            self._tell_reply(outcome)
        if not self._reply(outcome):
            await self._stream(outcome)

    def _safe(self, line: bytes) -> str:
        commands = self.session.policy.commands
        return safe_line(line, commands, in_exchange=self.session.in_exchange)

    def _status(self, reply: Reply) -> str:
        """A reply as logs show it: its status line, without what a challenge says."""
        if isinstance(reply, Continue):
            return "+ ****" if reply.data else "+"
        status = self.session.wording.encode(reply)
        return status.split(b"\r\n", 1)[0].decode("utf-8", "replace")

    def _reply(self, reply: Reply) -> bool:
        """Put a reply among the octets to go; False for a body that must be streamed."""
        wording = self.session.wording
        wire = reply.wire
        if wire is None or wording is not DEFAULT_WORDING:
            if type(reply) is Ok or type(reply) is Err:
                wire = wording.status(reply)
            elif type(reply) is Body or type(reply) is Prepared or type(reply) is Continue:
                return self._long_reply(reply)
            elif not (wire := wording.encode(reply)):
                return True
        if self.client.notes is not None:
            answers = self.client.notes.answers
            answers += (self.session.command.verb, reply.ok, len(wire))
        if self._replies or self.session.buffer:  # there are other lines to be answered
            self._replies.append(wire)
            self._gathered += len(wire)
            if self._gathered >= FLUSH_AT:
                self._flush()
        else:
            self._transport.write(wire)
        return True

    def _long_reply(self, reply: Body | Prepared | Continue) -> bool:
        context, wording = self._context, self.session.wording
        pieces: list[bytes | memoryview]
        if isinstance(reply, Body):
            body = encoded_whole(reply, 2 * context.settings.batch_size)
            if body is None:
                return False
            pieces = [wording.status(reply), *body]
            octets, listed = len(reply.content.source), 0
            self._sent(reply, octets)
        elif isinstance(reply, Prepared):
            pieces = [*wording.pieces(reply)]
            octets = listed = len(reply.block)
        else:
            pieces, octets, listed = [wording.encode(reply)], 0, 0
        octets += (first := len(pieces[0]))
        if self.client.notes is not None and type(reply) is not Continue:
            answers = self.client.notes.answers
            answers += (self.session.command.verb, True, first + listed)
            if type(reply) is Body:
                self._note_message(reply)
        if not self._replies and octets < FLUSH_AT and not self.session.buffer:
            self._transport.write(b"".join(pieces))
            return True
        self._replies += pieces
        self._gathered += octets
        if self._gathered >= FLUSH_AT:
            self._flush()
        return True

    async def _stream(self, reply: Reply) -> None:
        assert isinstance(reply, Body)
        status = self.session.wording.encode(reply)
        if self.client.notes is not None:
            answers = self.client.notes.answers
            answers += (self.session.command.verb, True, len(status))
        self._replies.append(status)
        self._flush()
        context = self._context
        octets = await send_body(
            reply, self, context.settings.batch_size, context.call_blocking, context.call_quick
        )
        self._sent(reply, octets)
        self._note_message(reply)

    def _tell_reply(self, reply: Reply) -> None:
        """Tell observers of a reply, just before it goes."""
        if (tell := self._context.observers.reply) is not None and type(reply) is not Silent:
            tell(self.client, self._status(reply))

    def _tell_noted_so_far(self) -> None:
        """Tell observers of a session that goes on, and note it from now on if it wasn't."""
        notes = self.client.notes
        if notes is not None and (notes.answers or notes.messages or notes.steps):
            tell = self._context.observers.noted
            self.client.notes = None if tell is None else Notes()
            if tell is not None:
                tell(self.client, notes)
        elif notes is None and self._greeted and self._context.observers.noted is not None:
            self.client.notes = Notes()

    def _note_message(self, body: Body) -> None:
        if self.client.notes is not None:
            messages = self.client.notes.messages
            messages += (self._performer.fetched, body.top_lines)

    def _sent(self, body: Body, octets: int) -> None:
        """Count a message that was sent."""
        self.client.retrieved += 1
        self.client.octets += octets
        if (tell := self._context.observers.sent) is not None:
            tell(self.client, self._performer.fetched, body.top_lines)

    # What is to be sent

    def _flush(self) -> None:
        """Write what has been gathered."""
        replies, octets = self._replies, self._gathered
        if not replies:
            return
        self._replies, self._gathered = [], 0
        if len(replies) == 1:
            self._transport.write(replies[0])
        elif octets <= MAX_JOINED:
            # To have the system gather the pieces (writev) costs as much, and more for short ones.
            self._transport.write(b"".join(replies))
        else:
            for piece in replies:
                self._transport.write(piece)

    def write(self, data: bytes) -> None:
        """Send a block of a message. Raises ConnectionResetError when nobody takes it."""
        self._check_open()
        self._transport.write(data)
        self._written += len(data)

    def send_file(self, fd: int, at: int, count: int) -> bool:
        """Send a part of a file as it lies; False where that isn't possible."""
        self._check_open()
        if not isinstance(self._transport, SocketTransport):
            return False
        taken = self._transport.send_file(fd, at, count)
        self._written += count if taken else 0
        return taken

    def _check_open(self) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("client has left")

    async def ready(self) -> None:
        """Wait until the client has taken enough for more to be written."""
        if self._blocked:
            self._ready = asyncio.get_running_loop().create_future()
            await self._ready

    def _set_limit(self) -> None:
        """Let the transport take a whole block of a message before it says `pause_writing`."""
        if self._context.settings.batch_size > FLUSH_AT:
            self._transport.set_write_buffer_limits(high=self._context.settings.batch_size)

    def _pace_reading(self) -> None:
        """Read ahead of the work in hand, but not without bound."""
        wanted = len(self.session.buffer) <= MAX_PENDING_INPUT and not self.lost
        if wanted != self._reading and not self._transport.is_closing():
            self._reading = wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    # What performing needs; see `restante.server.perform.Wire`

    @property
    def has_left(self) -> bool:
        """The client says no more, or nothing can be said to it."""
        return self.lost or self._eof or self._transport.is_closing()

    async def ask_client(self, challenge: Continue) -> bytes:
        """Send a challenge and wait for the response, for a handler's `default`."""
        await self._answer(challenge)
        self._flush()
        try:
            line = await self._next_response()
        except LineTooLong as error:
            self.session.give_up(error)
            raise
        safe = safe_line(line, self.session.policy.commands, in_exchange=True)
        if (tell := self._context.observers.line) is not None:
            tell(self.client, safe)
        await self._context.hooks.ask_each("receive_command", self.client, safe)
        return line

    async def _next_response(self) -> bytes:
        while (line := self.session.take_response()) is None:
            if self._eof:
                raise ConnectionResetError("client has left")
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        return line

    async def stays(self, seconds: float) -> bool:
        """Wait so many seconds, or until the client leaves. True if it is still there."""
        self._gone = over = asyncio.Event()
        # No `asyncio.wait_for`: from Python 3.12 on it works within tasks only, and this may have
        # been begun in place.
        timer = asyncio.get_running_loop().call_later(seconds, over.set)
        try:
            if not self.lost:
                await over.wait()
        finally:
            timer.cancel()
            self._gone = None
        return not self.lost

    async def start_tls(self) -> None:
        """Do the handshake of STLS. Raises ConnectionResetError when it fails."""
        context = self._context
        assert context.tls is not None
        # At once: whatever arrives from here on belongs to the handshake.
        self._transport.pause_reading()
        reply = Ok("begin TLS")
        self._tell_reply(reply)
        self._reply(reply)
        self._flush()
        transport = await upgrade(
            self._transport,
            self,
            context.tls.context,
            context.settings.handshake_timeout,
            self._peer.address[0],
        )
        if transport is None:
            # The transport has been taken from us, so nobody else tells us of its end.
            self._note_end("TLS failed")
            self._transport.abort()
            self.connection_lost(None)
            raise ConnectionResetError("no TLS, no session")
        self._transport = transport
        self._peer.inside_tls(transport.get_extra_info("ssl_object"))
        self.session.channel = context.channel_of(self._peer)
        self._set_limit()
        if (tell := context.observers.secured) is not None:
            tell(self.client)

    def introduce(self, attributes: str) -> Err | None:
        """Take a proxy's word, given by XCLIENT, for who its client is; or why not."""
        try:
            said = parse_xclient(attributes)
        except ValueError as error:
            return Err(str(error))
        session, context, peer = self.session, self._context, self._peer
        log.info(
            "session %s: %s speaks for %s port %s, session %s",
            self.client.id, peer.address[0], said.host, said.port, said.session,
        )  # fmt: skip
        # Without TLS between the two, a network has seen what the client sends.
        trusted = session.secure and not session.tls and not speaks_in_clear(said)
        session.protected(tls=session.tls or said.tls is True, trusted=trusted)
        session.channel = NO_CHANNEL  # our TLS is with the proxy, as is its certificate
        if said.host is None:
            return None
        self._performer.admission.leave()
        peer.address = said.host, said.port or 0
        admission = Admission(context.guard, context.login_delay, said.host)
        self._performer.admission = admission
        refusal = admission.arrive()
        session.closing = refusal is not None
        return refusal

    # The end

    def runs(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether `task` is at work for this connection, or for one of its handlers."""
        return task is not None and task is self._task

    def request_close(self) -> None:
        """End the connection after the reply in hand. From any thread."""
        self._context.call_soon(self._request_close)

    def _request_close(self) -> None:
        self._close_wanted = True
        self._look_again()
        self._note_end("closed by the server")
        if self._task is None and not self.lost:
            self._close()

    def _close(self) -> None:
        self._flush()
        self._close_transport()

    def _close_transport(self) -> None:
        # Closed a second time, asyncio's TLS transport fails whenever it is asked something.
        if not self._transport.is_closing():
            self._transport.close()

    def _linger(self) -> None:
        """Close so that the last reply arrives: a close with unread input would destroy it."""
        self._lingering = 0
        self._look_again()
        self.session.drop_input()
        self._context.live.begin(self._give_back())  # before the client hears of the end
        self._flush()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close_transport)

    def abort(self) -> None:
        """Cut the connection now."""
        self._note_end("closed by the server")
        self._transport.abort()

    # Time limits

    def check_time(self, now: float, *, crowded: bool = False) -> None:
        """Close if the client has been silent, or has not read, for too long.

        RFC 1939 §3: an autologout sends nothing and removes nothing. A reply that is being
        taken, however slowly, is no silence.

        now: by `time.monotonic`. crowded: places for connections before login are running out.
        """
        if self._performer.must_renew:
            self._context.live.spawn(self._performer.renew())
        self._tell_noted_so_far()
        settings = self._context.settings
        unsent = self._transport.get_write_buffer_size()
        progress = (unsent, self._written)
        if self._renewed or progress != self._progress:
            self._renewed = False
            self._progress = progress
            self._since = now
            return
        silent = now - self._since
        if unsent or self._blocked:
            if silent > settings.stall_timeout:
                self._time_out("the client does not read")
                self._transport.abort()
            return
        stranger = crowded and self.session.state is State.AUTHORIZATION
        limit = min(STRANGER_SECONDS, settings.idle_timeout) if stranger else settings.idle_timeout
        if silent > limit and self._waits_for_client:
            self._time_out("idle")
            self._close_transport()

    def _time_out(self, why: str) -> None:
        self._note_end(why)
        log.info("session %s: closed, %s", self.client.id, why)

    @property
    def _waits_for_client(self) -> bool:
        """It is the client's turn: no work is in hand, or that work has asked it something."""
        return self._task is None or (self._arrived is not None and not self._arrived.done())
