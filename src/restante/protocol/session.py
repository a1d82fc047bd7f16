"""The machine: lines come in, replies and effects come out.

A session knows no socket, file, clock or thread. Whoever drives it does this:

    session.feed(data)                      # bytes, cut anywhere
    while (line := session.take_line()) is not None:
        outcome = session.receive(line)
        while not a reply:                  # an effect
            outcome = session.resume(result of performing the effect)
        send(session.wording.encode(outcome))
    if session.closing: close

A command that needs something done is a generator: it yields effects and gets their
results, so each command reads from top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import GeneratorType
from typing import Any, TypeAlias

from restante.protocol import authorization, negotiation, transaction
from restante.protocol.commands import (
    Command,
    CommandSpec,
    check_octets,
    read_command,
    split,
    text_of,
)
from restante.protocol.effects import (
    CallHandler,
    Effect,
)
from restante.protocol.errors import LineTooLong, ProtocolError
from restante.protocol.limits import MAX_AUTH_LINE
from restante.protocol.lines import LineBuffer
from restante.protocol.listing import Listing, MessageNumber
from restante.protocol.mechanisms import NO_CHANNEL, Channel
from restante.protocol.policy import Policy
from restante.protocol.replies import (
    Continue,
    Err,
    Ok,
    Reply,
    Wording,
)
from restante.protocol.states import BEFORE_TLS, State

Outcome: TypeAlias = Reply | Effect
Steps: TypeAlias = Generator[Effect | Continue, Any, Reply]

EMPTY = Listing((), ())

LONGER = {b"AUTH ": MAX_AUTH_LINE}


class Session:
    """One client's session, from greeting to close.

    policy: what the listener allows. tls: TLS is active from the beginning.
    trusted: passwords may cross this connection without TLS (a loopback peer).
    timestamp: what the greeting shows for APOP, angle brackets included, or None.
    channel: what TLS says of the connection; whoever does a handshake sets it.
    proxy: the peer is one, and may say by XCLIENT who its client is.
    """

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
        self.trusted = trusted
        self.timestamp = timestamp
        self.channel = channel
        self.proxy = proxy
        self.introduced = False
        """The proxy has said who its client is: from now on the peer is that client."""
        self.state = State.AUTHORIZATION
        self.account: Any = None
        self.read_only = False
        """Nothing may be deleted: whoever it is gave no name (RFC 4505)."""
        self.listing = EMPTY
        self.deleted: set[MessageNumber] = set()
        self.wording = Wording()
        self.closing = False
        """After the reply in hand, nothing more is answered and the connection is closed."""
        self.lines = LineBuffer()
        self._steps: Steps | None = None
        self._asked = False  # the steps wait for a line of the peer's
        self.user: str | None = None  # USER's, waiting for PASS
        self.claimed: str | None = None
        """The name that the peer last tried to log in with. It proves nothing."""
        self.bad_commands = 0
        self.failed_logins = 0

    # What others may ask

    @property
    def secure(self) -> bool:
        """A password may be sent as it is."""
        return self.tls or self.trusted or self.policy.plaintext

    @property
    def in_exchange(self) -> bool:
        """The next line is a response inside a SASL exchange."""
        return self._asked

    @property
    def full_headers(self) -> bool:
        """Messages are given with UTF-8 headers as they are."""
        return self.wording.utf8 or self.policy.utf8_headers != "downgrade"

    @property
    def active_count(self) -> int:
        """Messages not marked as deleted."""
        return len(self.listing) - len(self.deleted)

    @property
    def active_size(self) -> int:
        """Octets of the messages not marked as deleted."""
        if not self.deleted:
            return self.listing.total_size(self.full_headers)
        gone = sum(self.size(number) for number in self.deleted)
        return self.listing.total_size(self.full_headers) - gone

    def size(self, number: MessageNumber) -> int:
        """Octets of a message as this session's RETR gives it."""
        return self.listing.size(number, self.full_headers)

    # Bytes in

    def greeting(self) -> Reply:
        """What the server says first (RFC 1939 §4)."""
        stamp = "" if self.timestamp is None else " " + self.timestamp.decode("ascii")
        code = "[XCLIENT] " if self.proxy else ""
        return Ok("{code}Restante ready{stamp}", {"code": code, "stamp": stamp})

    def feed(self, data: bytes) -> None:
        """Add bytes that have arrived."""
        self.lines.feed(data)

    def take_line(self) -> bytes | None:
        """The next line, if it is there and the session would hear it.

        Raises LineTooLong; `give_up` has the reply to that.
        """
        if self.closing:
            return None
        if self._asked:
            return self.lines.take(MAX_AUTH_LINE)
        return self.lines.take(self.policy.max_line, LONGER)

    def take_response(self) -> bytes | None:
        """The next line while a handler's default is in a SASL exchange. Raises LineTooLong."""
        return self.lines.take(MAX_AUTH_LINE)

    def give_up(self, error: LineTooLong) -> Reply:
        """The last reply to a peer whose lines have no end."""
        self.closing = True
        return Err(error.text, values=error.values)

    def receive(self, line: bytes) -> Outcome:
        """Answer a line: with a reply, or with an effect to be performed first."""
        if self._asked:
            self._asked = False
            return self.resume(line)
        known = self.policy.commands.remembered(line)
        if known is None:
            return self._read(line)
        spec, command = known
        if self.state in spec.states and self.policy.tls != "starttls_required":
            return self._act(spec, command)
        refusal = self._refuse(spec)
        return self._act(spec, command) if refusal is None else self._bad(refusal)

    def _read(self, line: bytes) -> Outcome:
        """Answer a line that wasn't read before."""
        commands = self.policy.commands
        verb, argument = split(line)
        spec = commands.lookup(verb)
        if spec is None or (spec.kind == "XCLIENT" and not self._hears_xclient()):
            return self._bad(Err("unknown command") if verb else Err("empty command"))
        try:
            check_octets(line)
            refusal = self._refuse(spec)
            if refusal is not None:
                return self._bad(refusal)
            if spec.handler is not None:
                self.bad_commands = 0
                return self._begin(self._handled(spec, text_of(argument)))
            if spec.kind is None:
                return Err("command has no default")
            command = read_command(spec.kind, argument)
            commands.remember(line, spec, command)
            return self._act(spec, command)
        except ProtocolError as error:
            return self._bad(Err(error.text, values=error.values))

    def _act(self, spec: CommandSpec, command: Command) -> Outcome:
        assert spec.kind is not None
        outcome = ACTIONS[spec.kind](self, command)
        self.bad_commands = 0
        if type(outcome) is GeneratorType:  # quicker to tell than collections.abc.Generator
            return self._begin(outcome)
        return outcome  # type: ignore[return-value]  # a reply

    def run(self, spec: CommandSpec, argument: bytes) -> Reply | Steps:
        """What the built-in command does: a reply, or steps that end in one.

        Raises ProtocolError for a malformed argument.
        """
        if spec.kind is None:
            return Err("command has no default")
        return ACTIONS[spec.kind](self, read_command(spec.kind, argument))

    def resume(self, result: object) -> Outcome:
        """Go on with the result of the effect that was asked for."""
        assert self._steps is not None, "no effect is being performed"
        try:
            outcome = self._steps.send(result)
        except StopIteration as end:
            self._steps = None
            reply: Reply = end.value
            return reply
        if isinstance(outcome, Continue):
            self._asked = True
        return outcome

    def forget_maildrop(self) -> None:
        """Be as before the login, which was refused after all."""
        self.account = None
        self.listing = EMPTY

    def _begin(self, steps: Steps) -> Outcome:
        self._steps = steps
        return self.resume(None)

    def _hears_xclient(self) -> bool:
        return self.proxy and not self.introduced and self.claimed is None

    def _handled(self, spec: CommandSpec, argument: str) -> Steps:
        reply: Reply = yield CallHandler(spec, argument)
        return reply

    def _refuse(self, spec: CommandSpec) -> Err | None:
        if self.policy.tls == "starttls_required" and not self.tls and spec.kind not in BEFORE_TLS:
            return Err("TLS needed first: send STLS")
        if self.state not in spec.states:
            return self._wrong_state()
        return None

    def _wrong_state(self) -> Err:
        if self.state is State.AUTHORIZATION:
            return Err("log in first")
        return Err("already logged in")

    def _bad(self, reply: Err) -> Reply:
        self.bad_commands += 1
        if self.bad_commands >= self.policy.max_bad_commands:
            self.closing = True
            return Err("too many bad commands")
        return reply


Action: TypeAlias = Callable[[Session, Any], Reply | Steps]

ACTIONS: dict[str, Action] = {
    "USER": authorization.user,
    "PASS": authorization.pass_,
    "APOP": authorization.apop,
    "AUTH": authorization.auth,
    "CAPA": negotiation.capa,
    "STLS": negotiation.stls,
    "XCLIENT": negotiation.xclient,
    "LANG": negotiation.lang,
    "UTF8": negotiation.utf8,
    "STAT": transaction.stat,
    "LIST": transaction.list_,
    "UIDL": transaction.uidl,
    "RETR": transaction.retr,
    "TOP": transaction.top,
    "DELE": transaction.dele,
    "NOOP": transaction.noop,
    "RSET": transaction.rset,
    "QUIT": transaction.quit_,
}
