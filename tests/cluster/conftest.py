"""What the tests of several nodes have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.nodes import Node
from tests.postgres_server import PostgresServer
from tests.stores.postgres.conftest import server  # noqa: F401 - a fixture

Make = Callable[..., list[Node]]


@pytest.fixture
def make_nodes(server: PostgresServer, tmp_path: Path) -> Make:  # noqa: F811
    """Nodes over one database and one folder of bodies."""

    def make(count: int, **given: Any) -> list[Node]:
        about = tmp_path.stat()
        options = {
            "dsn": server.dsn,
            "schema": f"c{about.st_ino}_{about.st_ctime_ns}",
            "bodies": f'[store.bodies]\nkind = "folder"\n[store.bodies.folder]\n'
            f'path = "{tmp_path / "bodies"}"',
        }
        return [Node(tmp_path, f"n{n}", **options | given) for n in range(1, count + 1)]

    return make
