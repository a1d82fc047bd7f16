"""The tables of a store in PostgreSQL, made and changed in numbered steps.

A step that was released is never changed. Its file's name is its number and what it is about.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from restante.accounts.connections import Connection
from restante.stores.contract import StoreError
from restante.stores.postgres.database import Database

STATUS_SECONDS = 10.0

UPGRADE_SECONDS = 600.0
"""How long all steps together may take."""

_VERSION = "SELECT max(number) AS version FROM {schema}.steps"
_IS_THERE = "SELECT to_regclass('{schema}.steps') IS NOT NULL AS there"


class Step(NamedTuple):
    """One step. name: its file's, without `.sql`."""

    number: int
    name: str
    text: str


def steps() -> Sequence[Step]:
    """All steps that this version of Restante knows, the first one first."""
    found = []
    for file in files(__package__).joinpath("steps").iterdir():
        if file.name.endswith(".sql"):
            name = file.name.removesuffix(".sql")
            found.append(Step(int(name.partition("_")[0]), name, file.read_text("utf-8")))
    return sorted(found)


async def check(database: Database, connection: Connection) -> None:
    """See that the tables are those that this version knows. Raises StoreError."""
    known = steps()[-1].number
    version = await _version(database, connection)
    if version < known:
        state = f"number {version}" if version else "not there"
        raise StoreError(
            f"PostgreSQL: the schema {database.schema} is {state}, and this version of Restante"
            f" needs number {known}: run `restante db upgrade`"
        )
    if version > known:
        raise StoreError(
            f"PostgreSQL: the schema {database.schema} is number {version}, and this version of"
            f" Restante knows {known}: a newer one has run `restante db upgrade`; use that one here"
        )


async def _version(database: Database, connection: Connection) -> int:
    """The number of the last step that was taken; 0: none was."""
    if not await connection.fetchval(database.text(_IS_THERE)):
        return 0
    return int(await connection.fetchval(database.text(_VERSION)) or 0)


async def upgrade(
    dsn: str,
    *,
    password: str | None = None,
    schema: str = "restante",
    tls: ssl.SSLContext | None = None,
    dry_run: bool = False,
) -> Sequence[str]:
    """Take the steps that are still to be taken, all or none; the names of those.

    Several may do so at the same time, while nodes run: one takes the steps, the others wait for
    it and find nothing left to do. dry_run: nothing is kept, but the steps are tried.

    Raises StoreError: no connection, no right to do so, a schema that is newer than this version.
    """
    database = Database(
        dsn, password=password, schema=schema, max_connections=1, timeout=UPGRADE_SECONDS, tls=tls
    )

    async def work(connection: Connection) -> Sequence[str]:
        async with connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtext('restante db upgrade'), hashtext($1))",
                schema,
            )
            taken = await _take(database, connection)
            if dry_run:
                await connection.execute("ROLLBACK AND CHAIN")
            return taken

    try:
        return await database.use(work)
    finally:
        await database.aclose()


async def status(
    dsn: str,
    *,
    password: str | None = None,
    schema: str = "restante",
    tls: ssl.SSLContext | None = None,
) -> tuple[int, Sequence[str]]:
    """The number of the last step that was taken, 0 if none was; the names of those to be taken.

    Changes nothing. Raises StoreError.
    """
    database = Database(
        dsn, password=password, schema=schema, max_connections=1, timeout=STATUS_SECONDS, tls=tls
    )
    try:
        version = await database.use(lambda connection: _version(database, connection))
    finally:
        await database.aclose()
    return version, [step.name for step in steps() if step.number > version]


async def _take(database: Database, connection: Connection) -> Sequence[str]:
    if await connection.fetchval("SHOW server_encoding") != "UTF8":
        raise StoreError(
            "PostgreSQL: the database has another encoding than UTF8: make one with"
            " CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            temporary=False,
        )
    version = await _version(database, connection)
    todo = [step for step in steps() if step.number > version]
    if version > steps()[-1].number:
        await check(database, connection)
    if version == 0:
        # Looked for first: who may not make schemas may use one that was made for him.
        if not await connection.fetchval("SELECT to_regnamespace($1)", f'"{database.schema}"'):
            await connection.execute(database.text("CREATE SCHEMA {schema}"))
        await connection.execute(
            database.text(
                "CREATE TABLE {schema}.steps (number INTEGER PRIMARY KEY, name TEXT NOT NULL,"
                " taken TIMESTAMPTZ NOT NULL DEFAULT now())"
            )
        )
    for step in todo:
        await connection.execute(database.text("SET LOCAL search_path TO {schema}"))
        await connection.execute(step.text)
        await connection.execute(
            database.text("INSERT INTO {schema}.steps (number, name) VALUES ($1, $2)"),
            step.number,
            step.name,
        )
    return [step.name for step in todo]
