"""What a fault is: when it happens, what it may be combined with, and how it is written as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self
from urllib.parse import quote, unquote_to_bytes

from restante.protocol.commands import COMMANDS
from restante.server.client import ClientSession
from restante.settings_fields import allowed_of, bounded, check, described, unknown_setting
from restante.testing.shaping import Shaper
from restante.testing.wire import GREETING, UNKNOWN, Occasion, Wire

VERBS = tuple(command.verb for command in COMMANDS if command.verb != "XCLIENT")

SAFE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in "%,:")
"""Characters that stand for themselves in a fault's text form."""


class FaultError(ValueError):
    """A fault that can't be. The text says what was given and what is allowed."""


class Firing(Protocol):
    """One chance of a fault to happen.

    session: whose. opened: the maildrop that it has opened.
    """

    @property
    def session(self) -> ClientSession | None: ...

    @property
    def opened(self) -> Opened | None: ...

    def fired(self) -> None:
        """It has happened. Told once, however often this is called."""

    def missed(self, why: str) -> None:
        """It could not happen, as `the reply had 50 octets`."""


class Opened(Protocol):
    """A maildrop that a session has opened, as faults see it."""

    session: ClientSession | None

    def insert_gap(self, number: int) -> bool:
        """Let no message have this number; those from there on count one more. Whether it is
        within the maildrop."""

    def append(self, unique_id: str, octets: int) -> None:
        """Add a message at the end that is generated when it is fetched."""

    def is_inserted(self, number: int) -> bool:
        """Whether this is the number that no message has."""

    async def lose(self, number: int) -> None:
        """Remove a message, as another program would."""

    @property
    def shared(self) -> bool:
        """Whether another session had it open already."""

    def keep_lease(self, seconds: float) -> None:
        """Give the lease back so much later."""

    async def deliver(self, message: bytes) -> None:
        """Put a message into the maildrop, which this session doesn't see."""


class _Kinds(type):
    """The classes of faults: a misspelt field is answered by those there are."""

    if not TYPE_CHECKING:  # type checkers know the fields themselves

        def __call__(cls, *args, **values):
            known = [each.name for each in fields(cls) if each.init]
            for name in values:
                if name not in known:
                    raise TypeError(f"{cls.__name__}: {unknown_setting(name, known)}")
            return super().__call__(*args, **values)


KINDS: dict[str, type[Fault]] = {}
"""All faults, by the name in their text form."""


