"""A line becomes a typed command, or a `ProtocolError` that says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from restante.protocol.errors import ProtocolError
from restante.protocol.limits import MAX_MESSAGE_NUMBER_DIGITS
from restante.protocol.listing import MessageNumber
from restante.protocol.states import BOTH, STATES, State


@dataclass(frozen=True, slots=True)
class User:
    name: str


@dataclass(frozen=True, slots=True)
class Pass:
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Apop:
    name: str
    digest: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Auth:
    """mechanism: None lists them. initial_response: base64 as sent, `=` if empty, or None."""

    mechanism: str | None
    initial_response: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Stls: ...


@dataclass(frozen=True, slots=True)
class Xclient:
    attributes: str


@dataclass(frozen=True, slots=True)
class Capa: ...


@dataclass(frozen=True, slots=True)
class Lang:
    """tag: None lists the languages; `*` asks for the server's own choice."""

    tag: str | None


@dataclass(frozen=True, slots=True)
class Utf8: ...


@dataclass(frozen=True, slots=True)
class Quit: ...


@dataclass(frozen=True, slots=True)
class Stat: ...


@dataclass(frozen=True, slots=True)
class List:
    number: MessageNumber | None


@dataclass(frozen=True, slots=True)
class Uidl:
    number: MessageNumber | None


@dataclass(frozen=True, slots=True)
class Retr:
    number: MessageNumber


@dataclass(frozen=True, slots=True)
class Dele:
    number: MessageNumber


@dataclass(frozen=True, slots=True)
class Top:
    number: MessageNumber
    lines: int


@dataclass(frozen=True, slots=True)
class Noop: ...


@dataclass(frozen=True, slots=True)
class Rset: ...


Command: TypeAlias = (
    User | Pass | Apop | Auth | Stls | Xclient | Capa | Lang | Utf8 | Quit | Stat | List | Uidl
    | Retr | Dele | Top | Noop | Rset
)  # fmt: skip

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_CONTROL_BUT_TAB = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_VERB = re.compile(r"[!-~]{1,32}")


def text_of(argument: bytes) -> str:
    """An argument as text: UTF-8 (RFC 6856 §2.2). Raises ProtocolError."""
    try:
        return argument.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("argument is not UTF-8") from None


def _number(digits: bytes) -> int:
    if not digits.isdigit():
        raise ProtocolError("argument must be a number")
    if len(digits) > MAX_MESSAGE_NUMBER_DIGITS:
        raise ProtocolError("no such message")
    return int(digits)


def _message_number(argument: bytes) -> MessageNumber:
    if not argument:
        raise ProtocolError("message-number missing")
    if b" " in argument:
        raise ProtocolError("too many arguments")
    number = _number(argument)
    if number == 0:
        raise ProtocolError("message-numbers start at 1")
    return MessageNumber(number)


def _nothing(kind: Callable[[], Command]) -> Callable[[bytes], Command]:
    command = kind()

    def read(argument: bytes) -> Command:
        if argument.rstrip(b" "):
            raise ProtocolError("no argument allowed")
        return command

    return read


def _read_user(argument: bytes) -> User:
    name = text_of(argument.strip(b" "))
    if not name:
        raise ProtocolError("name missing")
    return User(name)


def _read_pass(argument: bytes) -> Pass:
    # The rest of the line is the password, blanks at its end included (RFC 1939 §7).
    return Pass(text_of(argument))


def _read_apop(argument: bytes) -> Apop:
    name, _, digest = argument.strip(b" ").rpartition(b" ")
    if not name:
        raise ProtocolError("name and digest needed")
    return Apop(text_of(name.rstrip(b" ")), text_of(digest))


def _read_auth(argument: bytes) -> Auth:
    words = argument.split()
    if len(words) > 2:
        raise ProtocolError("too many arguments")
    if not words:
        return Auth(None)
    return Auth(text_of(words[0]).upper(), words[1] if len(words) == 2 else None)


def _read_xclient(argument: bytes) -> Xclient:
    return Xclient(text_of(argument))


def _read_lang(argument: bytes) -> Lang:
    tag = text_of(argument.strip(b" "))
    if " " in tag:
        raise ProtocolError("too many arguments")
    return Lang(tag or None)


def _optional_number(kind: Callable[[MessageNumber | None], Command]) -> Callable[[bytes], Command]:
    def read(argument: bytes) -> Command:
        argument = argument.strip(b" ")
        return kind(_message_number(argument) if argument else None)

    return read


def _with_number(kind: Callable[[MessageNumber], Command]) -> Callable[[bytes], Command]:
    def read(argument: bytes) -> Command:
        return kind(_message_number(argument.strip(b" ")))

    return read


def _read_top(argument: bytes) -> Top:
    words = argument.split()
    if len(words) != 2:
        raise ProtocolError("message-number and number of lines needed")
    if not words[1].isdigit():
        raise ProtocolError("argument must be a number")
    lines = words[1].lstrip(b"0") or b"0"
    # As many lines as there could ever be: a larger number asks for nothing more.
    return Top(_message_number(words[0]), int(lines) if len(lines) <= 18 else 10**18)


