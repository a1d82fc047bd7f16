"""Mistakes in the configuration, as they are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    place: the file, variable or flag it is in. key: dotted. value: as text, "" when it is
    secret or there is none. text: what is wrong, and what is allowed. warning: the server
    runs nevertheless.
    """

    place: str
    key: str
    value: str
    text: str
    warning: bool = False

    def __str__(self) -> str:
        given = f" = {self.value}" if self.value else ""
        return ": ".join(part for part in (self.place, self.key + given, self.text) if part)


class KeyMistake(ValueError):
    """A key by which something can't be made. text: what is wrong with it, and what is allowed."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"{key} {text}")
        self.key = key
        self.text = text


class ConfigError(Exception):
    """The configuration can't be used. `problems` has everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
