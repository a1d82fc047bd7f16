"""Faults of connections and of TLS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from ssl import TLSVersion
from typing import Any, ClassVar, Literal

from restante.settings_fields import bounded, described
from restante.testing import old_tls, shaping
from restante.testing.faults.fault import VERBS, CommandFault, Fault, FaultError, Firing
from restante.testing.faults.shapers import Delayed, Ends, Paced
from restante.testing.shaping import Shaper
from restante.testing.wire import GREETING, UNKNOWN, Occasion, Wire

_TLS_BEGINS = "TLS begins"

_STLS = re.compile(rb"^STLS[ \t]*\r?\n", re.IGNORECASE | re.MULTILINE)


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
    before_names: ClassVar[str] = "a connection is accepted"

    def prevents(self, other: Fault) -> bool:
        """Nothing happens in any connection that is reset."""
        return self.nth is None

    def on_accept(self, wire: Wire, firing: Firing) -> None:
        firing.fired()
        wire.refuses = f"fault {self}"


_ONE_LINE = {
    GREETING: "a greeting",
    UNKNOWN: "an unknown command's reply",
    **{
        verb: f"the reply to {verb}"
        for verb in VERBS
        if verb not in ("RETR", "TOP", "LIST", "UIDL", "CAPA", "LANG", "AUTH")
    },
}


@dataclass(frozen=True)
class _End(CommandFault):
    abstract: ClassVar[bool] = True
    decides: ClassVar[str] = "end"
    stage: ClassVar[int] = 1

    after: int | Literal["body"] | None = _after()

    def __post_init__(self) -> None:
        super().__post_init__()
        verb = self.when.partition(" ")[0]
        if verb in _ONE_LINE and self.after == "body":
            raise FaultError(f"after='body': {_ONE_LINE[verb]} has one line, and so no body")

    def _act(self) -> shaping.Act:
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

    def _act(self) -> shaping.Act:
        return shaping.Reset(f"fault {self}")


@dataclass(frozen=True)
class Close(_End):
    """The connection is closed as if all was well (FIN). after: as of `Reset`."""

    def _act(self) -> shaping.Act:
        return shaping.Close(why=f"fault {self}")


@dataclass(frozen=True)
class HalfClose(_End):
    """The server ends its side of the connection, and goes on reading. after: as of `Reset`.

    Within TLS it says close_notify first, and goes on reading within TLS (RFC 8446 §6.1).
    """

    def _act(self) -> shaping.Act:
        return shaping.HalfClose()


@dataclass(frozen=True)
class Hang(_End):
    """Nothing more is sent, and the connection stays open. after: as of `Reset`.

    At the greeting: the server accepts connections and says nothing.
    """

    def _act(self) -> shaping.Act:
        return shaping.Hang()


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


_CUTS: Mapping[str, shaping.Reset | shaping.Close | bytes] = {
    "reset": shaping.Reset(),
    "close": shaping.Close(),
    "text": b"+OK no TLS here\r\n",
}


@dataclass(frozen=True)
class CutHandshake(Fault):
    """A TLS handshake is cut when the client has begun it.

    how: `reset`, `close`, or `text`: the server answers +OK in the clear and closes, as one does
        that has no TLS. A client must not go on in the clear.
    """

    decides: ClassVar[str] = "handshake"
    before_names: ClassVar[str] = _TLS_BEGINS

    how: Literal["reset", "close", "text"] = "reset"

    def on_handshake(self, wire_: Wire, firing: Firing) -> None:
        firing.fired()
        wire_.cuts_handshake = _CUTS[self.how]


_OLD = {
    "old-versions": old_tls.OldTls(TLSVersion.TLSv1, TLSVersion.TLSv1_1),
    "rsa-keys": old_tls.OldTls(TLSVersion.TLSv1_2, TLSVersion.TLSv1_2, old_tls.RSA_KEYS),
}


@dataclass(frozen=True)
class OldTls(Fault):
    """The server speaks only what is out of date.

    speaks: `old-versions`: TLS 1.0 and 1.1, which RFC 8996 forbids. `rsa-keys`: TLS 1.2 without
        forward secrecy, its keys transported by RSA (RFC 9325 §4.1); it needs a certificate with
        an RSA key.
    """

    decides: ClassVar[str] = "handshake"
    before_names: ClassVar[str] = _TLS_BEGINS

    speaks: Literal["old-versions", "rsa-keys"] = "old-versions"

    def on_handshake(self, wire_: Wire, firing: Firing) -> None:
        context = wire_.context
        if self.speaks == "rsa-keys" and context is not None and not old_tls.has_rsa_key(context):
            firing.missed('the certificate has no RSA key: give certificate="rsa"')
            return
        firing.fired()
        wire_.speaks = _OLD[self.speaks]


_BEHIND_STLS = "octets behind STLS"


@dataclass(frozen=True)
class BrokenStls(Fault):
    """TLS that STLS has begun doesn't begin afresh.

    how: `greeting`: the server greets again inside TLS, where a client waits for the reply to its
        first command (RFC 2595 §4). `injection`: what came in the clear in one segment with STLS,
        from whomever, is obeyed inside TLS (CVE-2011-0411).
    """

    decides: ClassVar[str] = "beginning of TLS"
    needs: ClassVar[str] = "STLS"
    before_names: ClassVar[str] = _TLS_BEGINS

    how: Literal["greeting", "injection"] = "greeting"

    def on_arrival(self, wire: Wire, data: bytes, firing: Firing) -> bytes:
        found = _STLS.search(data) if self.how == "injection" and not wire.encrypted else None
        if found is None:
            return data
        wire.data[_BEHIND_STLS] = data[found.end() :]
        return data[: found.end()]

    def on_handshake(self, wire: Wire, firing: Firing) -> None:
        if wire.last is None or wire.last.verb != "STLS":
            firing.missed("TLS begins without STLS")
            return
        wire.secured = partial(self._begins, wire, firing)

    def _begins(self, wire: Wire, firing: Firing) -> None:
        if self.how == "greeting":
            firing.fired()
            wire.put([b"+OK ready\r\n"])
        elif behind := wire.data.pop(_BEHIND_STLS, b""):
            firing.fired()
            wire.obey(behind)
        else:
            firing.missed("nothing came in one segment with STLS")


@dataclass(frozen=True)
class NoCloseNotify(Fault):
    """TLS ends without a word (close_notify), as if somebody had cut it (RFC 8446 §6.1)."""

    before_names: ClassVar[str] = _TLS_BEGINS

    def on_handshake(self, wire: Wire, firing: Firing) -> None:
        firing.fired()
        wire.closes_politely = False
