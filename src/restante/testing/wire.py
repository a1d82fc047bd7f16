"""Every connection of a server as a wire that can be tapped, and that can fail.

A `Wire` is the server's own transport with two things more. Taps are told the octets that cross
it, inside TLS. A `Control` may change what is sent in reply to each command, and how: octet by
octet, late, half, or not at all. POP3 itself stays the server's: a wire only finds out where
one reply ends and the next begins.

    wiring = wiring_of(server)          # before the server is started
    wiring.taps.append(MyTap())
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from restante.protocol.errors import Pop3Error
from restante.server.client import ClientSession
from restante.server.observer import Observer
from restante.server.server import Pop3Server
from restante.server.transport.readiness import READ, Readiness
from restante.server.transport.transport import HIGH, Done, SocketTransport
from restante.testing.old_tls import OldTls, only
from restante.testing.shaping import (
    Act,
    Close,
    HalfClose,
    Hang,
    Hold,
    Mark,
    Part,
    Reset,
    Shaper,
    Wait,
    shaped,
)

GREETING = "greeting"
"""What stands in a command's place for the first reply, which no command asks for."""

UNKNOWN = "unknown"
"""What stands in a command's place for all that the server doesn't know, an empty line too."""


@dataclass(slots=True, eq=False)
class Occasion:
    """One command, or the greeting, whose reply is due.

    verb: in upper case, or `GREETING`, or `UNKNOWN`. A response inside of a SASL exchange counts
        as AUTH. argument: as logs show it, secrets as `****`; "" for an unknown command.
    session: None for as long as the connection has none.
    number: how many of this verb there were before in this connection, this one included.
    shapers: applied to the reply, one after the other.
    refusal: for a control that handles the hook `receive_command`: what the client is told in
        place of having its command obeyed.
    work: for the same: called and awaited before the command is obeyed.
    """

    wire: Wire
    verb: str
    argument: str
    number: int
    shapers: list[Shaper] = field(default_factory=list)
    refusal: Pop3Error | None = None
    work: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def refuse(self, text: str = "refused", code: str | None = None) -> None:
        """Have the command not obeyed. What is said first holds."""
        self.refusal = self.refusal or Pop3Error(text, code)

    @property
    def session(self) -> ClientSession | None:
        """The session, once there is one."""
        return self.wire.session

    def has_lines(self, status: bytes) -> bool:
        """Whether a reply that begins so is a multi-line one."""
        if not status.startswith(b"+OK"):
            return False
        if self.verb in ("LIST", "UIDL", "LANG", "AUTH"):
            return not self.argument
        return self.verb in ("RETR", "TOP", "CAPA")


class Tap:
    """Base of those who are told what crosses a server's wires, inside TLS. All methods are
    called in place, on the event loop; see `Wire.session` for whose octets they are."""

    def received(self, wire: Wire, data: bytes) -> None:
        """The client has sent these octets."""

    def sent(self, wire: Wire, data: bytes) -> None:
        """The client is sent these octets, after everything that has become of them."""

    def replied(self, wire: Wire, occasion: Occasion, itself: bool) -> None:
        """A multi-line reply has left, down to its terminator.

        itself: whether it is the server's reply, however changed, and no other in its place.
        """

    def handshake_failed(self, wire: Wire, error: OSError) -> None:
        """TLS from the first octet has failed, so that there never was a session."""

    def ended(self, wire: Wire) -> None:
        """The connection has ended."""


class Control:
    """Base of what decides how a server's wires fail. This one lets them work."""

    def accepted(self, wire: Wire) -> None:
        """A connection was accepted, and nothing was sent yet, not even for TLS."""

    def handshake(self, wire: Wire) -> None:
        """A TLS handshake is about to begin. May set `Wire.cuts_handshake`."""

    def begun(self, occasion: Occasion) -> None:
        """A command is about to be obeyed, or the greeting to be sent: add its shapers."""

    def arrived(self, wire: Wire, data: bytes) -> bytes:
        """The client has sent octets: those that the server gets instead."""
        return data


TERMINATOR = b".\r\n"
ENDING = b"\r\n" + TERMINATOR


