"""LMTP (RFC 2033) without I/O: octets in, effects out.

Feed what arrives with `LmtpSession.feed`, take effects with `next` until it gives None,
perform each before asking for the one after it, and report the results of `Find` and
`Commit` with `found` and `committed`. No octet of the peer's is ever put into a reply.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from restante.accounts.contract import Account
from restante.delivery.deliver import Outcome, Recipient
from restante.delivery.recipients import Refusal, split_path
from restante.delivery.unstuffing import Unstuffing
from restante.protocol.limits import MAX_BAD_COMMANDS

MAX_COMMAND = 2048
"""Octets of a command line. RFC 5321 §4.5.3.1.4 asks for 512 and more for each extension
(SIZE 26, SMTPUTF8 10, longer paths in UTF-8)."""

_PARAMETER = re.compile(r"(SIZE=[0-9]{1,20}|BODY=(?:7BIT|8BITMIME)|SMTPUTF8)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Send:
    """Write this to the peer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Find:
    """Find the account of an address, and say `found`."""

    address: str


@dataclass(frozen=True, slots=True)
class Begin:
    """A message begins for these recipients; `Write` and then `Commit` or `Abort` follow."""

    sender: str
    helo: str
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """The message's next octets."""

    block: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """The message is complete: make it durable, and say `committed`."""


@dataclass(frozen=True, slots=True)
class Abort:
    """The message is too large: forget it."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, once everything is written."""


Effect: TypeAlias = Send | Find | Begin | Write | Commit | Abort | Close


class LmtpSession:
    """One LMTP connection's state. Holds no more than what was fed and one command line."""

    def __init__(self, hostname: str, *, max_octets: int, max_recipients: int) -> None:
        self._hostname = hostname
        self._max_octets = max_octets
        self._max_recipients = max_recipients
        self._input = bytearray()
        self._effects: deque[Effect] = deque()
        self._helo = ""
        self._bad = 0
        self._waiting = self._closed = False
        self._data: Unstuffing | None = None
        self._reset()
        self._reply(220, "", f"{hostname} LMTP")

    @property
    def pending(self) -> int:
        """Octets fed and not yet worked on."""
        return len(self._input)

    @property
    def receiving(self) -> bool:
        """Whether a message is on its way in: between DATA and its replies."""
        return self._data is not None

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
            self._reply(*result)
        else:
            self._recipients.append(Recipient(self._address, result))
            self._reply(250, "2.1.5", "recipient ok")

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """The answer to `Commit`: an outcome for each recipient, in order (RFC 2033 §4.2)."""
        self._waiting = False
        for outcome in outcomes:
            if outcome.unique_id is not None:
                self._reply(250, "2.0.0", "delivered")
            else:
                self._reply(451, "4.3.0", f"not delivered (ref {outcome.reference})")
        self._end_of_message()

    def shut(self, code: int, status: str, text: str) -> None:
        """End the session now, telling the peer why; input not yet worked on is dropped."""
        self._reply(code, status, text)
        self._effects.append(Close())
        self._closed = True
        self._input.clear()

    def _reset(self) -> None:
        self._sender: str | None = None
        self._recipients: list[Recipient] = []
        self._octets = 0
        self._address = ""

    def _reply(self, code: int, status: str, *texts: str) -> None:
        head = f"{status} " if status else ""
        lines = [f"{code}-{head}{text}" for text in texts[:-1]] + [f"{code} {head}{texts[-1]}"]
        self._effects.append(Send("".join(line + "\r\n" for line in lines).encode()))

    def _take_line(self) -> bool:
        end = self._input.find(b"\n", 0, MAX_COMMAND)
        if end < 0:
            if len(self._input) < MAX_COMMAND:
                return False
            self.shut(500, "5.5.6", "line too long")
            return True
        line = bytes(self._input[:end]).rstrip(b"\r")
        del self._input[: end + 1]
        self._command(line.decode("utf-8", "surrogateescape"))
        return True

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
        for _ in self._recipients:
            self._reply(552, "5.3.4", "message too big")
        self._end_of_message()

    def _end_of_message(self) -> None:
        self._data = None
        self._reset()

    def _command(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        handler = self._verbs.get(verb.upper())
        if handler is not None:
            handler(self, argument.strip(" "))
            return
        self._bad += 1
        if self._bad > MAX_BAD_COMMANDS:
            self.shut(421, "4.7.0", "too many bad commands")
        else:
            self._reply(500, "5.5.1", "unknown command")

    def _lhlo(self, argument: str) -> None:
        if not argument or not argument.isprintable():
            return self._reply(501, "5.5.4", "LHLO needs a name")
        self._helo = argument
        self._reset()
        extensions = (
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "SMTPUTF8",
            f"SIZE {self._max_octets}",
        )
        self._reply(250, "", self._hostname, *extensions)

    def _helo_refused(self, argument: str) -> None:
        self._reply(500, "5.5.1", "this is LMTP, say LHLO")  # RFC 2033 §4.1

    def _mail(self, argument: str) -> None:
        if not self._helo or self._sender is not None:
            return self._reply(503, "5.5.1", "say LHLO first" if not self._helo else "sender given")
        path = split_path(argument[5:]) if argument[:5].upper() == "FROM:" else None
        if path is None or not path[0].isprintable():
            return self._reply(501, "5.5.4", "bad MAIL argument")
        sender, parameters = path
        words = parameters.split()
        if not all(map(_PARAMETER.fullmatch, words)):
            return self._reply(555, "5.5.4", "parameter not supported")
        sizes = [int(word[5:]) for word in words if word[:5].upper() == "SIZE="]
        if any(size > self._max_octets for size in sizes):
            return self._reply(552, "5.3.4", "message too big")
        self._sender = sender
        self._reply(250, "2.1.0", "sender ok")

    def _rcpt(self, argument: str) -> None:
        if self._sender is None:
            return self._reply(503, "5.5.1", "say MAIL first")
        path = split_path(argument[3:]) if argument[:3].upper() == "TO:" else None
        if path is None:
            return self._reply(501, "5.5.4", "bad RCPT argument")
        if path[1]:
            return self._reply(555, "5.5.4", "parameter not supported")
        if len(self._recipients) >= self._max_recipients:
            return self._reply(452, "4.5.3", "too many recipients")
        self._address = path[0]
        self._effects.append(Find(path[0]))
        self._waiting = True

    def _data_command(self, argument: str) -> None:
        if argument:
            return self._reply(501, "5.5.4", "DATA takes no argument")
        if not self._recipients:
            return self._reply(503, "5.5.1", "no recipients")  # RFC 2033 §4.2
        assert self._sender is not None
        self._effects.append(Begin(self._sender, self._helo, tuple(self._recipients)))
        self._data = Unstuffing()
        self._reply(354, "", "end with <CRLF>.<CRLF>")

    def _rset(self, argument: str) -> None:
        self._reset()
        self._reply(250, "2.0.0", "ok")

    def _noop(self, argument: str) -> None:
        self._reply(250, "2.0.0", "ok")

    def _vrfy(self, argument: str) -> None:
        self._reply(252, "2.5.0", "send mail and see")

    def _quit(self, argument: str) -> None:
        self.shut(221, "2.0.0", "bye")

    _verbs: ClassVar[dict[str, Callable[[LmtpSession, str], None]]] = {
        "LHLO": _lhlo,
        "HELO": _helo_refused,
        "EHLO": _helo_refused,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data_command,
        "RSET": _rset,
        "NOOP": _noop,
        "VRFY": _vrfy,
        "QUIT": _quit,
    }
