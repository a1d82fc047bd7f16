"""Places for a history, and the command's fixtures: each test in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.conftest import call, folder
from tests.needs import only_cpython
from tests.observing.history_kit import Kept, Watched
from tests.stores.postgres.conftest import schema, server

__all__ = ["call", "folder", "schema", "server"]


@pytest.fixture(params=["file", pytest.param("postgres", marks=only_cpython)])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    """A place for a history, of each kind."""
    if request.param == "file":
        made = Kept(tmp_path)
    else:
        found = [request.getfixturevalue(name) for name in ("server", "schema")]
        made = Kept(tmp_path, *found)
    yield made
    made.close()


@pytest.fixture
def watched(kept: Kept, tmp_path: Path) -> Iterator[Watched]:
    """A server that keeps a history there."""
    with Watched(tmp_path, kept) as running:
        yield running
