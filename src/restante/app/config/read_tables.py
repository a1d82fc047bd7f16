"""Tables as TOML has them become sections; everything that is wrong with them is collected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from restante.app.config.problem import Problem
from restante.app.config.settings import Secret, Settings
from restante.app.config.toml import toml_value
from restante.settings_fields import Allowed, allowed_of, refusal

Key: TypeAlias = tuple[str | int, ...]


@lru_cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The types of a section's keys."""
    return get_type_hints(kind)


class Wrong(Exception):
    """A value that isn't allowed; the text says why, where there is more to say."""


class TableReader:
    """Makes sections of tables. What is wrong is in `problems`, and has its default.

    place: where a key was set. base: what a key's path is relative to.
    """

    def __init__(self, place: Callable[[Key], str], base: Callable[[Key], Path]) -> None:
        self.problems: list[Problem] = []
        self._place = place
        self._base = base

    def section(self, kind: Any, given: Any, key: Key = ()) -> Any:
        """A section. Raises Wrong if it isn't a table or lacks something that has no default."""
        if isinstance(given, str) and (short := getattr(kind, "SHORT", "")):
            given = {short: given}
        if not isinstance(given, Mapping):
            raise Wrong
        before = len(self.problems)
        found, missing = self._fields(kind, given, key)
        for name in given.keys() - {each.name for each in fields(kind)}:
            # What is given may be a secret whose name is misspelt: it isn't shown.
            self._tell((*key, name), "", f"unknown key{_suggestion((*key, name))}")
        if missing:
            raise Wrong
        try:
            return kind(**found)
        except (TypeError, ValueError) as error:  # two keys that don't go together
            if len(self.problems) == before:
                name, _, rest = str(error).partition("=")
                value, _, text = rest.partition(": ")
                self._tell((*key, name), value, text)
            return kind()

    def _fields(self, kind: Any, given: Mapping[str, Any], key: Key) -> tuple[dict[str, Any], bool]:
        """The values that are right, and whether one is missing that there must be."""
        found: dict[str, Any] = {}
        missing = False
        for each in fields(kind):
            here = (*key, each.name)
            allowed = allowed_of(kind)[each.name]
            if each.name in given:
                try:
                    found[each.name] = self._value(
                        hints_of(kind)[each.name], allowed, given[each.name], here
                    )
                except Wrong as wrong:
                    self._tell_wrong(here, given[each.name], allowed, str(wrong))
            if each.default is MISSING and each.default_factory is MISSING:
                missing = missing or each.name not in found
                if each.name not in given:
                    self._tell(here, "", f"missing; allowed: {words_of(allowed)}")
        return found, missing

    def _value(self, hint: Any, allowed: Allowed, given: Any, key: Key) -> Any:
        """The value as the key's type wants it. Raises Wrong."""
        origin, parts = get_origin(hint), get_args(hint)
        if origin in (Union, UnionType):
            return self._first(parts, allowed, given, key)
        if origin is tuple:
            return self._items(parts[0], allowed, given, key)
        if origin is dict:
            return self._entries(parts[1], allowed, given, key)
        if is_dataclass(hint):
            return self.section(hint, given, key)
        value = self._scalar(hint, given, key)
        reason = refusal(value, allowed)
        if reason is not None:
            raise Wrong(reason)
        return value

    def _first(self, hints: tuple[Any, ...], allowed: Allowed, given: Any, key: Key) -> Any:
        reason = ""
        for hint in hints:
            if hint is not NoneType:
                try:
                    return self._value(hint, allowed, given, key)
                except Wrong as wrong:
                    reason = reason or str(wrong)
        raise Wrong(reason)

    def _items(self, hint: Any, allowed: Allowed, given: Any, key: Key) -> tuple[Any, ...]:
        if not isinstance(given, list):
            raise Wrong
        before = len(self.problems)
        found = tuple(
            self._value(hint, allowed, each, (*key, number)) for number, each in enumerate(given)
        )
        return found if len(self.problems) == before else ()

    def _entries(self, hint: Any, allowed: Allowed, given: Any, key: Key) -> dict[str, Any]:
        if not isinstance(given, Mapping):
            raise Wrong
        found = {}
        for name, each in given.items():
            before = len(self.problems)
            try:
                value = self._value(hint, allowed, each, (*key, name))
            except Wrong as wrong:
                if len(self.problems) == before:
                    self._tell_wrong((*key, name), each, allowed, str(wrong))
            else:
                if len(self.problems) == before:
                    found[name] = value
        return found

    def _scalar(self, hint: Any, given: Any, key: Key) -> Any:
        if get_origin(hint) is Literal:
            if isinstance(given, str) and given in get_args(hint):
                return given
        elif hint is Path and isinstance(given, (str, Path)):
            return self._base(key) / Path(given).expanduser()
        elif hint is Secret and isinstance(given, str):
            return Secret(given)
        elif hint is float and type(given) in (int, float) and math.isfinite(given):
            return float(given)
        elif hint in (bool, int, str, datetime) and type(given) is hint:
            return given
        raise Wrong

    def _tell_wrong(self, key: Key, given: Any, allowed: Allowed, reason: str) -> None:
        hint = hint_at(key)
        hidden = Secret in types_in(hint) or section_in(hint) is not None
        text = f"allowed: {words_of(allowed)}" + (f" ({reason})" if reason else "")
        self._tell(key, "" if hidden else _shortened(given), text)

    def _tell(self, key: Key, value: str, text: str) -> None:
        self.problems.append(Problem(self._place(key), ".".join(map(str, key)), value, text))


def words_of(allowed: Allowed) -> str:
    """What a key allows. Nothing in a file stands for 'none': there the key is left out."""
    if allowed.several:
        return allowed.words if "tables" in allowed.words else f"a list of {allowed.words}"
    return "a table" if any(map(is_dataclass, allowed.types)) else allowed.words


def hint_at(key: Key) -> Any:
    """The type of what `key` leads to; None if it leads nowhere."""
    hint: Any = Settings
    for part in key:
        for each in types_in(hint):
            if each is dict:
                hint = get_args(hint)[1]
                break
            if each is tuple and isinstance(part, int):
                hint = get_args(hint)[0]
                break
            if isinstance(each, type) and is_dataclass(each):
                hint = hints_of(each).get(str(part))
                break
        else:
            return None
    return hint


def types_in(hint: Any) -> list[Any]:
    """The types that a type is made of, the outermost first."""
    parts = [each for part in get_args(hint) for each in types_in(part)]
    return [get_origin(hint) or hint, *parts]


def section_in(hint: Any) -> Any:
    """The section that a type is, or has in it."""
    for each in types_in(hint):
        if isinstance(each, type) and is_dataclass(each):
            return each
    return None


def _shortened(value: Any) -> str:
    text = str(value) if isinstance(value, Path) else toml_value(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _suggestion(key: Key) -> str:
    *above, name = key
    kind = section_in(hint_at(tuple(above)))
    names = [each.name for each in fields(kind)] if kind else []
    if close := get_close_matches(str(name), names, n=1):
        return f"; did you mean {'.'.join(map(str, [*above, close[0]]))}?"
    for section, hint in hints_of(Settings).items():
        if name in hints_of(hint):
            return f"; did you mean {section}.{name}?"
    return f"; known here: {', '.join(names)}" if names else ""
