"""Faults of replies: what is said, and how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar

from restante.settings_fields import bounded, described
from restante.testing.faults.fault import CommandFault, Fault, FaultError, Firing
from restante.testing.faults.logins import code, text
from restante.testing.faults.shapers import Doubled, Instead, Late
from restante.testing.shaping import Act, Close, Shaper
from restante.testing.wire import GREETING, Occasion


def _octets() -> Any:
    def check(given: bytes) -> None:
        if not given:
            raise ValueError("for no reply at all there is NoReply")

    return described(MISSING, "octets, at least one", check)


@dataclass(frozen=True)
class _Reply(CommandFault):
    abstract: ClassVar[bool] = True
    decides: ClassVar[str] = "reply"


@dataclass(frozen=True)
class Raw(_Reply):
    """These octets are the reply, whatever they are.

    obeyed: whether the server does what it was asked to all the same.
    """

    reply: bytes = _octets()
    obeyed: bool = True

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        if not self.obeyed:
            occasion.refuse()
        return Instead(firing, self.reply)


@dataclass(frozen=True)
class Refused(_Reply):
    """-ERR, and the command isn't obeyed. At the greeting, the connection is closed, too.

    code: its response code (RFC 2449 §8), or nothing.
    """

    code: str | None = code(None)
    text: str = text("refused")

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        if self.when == GREETING:
            shown = f"[{self.code}] " if self.code else ""
            close = Close(why=f"fault {self}")
            return Instead(firing, f"-ERR {shown}{self.text}\r\n".encode(), close)
        firing.fired()
        occasion.refuse(self.text, self.code)
        return None


@dataclass(frozen=True)
class NoReply(_Reply):
    """The command is obeyed, and nothing is said."""

    def prevents(self, other: Fault) -> bool:
        """What isn't said can't be changed either."""
        return isinstance(other, CommandFault) and bool(other.decides)

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return Instead(firing)


@dataclass(frozen=True)
class Twice(CommandFault):
    """The reply comes twice."""

    decides: ClassVar[str] = "order"
    stage: ClassVar[int] = 2

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return Doubled(firing)


@dataclass(frozen=True)
class OutOfOrder(CommandFault):
    """The reply comes after that of the next command, if there is one within so many seconds.

    Only a client that pipelines can see it: any other sends no further command.
    """

    decides: ClassVar[str] = "order"
    stage: ClassVar[int] = 2

    seconds: float = bounded(1.0, 0.001, 60, unit="seconds")

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return Late(self.seconds, firing)


@dataclass(frozen=True)
class LongLine(CommandFault):
    """The status line has so many octets. RFC 2449 §4 allows 512, CRLF included."""

    decides: ClassVar[str] = "status"

    octets: int = bounded(1000, 513, 64 * 1024 * 1024)

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return _Status(firing, lambda line: line[:-2].ljust(self.octets - 2, b".") + b"\r\n")


@dataclass(frozen=True)
class Text(CommandFault):
    """After +OK stands another text, such as one that looks like numbers."""

    decides: ClassVar[str] = "status"

    text: str = text("999 999 octets")

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        new = f"+OK {self.text}\r\n".encode()
        return _Status(firing, lambda line: new if line.startswith(b"+OK") else None)


class _Status(Shaper):
    def __init__(self, firing: Firing, change: Any) -> None:
        self._firing = firing
        self._change = change

    def head(self, line: bytes) -> Iterable[Act]:
        new = self._change(line)
        if new is None:
            self._firing.missed("the reply wasn't +OK")
            return [line]
        self._firing.fired()
        return [new]


@dataclass(frozen=True)
class LoneLf(CommandFault):
    """Lines of the reply end with LF instead of CRLF."""

    decides: ClassVar[str] = "line ends"

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return _LoneLf(firing)


class _LoneLf(Shaper):
    def __init__(self, firing: Firing) -> None:
        self._firing = firing

    def head(self, line: bytes) -> Iterable[Act]:
        self._firing.fired()
        return self.body(line)

    def body(self, block: bytes) -> Iterable[Act]:
        return [block.replace(b"\r\n", b"\n")]

    def end(self, terminator: bytes) -> Iterable[Act]:
        return self.body(terminator)


@dataclass(frozen=True)
class ExtraLines(CommandFault):
    """A reply that should have one line has so many more, and a terminator."""

    decides: ClassVar[str] = "status"

    lines: int = bounded(1, 0, 100_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        verb = self.when.partition(" ")[0]
        if verb in ("RETR", "TOP", "CAPA"):
            raise FaultError(f"{self.when}: its reply has several lines anyway")

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return _ExtraLines(self.lines, occasion, firing)


class _ExtraLines(Shaper):
    def __init__(self, lines: int, occasion: Occasion, firing: Firing) -> None:
        self._lines = b"".join(b"line %d\r\n" % n for n in range(1, lines + 1))
        self._occasion = occasion
        self._firing = firing

    def head(self, line: bytes) -> Iterable[Act]:
        if self._occasion.has_lines(line):
            self._firing.missed("the reply has several lines anyway")
            return [line]
        self._firing.fired()
        return [line + self._lines + b".\r\n"]
