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
from typing import Any, TypeAlias

from restante.protocol.capabilities import capabilities
from restante.protocol.claims import ApopClaim, Claim, PasswordClaim
from restante.protocol.commands import (
    Apop,
    Auth,
    Command,
    CommandSpec,
    Dele,
    Lang,
    List,
    Pass,
    Retr,
    Top,
    Uidl,
    User,
    check_octets,
    read_command,
    split,
    text_of,
)
from restante.protocol.effects import (
    Authenticate,
    CallHandler,
    Commit,
    Delete,
    Effect,
    Fetch,
    OpenMaildrop,
    Reset,
    StartTls,
)
from restante.protocol.errors import LineTooLong, ProtocolError
from restante.protocol.languages import DEFAULT_LANGUAGE, LANGUAGES, find_language
from restante.protocol.limits import MAX_AUTH_LINE
from restante.protocol.lines import LineBuffer
from restante.protocol.listing import Listing, MessageNumber
from restante.protocol.policy import Policy
from restante.protocol.replies import (
    Body,
    Continue,
    Err,
    MultiLine,
    Ok,
    Prepared,
    Reply,
    Silent,
    Wording,
)
from restante.protocol.responses import decode_response
from restante.protocol.states import BEFORE_TLS, State

Outcome: TypeAlias = Reply | Effect
Steps: TypeAlias = Generator[Effect | Continue, Any, Reply]

NO_SUCH_MESSAGE = Err("no such message")
EMPTY = Listing((), ())


