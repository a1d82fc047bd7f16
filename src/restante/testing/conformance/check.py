"""What a check is: a function and what is declared about it. The table of checks is data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from restante.testing.conformance.levels import NEEDS, Level
from restante.testing.conformance.probe import Probe

Function: TypeAlias = Callable[[Probe], None]


@dataclass(frozen=True)
class Check:
    """A row of the table.

    id: `subject.what`. title: the sentence that must be true. source: the sentence it rests on,
    as "RFC 1939 §5", or the public issue where somebody was hurt. needs: see `NEEDS`.
    """

    id: str
    level: Level
    source: str
    title: str
    needs: Sequence[str]
    run: Function


CHECKS: dict[str, Check] = {}
"""All checks by their id, in the order in which they run."""


def add(  # noqa: PLR0917 - the columns of a row
    id: str, level: Level, source: str, title: str, run: Function, needs: Sequence[str] = ()
) -> None:
    """Put a check into the table. Raises ValueError."""
    if id in CHECKS:
        raise ValueError(f"there are two checks {id!r}")
    for need in needs:
        if need not in NEEDS and not need.startswith("capa:"):
            raise ValueError(f"{id}: unknown need {need!r}; known are {', '.join(NEEDS)}")
    CHECKS[id] = Check(id, level, source, title, tuple(needs), run)


def check(id: str, level: Level, source: str, *needs: str) -> Callable[[Function], Function]:
    """Make a check of a function; its docstring is the title."""

    def decorate(function: Function) -> Function:
        title = " ".join((function.__doc__ or "").split())
        add(id, level, source, title, function, needs)
        return function

    return decorate
