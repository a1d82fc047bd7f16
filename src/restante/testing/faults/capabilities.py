"""Faults of what a server can do, and says it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from restante.settings_fields import described, unknown_setting
from restante.testing.faults.fault import Fault, Firing
from restante.testing.faults.shapers import Lines
from restante.testing.shaping import Shaper
from restante.testing.wire import GREETING, Occasion

OPTIONAL = ("CAPA", "UIDL", "TOP", "APOP", "AUTH", "STLS", "UTF8", "LANG", "USER")
_CAPABILITIES = {"AUTH": b"SASL"}


def _command() -> Any:
    def check(given: str) -> None:
        if given not in OPTIONAL:
            raise ValueError(unknown_setting(given, OPTIONAL).replace("setting", "command"))

    return described("CAPA", f"one of {', '.join(OPTIONAL)}", check)


@dataclass(frozen=True)
class Without(Fault):
    """The server doesn't know a command, and doesn't announce it."""

    lasting: ClassVar[bool] = True

    command: str = _command()

    def prevents(self, other: Fault) -> bool:
        """What is about a command that there isn't."""
        return other.needs == self.command

    def concerns(self, occasion: Occasion) -> bool:
        verbs = {self.command, "CAPA"} | ({"PASS"} if self.command == "USER" else set())
        return occasion.verb in (verbs | {GREETING} if self.command == "APOP" else verbs)

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        if occasion.verb == "CAPA" and self.command != "CAPA":
            capability = _CAPABILITIES.get(self.command, self.command.encode())
            return _LeftOut(capability, occasion, firing)
        if occasion.verb == GREETING:
            return _NoTimestamp(occasion, firing)
        occasion.refuse("unknown command")
        firing.fired()
        return None


class _LeftOut(Lines):
    def __init__(self, capability: bytes, occasion: Occasion, firing: Firing) -> None:
        super().__init__(occasion, firing)
        self._capability = capability

    def line(self, line: bytes) -> bytes:
        if line.split()[:1] != [self._capability]:
            return line
        self._firing.fired()
        return b""


class _NoTimestamp(Lines):
    """APOP is announced by the greeting (RFC 1939 §7)."""

    def status(self, line: bytes) -> bytes:
        before, bracket, _ = line.partition(b" <")
        return before + b"\r\n" if bracket else line

    def line(self, line: bytes) -> bytes:
        return line
