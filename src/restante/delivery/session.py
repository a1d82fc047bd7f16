"""SMTP (RFC 5321) and LMTP (RFC 2033) without I/O: octets in, effects out.

Feed what arrives with `MailSession.feed`, take effects with `next` until it gives None,
perform each before asking for the one after it, and report the results of `Find`, `Commit`,
`StartTls` and `Authenticate` with `found`, `committed`, `secured` and `authenticated`. No octet
of the client's is ever put into a reply.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

from restante.accounts.contract import Account
from restante.delivery.deliver import Outcome, Recipient, no_room
from restante.delivery.recipients import BAD_ADDRESS, Refusal, split_path
from restante.protocol.claims import PasswordClaim
from restante.protocol.limits import MAX_BAD_COMMANDS, MAX_FAILED_LOGINS
from restante.protocol.mechanisms import Exchange, MechanismContext
from restante.protocol.unstuffing import Unstuffing
from restante.sasl.contract import Challenge
from restante.sasl.login import LOGIN
from restante.sasl.plain import PLAIN

MAX_COMMAND = 2048
"""Octets of a command line. RFC 5321 §4.5.3.1.4 asks for 512 and more for each extension
(SIZE 26, SMTPUTF8 10, AUTH 500, longer paths in UTF-8)."""

HTTP_VERBS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "CONNECT", "TRACE", "PATCH")

_MECHANISMS = {"LOGIN": LOGIN, "PLAIN": PLAIN}

# RFC 1870, 6152, 6531; AUTH of RFC 4954 §5 and the parameters of DSN (RFC 3461) mean nothing
# here, but a client that sends them without being told of them must not lose its mail.
_MAIL_PARAMETER = re.compile(
    r"SIZE=[0-9]{1,20}|BODY=(?:7BIT|8BITMIME)|SMTPUTF8|(?:AUTH|RET|ENVID)=[!-~]+", re.IGNORECASE
)
_RCPT_PARAMETER = re.compile(r"(?:NOTIFY|ORCPT)=\S+", re.IGNORECASE)


class Protocol(Enum):
    """Which of the two is spoken."""

    SMTP = "SMTP"
    LMTP = "LMTP"


class Offer(NamedTuple):
    """What a session offers beside mail itself.

    tls: STARTTLS; tls_required: nothing else works before it. auth: AUTH, after STARTTLS only
    unless `auth_without_tls`.
    """

    tls: bool = False
    tls_required: bool = False
    auth: bool = False
    auth_without_tls: bool = False


MAIL_ONLY = Offer()


# Effects


class Send(NamedTuple):
    """Write this to the client."""

    data: bytes


class Find(NamedTuple):
    """Find the account of an address, and say `found`.

    octets: the message's size, if the client has said it (RFC 1870); else 0.
    """

    address: str
    octets: int = 0


class Begin(NamedTuple):
    """A message begins; `Write` and then `Commit` or `Abort` follow.

    protocol: its name in trace lines (RFC 3848, RFC 6531 §4.3).
    """

    recipients: tuple[Recipient, ...]
    sender: str
    helo: str
    protocol: str


class Write(NamedTuple):
    """The message's next octets."""

    block: bytes


class Commit(NamedTuple):
    """The message is complete: make it durable, and say `committed`."""


class Abort(NamedTuple):
    """The message is too large: forget it."""


class StartTls(NamedTuple):
    """Stop reading, send `reply`, do the handshake, and say `secured`.

    In this order: what the client sends after the reply belongs to the handshake.
    """

    reply: bytes


class Authenticate(NamedTuple):
    """Find out whether the claim is true, and say `authenticated`."""

    claim: PasswordClaim


class Refused(NamedTuple):
    """Tell the observer of a refusal. recipient: the address; empty when it is about none."""

    recipient: str
    reply: Refusal
    sender: str
    helo: str
    protocol: str


class Close(NamedTuple):
    """Close the connection, once everything is written."""


Effect: TypeAlias = (
    Send | Find | Begin | Write | Commit | Abort | StartTls | Authenticate | Refused | Close
)

