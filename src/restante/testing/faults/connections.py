"""Faults of connections and of TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from restante.settings_fields import bounded, described
from restante.testing import wire
from restante.testing.faults.fault import CommandFault, Fault, FaultError, Firing
from restante.testing.faults.shapers import Delayed, Ends, Paced
from restante.testing.wire import GREETING, Occasion, Shaper, Wire


def _check_after(after: object) -> None:
    if after is None or after == "body":
        return
    if type(after) is not int:
        raise ValueError("no such place")
    if after < 0:
        raise ValueError("below 0")


def _after() -> Any:
    words = "a number of octets, 0 or more, or 'body', or nothing"
    return described(None, words, _check_after)


@dataclass(frozen=True)
class ConnectionReset(Fault):
    """A connection is reset as soon as it is accepted, before the greeting and before TLS.

    The system has accepted it by then. Where nobody listens, as after `MailServer.stop`, a
    connection is refused.
    """

    decides: ClassVar[str] = "connection"

    def on_accept(self, wire: Wire, firing: Firing) -> None:
        firing.fired()
        wire.refuses = True


@dataclass(frozen=True)
class _End(CommandFault):
    abstract: ClassVar[bool] = True
    decides: ClassVar[str] = "end"
    stage: ClassVar[int] = 1

    after: int | Literal["body"] | None = _after()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.when == GREETING and self.after == "body":
            raise FaultError("after='body': a greeting has one line, and so no body")

    def _act(self) -> wire.Act:
        raise NotImplementedError

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        if self.after is None:
            occasion.refuse()
        return Ends(self._act(), self.after, occasion, firing)


@dataclass(frozen=True)
class Reset(_End):
    """The connection is cut, and the client's system told of an error (RST).

    after: None: in place of obeying the command. A number: after so many octets of a multi-line
        reply's body, or of a reply of one line; the command is obeyed. `body`: after everything
        but the terminator.
    """

    def _act(self) -> wire.Act:
        return wire.Reset()


@dataclass(frozen=True)
class Close(_End):
    """The connection is closed as if all was well (FIN). after: as of `Reset`."""

    def _act(self) -> wire.Act:
        return wire.Close()


@dataclass(frozen=True)
class HalfClose(_End):
    """The server ends its side of the connection, and goes on reading. after: as of `Reset`.

    Within TLS it says close_notify first, and goes on reading within TLS (RFC 8446 §6.1).
    """

    def _act(self) -> wire.Act:
        return wire.HalfClose()


@dataclass(frozen=True)
class Hang(_End):
    """Nothing more is sent, and the connection stays open. after: as of `Reset`.

    At the greeting: the server accepts connections and says nothing.
    """

    def _act(self) -> wire.Act:
        return wire.Hang()


@dataclass(frozen=True)
class Delay(CommandFault):
    """A reply comes so many seconds late."""

    decides: ClassVar[str] = "delay"
    stage: ClassVar[int] = 3

    seconds: float = bounded(1.0, 0, 3600, unit="seconds")

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return Delayed(self.seconds, firing)


@dataclass(frozen=True)
class Drip(CommandFault):
    """A reply comes at so many octets a second."""

    decides: ClassVar[str] = "pace"
    stage: ClassVar[int] = 3

    rate: int = bounded(100, 1, 1_000_000_000, unit="octets a second")

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        octets = max(1, self.rate // 50)
        return Paced(octets, octets / self.rate, firing)


@dataclass(frozen=True)
class Split(CommandFault):
    """A reply is sent in pieces of so many octets, each by itself."""

    decides: ClassVar[str] = "pace"
    stage: ClassVar[int] = 3

    octets: int = bounded(1, 1, 1_000_000)

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return Paced(self.octets, 0.0, firing)


@dataclass(frozen=True)
class Coalesce(CommandFault):
    """A reply waits so many seconds, and leaves with those that come meanwhile, in one piece."""

    decides: ClassVar[str] = "pace"
    stage: ClassVar[int] = 3

    seconds: float = bounded(0.05, 0, 60, unit="seconds")

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return Delayed(self.seconds, firing, gather=True)


@dataclass(frozen=True)
class CutHandshake(Fault):
    """A TLS handshake is cut when the client has begun it."""

    decides: ClassVar[str] = "handshake"

    how: Literal["reset", "close"] = "reset"

    def on_handshake(self, wire_: Wire, firing: Firing) -> None:
        firing.fired()
        wire_.cuts_handshake = wire.Reset() if self.how == "reset" else wire.Close()


@dataclass(frozen=True)
class OldTls(Fault):
    """TLS 1.0 and 1.1 are all that the server speaks (RFC 8996 forbids them)."""

    decides: ClassVar[str] = "handshake"

    def on_handshake(self, wire: Wire, firing: Firing) -> None:
        firing.fired()
        wire.speaks_old_tls = True


@dataclass(frozen=True)
class NoCloseNotify(Fault):
    """TLS ends without a word (close_notify), as if somebody had cut it (RFC 8446 §6.1)."""

    def on_handshake(self, wire: Wire, firing: Firing) -> None:
        firing.fired()
        wire.closes_politely = False
