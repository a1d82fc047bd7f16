"""What the commands have in common: options, how errors are told, exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from restante.app.cli.command_line import Option
from restante.app.config.problem import ConfigError
from restante.app.owner import become_owner_of

if TYPE_CHECKING:  # reading a configuration takes longer than to say how a command is called
    from restante.app.config.load import Loaded, Override

FAILED = 1
USAGE = 2

ConfigOption: TypeAlias = Annotated[
    Path | None,
    Option(
        "--config", "-c", help="Configuration file; else RESTANTE_CONFIG, else ./restante.toml."
    ),
]
DataOption: TypeAlias = Annotated[
    str | None, Option("--data", help="Data folder: server.data.", metavar="FOLDER")
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    Option("--set", help="Set any key, e.g. pop3.port=110.", metavar="KEY=VALUE"),
]


def overrides(
    data: str | None, sets: Sequence[str] | None, more: Sequence[Override] = ()
) -> list[Override]:
    """What was given by flags, in the order of their weight. Raises ConfigError."""
    from restante.app.config.load import Override, parse_flag  # noqa: PLC0415

    found = [parse_flag(text) for text in sets or ()]
    if data is not None:
        found.append(Override("--data", ("server", "data"), data))
    return [*found, *more]


def load_for(config: Path | None, data: str | None, sets: Sequence[str] | None) -> Loaded:
    """The configuration for a command. As root it goes on as the data's owner.

    Raises ConfigError.
    """
    from restante.app.config.load import load  # noqa: PLC0415

    loaded = load(config, overrides=overrides(data, sets))
    become_owner_of(loaded.settings.server.data)
    return loaded


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
