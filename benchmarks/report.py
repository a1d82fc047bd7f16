"""Results: as JSON to be kept, as tables to be read, and against an earlier run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

Results: TypeAlias = dict[str, Any]
Rows: TypeAlias = Sequence[Sequence[str]]
"""A table; the first row is its head."""

REFERENCE = "dovecot"
BUSY = 0.9
"""Part of a core from which on the load generator may be the limit."""

FOLDER = Path(__file__).with_name("results")


def machine() -> dict[str, Any]:
    """What the figures were taken on, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())


def store(results: Results, path: Path | None) -> Path:
    """Write the results, under a name with the time unless `path` says where."""
    if path is None:
        path = FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path


def ratios(results: Results, *, by_round: bool = False) -> dict[str, dict[str, float]]:
    """How many times less processor time, or memory, than the reference each server takes.

    by_round: the median of the rounds' ratios and not the ratio of their medians, where there
    were rounds. A machine that changes its speed is likely to treat a round's servers alike.
    """
    found: dict[str, dict[str, float]] = {}
    for kind, key in (("scenarios", "cpu_us"), ("memory", "private_kib")):
        for name, by_server in results[kind].items():
            if REFERENCE not in by_server:
                continue
            reference = by_server[REFERENCE][key]
            found[name] = {
                server: reference / figures[key]
                for server, figures in by_server.items()
                if server != REFERENCE and figures[key] > 0
            }
            if by_round:
                found[name] |= dict(_ratios_by_round(by_server, key))
    return found


def _ratios_by_round(by_server: dict[str, Any], key: str) -> Iterator[tuple[str, float]]:
    reference = by_server[REFERENCE].get("rounds", {}).get(key, [])
    for server, figures in by_server.items():
        rounds = figures.get("rounds", {}).get(key, [])
        if server != REFERENCE and rounds and len(rounds) == len(reference):
            pairs = zip(reference, rounds, strict=True)
            yield server, median(theirs / ours for theirs, ours in pairs)


def tables(results: Results, *, markdown: bool = False) -> str:
    """Everything as text; markdown: for docs."""
    form = as_markdown if markdown else columns
    return "\n\n".join([*map(form, _tables(results)), *_soak(results)])


def _tables(results: Results) -> Iterator[Rows]:
    compared = ratios(results)
    if results["scenarios"]:
        servers = [name for name in results["servers"] if any_has(results["scenarios"], name)]
        yield _table("CPU of the whole server, µs a session", servers, results, "cpu_us", compared)
        for key, title in (
            ("sessions_per_second", "sessions a second"),
            ("megabytes_per_second", "MB received a second"),
            ("p99_ms", "a session, ms, 99 of 100 last no longer"),
        ):
            yield _table(title, servers, results, key)
    if results["memory"]:
        names = [*results["servers"], *results["memory"]["idle"]]
        servers = [name for name in dict.fromkeys(names) if any_has(results["memory"], name)]
        title = "private memory, KiB an idle session"
        yield _table(title, servers, results, "private_kib", compared, kind="memory")
        for key, title in (
            ("sessions", "sessions held"),
            ("beside_p50_ms", "a poll beside them, ms, half last no longer"),
            ("beside_p99_ms", "a poll beside them, ms, 99 of 100 last no longer"),
        ):
            yield _table(title, servers, results, key, kind="memory")
    yield from _cores(results)
    yield from _huge(results)


def any_has(figures: Results, server: str) -> bool:
    """Whether a server was measured in some scenario."""
    return any(server in by_server for by_server in figures.values())


def _cores(results: Results) -> Iterator[Rows]:
    if not results.get("cores"):
        return
    rows = [["polls, not held to a core", "workers", *_CORE_COLUMNS.values()]]
    for server, figures in results["cores"].items():
        for workers in ("1", "2"):
            rows.append([server, workers, *(number(figures[workers][k]) for k in _CORE_COLUMNS)])
        rows.append([f"{server}, times more, by the clock", "", number(figures["measured"])])
        rows.append(["the same, by processor time", "", number(figures["by_processor_time"])])
    yield rows


_CORE_COLUMNS = {
    "sessions_per_second": "sessions/s",
    "cpu_us": "µs each",
    "server_cores": "cores of the server",
    "generator_cores": "cores of the generator",
    "second_to_busiest": "second worker to first",
}


