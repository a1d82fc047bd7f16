"""Stores to move mail to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.stores import SqliteStore, Store
from tests.migration.kit import stores


@pytest.fixture(params=["sqlite", "maildir"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = stores(tmp_path)[request.param]()
    yield made
    if isinstance(made, SqliteStore):
        made.close()
