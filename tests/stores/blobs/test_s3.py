"""Blobs as objects of a real S3 server: the contract, and what only a server can show."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from restante.stores.blobs import s3
from restante.stores.blobs.cached import CachedBlobs
from restante.stores.blobs.contract import Blobs
from restante.stores.blobs.s3 import S3Blobs
from restante.testing.contracts import BlobsContract
from tests.needs import only_cpython
from tests.stores.blobs.radosgw import Radosgw

pytestmark = only_cpython


@pytest.fixture(scope="module")
def bucket(radosgw: Radosgw) -> str:
    """A bucket for many tests, each of which has a prefix of its own."""
    return radosgw.make_bucket()


class TestS3Blobs(BlobsContract):
    @pytest.fixture(autouse=True)
    def _place(self, radosgw: Radosgw, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s3, "LATE_SECONDS", 0.1)
        self._server, self._bucket = radosgw, bucket

    def make_blobs(self, folder: Path) -> Blobs:
        return S3Blobs(
            self._bucket,
            endpoint=self._server.endpoint,
            access_key=self._server.user.access_key,
            secret_key=self._server.user.secret_key,
            prefix=sha256(str(folder).encode()).hexdigest(),
        )


class TestCachedS3Blobs(TestS3Blobs):
    def make_blobs(self, folder: Path) -> Blobs:
        return CachedBlobs(super().make_blobs(folder), folder / "cache", 4 * 1024 * 1024)