@dataclass(frozen=True, kw_only=True)
class Fault(metaclass=_Kinds):
    """Base of all faults: when one happens, whatever it is.

    nth: only the n-th time, counted from 1: within a session for faults of commands, over all
        sessions for the others and for the greeting. None: each time.
    once: only the first time that it can happen.
    account: only for the account of this name. None: for everybody, logged in or not.

    `str` gives its text form, which `parse` reads.

    Raises TypeError for a field that there isn't, or of a wrong type, and ValueError for a value
    that isn't allowed.
    """

    name: ClassVar[str] = ""
    decides: ClassVar[str] = ""
    """What of a session it decides: of two with the same word only one can happen at a time."""
    stage: ClassVar[int] = 0
    """When its shapers have their turn: 0 contents, 1 ends, 2 whole replies, 3 pace."""
    needs: ClassVar[str] = ""
    """The command without which it can't happen."""
    lasting: ClassVar[bool] = False
    """It holds for all of a session, so that it has neither `nth` nor `once`."""
    before_names: ClassVar[str] = ""
    """When it happens, if no client has named an account by then, so that it has no `account`."""

    nth: int | None = bounded(None, 1)
    once: bool = False
    account: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__repr__ = Fault.__repr__  # type: ignore[method-assign]  # dataclass keeps this one
        if not cls.__dict__.get("abstract", False):
            cls.name = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()
            KINDS[cls.name] = cls

    def __post_init__(self) -> None:
        check(self)
        if self.lasting and (self.nth is not None or self.once):
            raise FaultError(f"{self.name} holds for all of a session: it has no nth and no once")
        self._check_account(self.before_names)

    def _check_account(self, before_names: str) -> None:
        if before_names and self.account is not None:
            raise FaultError(
                f"{self.name}: account={self.account!r}: {before_names} before the client has named"
                " an account: leave account out"
            )

    @property
    def limit(self) -> int | None:
        """How often it may happen; None: each time."""
        return 1 if self.once else None

    # When it can happen. A fault overrides those in which it has a part.

    def concerns(self, occasion: Occasion) -> bool:
        """Whether it is about this command."""
        return True

    def concerns_message(self, number: int) -> bool:
        """Whether it is about this message's being fetched."""
        return True

    def on_accept(self, wire: Wire, firing: Firing) -> None:
        """A connection was accepted."""

    def on_handshake(self, wire: Wire, firing: Firing) -> None:
        """A TLS handshake begins."""

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        """A command is about to be obeyed, or the greeting to be sent."""

    def on_arrival(self, wire: Wire, data: bytes, firing: Firing) -> bytes:
        """The client has sent octets; gives those that the server gets."""
        return data

    def on_login(self, session: ClientSession, firing: Firing) -> None:
        """Somebody has proved who it is. Raises Pop3Error to refuse the login all the same."""

    def on_open(self, opened: Opened, firing: Firing) -> None:
        """A maildrop was opened, and nobody has seen its listing yet."""

    def shares(self) -> bool:
        """Another session has the maildrop open: whether this one gets it all the same."""
        return False

    def on_abandoned(self, opened: Opened, firing: Firing) -> None:
        """A maildrop is closed whose session ends without QUIT."""

    async def on_fetch(self, opened: Opened, number: int, firing: Firing) -> None:
        """A message is about to be read. Raises StoreError for one that can't be."""

    def on_commit(
        self, opened: Opened, numbers: Sequence[int], firing: Firing
    ) -> tuple[Sequence[int], Exception | None]:
        """QUIT is about to remove messages: those that are removed, and what it fails with."""
        return numbers, None

    def takes_part(self, moment: str) -> bool:
        """Whether it has a part in `on_accept`, …"""
        return getattr(type(self), moment) is not getattr(Fault, moment)

    # What it can't be combined with

    def overlaps(self, other: Fault) -> bool:
        """Whether both can be due at the same time."""
        return (
            _meet(self.nth, other.nth)
            and _meet(self.account, other.account)
            and self._concerns_same(other)
        )

    def _concerns_same(self, other: Fault) -> bool:
        return True

    def excludes(self, other: Fault) -> bool:
        """Whether only one of the two can happen, each time that both are due."""
        if self == other:
            return True
        if self.limit is not None or other.limit is not None:
            return False  # one after the other
        same = bool(self.decides) and self.decides == other.decides
        return (same or self.prevents(other) or other.prevents(self)) and self.overlaps(other)

    def prevents(self, other: Fault) -> bool:
        """Whether another can't happen where this one does, though they decide different things."""
        return False

    # Text

    def __repr__(self) -> str:
        said: list[str] = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "when":
                said.insert(0, repr(value))
            elif value != each.default:
                said.append(f"{each.name}={value!r}")
        return f"{type(self).__name__}({', '.join(said)})"

    def __str__(self) -> str:
        parts = []
        own: list[str] = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "when" or (value == each.default and each.default is not MISSING):
                continue
            if each.name not in ("nth", "once", "account", "connection"):
                own.append(each.name)
            parts.append((each.name, value))
        parts.sort(key=lambda part: part[0] not in own)
        items = [_item(name, value) for name, value in parts]
        joined = f"{self.name}-{items.pop(0)}" if own else self.name
        text = ",".join([joined, *items])
        when = getattr(self, "when", None)
        return text if when is None else f"{when}:{text}"

    @classmethod
    def from_text(cls, when: str | None, items: Sequence[str]) -> Self:
        """A fault of this kind from the items of its text form. Raises FaultError."""
        allowed = allowed_of(cls)
        defaults = {each.name: each.default for each in fields(cls)}
        values: dict[str, Any] = {}
        if when is not None:
            if "when" not in allowed:
                raise FaultError(f"{cls.name} isn't about a command: leave out {when!r}")
            values["when"] = when
        for item in items:
            name, equals, text = item.partition("=")
            name = name.replace("-", "_")
            if name not in allowed or name == "when":
                known = [each.replace("_", "-") for each in allowed if each != "when"]
                raise FaultError(f"{cls.name}: {unknown_setting(name, known)}")
            if name in values:
                raise FaultError(f"{cls.name}: {name} is given twice")
            if equals and not text and allowed[name].optional and defaults[name] is not None:
                values[name] = None
                continue
            values[name] = _value(cls.name, name, text if equals else None, allowed[name].types)
        missing = [
            each.name for each in fields(cls) if each.default is MISSING and each.name not in values
        ]
        if missing:
            example = f"RETR:{cls.name}" if missing == ["when"] else f"{cls.name}-{missing[0]}=…"
            raise FaultError(f"{cls.name} needs {' and '.join(missing)}, as in {example}")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise FaultError(f"{cls.name}: {error}") from None


