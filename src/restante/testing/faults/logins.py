"""Faults of logging in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from restante.protocol.errors import Pop3Error
from restante.protocol.states import State
from restante.server.client import ClientSession
from restante.settings_fields import bounded, described
from restante.testing.faults.fault import Fault, FaultError, Firing
from restante.testing.faults.shapers import Instead, Lines
from restante.testing.shaping import Close, Shaper
from restante.testing.wire import Occasion

_CODE = re.compile(r"[!-Z^-~]+")


def code(default: str | None) -> Any:
    """A field with a response code (RFC 2449 §8), or nothing."""

    def check(given: str) -> None:
        if not _CODE.fullmatch(given):
            raise ValueError("without brackets, blanks and backslashes")

    return described(default, "a response code such as SYS/TEMP", check)


def text(default: str) -> Any:
    """A field with the text of a status line."""

    def check(given: str) -> None:
        if not given.isprintable() or not given.isascii() or len(given) > 400:
            raise ValueError("it must fit into a status line")

    return described(default, "up to 400 printable characters of ASCII", check)


@dataclass(frozen=True)
class LoginFails(Fault):
    """Whoever has given the right password is refused all the same.

    code: the response code: AUTH as for a wrong password, IN-USE, LOGIN-DELAY, SYS/TEMP …
    times: so many times, and then no more. None: always.
    """

    decides: ClassVar[str] = "login"

    code: str | None = code("AUTH")
    times: int | None = bounded(None, 1)
    text: str = text("the login is refused")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.times is not None and (self.once or self.nth is not None):
            raise FaultError("times excludes once and nth: give one of them")

    @property
    def limit(self) -> int | None:
        """How often it may happen."""
        return self.times if self.times is not None else super().limit

    def on_login(self, session: ClientSession, firing: Firing) -> None:
        firing.fired()
        raise Pop3Error(self.text, self.code)


@dataclass(frozen=True)
class BrokenMechanism(Fault):
    """A SASL mechanism is announced in CAPA, and doesn't work.

    how: `garbage`: its first challenge isn't base64. `refused`: -ERR.
    """

    lasting: ClassVar[bool] = True
    needs: ClassVar[str] = "AUTH"

    mechanism: Literal[
        "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "SCRAM-SHA-1",
        "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "ANONYMOUS",
    ] = "SCRAM-SHA-256"  # fmt: skip
    how: Literal["garbage", "refused"] = "garbage"

    def concerns(self, occasion: Occasion) -> bool:
        return occasion.verb == "CAPA" or (
            occasion.verb == "AUTH" and occasion.argument.split(" ")[0] == self.mechanism
        )

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        if occasion.verb == "CAPA":
            return _Announced(self.mechanism, occasion, firing)
        occasion.refuse("mechanism is broken")
        if self.how == "garbage":
            return Instead(firing, b"+ !this is not base64!\r\n")
        firing.fired()
        return None


class _Announced(Lines):
    """Adds a mechanism to CAPA's line SASL."""

    def __init__(self, mechanism: str, occasion: Occasion, firing: Firing) -> None:
        super().__init__(occasion, firing)
        self._mechanism = mechanism.encode()
        self._done = False

    def line(self, line: bytes) -> bytes:
        words = line.split()
        if words[:1] != [b"SASL"]:
            return line
        self._done = True
        if self._mechanism not in words:
            words.append(self._mechanism)
        return b" ".join(words) + b"\r\n"

    def last(self) -> bytes:
        return b"" if self._done else b"SASL " + self._mechanism + b"\r\n"


@dataclass(frozen=True)
class TokenExpires(Fault):
    """A session that logged in with a token ends after so many commands: the token has expired."""

    lasting: ClassVar[bool] = True
    needs: ClassVar[str] = "AUTH"

    commands: int = bounded(1, 0)

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        session = occasion.session
        if session is None or session.state is not State.TRANSACTION:
            return None
        if occasion.wire.data.get("mechanism") not in ("OAUTHBEARER", "XOAUTH2"):
            return None
        so_far = occasion.wire.data["commands"] = occasion.wire.data.get("commands", 0) + 1
        if so_far <= self.commands:
            return None
        occasion.refuse()
        close = Close(why=f"fault {self}")
        return Instead(firing, b"-ERR [AUTH] the access token has expired\r\n", close)