def _huge(results: Results) -> Iterator[Rows]:
    first = results["scenarios"].get("huge-first")
    if not first:
        return
    keys = {
        "octets_a_message": "peak memory, octets a message",
        "alone_p99_ms": "polls alone, ms (99 of 100)",
        "beside_p99_ms": "polls beside",
        "beside_longest_ms": "the longest",
    }
    rows = [["many messages, first sight", *keys.values()]]
    rows += [[server, *(number(each[key]) for key in keys)] for server, each in first.items()]
    yield rows


def _soak(results: Results) -> Iterator[str]:
    for server, each in results.get("soak", {}).items():
        polls = each["beside"]
        yield (
            f"soak, {server}: {each['sessions']:,} of {each['wanted']:,} sessions held for "
            f"{each['seconds']:g} s by {each['workers']} workers {each['trouble']}\n"
            f"{each['alive']:,} of {each['asked']:,} alive at the end; {polls['sessions']:,} polls "
            f"beside them: {polls['p50_ms']:.1f} ms (half), {polls['p99_ms']:.1f} (99 of 100), "
            f"{polls['longest_ms']:.1f} (the longest); {polls['violations']} violations\n"
            f"memory {each['resident_mib']:,.0f} MiB at first, "
            f"{each['resident_after_mib']:,.0f} MiB at the end"
        )


def number(value: float) -> str:
    """With as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:,.2f}"


def _table(
    title: str,
    servers: list[str],
    results: Results,
    key: str,
    compared: dict[str, dict[str, float]] | None = None,
    *,
    kind: str = "scenarios",
) -> Rows:
    rows = [[title, *servers]]
    for name, by_server in results[kind].items():
        row = [results["titles"].get(name, name)]
        for server in servers:
            if server not in by_server:
                row.append("-")
                continue
            ratio = (compared or {}).get(name, {}).get(server)
            text = number(by_server[server][key])
            row.append(f"{text} (1/{ratio:.1f})" if ratio else text)
        rows.append(row)
    return rows


def _full(rows: Rows) -> list[list[str]]:
    return [[*row, *[""] * (len(rows[0]) - len(row))] for row in rows]


def columns(rows: Rows) -> str:
    """Rows as text; the first one is their head."""
    full = _full(rows)
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    lines = []
    for row in full:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *others]).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def as_markdown(rows: Rows) -> str:
    """The same as a table for docs."""
    head, *others = _full(rows)
    lines = [head, ["---"] * len(head), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def compare(now: Results, then: Results, tolerance: float) -> tuple[str, bool]:
    """The ratios beside those of an earlier run, and whether one has become worse.

    tolerance: by what part a ratio may be lower and still count as the same.
    """
    before, lines, worse = ratios(then, by_round=True), [], False
    for name, by_server in ratios(now, by_round=True).items():
        for server, ratio in by_server.items():
            old = before.get(name, {}).get(server)
            if old is None or not server.startswith("restante"):
                continue
            mark = ""
            if ratio < old * (1 - tolerance):
                mark, worse = "  WORSE", True
            elif ratio > old / (1 - tolerance):
                mark = "  better"
            lines.append(f"{name:14} {server:18} 1/{old:<6.1f} then  1/{ratio:<6.1f} now{mark}")
    return "\n".join(lines) or "nothing in common with the stored run", worse


def notes(results: Results) -> list[str]:
    """What was skipped, and where the generator may have been the limit of throughput."""
    found = [f"{what} is skipped: {why}" for what, why in results["skipped"].items()]
    for name, by_server in results["scenarios"].items():
        for server, figures in by_server.items():
            if figures["generator_busy"] > BUSY:
                busy = f"{figures['generator_busy']:.0%} of its core"
                found.append(
                    f"{name}, {server}: the generator took {busy}: sessions a second "
                    "may be its limit, CPU is not"
                )
    for name, by_server in results["memory"].items():
        for server, figures in by_server.items():
            if figures["trouble"]:
                found.append(
                    f"{name}, {server}: after {figures['sessions']:,} of "
                    f"{figures['wanted']:,} sessions: {figures['trouble']} "
                    f"({results['files_allowed']:,} open files are allowed)"
                )
    return found
