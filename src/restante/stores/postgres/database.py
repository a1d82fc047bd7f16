"""A PostgreSQL database that holds mail: its connections, its errors, and statements for it."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from restante.accounts.connections import Connection, Connections
from restante.accounts.postgres_driver import Servers, explain
from restante.extras import missing
from restante.stores.contract import StoreError

T = TypeVar("T")

TRIES = 5
"""How often a statement is tried that loses to another one (a deadlock, serialization)."""

END_SECONDS = 5.0
"""How long the server may take to be told that a statement's answer isn't waited for."""

_LOST_TO_ANOTHER = frozenset({"40001", "40P01"})
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Database:
    """Connections to the database at `dsn`, for the tables of one schema.

    Arguments: see `PostgresStore`. check: is awaited with the first connection before it is used;
    what it raises comes through, and the next use tries again.

    Raises ValueError for what can't be, and StoreError when asyncpg isn't installed.
    """

    def __init__(
        self,
        dsn: str,
        *,
        password: str | None,
        schema: str,
        max_connections: int,
        timeout: float,
        tls: ssl.SSLContext | None,
        check: Callable[[Database, Connection], Awaitable[None]] | None = None,
    ) -> None:
        if not _SCHEMA.fullmatch(schema):
            raise ValueError(
                f"schema: {schema!r}; allowed are 1 to 63 characters of a-z, 0-9 and _, no digit"
                " first"
            )
        self.schema = schema
        self._servers = Servers(dsn, section="store.postgres", writes=True)
        self._password = password
        self._tls = tls
        self._timeout = timeout
        self._check = check
        self._is_checked = check is None
        self._texts: dict[str, str] = {}
        self._connections = Connections(
            self._connect, self._close, self._drop, maximum=max_connections, timeout=timeout
        )
        self._ending: set[asyncio.Task[None]] = set()
        self._driver = self._load()

    async def rows(self, statement: str, *arguments: Any) -> Sequence[Any]:
        """The rows that a statement gives, and what it changes is kept.

        The statement may be tried twice, as when a connection was lost. Raises StoreError.
        """
        text = self.text(statement)

        async def ask(connection: Connection) -> Sequence[Any]:
            rows: Sequence[Any] = await connection.fetch(text, *arguments)
            return rows

        return await self.use(ask)

    async def row(self, statement: str, *arguments: Any) -> Any:
        """The only row of a statement; None without one. Raises StoreError."""
        rows = await self.rows(statement, *arguments)
        return rows[0] if rows else None

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` gives for a connection. It may be called twice. Raises StoreError."""
        for left in reversed(range(TRIES)):
            try:
                return await self._connections.use(work, again=True)
            except StoreError:
                raise
            except TimeoutError:
                problem = f"no answer within {self._timeout:g} seconds"
            except Exception as error:  # noqa: BLE001 - whatever a driver raises is the same to us
                if left and getattr(error, "sqlstate", None) in _LOST_TO_ANOTHER:
                    continue
                problem = self._explain(error)
            break
        # Raised here, so that no trace of what the driver raised, which may quote values, is left.
        raise StoreError(f"PostgreSQL: {problem}") from None

    async def aclose(self) -> None:
        """Close this event loop's connections. The next use opens others."""
        await self._connections.aclose()
        loop = asyncio.get_running_loop()
        ending = [task for task in self._ending if task.get_loop() is loop]
        if ending:
            await asyncio.wait(ending)

    def text(self, statement: str) -> str:
        """A statement of `statements`, for this schema."""
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = statement.replace("{schema}", f'"{self.schema}"')
        return text

    def _load(self) -> ModuleType:
        try:
            return import_module("asyncpg")
        except ImportError as error:
            raise StoreError(
                missing("postgres", "PostgreSQL", "asyncpg", error), temporary=False
            ) from None

    async def _connect(self) -> Connection:
        connection = await self._servers.connect(
            self._driver, self._password, self._tls, self._timeout
        )
        if not self._is_checked and self._check is not None:
            try:
                await self._check(self, connection)
            except BaseException:
                self._drop(connection)
                raise
            self._is_checked = True
        return connection

    async def _close(self, connection: Connection) -> None:
        await connection.close()

    def _drop(self, connection: Connection) -> None:
        task = asyncio.get_running_loop().create_task(self._end(connection))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, connection: Connection) -> None:
        """End a connection, and with it the statement that it may still wait for.

        Otherwise the statement would be done when nobody expects it any more: a lease would be
        taken that nobody has.
        """
        with suppress(Exception):
            try:
                await connection.close(timeout=END_SECONDS)
            finally:
                connection.terminate()

    def _explain(self, error: Exception) -> str:
        if isinstance(error, self._driver.DataError | UnicodeEncodeError):
            return "a name or text holds what PostgreSQL can't store"
        return explain(self._driver, error)
