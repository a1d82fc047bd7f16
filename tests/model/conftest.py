"""A PostgreSQL for the tests of random orders."""

from tests.stores.postgres.conftest import schema, server

__all__ = ["schema", "server"]
