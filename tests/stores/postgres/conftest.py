"""A PostgreSQL for tests of the store, and stores in schemas of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.stores.postgres.schema import upgrade
from tests.conftest import Authority
from tests.postgres_server import PostgresServer, postgres


@pytest.fixture(scope="session")
def server(authority: Authority) -> Iterator[PostgresServer]:
    """One that tests share: none of them stops it."""
    with postgres(authority.certificate.files()[0]) as running:
        yield running


def schema_in(folder: Path) -> str:
    """The name of the schema that stands for a folder: another folder has another."""
    return f"s{folder.stat().st_ino}_{folder.stat().st_ctime_ns}"


def upgraded(server: PostgresServer, schema: str) -> str:
    """The same schema, with all tables."""
    asyncio.run(upgrade(server.dsn, schema=schema))
    return schema


@pytest.fixture
def schema(server: PostgresServer, tmp_path: Path) -> str:
    """A schema of the test's own, without mail."""
    return upgraded(server, schema_in(tmp_path))
