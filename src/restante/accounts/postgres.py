"""Accounts in PostgreSQL, found by the operator's queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from restante.accounts.sql import Connection, SqlAccounts
from restante.accounts.sql_queries import Query
from restante.accounts.sql_rows import Row

# Classes of SQLSTATE whose messages are about the server, the rights or the query's own text,
# and so quote no value: connection, authorization, database, syntax and access, resources,
# an operator's intervention.
_TELLING = frozenset({"08", "28", "3D", "42", "53", "57"})


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
        try:
            url = urlsplit(dsn)
            options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=False))
            self._kept = int(options.pop("statement_cache_size", "100"))
            if url.scheme not in {"postgresql", "postgres"} or self._kept < 0:
                raise ValueError
        except ValueError:
            raise ValueError(
                "dsn: not of the form postgresql://user:password@host:port/database?option=value"
            ) from None
        self._dsn = urlunsplit(url._replace(query=urlencode(options)))

    async def _connect(self) -> Connection:
        return await self._driver.connect(
            self._dsn, password=self._password, ssl=self._tls, statement_cache_size=self._kept
        )

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
        if type(error) is self._driver.DataError:  # by the driver itself, before it asks
            return "a placeholder stands where text can't; {name}::text may help"
        if isinstance(error, self._driver.PostgresError):
            told = error.args[0] if error.sqlstate and error.sqlstate[:2] in _TELLING else ""
            return f"{told or type(error).__name__} (SQLSTATE {error.sqlstate})"
        if isinstance(error, OSError):
            return str(error)
        if isinstance(error, ValueError):
            return "dsn: can't be understood"
        return type(error).__name__
