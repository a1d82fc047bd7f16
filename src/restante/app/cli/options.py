"""What the commands have in common: options, how errors are told, exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from restante.app.config.load import Loaded, Override, load, parse_flag
from restante.app.config.problem import ConfigError

FAILED = 1
USAGE = 2

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Configuration file; else RESTANTE_CONFIG, else ./restante.toml."
    ),
]
DataOption: TypeAlias = Annotated[
    str | None, typer.Option("--data", help="Data folder: server.data.", metavar="FOLDER")
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", help="Set any key, e.g. pop3.port=110.", metavar="KEY=VALUE"),
]


def overrides(
    data: str | None, sets: Sequence[str] | None, more: Sequence[Override] = ()
) -> list[Override]:
    """What was given by flags, in the order of their weight. Raises ConfigError."""
    found = [parse_flag(text) for text in sets or ()]
    if data is not None:
        found.append(Override("--data", ("server", "data"), data))
    return [*found, *more]


def load_for(config: Path | None, data: str | None, sets: Sequence[str] | None) -> Loaded:
    """The configuration for a command. Raises ConfigError."""
    return load(config, overrides=overrides(data, sets))


def complain(text: str) -> None:
    """Tell what went wrong."""
    print(f"restante: {text}", file=sys.stderr)


def complain_of_config(error: ConfigError) -> None:
    """Tell all mistakes, a line each."""
    for problem in error.problems:
        word = "warning: " if problem.warning else ""
        complain(f"{word}{problem}")


def is_terminal(stream: object) -> bool:
    """Whether a person sits at the other end."""
    return bool(getattr(stream, "isatty", bool)())