class Session:
    """One client's session, from greeting to close.

    policy: what the listener allows. tls: TLS is active from the beginning.
    trusted: passwords may cross this connection without TLS (a loopback peer).
    timestamp: what the greeting shows for APOP, angle brackets included, or None.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        tls: bool = False,
        trusted: bool = False,
        timestamp: bytes | None = None,
    ) -> None:
        self.policy = policy
        self.tls = tls
        self.trusted = trusted
        self.timestamp = timestamp
        self.state = State.AUTHORIZATION
        self.account: Any = None
        self.listing = EMPTY
        self.deleted: set[MessageNumber] = set()
        self.wording = Wording()
        self.closing = False
        """After the reply in hand, nothing more is answered and the connection is closed."""
        self.lines = LineBuffer()
        self._steps: Steps | None = None
        self._asked = False  # the steps wait for a line of the peer's
        self._user: str | None = None
        self._bad_commands = 0
        self._failed_logins = 0
        self._deleted_octets = 0

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
        return Ok("Restante ready{stamp}", {"stamp": stamp})

    def feed(self, data: bytes) -> None:
        """Add bytes that have arrived."""
        self.lines.feed(data)

    def take_line(self) -> bytes | None:
        """The next line, if it is there and the session would hear it.

        Raises LineTooLong; `give_up` has the reply to that.
        """
        if self.closing:
            return None
        if self._asked or self.lines.starts_with(b"AUTH "):
            return self.lines.take(MAX_AUTH_LINE)
        return self.lines.take(self.policy.max_line)

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
        verb, argument = split(line)
        spec = self.policy.commands.lookup(verb)
        if spec is None:
            return self._bad(Err("unknown command") if verb else Err("empty command"))
        try:
            check_octets(verb, argument)
            refusal = self._refuse(spec)
            if refusal is not None:
                return self._bad(refusal)
            if spec.handler is not None:
                self._bad_commands = 0
                return self._begin(self._handled(spec, text_of(argument)))
            outcome = self.run(spec, argument)
        except ProtocolError as error:
            return self._bad(Err(error.text, values=error.values))
        self._bad_commands = 0
        return self._begin(outcome) if isinstance(outcome, Generator) else outcome

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
        self._bad_commands += 1
        if self._bad_commands >= self.policy.max_bad_commands:
            self.closing = True
            return Err("too many bad commands")
        return reply

    # AUTHORIZATION

    def _capa(self, command: Command) -> Reply:
        lines = capabilities(self.policy, tls=self.tls, secure=self.secure)
        return MultiLine("capability list follows", lines)

    def _user_command(self, command: User) -> Reply:
        refusal = self._refuse_password_login()
        if refusal is not None:
            return refusal
        self._user = command.name
        return Ok("send PASS")

    def _pass_command(self, command: Pass) -> Reply | Steps:
        refusal = self._refuse_password_login()
        if refusal is not None:
            return refusal
        if self._user is None:
            return Err("send USER first")
        name, self._user = self._user, None
        return self._log_in(PasswordClaim(name, command.password))

    def _refuse_password_login(self) -> Err | None:
        if self.policy.use_auth == "sasl":
            return Err("use AUTH")
        return None if self.secure else self._refuse_plaintext()

    def _refuse_plaintext(self) -> Err:
        """A password was about to cross the wire in the clear: say where it may."""
        port = self.policy.tls_port
        if self.policy.tls.startswith("starttls"):
            if port is None:
                return Err("password not accepted without TLS: send STLS first")
            return Err(
                "password not accepted without TLS: send STLS first, or use port {port}",
                values={"port": port},
            )
        if port is not None:
            return Err("password not accepted without TLS: use port {port}", values={"port": port})
        return Err("password not accepted without TLS, which this server does not offer")

    def _apop_command(self, command: Apop) -> Reply | Steps:
        if self.timestamp is None or not self.policy.offers_apop():
            return Err("APOP is not available")
        return self._log_in(ApopClaim(command.name, self.timestamp, command.digest))

    def _auth_command(self, command: Auth) -> Reply | Steps:
        offered = {info.name: info for info in self.policy.mechanisms_for(self.secure)}
        if command.mechanism is None:
            return MultiLine("mechanisms follow", list(offered))
        info = offered.get(command.mechanism)
        if info is not None:
            return self._exchange(info.make(self.policy.mechanism_context), command)
        hidden = self.policy.mechanisms.get(command.mechanism)
        if hidden is not None and hidden.plaintext and self.policy.use_auth != "pop":
            return self._refuse_plaintext()
        return Err("mechanism is not available")

    def _exchange(self, mechanism: Any, command: Auth) -> Steps:
        try:
            response: bytes | None = None
            if command.initial_response is not None:
                initial = command.initial_response
                response = b"" if initial == b"=" else decode_response(initial)
            outcome = mechanism.step(response)
            while isinstance(outcome, Continue):
                line: bytes = yield outcome
                if line == b"*":
                    return Err("authentication cancelled")
                outcome = mechanism.step(decode_response(line))
        except ValueError as error:
            return Err(str(error))
        return (yield from self._log_in(outcome))

    def _log_in(self, claim: Claim) -> Steps:
        account = yield Authenticate(claim)
        if isinstance(account, Err):
            self._failed_logins += 1
            self.closing = self._failed_logins >= self.policy.max_failed_logins
            return account
        listing = yield OpenMaildrop(account)
        if isinstance(listing, Err):
            return listing
        self.account = account
        self.listing = listing
        self.state = State.TRANSACTION
        return self._messages()

    def _messages(self) -> Ok:
        return Ok("{count} messages", {"count": self.active_count})

    def _stls(self, command: Command) -> Reply | Steps:
        if self.tls:
            return Err("TLS is active already")
        if not self.policy.tls.startswith("starttls"):
            return Err("STLS is not available")
        if len(self.lines):
            # Somebody's bytes would be taken for the client's own after the handshake.
            self.lines.clear()
            self.closing = True
            return Err("nothing may follow STLS before the handshake")
        return self._start_tls()

    def _start_tls(self) -> Steps:
        yield StartTls()
        self.tls = True
        # RFC 2595 §4: what was said before TLS might not be the client's.
        self._user = None
        self.wording = Wording()
        self._bad_commands = 0
        self.lines.clear()
        return Silent()

    def _lang(self, command: Lang) -> Reply:
        if command.tag is None:
            lines = [f"{tag} {name}" for tag, name in LANGUAGES.items()]
            return MultiLine("language list follows", lines)
        tag = DEFAULT_LANGUAGE if command.tag == "*" else find_language(command.tag)
        if tag is None:
            return Err("language is not available: LANG lists those that are")
        self.wording.language = tag
        return Ok("{tag} language changed", {"tag": tag})

    def _utf8(self, command: Command) -> Reply:
        self.wording.utf8 = True
        return Ok("UTF8 on")

    # TRANSACTION

    def _stat(self, command: Command) -> Reply:
        return Ok(f"{self.active_count} {self.active_size}")

    def _list(self, command: List) -> Reply:
        if command.number is not None:
            if not self._there(command.number):
                return NO_SUCH_MESSAGE
            return Ok(f"{command.number} {self.size(command.number)}")
        block = self.listing.scan_block(self.full_headers)
        return Prepared("{count} messages", self._without_deleted(block), self._count())

    def _uidl(self, command: Uidl) -> Reply:
        if command.number is not None:
            if not self._there(command.number):
                return NO_SUCH_MESSAGE
            return Ok(f"{command.number} {self.listing.unique_ids[command.number - 1]}")
        block = self.listing.unique_id_block()
        return Prepared("{count} messages", self._without_deleted(block), self._count())

    def _count(self) -> dict[str, object]:
        return {"count": self.active_count}

    def _without_deleted(self, block: bytes) -> bytes:
        if not self.deleted:
            return block
        lines = block.split(b"\r\n")
        gone = {number - 1 for number in self.deleted}
        return b"\r\n".join([line for at, line in enumerate(lines) if at not in gone])

    def _there(self, number: MessageNumber) -> bool:
        return number <= len(self.listing) and number not in self.deleted

    def _retr(self, command: Retr) -> Reply | Steps:
        return self._fetch(command.number, None)

    def _top(self, command: Top) -> Reply | Steps:
        return self._fetch(command.number, command.lines)

    def _fetch(self, number: MessageNumber, top_lines: int | None) -> Reply | Steps:
        if not self._there(number):
            return NO_SUCH_MESSAGE
        downgrade = not self.wording.utf8 and number in self.listing.ascii_octets
        if downgrade and self.policy.utf8_headers == "refuse":
            return Err("message has UTF-8 in its header: send UTF8 first", "UTF8")
        downgrade = downgrade and self.policy.utf8_headers == "downgrade"
        return self._send(number, top_lines, downgrade)

    def _send(self, number: MessageNumber, top_lines: int | None, downgrade: bool) -> Steps:
        content = yield Fetch(number, top_lines)
        if isinstance(content, Err):
            return content
        if top_lines is not None:
            return Body("top of message follows", content, top_lines, downgrade)
        return Body("{octets} octets", content, None, downgrade, {"octets": self.size(number)})

    def _dele(self, command: Dele) -> Reply | Steps:
        number = command.number
        if not self._there(number):
            return NO_SUCH_MESSAGE
        if "delete" in self.policy.asks:
            return self._ask_delete(number)
        self.deleted.add(number)
        return Ok("marked")

    def _ask_delete(self, number: MessageNumber) -> Steps:
        refusal = yield Delete(number)
        if isinstance(refusal, Err):
            return refusal
        self.deleted.add(number)
        return Ok("marked")

    def _noop(self, command: Command) -> Reply:
        return Ok()

    def _rset(self, command: Command) -> Reply | Steps:
        self.deleted.clear()
        return self._tell_reset() if "reset" in self.policy.asks else self._messages()

    def _tell_reset(self) -> Steps:
        yield Reset()
        return self._messages()

    # UPDATE

    def _quit(self, command: Command) -> Reply | Steps:
        self.closing = True
        return Ok("bye") if self.state is State.AUTHORIZATION else self._update()

    def _update(self) -> Steps:
        self.state = State.UPDATE
        refusal = yield Commit(tuple(sorted(self.deleted)))
        # RFC 1939 §6: -ERR when some messages marked as deleted were not removed.
        return refusal if isinstance(refusal, Err) else Ok("bye")


Action: TypeAlias = Callable[[Session, Any], Reply | Steps]

ACTIONS: dict[str, Action] = {
    "CAPA": Session._capa,
    "USER": Session._user_command,
    "PASS": Session._pass_command,
    "APOP": Session._apop_command,
    "AUTH": Session._auth_command,
    "STLS": Session._stls,
    "LANG": Session._lang,
    "UTF8": Session._utf8,
    "QUIT": Session._quit,
    "STAT": Session._stat,
    "LIST": Session._list,
    "UIDL": Session._uidl,
    "RETR": Session._retr,
    "TOP": Session._top,
    "DELE": Session._dele,
    "NOOP": Session._noop,
    "RSET": Session._rset,
}