def _meet(one: object, other: object) -> bool:
    return one is None or other is None or one == other


def _item(name: str, value: object) -> str:
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return name if value else f"{name}=no"
    if value is None:
        return f"{name}="
    return f"{name}={quote(value if isinstance(value, bytes) else str(value), safe=SAFE)}"


def _value(kind: str, name: str, text: str | None, types: tuple[type, ...]) -> object:
    if text is None:
        if bool not in types:
            raise FaultError(f"{kind}: {name} needs a value, as in {name}=…")
        return True
    if bool in types:
        if text not in ("yes", "no"):
            raise FaultError(f"{kind}: {name}={text}: allowed are yes and no")
        return text == "yes"
    octets = unquote_to_bytes(text)
    if bytes in types:
        return octets
    for number in (int, float):
        if number in types:
            try:
                return number(text)
            except ValueError:
                if str not in types:
                    raise FaultError(f"{kind}: {name}={text}: a number is expected") from None
    return octets.decode("utf-8", "replace")


def _check_when(when: str) -> None:
    verb, _, argument = when.partition(" ")
    if verb in (GREETING, UNKNOWN):
        if argument:
            raise ValueError(f"{verb!r} stands for all of them, without an argument")
        return
    if verb.upper() in VERBS and verb not in VERBS:
        raise ValueError(f"did you mean {when.replace(verb, verb.upper(), 1)!r}?")
    if verb not in VERBS:
        verbs = [GREETING, UNKNOWN, *VERBS]
        raise ValueError(unknown_setting(verb, verbs).replace("setting", "command"))
    if argument != argument.strip() or not argument.isprintable():
        raise ValueError("after the command stands its argument, as in 'RETR 2'")


def occasion(allowed: Sequence[str] = ()) -> Any:
    """The field `when` of a fault of commands. allowed: the only verbs that make sense."""

    def check_when(when: str) -> None:
        _check_when(when)
        if allowed and when.split(" ", maxsplit=1)[0] not in allowed:
            raise ValueError("no other command makes sense here")

    words = "a command such as RETR, with its argument such as 'RETR 2', 'unknown' or 'greeting'"
    if allowed:
        words = f"{' or '.join(allowed)}, with its argument such as '{allowed[0]} 2'"
    return described(MISSING, words, check_when)


@dataclass(frozen=True)
class CommandFault(Fault):
    """Base of faults that happen at a command, or at the greeting.

    when: the command, in upper case: `RETR` at each RETR, `RETR 2` at that of message 2, and
        `TOP 2` at that of message 2 with however many lines; `greeting` at what the server says
        first; `unknown` at each command that it doesn't know. A response inside of an AUTH
        exchange counts as AUTH. Arguments are compared as logs show them: passwords are `****`.
    connection: only in the n-th connection to the server, counted from 1. None: in each.
    """

    abstract: ClassVar[bool] = True

    when: str = occasion()
    _: KW_ONLY
    connection: int | None = bounded(None, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_account("the server greets" if self.when == GREETING else "")

    def concerns(self, occasion: Occasion) -> bool:
        """Whether it is about this command."""
        verb, _, argument = self.when.partition(" ")
        if self.connection not in (None, occasion.wire.number):
            return False
        return occasion.verb == verb and _begins(occasion.argument, argument)

    def _concerns_same(self, other: Fault) -> bool:
        if not isinstance(other, CommandFault):
            return True
        if not _meet(self.connection, other.connection):
            return False
        (one, _, first), (two, _, second) = self.when.partition(" "), other.when.partition(" ")
        return one == two and (_begins(first, second) or _begins(second, first))


def _begins(argument: str, words: str) -> bool:
    """Whether an argument begins with these words, or has nothing to begin with."""
    return not words or argument == words or argument.startswith(f"{words} ")
