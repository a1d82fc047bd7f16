"""What is sent in place of a reply: acts, and the shapers that make them of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Wait:
    """Send nothing for so many seconds. gather: and then all that has come meanwhile, at once."""

    seconds: float
    gather: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Cut the connection, so that the client's system is told of an error (RST).

    why: how the session is said to have ended.
    """

    why: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection. politely: within TLS, say so before (RFC 8446 §6.1).

    why: how the session is said to have ended.
    """

    politely: bool = True
    why: str = ""


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Send nothing more, say so, and go on reading."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Send nothing more, and leave the connection open until the client ends it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep octets back until the next reply is sent, or for so many seconds.

    alone: called when they left because no other reply came.
    """

    data: bytes
    seconds: float
    alone: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """Nothing is sent. reached: called when all before it has left."""

    reached: Callable[[], None]


Act: TypeAlias = bytes | Wait | Reset | Close | HalfClose | Hang | Hold | Mark
"""A step of sending: octets, each item by itself, or something that happens between octets."""

Part: TypeAlias = Literal["head", "body", "end"]


class Shaper:
    """Changes one reply on its way out: takes its parts in order and gives what is sent instead.

    This one changes nothing. replaces: what is sent isn't the reply any more.
    """

    replaces: ClassVar[bool] = False

    def head(self, line: bytes) -> Iterable[Act]:
        """The status line, CRLF included."""
        return (line,)

    def body(self, block: bytes) -> Iterable[Act]:
        """The next octets of a multi-line reply, cut anywhere, without the terminator."""
        return (block,)

    def end(self, terminator: bytes) -> Iterable[Act]:
        """The end of the reply. terminator: `.` CRLF, or nothing for a reply of one line."""
        return (terminator,)


def shaped(shapers: Sequence[Shaper], part: Part, data: bytes) -> list[Act]:
    """What is sent in place of a reply's part, after all shapers."""
    acts: list[Act] = [data]
    for shaper in shapers:
        before, acts = acts, []
        last = max((n for n, act in enumerate(before) if isinstance(act, bytes)), default=-1)
        if part == "end" and last < 0:
            acts += shaper.end(b"")
        for n, act in enumerate(before):
            if not isinstance(act, bytes):
                acts.append(act)
            elif part == "end" and n < last:
                acts += shaper.body(act)
            else:
                acts += getattr(shaper, part)(act)
    return acts
