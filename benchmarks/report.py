"""Results: as JSON to be kept, as tables to be read, and against an earlier run."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

Results: TypeAlias = dict[str, Any]

REFERENCE = "dovecot"
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
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path


def ratios(results: Results) -> dict[str, dict[str, float]]:
    """How many times less processor time, or memory, than the reference each server takes."""
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
    return found


def tables(results: Results) -> str:
    """Everything as text in columns."""
    servers = [name for name in results["servers"] if any_has(results["scenarios"], name)]
    compared = ratios(results)
    parts = [
        _table("CPU of the whole server, µs a session", servers, results, "cpu_us", compared),
        _table("sessions a second", servers, results, "sessions_per_second"),
        _table("MB received a second", servers, results, "megabytes_per_second"),
    ]
    if results["memory"]:
        title = "private memory, KiB an idle session"
        servers = [name for name in results["servers"] if any_has(results["memory"], name)]
        parts.append(_table(title, servers, results, "private_kib", compared, kind="memory"))
    return "\n\n".join(parts)


def any_has(figures: Results, server: str) -> bool:
    """Whether a server was measured in some scenario."""
    return any(server in by_server for by_server in figures.values())


def _table(
    title: str,
    servers: list[str],
    results: Results,
    key: str,
    compared: dict[str, dict[str, float]] | None = None,
    *,
    kind: str = "scenarios",
) -> str:
    rows = [[title, *servers]]
    for name, by_server in results[kind].items():
        row = [results["titles"].get(name, name)]
        for server in servers:
            if server not in by_server:
                row.append("-")
                continue
            ratio = (compared or {}).get(name, {}).get(server)
            text = f"{by_server[server][key]:,.{0 if by_server[server][key] >= 100 else 1}f}"
            row.append(f"{text} (1/{ratio:.1f})" if ratio else text)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *others]))
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def compare(now: Results, then: Results, tolerance: float) -> tuple[str, bool]:
    """The ratios beside those of an earlier run, and whether one has become worse.

    tolerance: by what part a ratio may be lower and still count as the same.
    """
    before, lines, worse = ratios(then), [], False
    for name, by_server in ratios(now).items():
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
