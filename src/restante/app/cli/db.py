"""`restante db`: the tables of a store in PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from restante.app.cli.command_line import Exit, Group, Option
from restante.app.cli.options import (
    FAILED,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    load_for,
)
from restante.app.config.load import Loaded
from restante.app.config.problem import ConfigError, Problem
from restante.app.config.settings import revealed
from restante.stores.postgres import schema as tables
from restante.stores.postgres.store import PostgresStore


def _where(loaded: Loaded) -> dict[str, Any]:
    """Where the tables are. Raises ConfigError."""
    store = loaded.settings.store
    key, text = "store.postgres.dsn", "is missing"
    if store.kind != "postgres":
        key, text = "store.kind", 'only the tables of kind "postgres" are brought up to date so'
    elif store.postgres.dsn.text:
        given = revealed(store.postgres)
        return {name: given[name] for name in ("dsn", "password", "schema")}
    raise ConfigError([Problem(loaded.place(key), key, "", text)])


def upgrade(
    *,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Try the steps, then take all of them back.")
    ] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Make the tables, or bring them up to date: all steps, or none.

    Nodes may run meanwhile, and several may do this at the same time.
    """
    store = PostgresStore(**_where(load_for(config, data, sets)))
    taken = asyncio.run(store.upgrade(dry_run=dry_run))
    for name in taken:
        print(f"{name}: {'works' if dry_run else 'done'}")
    if not taken:
        print("the tables are up to date")


def status(*, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None) -> None:
    """Say which step the tables are at, and which are to be taken; exit status 1 if any are."""
    where = _where(load_for(config, data, sets))
    version, todo = asyncio.run(tables.status(**where))
    known = tables.steps()[-1].number
    print(f"schema {where['schema']}: step {version} of {known}")
    for name in todo:
        print(f"{name}: to be taken")
    if todo:
        complain("run `restante db upgrade`")
        raise Exit(FAILED)
    if version > known:
        complain("a newer version of Restante has upgraded it: use that one here")
        raise Exit(FAILED)


db = Group(
    "The tables of a store in PostgreSQL.",
    {"upgrade": upgrade, "status": status},
    example="upgrade",
)
