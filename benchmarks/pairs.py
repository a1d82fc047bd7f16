"""Two servers, round by round: another checkout and this one, or without a handler and with it.

Both serve the same maildrops, a round of the one right after a round of the other, so a machine
that is busy or changes its speed treats both alike. What counts is the ratio of two such rounds,
its median, and how far the ratios of the rounds are apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles

from benchmarks import ours, servers
from benchmarks.report import Results, number
from benchmarks.servers import Peer

WAY = "uvloop" if find_spec("uvloop") else "asyncio"
BEFORE, NOW = "restante-before", f"restante-{WAY}"
WITHOUT, WITH = "embedded", "embedded-handler"
BEFORE_WITH = "embedded-handler-before"

SHORT = ("poll", "sync", "fetch-small", "pipelined")
"""Scenarios in which a handler of each command is of weight."""

HANDLED = ("receive_command",)
"""Events for which the embedded server has a plain handler."""


def pair(against: Path | None, *, handler: bool) -> tuple[str, str]:
    """The two servers to be compared, the one to be compared with first.

    against: the other checkout. handler: embedded servers; with another checkout both have a
    handler, else one of them. Raises ValueError for a folder that is no checkout.
    """
    if against is None:
        _add_embedded(WITHOUT, "Restante, embedded", ours.HERE, ())
        _add_embedded(WITH, "the same, with a handler", ours.HERE, HANDLED)
        return WITHOUT, WITH
    sources = ours.sources_of(against)
    if handler:
        _add_embedded(BEFORE_WITH, "the same of another checkout", sources, HANDLED)
        _add_embedded(WITH, "Restante, embedded, with a handler", ours.HERE, HANDLED)
        return BEFORE_WITH, WITH
    start = partial(ours.start_restante, sources, WAY)
    servers.add(Peer(BEFORE, "Restante of another checkout", start, workers=True))
    return BEFORE, NOW


def _add_embedded(name: str, about: str, sources: Path, handlers: tuple[str, ...]) -> None:
    servers.add(Peer(name, about, partial(ours.start_embedded, sources, handlers)))


def table(results: Results) -> list[list[str]]:
    """The two servers' figures for each scenario, and how many times less the second takes.

    That is told of the rounds, by the median of their ratios, and of the best round of each,
    which is the one that was least disturbed.
    """
    first, second = results["servers"]
    rows = [
        [
            "CPU of the whole server, µs a session", first, second, "times less",
            "half of the rounds", "all rounds", "at best", f"p99, ms: {first}", second,
        ]
    ]  # fmt: skip
    for name, by_server in results["scenarios"].items():
        if first not in by_server or second not in by_server:
            continue
        figures = by_server[first], by_server[second]
        before, now = (each["rounds"]["cpu_us"] for each in figures)
        ratios = sorted(_ratios(before, now))
        rows.append(
            [
                results["titles"].get(name, name),
                *(number(each["cpu_us"]) for each in figures),
                f"{median(ratios):.2f}",
                *(f"{low:.2f} to {high:.2f}" for low, high in (half(ratios), _ends(ratios))),
                f"{min(before) / min(now):.2f}",
                *(number(each["p99_ms"]) for each in figures),
            ]
        )
    return rows


def half(values: Sequence[float]) -> tuple[float, float]:
    """The bounds of the half of them that is in the middle."""
    if len(values) < 2:
        return _ends(values)
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return values[0], values[-1]


def _ratios(first: list[float], second: list[float]) -> Iterator[float]:
    for before, now in zip(first, second, strict=True):
        yield before / now
