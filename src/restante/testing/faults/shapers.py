"""How replies are changed on their way out; see `restante.testing.shaping.Shaper`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Literal

from restante.testing.faults.fault import Firing
from restante.testing.shaping import Act, Hold, Shaper, Wait
from restante.testing.wire import Occasion

MOST_KEPT = 64 * 1024 * 1024
"""Octets of a reply that is kept as a whole."""

After = int | Literal["body"] | None


class Ends(Shaper):
    """Something happens after so many octets of a reply; see `faults.connections.Reset`."""

    def __init__(self, act: Act, after: After, occasion: Occasion, firing: Firing) -> None:
        self._act = act
        self._after = after
        self._occasion = occasion
        self._firing = firing
        self._left = after if isinstance(after, int) else 0
        self._octets = 0
        self._single = False

    def _now(self, *before: bytes) -> list[Act]:
        self._firing.fired()
        return [*before, self._act]

    def head(self, line: bytes) -> Iterable[Act]:
        if self._after is None:
            return self._now()
        self._single = not self._occasion.has_lines(line)
        if self._after == 0 and not self._single:
            return self._now(line)
        return self._count(line) if self._single else [line]

    def body(self, block: bytes) -> Iterable[Act]:
        return self._count(block)

    def _count(self, octets: bytes) -> list[Act]:
        self._octets += len(octets)
        if self._after == "body" or self._left > len(octets):
            self._left -= len(octets)
            return [octets]
        return self._now(octets[: self._left])

    def end(self, terminator: bytes) -> Iterable[Act]:
        if self._after == "body" and not self._single:
            return self._now()
        if self._after == "body":
            self._firing.missed("the reply has one line, and so no terminator")
        else:
            what = "the reply" if self._single else "the reply's body"
            self._firing.missed(f"{what} had {self._octets} octets")
        return [terminator]


class Paced(Shaper):
    """Octets leave in pieces. octets: of each. seconds: between two."""

    def __init__(self, octets: int, seconds: float, firing: Firing) -> None:
        self._octets = octets
        self._seconds = seconds
        self._firing = firing

    def head(self, line: bytes) -> Iterable[Act]:
        self._firing.fired()
        return self.body(line)

    def body(self, block: bytes) -> Iterator[Act]:
        for at in range(0, len(block), self._octets):
            yield block[at : at + self._octets]
            yield Wait(self._seconds)

    def end(self, terminator: bytes) -> Iterable[Act]:
        return self.body(terminator)


class Delayed(Shaper):
    """A reply begins later. gather: what comes meanwhile leaves with it."""

    def __init__(self, seconds: float, firing: Firing, *, gather: bool = False) -> None:
        self._wait = Wait(seconds, gather)
        self._firing = firing

    def head(self, line: bytes) -> Iterable[Act]:
        self._firing.fired()
        return [self._wait, line]


class Instead(Shaper):
    """Other octets, or none, are sent in a reply's place. acts: what is sent."""

    replaces = True

    def __init__(self, firing: Firing, *acts: Act) -> None:
        self._acts = acts
        self._firing = firing

    def head(self, line: bytes) -> Iterable[Act]:
        self._firing.fired()
        return self._acts

    def body(self, block: bytes) -> Iterable[Act]:
        return ()

    def end(self, terminator: bytes) -> Iterable[Act]:
        return ()


class Kept(Shaper):
    """Base: keeps a copy of a reply until its end."""

    def __init__(self, firing: Firing) -> None:
        self._firing = firing
        self._kept = bytearray()

    def body(self, block: bytes) -> Iterable[Act]:
        return self.head(block)


class Doubled(Kept):
    """A reply is sent twice."""

    def head(self, line: bytes) -> Iterable[Act]:
        if len(self._kept) <= MOST_KEPT:
            self._kept += line
        return [line]

    def end(self, terminator: bytes) -> Iterable[Act]:
        if len(self._kept) > MOST_KEPT:
            self._firing.missed(f"the reply had more than {MOST_KEPT} octets")
            return [terminator]
        self._firing.fired()
        return [terminator, bytes(self._kept) + terminator]


class Late(Kept):
    """A reply is sent after the next one, or after so many seconds."""

    def __init__(self, seconds: float, firing: Firing) -> None:
        super().__init__(firing)
        self._seconds = seconds
        self._gives_up = False

    def head(self, line: bytes) -> Iterable[Act]:
        self._kept += line
        if len(self._kept) <= MOST_KEPT:
            return ()
        self._gives_up = True
        kept = bytes(self._kept)
        self._kept.clear()
        return [kept]

    def end(self, terminator: bytes) -> Iterable[Act]:
        kept = bytes(self._kept) + terminator
        if self._gives_up:
            self._firing.missed(f"the reply had more than {MOST_KEPT} octets")
            return [kept]
        self._firing.fired()
        return [Hold(kept, self._seconds, self._alone)]

    def _alone(self) -> None:
        self._firing.missed("the client sent no other command in time, so the order is right")


class Lines(Shaper):
    """Base: changes a reply line by line.

    A line is given with its CRLF, and so is what replaces it; nothing leaves it out.
    """

    def __init__(self, occasion: Occasion, firing: Firing) -> None:
        self._occasion = occasion
        self._firing = firing
        self._rest = b""

    def status(self, line: bytes) -> bytes:
        """The first line."""
        return line

    @abstractmethod
    def line(self, line: bytes) -> bytes:
        """One of the lines after it."""

    def last(self) -> bytes:
        """Further lines at the end."""
        return b""

    def head(self, line: bytes) -> Iterable[Act]:
        return [self.status(line)]

    def body(self, block: bytes) -> Iterable[Act]:
        *lines, self._rest = (self._rest + block).split(b"\n")
        return [b"".join([self.line(line + b"\n") for line in lines])]

    def end(self, terminator: bytes) -> Iterable[Act]:
        last = self.last() if terminator else b""
        rest, self._rest = self._rest, b""
        return [rest + last, terminator]


class Listed(Lines):
    """Base: changes what LIST or UIDL says of messages."""

    def status(self, line: bytes) -> bytes:
        if self._occasion.has_lines(line) or not line.startswith(b"+OK "):
            return line
        changed = self.line(line[4:])
        return b"+OK " + changed if changed else b"-ERR no such message\r\n"

    def line(self, line: bytes) -> bytes:
        number, _, value = line[:-2].decode("ascii", "replace").partition(" ")
        if not number.isdigit():
            return line
        new = self.changed(int(number), value)
        if new != value:
            self._firing.fired()
        return b"" if new is None else f"{number} {new}\r\n".encode()

    @abstractmethod
    def changed(self, number: int, value: str) -> str | None:
        """What is said of a message instead; None: nothing at all."""
