"""`restante check-config`."""

from __future__ import annotations

from typing import Annotated

from restante.app.cli.command_line import Exit, Option
from restante.app.cli.options import (
    USAGE,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    complain_of_config,
    overrides,
)
from restante.app.config.problem import ConfigError
from restante.app.owner import become_owner_of


def check_config(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    effective: Annotated[
        bool, Option("--show", help="Print what is in effect, secrets hidden.")
    ] = False,
) -> None:
    """Say everything that is wrong with the configuration."""
    from restante.app.config.checks import check  # noqa: PLC0415 - --help needs none
    from restante.app.config.load import read, show  # noqa: PLC0415

    loaded = read(config, overrides=overrides(data, sets))
    become_owner_of(loaded.settings.server.data)  # what may be read is asked as the server would
    found = check(loaded)
    if found:
        complain_of_config(ConfigError(found))
    if effective:
        print(show(loaded.settings), end="")
    errors = sum(not problem.warning for problem in found)
    if errors:
        complain(f"{errors} mistake{'s' if errors > 1 else ''}")
        raise Exit(USAGE)
    if not effective:
        print(f"{loaded.file or 'no configuration file'}: no mistakes")
