"""The comparison as pictures: SVG, drawn by matplotlib where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import REFERENCE, Results, ratios
from benchmarks.targets import OURS, TIMES_LESS

NAMES = {
    "dovecot": "Dovecot, tuned",
    "dovecot-alone": "Dovecot, a process each",
    "dovecot-default": "Dovecot, Debian's",
    "ceiling": "C, canned replies",
    "twisted": "Twisted",
    "restante-uvloop": "Restante, uvloop",
    "restante-asyncio": "Restante, asyncio",
    "restante-pypy": "Restante, PyPy",
}
COLOURS = {
    "dovecot": "#9a9a9a",
    "dovecot-alone": "#c4c4c4",
    "dovecot-default": "#6b6b6b",
    "ceiling": "#222222",
    "twisted": "#d9a441",
    "restante-uvloop": "#1f6fb4",
    "restante-asyncio": "#8fbfe5",
    "restante-pypy": "#2e9e6b",
}

FURTHER = "#a05195"
"""Of servers that were added."""


@dataclass(frozen=True)
class Chart:
    """Bars. name: of the file; rows: values by title and server; marks: targets by title."""

    name: str
    title: str
    unit: str
    rows: dict[str, dict[str, float]]
    marks: dict[str, float]


def charts(results: Results) -> list[Chart]:
    """What there is to be drawn."""
    return [chart for chart in _all(results) if any(chart.rows.values())]


def _all(results: Results) -> Iterator[Chart]:
    cpu = _rows(results, "scenarios", "cpu_us")
    yield Chart(
        "cpu", "Processor time of the whole server", "µs a session, less is better", cpu, {}
    )
    compared = ratios(results)
    titles: dict[str, str] = results["titles"]
    ours = {
        titles[name]: {each: ratio for each, ratio in by_server.items() if each.startswith("rest")}
        for name, by_server in compared.items()
        if name in results["scenarios"]
    }
    targets = {titles[name]: float(times) for name, times in TIMES_LESS.items() if name in titles}
    title = f"How many times less processor time than {NAMES[REFERENCE]}"
    unit = f"times, more is better; the line is the target of {NAMES[OURS]}"
    yield Chart("ratio", title, unit, ours, targets)
    pace = _rows(results, "scenarios", "sessions_per_second")
    unit = "sessions a second on one core, more is better"
    yield Chart("throughput", "Throughput", unit, pace, {})
    memory = _rows(results, "memory", "private_kib")
    unit = "KiB of private memory, less is better"
    yield Chart("memory", "An idle, logged-in session", unit, memory, {})


def _rows(results: Results, kind: str, key: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, by_server in results[kind].items():
        values = {server: figures[key] for server, figures in by_server.items()}
        found[results["titles"].get(name, name)] = {s: v for s, v in values.items() if v > 0}
    return found


def draw(results: Results, stem: Path) -> list[Path]:
    """Write `<stem>-<name>.svg` for each chart; nothing, but a word, without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        print(
            "charts are skipped: matplotlib is not installed "
            "(pip install -r benchmarks/requirements.txt)",
            file=sys.stderr,
        )
        return []
    return [
        _draw(chart, stem.with_name(f"{stem.name}-{chart.name}.svg")) for chart in charts(results)
    ]


def _draw(chart: Chart, path: Path) -> Path:
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "restante", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot  # noqa: PLC0415

    there = {server for values in chart.rows.values() for server in values}
    servers = [*(each for each in NAMES if each in there), *sorted(there.difference(NAMES))]
    bars = sum(max(1, len(values)) + 1 for values in chart.rows.values())
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.16 * bars), layout="constrained")
    _put_bars(axes, chart, servers)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.margins(x=0.12)
    axes.set_title(chart.title, loc="left", fontweight="bold")
    axes.set_xlabel(f"{chart.unit}; logarithmic")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _put_bars(axes: Any, chart: Chart, servers: list[str]) -> None:
    at, ticks = 0.0, []
    named: set[str] = set()
    for title, values in chart.rows.items():
        here = [server for server in servers if server in values]
        for number, server in enumerate(here):
            label = None if server in named else NAMES.get(server, server)
            named.add(server)
            colour = COLOURS.get(server, FURTHER)
            bar = axes.barh(at + number, values[server], 0.85, color=colour, label=label)
            axes.bar_label(bar, [_short(values[server])], padding=3, fontsize=7)
        if title in chart.marks:
            ends = (at - 0.6, at + len(here) - 0.4)
            axes.plot([chart.marks[title]] * 2, ends, color="#b03030", linewidth=1.5)
        ticks.append((at + (len(here) - 1) / 2, title))
        at += len(here) + 1
    axes.set_yticks([place for place, _ in ticks], [title for _, title in ticks])


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
