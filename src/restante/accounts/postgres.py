"""Accounts in PostgreSQL, found by the operator's queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from restante.accounts.connections import Connection
from restante.accounts.postgres_driver import Servers, explain
from restante.accounts.sql import SqlAccounts
from restante.accounts.sql_queries import Query
from restante.accounts.sql_rows import Row


class PostgresAccounts(SqlAccounts):
    """Accounts in PostgreSQL, by asyncpg (extra `postgres`). Arguments: see `SqlAccounts`.

    dsn: `postgresql://user:password@host:5432/database`, with the options that libpq has
        (`sslmode`, `sslrootcert` …), and `statement_cache_size=0`, which belongs behind a
        pooler that gives each transaction another connection (PgBouncer): no statement is
        kept prepared. Without it every other look-up there has to connect anew.

    Placeholders take the type that their place asks for: `{name}::text` decides it.
    """

    product: ClassVar[str] = "PostgreSQL"
    library: ClassVar[str] = "asyncpg"
    extra: ClassVar[str] = "postgres"
    backslashes: ClassVar[bool] = False

    def _read_dsn(self, dsn: str) -> None:
        self._servers = Servers(dsn, section="accounts.postgres")

    async def _connect(self) -> Connection:
        return await self._servers.connect(self._driver, self._password, self._tls, self._timeout)

    async def _run(
        self, connection: Connection, query: Query, values: Mapping[str, str]
    ) -> Sequence[Row]:
        statement = query.filled(f"${number}" for number, _ in enumerate(query.gaps, 1))
        arguments = [values[gap] for gap in query.gaps]
        records = await connection.fetch(statement, *arguments)
        return [[*record.items()] for record in records]

    async def _close(self, connection: Connection) -> None:
        await connection.close()

    def _drop(self, connection: Connection) -> None:
        connection.terminate()

    def _explain(self, error: Exception) -> str:
        return explain(self._driver, error)
