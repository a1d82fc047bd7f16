"""Settings: what is configured, where it comes from, what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from restante.app.config.settings import Secret
from restante.app.console.shared import Console, console_of


@dataclass(frozen=True, slots=True)
class Value:
    """A key's value. place: where it was set; "" is the default. differs: from the default."""

    key: str
    value: str
    default: str
    place: str
    differs: bool


def show(request: Request) -> Response:
    """The page. `all` shows the defaults, too."""
    console = console_of(request)
    every = request.query_params.get("all") == "yes"
    values = [each for each in _values(console) if every or each.differs]
    sections: dict[str, list[Value]] = {}
    for each in values:
        sections.setdefault(each.key.partition(".")[0], []).append(each)
    return console.page(
        request, "settings.html", "settings",
        sections=sections, every=every, problems=console.problems(), file=console.loaded.file,
    )  # fmt: skip


def _values(console: Console) -> Iterator[Value]:
    loaded = console.loaded
    for key, value, default in _leaves(loaded.settings, ""):
        differs = value != default
        place = loaded.place(key) if differs else ""
        shown = "" if default is MISSING else _shown(default)
        yield Value(
            key, _shown(value), shown, place or ("set by itself" if differs else ""), differs
        )


def _leaves(section: Any, above: str) -> Iterator[tuple[str, Any, Any]]:
    """Keys that have values, these, and their defaults."""
    for each in fields(section):
        value, key = getattr(section, each.name), above + each.name
        if is_dataclass(value):
            yield from _leaves(value, f"{key}.")
            continue
        default = each.default
        if each.default_factory is not MISSING:
            default = each.default_factory()
        if isinstance(value, dict) and any(is_dataclass(one) for one in value.values()):
            for name, one in value.items():
                yield from _leaves(one, f"{key}.{name}.")
            continue
        yield key, value, default


def _shown(value: Any) -> str:
    """A value for people; secrets are not shown."""
    match value:
        case Secret():
            return "hidden" if value.text else ""
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case tuple() | list():
            return ", ".join(map(_shown, value)) or "none"
        case dict():
            return ", ".join(f"{name} = {_shown(each)}" for name, each in value.items()) or "none"
        case Path() | datetime() | int() | float() | str():
            return str(value)
    return ", ".join(f"{each.name} {_shown(getattr(value, each.name))}" for each in fields(value))


ROUTES = [Route("/settings", show)]