TOO_BIG = Refusal(552, "5.3.4", "message too big")
TOO_MANY = Refusal(452, "4.5.3", "too many recipients")
NO_HTTP = Refusal(421, "4.7.0", "this is no HTTP server")
NOT_AHEAD = Refusal(503, "5.5.1", "nothing may follow STARTTLS")
TOO_LONG = Refusal(500, "5.5.6", "line too long")
MALFORMED = Refusal(501, "5.5.2", "malformed credentials")
INVALID = Refusal(535, "5.7.8", "authentication credentials invalid")


class MailSession:
    """One connection's state. Holds no more than what was fed and one command line."""

    def __init__(
        self,
        protocol: Protocol,
        hostname: str,
        *,
        max_octets: int,
        max_recipients: int,
        offer: Offer = MAIL_ONLY,
    ) -> None:
        self._protocol = protocol
        self._hostname = hostname
        self._max_octets = max_octets
        self._max_recipients = max_recipients
        self._offer = offer
        self._input = bytearray()
        self._effects: deque[Effect] = deque()
        self._bad = self._failed_logins = 0
        self._waiting = self._closed = False
        self._data: Unstuffing | None = None
        self._exchange: Exchange | None = None
        self._tls = False
        self._begin()
        self._reply(220, "", f"{hostname} {'ESMTP' if protocol is Protocol.SMTP else 'LMTP'}")

    def _begin(self) -> None:
        """Know nothing of the client (RFC 3207 §4.2)."""
        self._helo = ""
        self._extended = self._authenticated = False
        self._reset()

    def _reset(self) -> None:
        """End the transaction."""
        self._sender: str | None = None
        self._utf8 = False
        self._recipients: list[Recipient] = []
        self._octets = self._announced = 0
        self._address = ""

    @property
    def pending(self) -> int:
        """Octets fed and not yet worked on."""
        return len(self._input)

    @property
    def receiving(self) -> bool:
        """Whether a message is on its way in: between DATA and its replies."""
        return self._data is not None

    def _protocol_name(self) -> str:
        name = self._protocol.value
        if self._utf8:
            name = f"UTF8{name}"
        elif self._extended and self._protocol is Protocol.SMTP:
            name = f"E{name}"
        return name + "S" * self._tls + "A" * self._authenticated

    def feed(self, data: bytes) -> None:
        """Take what arrived. Ignored once the session has closed."""
        if not self._closed:
            self._input += data

    def next(self) -> Effect | None:
        """The next effect to perform; None when nothing is left to do before more input."""
        while not self._effects:
            if self._waiting or self._closed or not self._input:
                return None
            step = self._take_line if self._data is None else self._take_data
            if not step():
                return None
        return self._effects.popleft()

    def found(self, result: Account | Refusal) -> None:
        """The answer to `Find`."""
        self._waiting = False
        if isinstance(result, Refusal):
            self._refuse(self._address, result)
        else:
            self._recipients.append(Recipient(self._address, result))
            self._reply(250, "2.1.5", "recipient ok")

    def committed(self, outcomes: Sequence[Outcome], reference: str) -> None:
        """The answer to `Commit`: an outcome for each recipient, in order.

        LMTP tells all of them (RFC 2033 §4.2), SMTP whether all is well. reference: under
        which the log tells why it isn't.
        """
        self._waiting = False
        each = [[outcome] for outcome in outcomes]
        for group in each if self._protocol is Protocol.LMTP else [outcomes]:
            if all(outcome.taken for outcome in group):
                self._reply(250, "2.0.0", "delivered")
            elif (refusal := no_room(group)) is not None:
                self._reply(*refusal)
            else:
                self._reply(451, "4.3.0", f"not delivered (ref {reference})")
        self._end_of_message()

    def secured(self) -> None:
        """The answer to `StartTls`: all that was said before is forgotten."""
        self._waiting, self._tls = False, True
        self._begin()

    def authenticated(self, refusal: Refusal | None) -> None:
        """The answer to `Authenticate`: None for yes."""
        self._waiting = False
        if refusal is None:
            self._authenticated = True
            self._reply(235, "2.7.0", "authenticated")
        else:
            self._failed_logins += 1
            self._reply(*refusal)

    def failed(self, reference: str) -> None:
        """An effect has failed by a fault of ours: only the command is refused."""
        self._waiting = False
        self._reply(451, "4.3.0", f"internal error (ref {reference})")

    def shut(self, code: int, status: str, text: str) -> None:
        """End the session now, telling the client why; input not yet worked on is dropped."""
        self._reply(code, status, text)
        self._effects.append(Close())
        self._closed = True
        self._input.clear()

    def _send_away(self, refusal: Refusal) -> None:
        self._tell("", refusal)
        self.shut(*refusal)

    def _refuse(self, recipient: str, refusal: Refusal) -> None:
        self._tell(recipient, refusal)
        self._reply(*refusal)

    def _tell(self, recipient: str, refusal: Refusal) -> None:
        sender, name = self._sender or "", self._protocol_name()
        self._effects.append(Refused(recipient, refusal, sender, self._helo, name))

    def _reply(self, code: int, status: str, *texts: str) -> None:
        head = f"{status} " if status else ""
        lines = [f"{code}-{head}{text}" for text in texts[:-1]] + [f"{code} {head}{texts[-1]}"]
        self._effects.append(Send("".join(line + "\r\n" for line in lines).encode()))

    # Input

    def _take_line(self) -> bool:
        end = self._input.find(b"\n", 0, MAX_COMMAND)
        if end < 0:
            if len(self._input) < MAX_COMMAND:
                return False
            self._send_away(TOO_LONG)
            return True
        line = bytes(self._input[:end]).rstrip(b"\r")
        del self._input[: end + 1]
        if self._exchange is None:
            self._command(line.decode("utf-8", "surrogateescape"))
        elif line == b"*":  # RFC 4954 §4
            self._exchange = None
            self._reply(501, "5.7.0", "authentication cancelled")
        else:
            self._respond(line)
        return True

    def _command(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        if verb in HTTP_VERBS or verb.startswith("HOST:"):
            return self._send_away(NO_HTTP)
        command = _COMMANDS.get((self._protocol, verb))
        if command is None:
            return self._unknown()
        for condition in command.when:
            if not condition.holds(self):
                return self._reply(*condition.refusal)
        command.handler(self, argument.strip(" "))

    def _unknown(self) -> None:
        self._bad += 1
        if self._bad > MAX_BAD_COMMANDS:
            self._send_away(Refusal(421, "4.7.0", "too many bad commands"))
        else:
            self._reply(500, "5.5.1", "unknown command")

    def _take_data(self) -> bool:
        assert self._data is not None
        block = self._data.feed(bytes(self._input))
        self._input.clear()
        before, self._octets = self._octets, self._octets + len(block)
        if self._octets > self._max_octets:
            if before <= self._max_octets:
                self._effects.append(Abort())
        elif block:
            self._effects.append(Write(block))
        if self._data.rest is not None:
            self._input += self._data.rest
            self._complete()
        return True

    def _complete(self) -> None:
        if self._octets <= self._max_octets:
            self._effects.append(Commit())
            self._waiting = True
            return
        self._tell("", TOO_BIG)
        for _ in self._recipients if self._protocol is Protocol.LMTP else "1":
            self._reply(*TOO_BIG)
        self._end_of_message()

    def _end_of_message(self) -> None:
        self._data = None
        self._reset()

    # Commands

    def _hello(self, argument: str, *, extended: bool = True) -> None:
        if not argument or not argument.isprintable():
            return self._reply(501, "5.5.4", "say your name, too")
        self._helo, self._extended = argument, extended
        self._reset()
        extensions = ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8"]
        extensions.append(f"SIZE {self._max_octets}")
        if self._offer.tls and not self._tls:
            extensions.append("STARTTLS")
        if self._offer.auth and self._may_say_password():
            extensions.append(f"AUTH {' '.join(_MECHANISMS)}")
        if self._protocol is Protocol.SMTP:
            extensions.append("HELP")
        self._reply(250, "", self._hostname, *(extensions if extended else ()))

    def _plain_hello(self, argument: str) -> None:
        self._hello(argument, extended=False)

    def _mail(self, argument: str) -> None:
        path = split_path(argument[5:]) if argument[:5].upper() == "FROM:" else None
        if path is None or not path[0].isprintable():
            return self._reply(501, "5.5.4", "bad MAIL argument")
        words = path[1].upper().split()
        if not all(map(_MAIL_PARAMETER.fullmatch, words)):
            return self._reply(555, "5.5.4", "parameter not supported")
        sizes = [int(word[5:]) for word in words if word.startswith("SIZE=")]
        self._sender, self._utf8 = path[0], "SMTPUTF8" in words
        if any(size > self._max_octets for size in sizes):
            self._refuse("", TOO_BIG)
            return self._reset()
        self._announced = max(sizes, default=0)
        self._reply(250, "2.1.0", "sender ok")

    def _rcpt(self, argument: str) -> None:
        if argument[:3].upper() != "TO:":
            return self._reply(501, "5.5.4", "bad RCPT argument")
        path = split_path(argument[3:])
        if path is None:
            return self._refuse(argument[3:], BAD_ADDRESS)
        if not all(map(_RCPT_PARAMETER.fullmatch, path[1].split())):
            return self._reply(555, "5.5.4", "parameter not supported")
        if len(self._recipients) >= self._max_recipients:
            return self._refuse(path[0], TOO_MANY)
        self._address = path[0]
        self._effects.append(Find(path[0], self._announced))
        self._waiting = True

    def _data_command(self, argument: str) -> None:
        if argument:
            return self._reply(501, "5.5.4", "DATA takes no argument")
        assert self._sender is not None
        recipients, name = tuple(self._recipients), self._protocol_name()
        self._effects.append(Begin(recipients, self._sender, self._helo, name))
        self._data = Unstuffing()
        self._reply(354, "", "end with <CRLF>.<CRLF>")

    def _rset(self, argument: str) -> None:
        self._reset()
        self._reply(250, "2.0.0", "ok")

    def _noop(self, argument: str) -> None:
        self._reply(250, "2.0.0", "ok")

    def _vrfy(self, argument: str) -> None:
        if not argument or not argument.isprintable():
            return self._reply(501, "5.5.4", "bad VRFY argument")
        self._reply(252, "2.5.0", "send mail and see")

    def _help(self, argument: str) -> None:
        self._reply(214, "2.0.0", "see RFC 5321")

    def _quit(self, argument: str) -> None:
        self.shut(221, "2.0.0", "bye")

    def _starttls(self, argument: str) -> None:
        if argument:
            return self._reply(501, "5.5.4", "STARTTLS takes no argument")
        if self._tls:
            return self._reply(503, "5.5.1", "TLS is on already")
        if not self._offer.tls:
            return self._reply(454, "4.7.0", "TLS not available")
        if self._input:  # what was sent ahead must not be taken for something said inside TLS
            return self._send_away(NOT_AHEAD)
        self._effects.append(StartTls(b"220 2.0.0 go ahead\r\n"))
        self._waiting = True

    # AUTH (RFC 4954)

    def _may_say_password(self) -> bool:
        return self._tls or self._offer.auth_without_tls

    def _auth(self, argument: str) -> None:
        name, _, initial = argument.partition(" ")
        if not self._may_say_password():
            return self._reply(538, "5.7.11", "say STARTTLS first")
        if not self._offer.auth or not self._extended:
            return self._reply(503, "5.5.1", "AUTH is not offered")
        if self._authenticated:
            return self._reply(503, "5.5.1", "authenticated already")
        if name.upper() not in _MECHANISMS:
            return self._reply(504, "5.5.4", "mechanism not supported")
        if self._failed_logins >= MAX_FAILED_LOGINS:
            return self._send_away(Refusal(421, "4.7.0", "too many failed logins"))
        response = None
        if initial:
            response = _decoded(b"" if initial == "=" else initial.encode(errors="replace"))
            if response is None:
                return self._reply(*MALFORMED)
        self._exchange = _MECHANISMS[name.upper()].begin(MechanismContext(self._hostname), response)
        self._step(None)

    def _respond(self, line: bytes) -> None:
        response = _decoded(line)
        if response is None:
            self._exchange = None
            self._reply(*MALFORMED)
        else:
            self._step(response)

    def _step(self, response: bytes | None) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        try:
            challenge = exchange.send(response)
        except StopIteration as end:
            self._claim(end.value)
        except ValueError:
            self._failed_logins += 1
            self._reply(*MALFORMED)
        else:
            assert isinstance(challenge, Challenge)  # these mechanisms have no effects
            self._exchange = exchange
            self._reply(334, "", b64encode(challenge.data).decode())

    def _claim(self, claim: PasswordClaim) -> None:
        if claim.authzid not in ("", claim.name):
            return self.authenticated(INVALID)
        self._effects.append(Authenticate(claim))
        self._waiting = True


def _decoded(line: bytes) -> bytes | None:
    try:
        return b64decode(line, validate=True)
    except binascii.Error:
        return None


# The table of commands


class Condition(NamedTuple):
    """What must hold for a command, and the reply where it doesn't."""

    holds: Callable[[MailSession], bool]
    refusal: Refusal


class Command(NamedTuple):
    """One row of the table.

    verb: in upper case. protocols: in which it exists. when: conditions, in this order.
    handler: is given the argument.
    """

    verb: str
    protocols: tuple[Protocol, ...]
    when: tuple[Condition, ...]
    handler: Callable[[MailSession, str], None]


_SECURED = Condition(
    lambda session: session._tls or not session._offer.tls_required,
    Refusal(530, "5.7.0", "say STARTTLS first"),  # RFC 3207 §4
)
_HELLO = Condition(lambda session: bool(session._helo), Refusal(503, "5.5.1", "say hello first"))
_NO_SENDER = Condition(
    lambda session: session._sender is None, Refusal(503, "5.5.1", "sender given")
)
_SENDER = Condition(
    lambda session: session._sender is not None, Refusal(503, "5.5.1", "say MAIL first")
)
_RECIPIENTS = Condition(
    lambda session: bool(session._recipients), Refusal(503, "5.5.1", "no recipients")
)

_ALWAYS = ()
_SMTP, _LMTP, _BOTH = (Protocol.SMTP,), (Protocol.LMTP,), (Protocol.SMTP, Protocol.LMTP)

COMMANDS = (
    Command("EHLO", _SMTP, _ALWAYS, MailSession._hello),
    Command("HELO", _SMTP, (_SECURED,), MailSession._plain_hello),
    Command("LHLO", _LMTP, _ALWAYS, MailSession._hello),  # and no other hello: RFC 2033 §4.1
    Command("STARTTLS", _SMTP, _ALWAYS, MailSession._starttls),
    Command("AUTH", _SMTP, (_SECURED, _HELLO, _NO_SENDER), MailSession._auth),
    Command("MAIL", _BOTH, (_SECURED, _HELLO, _NO_SENDER), MailSession._mail),
    Command("RCPT", _BOTH, (_SECURED, _HELLO, _SENDER), MailSession._rcpt),
    Command("DATA", _BOTH, (_SECURED, _HELLO, _RECIPIENTS), MailSession._data_command),
    Command("RSET", _BOTH, (_SECURED,), MailSession._rset),
    Command("NOOP", _BOTH, _ALWAYS, MailSession._noop),
    Command("VRFY", _BOTH, (_SECURED,), MailSession._vrfy),
    Command("HELP", _SMTP, (_SECURED,), MailSession._help),
    Command("QUIT", _BOTH, _ALWAYS, MailSession._quit),
)

_COMMANDS = {
    (protocol, command.verb): command for command in COMMANDS for protocol in command.protocols
}
