"""Servers that many people meet: their greeting, CAPA and wording, from files of data."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

from restante.settings_fields import described, unknown_setting
from restante.testing.faults.fault import Fault, Firing
from restante.testing.faults.shapers import Lines
from restante.testing.shaping import Act, Shaper
from restante.testing.wire import GREETING, Occasion


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """What one server says, as far as it was seen.

    source: the running server, or the pages, that it was taken from. checked: the day of that.
    greeting, capa_text: texts after +OK. capa: CAPA's lines, in order; capa_after_login: those
    of a client that has logged in, where they are others. ok, err: texts after +OK and -ERR, by
    command; before_login: texts after +OK that are others before login.
    """

    title: str
    source: str
    checked: date
    greeting: str
    capa_text: str
    capa: list[str]
    capa_after_login: list[str] | None = None
    ok: Mapping[str, str] = field(default_factory=dict)
    err: Mapping[str, str] = field(default_factory=dict)
    before_login: Mapping[str, str] = field(default_factory=dict)


def _folder() -> Any:
    return files("restante.testing") / "profiles"


@cache
def profile_names() -> tuple[str, ...]:
    """The servers that there are profiles of."""
    found = (each.name for each in _folder().iterdir())
    return tuple(sorted(name[:-5] for name in found if name.endswith(".toml")))


@cache
def load_profile(name: str) -> ServerProfile:
    """The profile of a server. Raises ValueError for one that there is none of."""
    _check_name(name)
    return ServerProfile(**tomllib.loads((_folder() / f"{name}.toml").read_text("utf-8")))


def _check_name(name: str) -> None:
    if name not in profile_names():
        raise ValueError(unknown_setting(name, profile_names()).replace("setting", "profile"))


@dataclass(frozen=True)
class Profile(Fault):
    """The server greets, lists its capabilities and words its replies as another one.

    Replies that its profile doesn't know stay as they are. STLS and SASL mechanisms are announced
    only where the server offers them in truth, APOP never.
    """

    lasting: ClassVar[bool] = True
    decides: ClassVar[str] = "profile"
    stage: ClassVar[int] = -1  # other faults change what it says

    server: str = described("gmail", "the name of a profile", _check_name)

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        profile = load_profile(self.server)
        if occasion.verb == "CAPA":
            return _Capa(profile, occasion, firing)
        return _Worded(profile, occasion, firing)


class _Capa(Lines):
    def __init__(self, profile: ServerProfile, occasion: Occasion, firing: Firing) -> None:
        super().__init__(occasion, firing)
        self._profile = profile
        self._occasion = occasion
        self._real: list[str] = []

    def status(self, line: bytes) -> bytes:
        if not line.startswith(b"+OK"):
            return line
        self._firing.fired()
        return _status("+OK", self._profile.capa_text)

    def line(self, line: bytes) -> bytes:
        self._real.append(line.decode("ascii", "replace").strip())
        return b""

    def last(self) -> bytes:
        return "".join(f"{line}\r\n" for line in self._lines()).encode("ascii")

    def _lines(self) -> Iterable[str]:
        profile = self._profile
        announced = profile.capa
        if profile.capa_after_login is not None and _is_logged_in(self._occasion):
            announced = profile.capa_after_login
        real = {line.split(" ")[0]: line.split(" ")[1:] for line in self._real}
        for line in announced:
            word, *rest = line.split(" ")
            if word == "SASL":
                rest = [each for each in rest if each in real.get("SASL", ())]
                if rest:
                    yield f"SASL {' '.join(rest)}"
            elif word != "STLS" or "STLS" in real:
                yield line


class _Worded(Shaper):
    def __init__(self, profile: ServerProfile, occasion: Occasion, firing: Firing) -> None:
        self._profile = profile
        self._occasion = occasion
        self._firing = firing

    def head(self, line: bytes) -> Iterable[Act]:
        verb, profile = self._occasion.verb, self._profile
        if verb == GREETING:
            if not line.startswith(b"+OK"):
                return [line]
            self._firing.fired()
            return [_status("+OK", profile.greeting)]
        prefix = line[:3].decode("ascii", "replace")
        if prefix == "+OK" and verb in ("LIST", "UIDL") and self._occasion.argument:
            return [line]
        text_of = profile.ok if prefix == "+OK" else profile.err if prefix == "-ER" else {}
        found = text_of.get(verb)
        if prefix == "+OK" and not _is_logged_in(self._occasion):
            found = profile.before_login.get(verb, found)
        if found is None:
            return [line]
        self._firing.fired()
        prefix = "+OK" if prefix == "+OK" else "-ERR"
        return [_status(prefix, found.format_map(self._values()))]

    def _values(self) -> dict[str, object]:
        session, argument = self._occasion.session, self._occasion.argument
        listing = session.mailbox.listing if session is not None else None
        number = int(argument) if argument.isdigit() else 0
        there = listing is not None and 0 < number <= listing.count
        return {
            "argument": argument,
            "count": session.mailbox.active_count if session is not None else 0,
            "total": session.mailbox.active_size if session is not None else 0,
            "octets": listing.octets[number - 1] if there and listing is not None else 0,
        }


def _is_logged_in(occasion: Occasion) -> bool:
    """Whether it has an account; PASS and AUTH have it by the time of their reply."""
    return occasion.session is not None and occasion.session.account is not None


def _status(prefix: str, text: str) -> bytes:
    return f"{prefix} {text}".rstrip().encode("ascii") + b"\r\n"