READERS: dict[str, Callable[[bytes], Command]] = {
    "USER": _read_user,
    "PASS": _read_pass,
    "APOP": _read_apop,
    "AUTH": _read_auth,
    "STLS": _nothing(Stls),
    "XCLIENT": _read_xclient,
    "CAPA": _nothing(Capa),
    "LANG": _read_lang,
    "UTF8": _nothing(Utf8),
    "QUIT": _nothing(Quit),
    "STAT": _nothing(Stat),
    "LIST": _optional_number(List),
    "RETR": _with_number(Retr),
    "DELE": _with_number(Dele),
    "NOOP": _nothing(Noop),
    "RSET": _nothing(Rset),
    "TOP": _read_top,
    "UIDL": _optional_number(Uidl),
}

REPEATED = frozenset({"STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "NOOP", "RSET", "QUIT"})
"""Commands whose lines are the same in many sessions, and hold nothing secret."""

MAX_REMEMBERED = 10_000
"""Lines of such commands that are kept read, some 2 MB; then it begins anew."""

MAX_REMEMBERED_LINE = 32

_CAPABILITIES = {"USER": "USER", "TOP": "TOP", "UIDL": "UIDL", "LANG": "LANG", "UTF8": "UTF8 USER"}


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One entry of a command table.

    verb: what the client says. kind: the built-in command behind it, or None for an
    added one. states: where it is answered. capability: its line in CAPA, if any.
    handler: the application's function, which answers instead of the built-in command.
    secret: its argument is shown in no log, as those of PASS and AUTH never are.
    """

    verb: str
    kind: str | None
    states: frozenset[State]
    capability: str | None = None
    handler: Callable[..., Any] | None = None
    secret: bool = False


class CommandTable:
    """The commands of a server: find, add, replace, rename, remove.

    Each server has a table of its own. Changes are seen by the next command.
    """

    def __init__(self) -> None:
        self._read: dict[bytes, tuple[CommandSpec, Command]] = {}
        self._specs = {
            verb.encode(): CommandSpec(verb, verb, states, _CAPABILITIES.get(verb))
            for verb, states in STATES.items()
        }

    def __iter__(self) -> Iterator[CommandSpec]:
        return iter(list(self._specs.values()))

    def __contains__(self, verb: str) -> bool:
        return _key(verb) in self._specs

    def find(self, verb: str) -> CommandSpec | None:
        """The entry for `verb`, in any letter case."""
        return self._specs.get(_key(verb))

    def lookup(self, verb: bytes) -> CommandSpec | None:
        """The entry for a verb as it came off the wire, in upper case."""
        return self._specs.get(verb)

    def remembered(self, line: bytes) -> tuple[CommandSpec, Command] | None:
        """What this very line was read as before, as far as that is kept."""
        return self._read.get(line)

    def remember(self, line: bytes, spec: CommandSpec, command: Command) -> None:
        """Keep what a line was read as, if it may come again."""
        if spec.kind not in REPEATED or spec.secret or len(line) > MAX_REMEMBERED_LINE:
            return
        if len(self._read) >= MAX_REMEMBERED:
            self._read.clear()
        self._read[line] = spec, command

    def add(
        self,
        verb: str,
        handler: Callable[..., Any],
        *,
        states: frozenset[State] = BOTH,
        capability: str | None = None,
        secret: bool = False,
    ) -> CommandSpec:
        """A new command; see `CommandSpec`. Raises ValueError if there is one of that name."""
        if verb in self:
            raise ValueError(f"there is a command {verb.upper()} already: use replace()")
        spec = CommandSpec(verb.upper(), None, states, capability, handler, secret)
        self._specs[_key(verb)] = spec
        self._read.clear()
        return spec

    def replace(self, verb: str, handler: Callable[..., Any]) -> CommandSpec:
        """Let `handler` answer a command that is there. Raises KeyError if it isn't."""
        spec = replace(self._specs[_key(verb)], handler=handler)
        self._specs[_key(verb)] = spec
        self._read.clear()
        return spec

    def rename(self, verb: str, new_verb: str) -> CommandSpec:
        """Let a command be called by another name. Raises KeyError, ValueError."""
        if new_verb in self:
            raise ValueError(f"there is a command {new_verb.upper()} already")
        spec = self._specs[_key(verb)]
        capability = None if spec.kind in ("TOP", "UIDL", "USER") else spec.capability
        renamed = replace(spec, verb=new_verb.upper(), capability=capability)
        self._specs[_key(new_verb)] = renamed
        del self._specs[_key(verb)]
        self._read.clear()
        return renamed

    def remove(self, verb: str) -> CommandSpec:
        """Take a command away; it is answered as unknown from then on. Raises KeyError."""
        self._read.clear()
        return self._specs.pop(_key(verb))


def _key(verb: str) -> bytes:
    if not _VERB.fullmatch(verb):
        raise ValueError(f"not a command's name: {verb!r} (1 to 32 printable ASCII characters)")
    return verb.upper().encode("ascii")


def split(line: bytes) -> tuple[bytes, bytes]:
    """The verb in upper case, and the rest of the line after one space."""
    verb, _, argument = line.partition(b" ")
    return verb.upper(), argument


def check_octets(line: bytes) -> None:
    """Refuse control characters; a password may hold a TAB. Raises ProtocolError."""
    unwanted = _CONTROL_BUT_TAB if line[:5].upper() == b"PASS " else _CONTROL
    if unwanted.search(line):
        raise ProtocolError("control characters are not allowed")


def read_command(kind: str, argument: bytes) -> Command:
    """The built-in command `kind` with its argument. Raises ProtocolError."""
    return READERS[kind](argument)
