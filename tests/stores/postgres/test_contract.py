"""The store in PostgreSQL keeps the contract for stores, wherever its bodies lie."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import pytest

from restante.accounts.contract import Account
from restante.stores import FolderBlobs, PostgresStore, S3Blobs
from restante.stores.blobs.contract import Blobs
from restante.testing.contracts import StoreContract
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer
from tests.stores.blobs.radosgw import Radosgw
from tests.stores.postgres.conftest import schema_in, upgraded

pytestmark = only_cpython


class TestPostgresStore(StoreContract):
    restores_mail = True
    heeds_quotas = True
    undeletes = True
    tells_leases = True

    server: ClassVar[PostgresServer]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _has_a_server(cls, server: PostgresServer) -> None:
        cls.server = server

    def bodies(self, folder: Path) -> Blobs | None:
        return None

    def make_store(self, folder: Path) -> PostgresStore:
        kept = folder / "schema"
        if not kept.exists():
            kept.write_text(upgraded(self.server, schema_in(folder)))
        bodies = self.bodies(folder)
        return PostgresStore(self.server.dsn, schema=kept.read_text(), bodies=bodies)

    async def remove(self, store: PostgresStore, account: Account, number: int) -> None:
        maildrop = await store.look(account)
        await store.remove(account, maildrop.listing.unique_ids[number - 1])

    async def end(self, store: PostgresStore) -> None:
        await store.aclose()


class TestPostgresStoreWithBodiesInAFolder(TestPostgresStore):
    def bodies(self, folder: Path) -> Blobs:
        return FolderBlobs(folder / "bodies")


class TestPostgresStoreWithBodiesInS3(TestPostgresStore):
    radosgw: ClassVar[Radosgw]
    bucket: ClassVar[str]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _has_a_bucket(cls, radosgw: Radosgw) -> None:
        cls.radosgw, cls.bucket = radosgw, radosgw.make_bucket()

    def bodies(self, folder: Path) -> Blobs:
        return S3Blobs(
            self.bucket,
            endpoint=self.radosgw.endpoint,
            access_key=self.radosgw.user.access_key,
            secret_key=self.radosgw.user.secret_key,
            prefix=sha256(str(folder).encode()).hexdigest(),
        )
