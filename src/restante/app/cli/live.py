"""`restante sessions` and `restante status`: what a running server does now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated

from restante.app.cli.command_line import Option
from restante.app.cli.options import (
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    load_for,
)
from restante.app.cli.output import print_table
from restante.app.logs import one_line
from restante.app.processes.admin_client import Row, ask

JsonOption = Annotated[bool, Option("--json", help="As one JSON object a line.")]


def sessions(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the live sessions of a running server: a table on a terminal, else lines divided by
    tabs."""
    rows = _ask("sessions", config, data, sets)
    headings = ("Account", "Address", "TLS", "Since", "Worker", "Session")
    lines = (
        (
            row["account"] or "",
            row["peer"] or "unix",
            "tls" if row["tls"] else "",
            f"{datetime.fromtimestamp(row['since']).astimezone():%Y-%m-%d %H:%M:%S}",
            str(row["worker"]),
            row["session"],
        )
        for row in rows
    )
    _show(rows, headings, lines, as_json, empty="no sessions")


def status(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the processes that serve: a table on a terminal, else lines divided by tabs."""
    rows = _ask("status", config, data, sets)
    headings = ("Process", "State", "Uptime, s", "Sessions", "Restarts")
    lines = (
        (
            str(row["pid"]),
            row["state"],
            f"{row['uptime']:.0f}",
            str(row["sessions"]),
            str(row["restarts"]),
        )
        for row in rows
    )
    _show(rows, headings, lines, as_json, empty="no processes")


def _ask(question: str, config: ConfigOption, data: DataOption, sets: SetOption) -> list[Row]:
    *rows, end = ask(load_for(config, data, sets).settings.admin_socket, question)
    for pid in end.get("silent", ()):
        complain(f"worker {pid} doesn't answer")
    return rows


def _show(
    rows: Sequence[Row],
    headings: Sequence[str],
    lines: Iterable[Sequence[str]],
    as_json: bool,
    *,
    empty: str,
) -> None:
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    print_table(headings, [[one_line(text) for text in each] for each in lines], empty=empty)