class Framer:
    """Finds in a server's octets where each reply begins and ends."""

    def __init__(self) -> None:
        self.due: deque[Occasion] = deque()
        """The occasions of the replies that are still to come, in order."""
        self._current: Occasion | None = None
        self._inside = False  # of a multi-line reply, after its first line
        self._fresh = True  # nothing of the present line has been given
        self._rest = b""  # octets that don't show yet what they are

    def feed(self, data: bytes) -> Iterator[tuple[Occasion | None, Part, bytes]]:
        """Take the next octets, cut anywhere; give the parts of replies as they are known."""
        data = self._rest + data
        self._rest = b""
        while data:
            if not self._inside:
                line, newline, data = data.partition(b"\n")
                if not newline:
                    self._rest = line
                    return
                self._current = self.due.popleft() if self.due else None
                yield self._current, "head", line + newline
                self._inside = self._current is not None and self._current.has_lines(line)
                self._fresh = True
                if not self._inside:
                    yield self._current, "end", b""
            elif self._fresh and data.startswith(TERMINATOR):
                self._inside, data = False, data[len(TERMINATOR) :]
                yield self._current, "end", TERMINATOR
            elif self._fresh and TERMINATOR.startswith(data):
                self._rest = data
                return
            elif (end := data.find(ENDING)) >= 0:
                self._fresh = True
                yield self._current, "body", data[: end + 2]
                data = data[end + 2 :]
            else:
                kept = next(n for n in (4, 3, 2, 1, 0) if data.endswith(ENDING[:n]))
                block, self._rest = data[: len(data) - kept], data[len(data) - kept :]
                if block:
                    self._fresh = False
                    yield self._current, "body", block
                return


