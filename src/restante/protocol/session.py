"""The machine: lines come in, replies and effects come out.

A session knows no socket, file, clock or thread. Whoever drives it does this:

    session.feed(data)                      # bytes, cut anywhere
    while (line := session.take_line()) is not None:
        outcome = session.receive(line)
        while not a reply:                  # an effect
            outcome = session.resume(result of performing the effect)
        send(session.wording.encode(outcome))
    if session.closing: close

What a command does stands in its row of the table (`restante.protocol.commands`). Where it
needs something done, its action gives steps: a generator that yields effects and gets their
results, so that it reads from top to bottom.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Set
from types import GeneratorType
from typing import Any, TypeAlias

from restante.protocol.arguments import text
from restante.protocol.effects import CallHandler, Effect
from restante.protocol.errors import LineTooLong, ProtocolError
from restante.protocol.facts import Facts
from restante.protocol.http import is_http
from restante.protocol.limits import MAX_AUTH_LINE
from restante.protocol.listing import NONE, Listing, MessageNumber
from restante.protocol.mechanisms import NO_CHANNEL, Channel
from restante.protocol.policy import HeaderPolicy, Policy
from restante.protocol.replies import DEFAULT_WORDING, Continue, Err, Ok, Reply, fixed
from restante.protocol.states import State
from restante.protocol.table import Action, Command

Outcome: TypeAlias = Reply | Effect
Steps: TypeAlias = Generator[Effect | Continue, Any, Reply]

_GREETING = "Restante ready"
READY = fixed(Ok(_GREETING))

NO_COMMAND = Command("", frozenset(), exists=lambda session: False)
"""What a line that is no command was taken for."""

_NO_LISTING = Listing((), ())
NOTHING: frozenset[MessageNumber] = frozenset()
"""No message is marked as deleted."""


_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_CONTROL_BUT_TAB = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Session:
    """One client's session, from greeting to close.

    policy: what the listener allows. tls: TLS is active from the beginning.
    trusted: passwords may cross this connection without TLS (a loopback peer).
    timestamp: what the greeting shows for APOP, angle brackets included, or None.
    channel: what TLS says of the connection; whoever does a handshake sets it.
    proxy: the peer is one, and may say by XCLIENT who its client is.
    """

    __slots__ = (
        "_asked", "_scanned", "_steps", "_tls_needed", "account", "bad_commands", "buffer",
        "channel", "claimed", "closing", "command", "deleted", "failed_logins", "introduced",
        "listing", "policy", "proxy", "read_only", "secure", "state", "timestamp", "tls", "user",
        "wording",
    )  # fmt: skip

    account: Any
    claimed: str | None
    user: str | None
    command: Command
    deleted: Set[MessageNumber]
    _steps: Steps  # while an effect is performed or a response is awaited

    def __init__(
        self,
        policy: Policy,
        *,
        tls: bool = False,
        trusted: bool = False,
        timestamp: bytes | None = None,
        channel: Channel = NO_CHANNEL,
        proxy: bool = False,
    ) -> None:
        self.policy = policy
        self.tls = tls
        self.secure = tls or trusted or policy.plaintext  # a password may be sent as it is
        self._tls_needed = not tls and policy.tls == "starttls_required"
        self.timestamp = timestamp
        self.channel = channel
        self.proxy = proxy
        self.introduced = False  # the proxy has said who its client is: that is the peer now
        self.state = State.AUTHORIZATION
        self.listing = _NO_LISTING
        self.deleted = NOTHING
        self.wording = DEFAULT_WORDING
        self.closing = False  # after this reply nothing more is answered: close the connection
        self.read_only = False  # nothing may be deleted: the client gave no name (RFC 4505)
        self.buffer = bytearray()  # what has arrived and was not taken
        self._scanned = 0  # octets of it that hold no line end
        self._asked = False  # the steps wait for a line of the client's
        # claimed: the name of the last attempt to log in, which proves nothing.
        # user: that of USER, waiting for PASS. command: the last one that came.
        self.account = self.claimed = self.user = None
        self.command = NO_COMMAND
        self.bad_commands = self.failed_logins = 0

    # What others may ask

    @property
    def in_exchange(self) -> bool:
        """The next line is a response inside a SASL exchange."""
        return self._asked

    @property
    def headers(self) -> HeaderPolicy:
        """What this session gets of messages with UTF-8 in their header: see `Policy`."""
        return "as-is" if self.wording.utf8 else self.policy.utf8_headers

    @property
    def ascii_octets(self) -> Mapping[int, int]:
        """Octets of the messages whose header this session gets in ASCII, by message-number."""
        match self.headers:
            case "internationalized":
                return self.listing.internationalized
            case "downgrade":
                return self.listing.ascii_octets
        return NONE

    def downgrades(self, facts: Facts) -> bool:
        """Whether this session gets the header of a message with these facts in ASCII."""
        match self.headers:
            case "internationalized":
                return facts.internationalized
            case "downgrade":
                return facts.utf8_header
        return False

    @property
    def active_count(self) -> int:
        """Messages not marked as deleted."""
        return self.listing.count - len(self.deleted)

    @property
    def active_size(self) -> int:
        """Octets of the messages not marked as deleted."""
        listing, ascii_octets = self.listing, self.ascii_octets
        gone = sum(listing.size(number, ascii_octets) for number in self.deleted)
        return listing.total_size(ascii_octets) - gone

    def size(self, number: MessageNumber) -> int:
        """Octets of a message as this session's RETR gives it."""
        return self.listing.size(number, self.ascii_octets)

    # Bytes in

    def greeting(self) -> Reply:
        """What the server says first (RFC 1939 §4). Before LANG, so it needs no translation."""
        if self.timestamp is None and not self.proxy:
            return READY
        code = "[XCLIENT] " if self.proxy else ""
        stamp = "" if self.timestamp is None else " " + self.timestamp.decode("ascii")
        return Ok(f"{code}{_GREETING}{stamp}")

    def feed(self, data: bytes) -> None:
        """Add bytes that have arrived."""
        self.buffer += data

    def take_line(self) -> bytes | None:
        """The next line without its end, if it is there and the session would hear it.

        A line ends with LF; one CR before it belongs to the end (RFC 1939 §3 asks for CRLF,
        several clients send a bare LF). Nothing is searched twice, so a line that arrives
        octet by octet costs no more than one that arrives whole. Raises LineTooLong as soon
        as a line has too many octets, whether or not its end has arrived; `give_up` has the
        reply to that.
        """
        if self.closing:
            return None
        data = self.buffer
        end = data.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(data)
            if self._scanned > self.policy.max_line + 1:  # one more for the CR of the end
                self._check_length(self._scanned - 1)
            return None
        line = bytes(data[:end].removesuffix(b"\r"))
        if end > self.policy.max_line:
            self._check_length(len(line))
        del data[: end + 1]
        self._scanned = 0
        return line

    def take_response(self) -> bytes | None:
        """The next line while a handler's default is in a SASL exchange. Raises LineTooLong."""
        self._asked = True
        try:
            return self.take_line()
        finally:
            self._asked = False

    def _check_length(self, size: int) -> None:
        """Refuse a line that is longer than its kind may be (RFC 5034 §4)."""
        long = self._asked or self.buffer[:5].upper() == b"AUTH "
        limit = MAX_AUTH_LINE if long else self.policy.max_line
        if size > limit:
            raise LineTooLong("line of more than {limit} octets", limit=limit)

    def drop_input(self) -> None:
        """Forget what has arrived and was not taken."""
        self.buffer.clear()
        self._scanned = 0

    def give_up(self, error: LineTooLong) -> Reply:
        """The last reply to a client whose lines have no end."""
        self.command = NO_COMMAND
        self.closing = True
        return Err(error.text, values=error.values)

    # Commands

    def receive(self, line: bytes) -> Outcome:
        """Answer a line: with a reply, or with an effect to be performed first."""
        if self._asked:
            self._asked = False
            return self.resume(line)
        try:
            known = self.policy.commands.known.get(line)
            if known is None:
                act, argument = self._read(line)
            else:
                command, argument = known
                self.command = command
                if self.state not in command.states or self._tls_needed:
                    self._check_allowed(command)
                act = command.act
            outcome = act(self, argument)
        except ProtocolError as error:
            return self._bad(Err(error.text, values=error.values))
        self.bad_commands = 0
        if type(outcome) is GeneratorType:  # quicker to tell than collections.abc.Generator
            self._steps = outcome
            return self.resume(None)
        return outcome  # type: ignore[no-any-return]  # a reply

    def run(self, command: Command, argument: bytes) -> Reply | Steps:
        """What the built-in command does: a reply, or steps that end in one.

        Raises ProtocolError for a malformed argument.
        """
        outcome: Reply | Steps = command.act(self, command.read(argument))
        return outcome

    def resume(self, result: object) -> Outcome:
        """Go on with the result of the effect that was asked for."""
        try:
            outcome = self._steps.send(result)
        except StopIteration as end:
            del self._steps
            reply: Reply = end.value
            return reply
        if type(outcome) is Continue:
            self._asked = True
        return outcome

    def protected(self, *, tls: bool, trusted: bool = False) -> None:
        """Say what the client's connection is protected by, once that has changed."""
        self.tls = tls
        self.secure = tls or trusted or self.policy.plaintext
        self._tls_needed = not tls and self.policy.tls == "starttls_required"

    def forget_maildrop(self) -> None:
        """Be as before the login, which was refused in the end."""
        self.account = None
        self.listing = _NO_LISTING

    def _read(self, line: bytes) -> tuple[Action, Any]:
        """What is to be done for a line, and with which argument. Raises ProtocolError."""
        verb, _, argument = line.partition(b" ")
        self.command = command = self.policy.commands.by_verb.get(verb.upper(), NO_COMMAND)
        if command.exists is not None and not command.exists(self):
            if self.state is State.AUTHORIZATION and is_http(line):
                self.closing = True  # a browser was sent here, and what follows isn't its user's
                raise ProtocolError("this is not an HTTP server")
            if not verb:
                raise ProtocolError("empty command")
            raise ProtocolError("unknown command")
        if (_CONTROL_BUT_TAB if command.tab else _CONTROL).search(line):
            raise ProtocolError("control characters are not allowed")
        if self.state not in command.states or self._tls_needed:
            self._check_allowed(command)
        if command.handler is not None:
            return _call_handler, CallHandler(command, text(argument))
        found = command.read(argument)
        if command.repeated:
            self.policy.commands.remember(line, command, found)
        return command.act, found

    def _check_allowed(self, command: Command) -> None:
        if self._tls_needed and not command.before_tls:
            raise ProtocolError("TLS needed first: send STLS")
        if self.state not in command.states:
            if self.state is State.AUTHORIZATION:
                raise ProtocolError("log in first")
            raise ProtocolError("already logged in")

    def _bad(self, reply: Err) -> Reply:
        self.bad_commands += 1
        if self.bad_commands >= self.policy.max_bad_commands:
            self.closing = True
            return Err("too many bad commands")
        return reply


def _call_handler(session: Session, effect: CallHandler) -> Steps:
    reply: Reply = yield effect
    return reply
