"""The command table: what a server's commands are, one row each, and how they are changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from restante.protocol.replies import Err, Reply
from restante.protocol.states import BOTH, State

MAX_REMEMBERED = 10_000
"""Lines whose reading is remembered, some 2 MB; then it begins anew."""

MAX_REMEMBERED_LINE = 32

_VERB = re.compile(r"[!-~]{1,32}")
_CAPABILITY = re.compile(r"[!-~](?:[ -~]{0,508}[!-~])?")  # RFC 2449 §3

Action: TypeAlias = Callable[[Any, Any], Any]
"""A command's action: takes the session and the argument as read. Gives a reply, or the steps
of one (`restante.protocol.session.Steps`)."""

Capability: TypeAlias = str | Callable[[Any, str], list[str]]
"""A line of CAPA, or what gives some, for a session and the command's verb."""


def _no_argument(argument: bytes) -> None:
    return None


def _no_default(session: Any, argument: Any) -> Reply:
    return Err("command has no default")


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table.

    verb: what the client says, in upper case. states: where it is answered.
    read: reads the built-in command's argument. act: does what the built-in command does. An
        application's own command has neither.
    before_tls: it is answered where TLS is needed first, too.
    capability: what CAPA says of it.
    secret: no log shows its argument. show: what logs show of an argument all the same; without
        it see `restante.protocol.redaction.safe_line`.
    repeated: its line is the same in many sessions, so how it was read is remembered.
    tab: its argument may hold a TAB.
    exists: whether a session has the command at all; None: each has.
    handler: the application's function, which answers instead of the action.
    """

    verb: str
    states: frozenset[State]
    read: Callable[[bytes], Any] = _no_argument
    act: Action = _no_default
    before_tls: bool = False
    capability: Capability | None = None
    secret: bool = False
    show: Callable[[str], str] | None = None
    repeated: bool = False
    tab: bool = False
    exists: Callable[[Any], bool] | None = None
    handler: Callable[..., Any] | None = None

    @property
    def built_in(self) -> bool:
        """Whether the protocol has this command, under whatever name."""
        return self.act is not _no_default


class CommandTable:
    """The commands of a server: find, add, replace, rename, remove.

    Each server has a table of its own. Changes are seen by the next command.
    """

    def __init__(self, commands: tuple[Command, ...] = ()) -> None:
        self.by_verb = {command.verb.encode(): command for command in commands}
        """The commands, by verb in upper case."""
        self.known: dict[bytes, tuple[Command, Any]] = {}
        """Lines that were read before: the command and its argument."""

    def __iter__(self) -> Iterator[Command]:
        return iter(list(self.by_verb.values()))

    def __contains__(self, verb: str) -> bool:
        return _key(verb) in self.by_verb

    def find(self, verb: str) -> Command | None:
        """The row of `verb`, in any letter case."""
        return self.by_verb.get(_key(verb))

    def remember(self, line: bytes, command: Command, argument: Any) -> None:
        """Keep what a line was read as. Only for commands that are `repeated`."""
        if len(line) > MAX_REMEMBERED_LINE:
            return
        if len(self.known) >= MAX_REMEMBERED:
            self.known.clear()
        self.known[line] = command, argument

    def add(
        self,
        verb: str,
        handler: Callable[..., Any],
        *,
        states: frozenset[State] = BOTH,
        capability: str | None = None,
        secret: bool = False,
    ) -> Command:
        """A new command; see `Command`.

        Raises ValueError if there is one of that name, and for a capability that isn't one line
        of printable ASCII; TypeError for one that isn't text.
        """
        if verb in self:
            raise ValueError(f"there is a command {verb.upper()} already: use replace()")
        if capability is not None:
            _check_capability(capability)
        return self._put(
            Command(verb.upper(), states, capability=capability, secret=secret, handler=handler)
        )

    def replace(
        self, verb: str, handler: Callable[..., Any], *, secret: bool | None = None
    ) -> Command:
        """Let `handler` answer a command that is there. Raises ValueError if it isn't.

        secret: None leaves it as it is. What is secret already stays secret.
        """
        old = self._there(verb)
        return self._put(replace(old, handler=handler, secret=old.secret or bool(secret)))

    def rename(self, verb: str, new_verb: str) -> Command:
        """Let a command be called by another name.

        Raises ValueError if it isn't there, or the other name is taken. CAPA's line of a built-in
        command goes, since it names the command.
        """
        if new_verb in self:
            raise ValueError(f"there is a command {new_verb.upper()} already")
        old = self._there(verb)
        fixed = old.built_in and isinstance(old.capability, str)
        capability = None if fixed else old.capability
        renamed = self._put(replace(old, verb=new_verb.upper(), capability=capability))
        del self.by_verb[_key(verb)]
        return renamed

    def remove(self, verb: str) -> Command:
        """Take a command away; it is answered as unknown from then on. Raises ValueError."""
        command = self._there(verb)
        self.known.clear()
        del self.by_verb[_key(verb)]
        return command

    def _there(self, verb: str) -> Command:
        command = self.find(verb)
        if command is None:
            known = ", ".join(sorted(each.verb for each in self))
            raise ValueError(f"there is no command {verb.upper()}; there are: {known}")
        return command

    def _put(self, command: Command) -> Command:
        self.by_verb[_key(command.verb)] = command
        self.known.clear()
        return command


def _check_capability(line: str) -> None:
    if not isinstance(line, str):
        raise TypeError(f"capability={line!r}: it must be text, a line of CAPA's reply")
    if not _CAPABILITY.fullmatch(line):
        raise ValueError(
            f"capability={line!r}: allowed is one line of 1 to 510 printable ASCII characters"
        )


def _key(verb: str) -> bytes:
    if not isinstance(verb, str) or not _VERB.fullmatch(verb):
        raise ValueError(f"not a command's name: {verb!r} (1 to 32 printable ASCII characters)")
    return verb.upper().encode("ascii")