class Wire(SocketTransport):
    """One connection's transport; see the module.

    cuts_handshake: how a TLS handshake is ended when the client has begun it; octets: by these,
        in the clear, and a close. None: it isn't.
    secured: called when a handshake has come to its end, and the protocol knows it.
    closes_politely: whether the end of TLS is announced (close_notify).
    speaks: of TLS, all that it speaks; None: what the server does.
    context: of its TLS, once a handshake is about to begin.
    refuses: why it is reset before anything is sent; nothing: it isn't.
    number: how many connections there were before on this server, this one included.
    """

    def __init__(
        self,
        wiring: Wiring,
        readiness: Readiness,
        connected: socket.socket,
        peer: tuple[str, int],
    ) -> None:
        super().__init__(readiness, connected, peer)
        self.cuts_handshake: Reset | Close | bytes | None = None
        self.secured: Callable[[], None] | None = None
        self.closes_politely = True
        self.speaks: OldTls | None = None
        self.context: ssl.SSLContext | None = None
        self.refuses = ""
        wiring.connections += 1
        self.number = wiring.connections
        self.last: Occasion | None = None
        """The command that came last, or the greeting."""
        self.data: dict[str, Any] = {}
        """For the use of taps and controls."""
        self._wiring = wiring
        self._between: _Between | None = None
        self._framer = Framer()
        self._counts: dict[str, int] = {}
        self._verb = UNKNOWN
        self._acts: deque[Act] = deque()
        self._queued = 0  # their octets
        self._timer_of_acts: asyncio.TimerHandle | None = None
        self._held: list[tuple[Hold, asyncio.TimerHandle]] = []
        self._silent = False  # nothing more is sent
        self._ends_when_sent = False
        self._later: tuple[ssl.SSLContext, float, Done] | None = None
        if wiring.control is not None:
            wiring.control.accepted(self)

    @property
    def session(self) -> ClientSession | None:
        """Whose connection it is; None until there is a session."""
        if self._between is None:
            return None
        return getattr(self._between.protocol, "client", None)

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self._lost

    @property
    def encrypted(self) -> bool:
        """Whether what crosses it is inside TLS."""
        return self._tls is not None and self._handshake is None

    @property
    def due(self) -> int:
        """How many commands are without a reply."""
        return len(self._framer.due)

    def begin(self, protocol: asyncio.Protocol) -> None:
        self._between = _Between(self, protocol)
        self._wiring.begins(self)
        try:
            if self.refuses:
                self._silent = True
            else:
                self.expect(GREETING, "")
            super().begin(self._between)
            if self.refuses:
                self._note_end(self.refuses)
                self.reset()
        finally:
            self._wiring.begun(self)

    # What is due

    def expect(self, verb: str, argument: str) -> Occasion:
        """A command is about to be obeyed: its reply is the next one that isn't spoken for."""
        number = self._counts[verb] = self._counts.get(verb, 0) + 1
        occasion = Occasion(self, verb, argument, number)
        if self._wiring.control is not None:
            self._wiring.control.begun(occasion)
        self._framer.due.append(occasion)
        self.last = occasion
        return occasion

    def expect_line(self, line: str) -> Occasion:
        """The same for a line as logs show it."""
        if not line.startswith(("*", "(")):
            self._verb, _, argument = line.partition(" ")
            return self.expect(self._verb, argument)
        if line.startswith("("):
            self._verb = UNKNOWN
        return self.expect(self._verb, "" if self._verb == UNKNOWN else line)

    # What the protocol sends

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._silent or self._lost:
            return
        untouched: list[bytes] = []  # what nobody changes goes out as the server writes it
        ended: list[Occasion] = []  # replies in there
        for occasion, part, octets in self._framer.feed(bytes(data)):
            held = list(self._held)
            shapers = occasion.shapers if occasion is not None else ()
            whole = part == "end" and octets and occasion
            if not shapers and not held:
                untouched.append(octets)
                if whole:
                    ended.append(whole)
                continue
            if untouched:
                self._put_untouched(untouched, ended)
            self.put(shaped(shapers, part, octets) if shapers else [octets])
            if whole and not self._silent and not self._lost:
                self.put([Mark(partial(self._replied, whole))])
            if part == "end":
                for each in held:
                    self._release(*each)
            if self._silent:
                return
        if untouched:
            self._put_untouched(untouched, ended)

    def _put_untouched(self, untouched: list[bytes], ended: list[Occasion]) -> None:
        self.put([b"".join(untouched), *(Mark(partial(self._replied, each)) for each in ended)])
        untouched.clear()
        ended.clear()

    def _replied(self, occasion: Occasion) -> None:
        itself = not any(each.replaces for each in occasion.shapers)
        for tap in self._wiring.taps:
            tap.replied(self, occasion, itself)

    def put(self, acts: Iterable[Act]) -> None:
        """Do these steps after those that wait."""
        for act in acts:
            if isinstance(act, Hold):
                self._hold(act)
            elif act != b"":
                self._acts.append(act)
                self._queued += len(act) if isinstance(act, bytes) else 0
        self._run()
        if self._queued > HIGH and self._between is not None:
            self._between.pause("wire")

    def _run(self) -> None:
        while self._acts and self._timer_of_acts is None:
            act = self._acts.popleft()
            if isinstance(act, bytes):
                self._send(act)
            elif isinstance(act, Wait):
                loop = asyncio.get_running_loop()
                self._timer_of_acts = loop.call_later(act.seconds, self._go_on, act.gather)
            elif isinstance(act, Mark):
                act.reached()
            else:
                self._end(act)
                return
        if not self._acts and self._timer_of_acts is None:
            self._all_sent()
        if 4 * self._queued <= HIGH and self._between is not None:
            self._between.resume("wire")

    def _send(self, data: bytes) -> None:
        self._queued -= len(data)
        for tap in self._wiring.taps:
            tap.sent(self, data)
        super().write(data)

    def _go_on(self, gather: bool) -> None:
        self._timer_of_acts = None
        if gather:
            together = []
            marks = []
            while self._acts and isinstance(self._acts[0], bytes | Wait | Mark):
                act = self._acts.popleft()
                if isinstance(act, bytes):
                    together.append(act)
                elif isinstance(act, Mark):
                    marks.append(act)
            self._send(b"".join(together))
            for mark in marks:
                mark.reached()
        self._run()

    def _all_sent(self) -> None:
        if self._later is not None:
            later, self._later = self._later, None
            self._begin_tls(*later)
        elif self._ends_when_sent and not self._held:
            super().close()

    def _hold(self, hold: Hold) -> None:
        loop = asyncio.get_running_loop()
        self._held.append((hold, loop.call_later(hold.seconds, self._alone, hold)))

    def _release(self, hold: Hold, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        if (hold, timer) in self._held:
            self._held.remove((hold, timer))
            self.put([hold.data])

    def _alone(self, hold: Hold) -> None:
        self._held = [each for each in self._held if each[0] is not hold]
        if hold.alone is not None:
            hold.alone()
        self.put([hold.data])

    # Ends

    def _end(self, act: Reset | Close | HalfClose | Hang | Hold) -> None:
        self._silent = True
        self._stop_acts()
        if isinstance(act, Reset | Close):
            self._note_end(act.why)
        if isinstance(act, Reset):
            self.reset()
        elif isinstance(act, Close):
            self.closes_politely = self.closes_politely and act.politely
            super().close()
        elif isinstance(act, HalfClose):
            self._half_close()

    def _note_end(self, why: str) -> None:
        """Say how the session has ended, as the server takes it for the client's doing."""
        session = self.session
        if session is not None and not session.ended:
            session.ended = why

    def _half_close(self) -> None:
        with suppress(OSError):
            if self._tls is not None and self._handshake is None:
                socket.socket.send(self._tls, _close_notify(self._tls))
            # The method of the class of TLS sockets would end reading, too.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def _stop_acts(self) -> None:
        self._acts.clear()
        self._queued = 0
        if self._timer_of_acts is not None:
            self._timer_of_acts.cancel()
            self._timer_of_acts = None
        for _, timer in self._held:
            timer.cancel()
        self._held.clear()

    def reset(self) -> None:
        """Cut the connection now, by an RST."""
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if self._handshake is not None:
            self._shaken(ConnectionResetError("the handshake was cut"))
        else:
            self.abort()

    def hang(self) -> None:
        """Send nothing from now on."""
        self._end(Hang())

    @property
    def _is_busy(self) -> bool:
        return bool(self._acts or self._timer_of_acts is not None or self._held)

    def close(self) -> None:
        self._ends_when_sent = True
        if not self._is_busy and not self._silent:
            super().close()

    def abort(self) -> None:
        self._stop_acts()
        super().abort()

    def client_left(self) -> None:
        """The client has ended its side of a connection in which nothing more is sent."""
        if self._silent and not self._lost:
            self.abort()

    def is_closing(self) -> bool:
        return self._closing or self._ends_when_sent

    def write_eof(self) -> None:
        if not self._silent:
            super().write_eof()

    def get_write_buffer_size(self) -> int:
        return self._unsent + self._queued

    def send_file(self, fd: int, at: int, count: int) -> bool:
        return False

    def _finish(self) -> None:
        if self.closes_politely or self._lost or self._tls is None:
            super()._finish()
            return
        self._forget()
        self._tell_lost(None)

    def _tell_lost(self, error: OSError | None) -> None:
        self._stop_acts()
        super()._tell_lost(error)
        self._wiring.ended(self)

    def _drop(self) -> None:
        super()._drop()
        self._wiring.ended(self)

    # TLS

    def start_tls(self, context: ssl.SSLContext, seconds: float, done: Done) -> None:
        if self._is_busy:
            self._later = context, seconds, done
        else:
            self._begin_tls(context, seconds, done)

    def _begin_tls(self, context: ssl.SSLContext, seconds: float, done: Done) -> None:
        self.context = context
        if self._wiring.control is not None:
            self._wiring.control.handshake(self)
        at_once = self._between is None  # else a session has begun, and sees its end itself
        super().start_tls(context, seconds, partial(self._first, done) if at_once else done)
        if self.refuses:
            self.reset()

    def _first(self, done: Done, error: OSError | None) -> None:
        if error is not None:
            for tap in self._wiring.taps:
                tap.handshake_failed(self, error)
        done(error)

    def ready(self, events: int) -> None:
        if self._handshake is not None and self.cuts_handshake is not None and events & READ:
            if isinstance(self.cuts_handshake, Reset):
                self.reset()
            elif isinstance(self.cuts_handshake, bytes):
                with suppress(OSError):
                    self._socket.send(self.cuts_handshake)
                self._shaken(ConnectionAbortedError("the handshake was answered in the clear"))
            else:
                self._shaken(ConnectionAbortedError("the handshake was cut"))
            return
        super().ready(events)

    def _shake(self) -> None:
        if self.speaks is None or self._handshake is None:
            super()._shake()
            return
        with only(self.speaks, self._handshake[0]):
            super()._shake()

    def _shaken(self, error: OSError | None) -> None:
        super()._shaken(error)
        if error is None and self.secured is not None and not self._lost:
            self.secured()

    # What the client sends

    def obey(self, data: bytes) -> None:
        """Have the server take octets as if the client had just sent them."""
        if data and self._between is not None and not self._lost:
            self._between.protocol.data_received(data)

    def arrived(self, data: bytes) -> bytes:
        """Tell the taps; give what the protocol gets."""
        for tap in self._wiring.taps:
            tap.received(self, data)
        control = self._wiring.control
        return data if control is None else control.arrived(self, data)


def _close_notify(tls: ssl.SSLSocket) -> bytes:
    """The record that says so (RFC 8446 §6.1).

    `unwrap` sends it and then looks for the client's: whatever else has come would end the
    connection. So it finds another socket in place of its own, from which nothing comes.
    """
    fd, own = tls.fileno(), os.dup(tls.fileno())
    sent, instead = socket.socketpair()
    with sent, instead:
        instead.setblocking(False)
        os.dup2(instead.fileno(), fd, inheritable=False)
        try:
            with suppress(ssl.SSLWantReadError):
                tls.unwrap()
        finally:
            os.dup2(own, fd, inheritable=False)
            os.close(own)
        return sent.recv(1000)


class _Between(asyncio.Protocol):
    """Stands between a wire and the server's protocol, and sees what arrives."""

    def __init__(self, wire: Wire, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self._wire = wire
        self._pauses: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if data := self._wire.arrived(data):
            self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        stays = self.protocol.eof_received()
        self._wire.client_left()
        return stays

    def pause_writing(self) -> None:
        self.pause("socket")

    def resume_writing(self) -> None:
        self.resume("socket")

    def pause(self, who: str) -> None:
        """The protocol is to write no more, until `resume` by everybody who has said so."""
        if not self._pauses:
            self.protocol.pause_writing()
        self._pauses.add(who)

    def resume(self, who: str) -> None:
        """It may write again, as far as this one is concerned."""
        if who in self._pauses:
            self._pauses.discard(who)
            if not self._pauses:
                self.protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.protocol.connection_lost(error)


class Wiring:
    """All wires of one server.

    taps: told what crosses them. control: decides how they fail; None: they work. connections:
    how many there were so far.
    """

    def __init__(self, server: Pop3Server) -> None:
        self.taps: list[Tap] = []
        self.control: Control | None = None
        self.wires: set[Wire] = set()
        self.connections = 0
        self._by_session: dict[str, Wire] = {}
        self._beginning: Wire | None = None
        server.make_transport = partial(Wire, self)
        server.observe(_Lines(self))

    def wire_of(self, session: ClientSession) -> Wire | None:
        """The wire of a session; None when its connection has ended."""
        wire = self._by_session.get(session.id)
        if wire is None and self._beginning is not None and self._beginning.session is session:
            return self._beginning
        return wire

    # Wires' calls

    def begins(self, wire: Wire) -> None:
        """A wire has got a protocol, which has no session yet."""
        self.wires.add(wire)
        self._beginning = wire

    def begun(self, wire: Wire) -> None:
        """It has one now."""
        self._beginning = None
        if wire.session is not None and not wire.is_lost:
            self._by_session[wire.session.id] = wire

    def ended(self, wire: Wire) -> None:
        """Its connection has ended."""
        self.wires.discard(wire)
        if wire.session is not None:
            self._by_session.pop(wire.session.id, None)
        for tap in self.taps:
            tap.ended(wire)


class _Lines(Observer):
    """Tells wires which replies are due."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def line(self, session: ClientSession, line: str) -> None:
        if (wire := self._wiring.wire_of(session)) is not None:
            wire.expect_line(line)


def wiring_of(server: Pop3Server) -> Wiring:
    """The wiring of a server, the same each time. Raises RuntimeError once the server runs."""
    made = server.make_transport
    if isinstance(made, partial) and made.func is Wire:
        wiring: Wiring = made.args[0]
        return wiring
    if server.addresses:
        raise RuntimeError("the server runs: its wires must be tapped before it is started")
    return Wiring(server)
