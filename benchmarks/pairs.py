"""Two servers, round by round: another checkout and this one, or without a handler and with it.

Both serve the same maildrops, a round of the one right after a round of the other, so a machine
that is busy or changes its speed treats both alike. What counts is the ratio of two such rounds,
its median, and how far the ratios of the rounds are apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

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
    """The two servers' figures for each scenario, and how many times less the second takes."""
    first, second = results["servers"]
    rows = [
        [
            "CPU of the whole server, µs a session", first, second, "times less", "lowest",
            "highest", f"p99, ms: {first}", second,
        ]
    ]  # fmt: skip
    for name, by_server in results["scenarios"].items():
        if first in by_server and second in by_server:
            here, there = by_server[first], by_server[second]
            each = list(_ratios(here["rounds"]["cpu_us"], there["rounds"]["cpu_us"]))
            row = [results["titles"].get(name, name)]
            row += [number(here["cpu_us"]), number(there["cpu_us"])]
            row += [f"{ratio:.2f}" for ratio in (median(each), min(each), max(each))]
            row += [number(here["p99_ms"]), number(there["p99_ms"])]
            rows.append(row)
    return rows


def _ratios(first: list[float], second: list[float]) -> Iterator[float]:
    for before, now in zip(first, second, strict=True):
        yield before / now
