"""What watching costs: history, metrics, traces and console, beside a server that nobody watches.

`measure` takes a poll without sockets. Python calls and bytecodes are counted, which says the same
on every machine; processor time is measured in turns. What the system does for a real poll, which
nobody's watching changes, is left out.

`watched_servers` are whole servers, a round of the one right after a round of the other. `ratios`
is their processor time beside that of the one that nobody watches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import ours, servers
from benchmarks.counting import Counted, Observe, count, maildrops, processor_seconds, unobserved
from benchmarks.pairs import WAY, half
from benchmarks.report import Results, columns, number
from benchmarks.servers import Peer
from restante import Pop3Server
from restante.observing import HistoryWriter, Metrics, Tracing

POLLS = 50
"""Polls of one kind before the next kind's turn."""

ROUNDS = 200


def _traced(server: Pop3Server) -> None:
    """Spans that are made and thrown away: what sends them takes more."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - where it is installed

    Tracing(server, provider=TracerProvider())


KINDS: dict[str, Observe] = {"nobody": unobserved, "metrics": Metrics, "traces": _traced}
"""Besides these there is the history, which needs a file."""

_UNWATCHED = "[history]\nenabled = false\n"
WATCHED = {
    "unwatched": _UNWATCHED,
    "history": "",
    "metrics": f"{_UNWATCHED}[metrics]\nport = 0\n",
    "history-and-metrics": "[metrics]\nport = 0\n",
    "console": "[console]\nport = 0\n",
    "traces": f"{_UNWATCHED}[tracing]\nenabled = true\n",
}
"""Servers, and what they are configured with. The console's has the history, too; it is a process
of its own that nobody looks at meanwhile."""


@dataclass(frozen=True)
class Cost:
    """What one kind of observer costs. seconds: processor time of a poll, the least of all
    rounds, which is the one that was disturbed least. ratio: beside that of nobody."""

    name: str
    counted: Counted
    seconds: float
    ratio: float


def measure() -> list[Cost]:
    """Measure all kinds."""
    with maildrops() as root, _history() as history:
        kinds = {"nobody": unobserved, "history": history} | KINDS
        taken = processor_seconds(root, kinds, ROUNDS, POLLS)
        least = {name: min(each) for name, each in taken.items()}
        return [
            Cost(name, count(observe), least[name], least[name] / least["nobody"])
            for name, observe in kinds.items()
        ]


@contextmanager
def _history() -> Iterator[Observe]:
    with TemporaryDirectory(prefix="restante-benchmark-") as folder:
        writer = HistoryWriter(Path(folder) / "history.sqlite")
        try:
            yield lambda server: server.observe(writer.sessions)
        finally:
            writer.close()


def watched_servers() -> list[str]:
    """Make `WATCHED` known as servers; their names, of which the first is watched by nobody."""
    os.environ.setdefault("OTEL_TRACES_EXPORTER", "console")
    for name, further in WATCHED.items():
        start = partial(ours.start_restante, ours.HERE, WAY, further=further)
        servers.add(Peer(name, f"Restante, watched by {name}", start, workers=True))
    return list(WATCHED)


def ratios(results: Results) -> list[list[str]]:
    """By scenario: µs a session that nobody watches, and how many times as much others take.

    The median of the rounds' ratios, and where half of them are.
    """
    first, *others = results["servers"]
    rows = [["processor time", f"{first}, µs", *(f"{name}, times" for name in others)]]
    for scenario, by_server in results["scenarios"].items():
        if first not in by_server:
            continue
        alone = by_server[first]["rounds"]["cpu_us"]
        row = [results["titles"].get(scenario, scenario), number(by_server[first]["cpu_us"])]
        for name in others:
            if name not in by_server:
                row.append("–")
                continue
            found = sorted(
                there / here
                for there, here in zip(by_server[name]["rounds"]["cpu_us"], alone, strict=True)
            )
            low, high = half(found)
            row.append(f"{median(found):.3f} ({low:.2f} to {high:.2f})")
        rows.append(row)
    return rows


def table(costs: Sequence[Cost]) -> str:
    """The costs as text."""
    rows = [["who watches a poll", "calls", "bytecodes", "µs of processor", "ratio"]]
    rows += [
        [
            each.name,
            number(each.counted.calls),
            number(each.counted.bytecodes),
            f"{each.seconds * 1e6:.1f}",
            f"{each.ratio:.3f}",
        ]
        for each in costs
    ]
    return columns(rows)
