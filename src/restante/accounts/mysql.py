"""Accounts in MySQL or MariaDB, found by the operator's queries."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from restante.accounts.connections import Connection
from restante.accounts.sql import SqlAccounts
from restante.accounts.sql_queries import Query
from restante.accounts.sql_rows import Row

# Errors whose messages are about the server, the rights or the names of tables and columns,
# and so quote no value.
_TELLING = frozenset(
    {1040, 1044, 1045, 1049, 1054, 1130, 1142, 1143, 1146, 1203, 1226, 1267, 2003, 2013}
)

# Times come in UTC. Warnings, which the driver would put on stderr, may quote values.
_PREPARE = "SET time_zone = '+00:00', max_error_count = 0"


class MysqlAccounts(SqlAccounts):
    """Accounts in MySQL or MariaDB, by aiomysql (extra `mysql`). Arguments: see `SqlAccounts`.

    dsn: `mysql://user:password@host:3306/database`, with `unix_socket=/path`, with
        `sslmode=disable` (the default), `require` (the certificate isn't verified) or
        `verify-full`, and with `sslrootcert=/path`, of the authorities to trust. A server
        without TLS is refused when TLS is asked for.

    Whether names that differ in case or accents are the same, the column's collation decides:
    the `name` that the query gives is whose maildrop it is. The column's character set should
    be utf8mb4: a name that it can't hold is an AccountError.
    """

    product: ClassVar[str] = "MySQL"
    library: ClassVar[str] = "aiomysql"
    extra: ClassVar[str] = "mysql"
    backslashes: ClassVar[bool] = True

    def _read_dsn(self, dsn: str) -> None:
        try:
            url = urlsplit(dsn)
            options = dict(parse_qsl(url.query, keep_blank_values=True))
            if url.scheme not in {"mysql", "mariadb"} or not url.username:
                raise ValueError
            password = unquote(url.password or "") if self._password is None else self._password
            self._target = {
                "host": url.hostname or "localhost",
                "port": url.port or 3306,
                "user": unquote(url.username),
                "password": password,
                "db": unquote(url.path.removeprefix("/")) or None,
                "unix_socket": options.pop("unix_socket", None),
            }
        except ValueError:
            raise ValueError(
                "dsn: not of the form mysql://user:password@host:port/database?option=value"
            ) from None
        mode, authorities = options.pop("sslmode", "disable"), options.pop("sslrootcert", None)
        if options:
            raise ValueError(f"dsn: unknown option {min(options)!r}")
        self._tls = self._tls or _context(mode, authorities)

    async def _connect(self) -> Connection:
        connection = _connection_class(self._driver)(
            **self._target,
            ssl=self._tls,
            charset="utf8mb4",
            autocommit=True,
            init_command=_PREPARE,
        )
        await connection._connect()
        return connection

    async def _run(
        self, connection: Connection, query: Query, values: Mapping[str, str]
    ) -> Sequence[Row]:
        # The driver would put a parameter into the text, escaped. In hexadecimal there is
        # nothing to escape, whatever the server's mode and character set are.
        marks = [f"_utf8mb4 X'{values[gap].encode().hex()}'" for gap in query.gaps]
        async with connection.cursor() as cursor:
            await cursor.execute(query.filled(marks))
            columns = [column[0] for column in cursor.description or ()]
            rows = await cursor.fetchall() if columns else ()
        return [[*zip(columns, row, strict=True)] for row in rows]

    async def _close(self, connection: Connection) -> None:
        await connection.ensure_closed()

    def _drop(self, connection: Connection) -> None:
        connection.close()

    def _explain(self, error: Exception) -> str:
        if isinstance(error, self._driver.MySQLError) and len(error.args) == 2:
            number, message = error.args
            told = message if number in _TELLING else type(error).__name__
            cause = f": {error.__cause__}" if isinstance(error.__cause__, OSError) else ""
            return f"{told} ({number}){cause}"
        return str(error) if isinstance(error, OSError) else type(error).__name__


def _context(mode: str, authorities: str | None) -> ssl.SSLContext | None:
    """TLS to the database as the DSN's options say."""
    if mode not in {"disable", "require", "verify-full"}:
        raise ValueError("dsn: sslmode is one of disable, require, verify-full")
    if authorities and mode != "verify-full":
        raise ValueError("dsn: sslrootcert goes with sslmode=verify-full")
    if mode == "disable":
        return None
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise ValueError(f"dsn: sslrootcert {authorities!r}: {error}") from None
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@cache
def _connection_class(aiomysql: ModuleType) -> Any:
    """The driver's connection, without two habits: it goes on in the clear when the server,
    or somebody between, offers no TLS, and it lets a query hold several statements."""
    flags = import_module("pymysql.constants").CLIENT

    class TightConnection(aiomysql.Connection):  # type: ignore[misc, name-defined]
        async def _request_authentication(self) -> None:
            self.client_flag &= ~flags.MULTI_STATEMENTS
            if self._ssl_context is not None and not self.server_capabilities & flags.SSL:
                raise ConnectionRefusedError("the server offers no TLS")
            await super()._request_authentication()

    return TightConnection
