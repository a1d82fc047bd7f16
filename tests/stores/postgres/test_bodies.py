"""Bodies in PostgreSQL keep the contract for places of blobs."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import pytest

from restante.stores.postgres.bodies import PostgresBlobs, key_of
from restante.stores.postgres.database import Database
from restante.testing.contracts import BlobsContract
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer
from tests.stores.postgres.conftest import schema_in, upgraded

pytestmark = only_cpython


class OwnDatabase(PostgresBlobs):
    """With connections that nobody else uses."""

    async def aclose(self) -> None:
        await super().aclose()
        await self._database.aclose()


class TestPostgresBlobs(BlobsContract):
    server: ClassVar[PostgresServer]
    schema: ClassVar[str]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _has_a_server(
        cls, server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        cls.server = server
        cls.schema = upgraded(server, schema_in(tmp_path_factory.mktemp("bodies")))
        # The store makes a row before it puts a body; the contract knows no rows.
        server.execute(f"ALTER TABLE {cls.schema}.blocks DROP CONSTRAINT blocks_body_fkey")

    def key(self, name: str) -> str:
        digest = sha256(name.encode()).digest()
        return key_of(int.from_bytes(digest[:6], "big"), digest, "zstd")

    def make_blobs(self, folder: Path) -> PostgresBlobs:
        if not (folder / "emptied").exists():
            self.server.execute(f"TRUNCATE {self.schema}.blocks")
            (folder / "emptied").touch()
        database = Database(
            self.server.dsn, schema=self.schema, password=None, max_connections=4,
            timeout=30.0, tls=None,
        )  # fmt: skip
        return OwnDatabase(database)
