"""What tests of the guard share beside the kit."""

from __future__ import annotations

from tests.stores.postgres.conftest import schema, server  # noqa: F401 - fixtures
