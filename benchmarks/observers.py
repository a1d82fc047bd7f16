"""What watching costs: a poll with metrics or traces, beside one that nobody watches.

Python calls and bytecodes are counted, which says the same on every machine. Processor time is
measured in turns, and shown as a ratio. There are no sockets, so what the
system does for a real poll, which nobody's watching changes, is left out: of a real poll the
part is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.counting import Counted, Observe, count, maildrops, processor_seconds, unobserved
from benchmarks.report import columns, number
from restante import Pop3Server
from restante.observing import Metrics, Tracing

POLLS = 50
"""Polls of one kind before the next kind's turn."""

ROUNDS = 200


def _traced(server: Pop3Server) -> None:
    """Spans that are made and thrown away: what sends them takes more."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - where it is installed

    Tracing(server, provider=TracerProvider())


KINDS: dict[str, Observe] = {"nobody": unobserved, "metrics": Metrics, "traces": _traced}


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
    with maildrops() as root:
        taken = processor_seconds(root, KINDS, ROUNDS, POLLS)
    least = {name: min(each) for name, each in taken.items()}
    return [
        Cost(name, count(observe), least[name], least[name] / least["nobody"])
        for name, observe in KINDS.items()
    ]


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
