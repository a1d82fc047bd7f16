"""Faults of reading: what a server makes of the octets that a client sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from restante.settings_fields import bounded
from restante.testing.faults.fault import Fault, Firing
from restante.testing.wire import Wire

_LENGTH = "octets of the line"


@dataclass(frozen=True)
class BrokenPipelining(Fault):
    """PIPELINING is announced, and only the first of the commands that come together is heard."""

    lasting: ClassVar[bool] = True

    def on_arrival(self, wire: Wire, data: bytes, firing: Firing) -> bytes:
        if wire.due:
            firing.fired()
            return b""
        first, newline, rest = data.partition(b"\n")
        if rest:
            firing.fired()
        return first + newline


@dataclass(frozen=True)
class BrokenLines(Fault):
    """Where a command ends is found in a wrong way.

    how: `segments`: a command has to come in one segment; the beginning of one whose end comes
        later is lost. `cr`: CR ends a command by itself, so that an LF that comes later is an
        empty one.
    """

    lasting: ClassVar[bool] = True
    decides: ClassVar[str] = "ends of commands"

    how: Literal["segments", "cr"] = "segments"

    def on_arrival(self, wire: Wire, data: bytes, firing: Firing) -> bytes:
        if self.how == "segments":
            read = data[: data.rfind(b"\n") + 1]
        else:
            read = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            data = data.replace(b"\r\n", b"\n")
        if read != data:
            firing.fired()
        return read


@dataclass(frozen=True)
class LineLimit(Fault):
    """Of a command only so many octets are read, its line end not counted.

    RFC 2449 §4 has servers take 255. rest: what becomes of the rest: it is a `command`, or is
    `dropped`, until the line's end comes.
    """

    lasting: ClassVar[bool] = True
    decides: ClassVar[str] = "lengths of commands"

    octets: int = bounded(40, 4, 1_000_000)
    rest: Literal["command", "dropped"] = "command"

    def on_arrival(self, wire: Wire, data: bytes, firing: Firing) -> bytes:
        read = bytearray()
        length = wire.data.get(_LENGTH, 0)
        while data:
            line, newline, data = data.partition(b"\n")
            if newline and line.endswith(b"\r"):
                line, newline = line[:-1], b"\r\n"
            while length + len(line) > self.octets:
                firing.fired()
                room = max(0, self.octets - length)
                read += line[:room]
                line, length = line[room:], length + room
                if self.rest == "dropped":
                    line = b""
                else:
                    read += b"\r\n"
                    length = 0
            read += line + newline
            length = 0 if newline else length + len(line)
        wire.data[_LENGTH] = length
        return bytes(read)
