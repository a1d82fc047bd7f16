"""The tables of a store in PostgreSQL: made in steps, by whoever comes first."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from restante.stores import PostgresStore, StoreError
from restante.stores.postgres.schema import steps, upgrade
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer
from tests.stores.postgres.conftest import schema_in

pytestmark = [only_cpython, pytest.mark.asyncio]

ALL = [step.name for step in steps()]


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Of a schema that isn't there."""
    return schema_in(tmp_path)


async def test_steps_are_numbered_without_gaps() -> None:
    assert [step.number for step in steps()] == list(range(1, len(ALL) + 1))


async def test_steps_are_taken_once(server: PostgresServer, name: str) -> None:
    assert list(await upgrade(server.dsn, schema=name)) == ALL
    assert list(await upgrade(server.dsn, schema=name)) == []


async def test_a_dry_run_changes_nothing(server: PostgresServer, name: str) -> None:
    assert list(await upgrade(server.dsn, schema=name, dry_run=True)) == ALL
    assert list(await upgrade(server.dsn, schema=name, dry_run=True)) == ALL


async def test_of_several_nodes_that_start_at_once_one_takes_them(
    server: PostgresServer, name: str
) -> None:
    taken = await asyncio.gather(*(upgrade(server.dsn, schema=name) for _ in range(8)))
    assert sorted(map(list, taken)) == [[]] * 7 + [ALL]


async def test_a_store_says_what_is_to_be_done_and_can_be_used_when_it_was(
    server: PostgresServer, name: str
) -> None:
    store = PostgresStore(server.dsn, schema=name)
    with pytest.raises(StoreError, match=r"is not there.*run `restante db upgrade`"):
        await store.prepare()
    assert list(await store.upgrade(dry_run=True)) == ALL
    with pytest.raises(StoreError, match="is not there"):
        await store.prepare()
    assert list(await store.upgrade()) == ALL
    assert list(await store.upgrade()) == []
    await store.prepare()
    await store.aclose()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("INSERT INTO {}.steps VALUES (99, 'later')", r"is number 99.*knows \d.*db upgrade"),
        ("DELETE FROM {}.steps WHERE number > 1", r"is number 1, and.* needs number \d: run"),
        ("DELETE FROM {}.steps", r"is not there.*needs number \d: run `restante db upgrade`"),
    ],
)
async def test_a_schema_of_another_version_is_refused(
    server: PostgresServer, name: str, change: str, says: str
) -> None:
    await upgrade(server.dsn, schema=name)
    server.execute(change.format(name))
    store = PostgresStore(server.dsn, schema=name)
    for _ in range(2):
        with pytest.raises(StoreError, match=says):
            await store.check()
    await store.aclose()


async def test_a_newer_schema_is_not_touched(server: PostgresServer, name: str) -> None:
    await upgrade(server.dsn, schema=name)
    server.execute(f"INSERT INTO {name}.steps VALUES (99, 'later')")
    with pytest.raises(StoreError, match="is number 99"):
        await upgrade(server.dsn, schema=name)


async def test_who_may_not_make_schemas_uses_one_that_was_made(
    server: PostgresServer, name: str
) -> None:
    user = f"u{name}"
    server.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'x'")
    dsn = f"postgresql://{user}:x@localhost:{server.port}/postgres"
    with pytest.raises(StoreError, match=r"permission denied.*42501"):
        await upgrade(dsn, schema=name)
    server.execute(f"CREATE SCHEMA {name} AUTHORIZATION {user}")
    assert list(await upgrade(dsn, schema=name)) == ALL


async def test_another_encoding_is_refused(server: PostgresServer, name: str) -> None:
    server.execute(f"CREATE DATABASE latin{name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    dsn = server.dsn.replace("/postgres", f"/latin{name}")
    with pytest.raises(StoreError, match="another encoding than UTF8"):
        await upgrade(dsn.replace(f"/latin{name}ql", "/postgresql"), schema=name)


async def test_without_the_driver_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreError, match=r"needs asyncpg.*postgres"):
        PostgresStore("postgresql://localhost/mail")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"schema": "Mail"}, "schema: 'Mail'"),
        ({"schema": 'a"; DROP'}, "schema: "),
        ({"leases": "none"}, "leases='none': allowed is exclusive or snapshot"),
        ({"lease_seconds": 1}, "lease_seconds=1: allowed is seconds, 5 to 3600"),
        ({"undelete_days": -1}, "undelete_days=-1"),
        ({"max_connections": 0}, "max_connections: 0"),
        ({"timeout": 0}, "timeout: 0"),
    ],
)
async def test_arguments_that_cannot_be(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PostgresStore("postgresql://localhost/mail", **settings)  # type: ignore[arg-type]
