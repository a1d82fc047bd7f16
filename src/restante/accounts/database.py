"""Accounts in the PostgreSQL database that also holds the mail: any node manages them."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import TypeVar

from restante.accounts.connections import Connection, Connections
from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.kept import AccountTables, ManagedAccounts, Statement, Steps
from restante.accounts.names import AccountExists, Matching, NoSuchAccount
from restante.accounts.postgres_driver import Servers, explain, place_of
from restante.accounts.schemes import default_scheme, slowest
from restante.extras import missing

T = TypeVar("T")

_PARAMETER = re.compile(r":([a-z_]+)")
_NO_TABLE = frozenset({"3F000", "42P01"})


class DatabaseAccounts(AccountStore):
    """Accounts in the tables of a schema, which `restante db upgrade` makes.

    dsn, password, schema, max_connections, timeout, tls: as of `PostgresStore`.
    case_insensitive, domains, scram: as of `SqliteAccounts`.

    A look-up is one query. Every method raises AccountError when the database can't be asked.
    """

    blocking = False
    upgrades = True
    has_rows = True

    def __init__(
        self,
        dsn: str,
        *,
        password: str | None = None,
        schema: str = "restante",
        max_connections: int = 10,
        timeout: float = 5.0,
        tls: ssl.SSLContext | None = None,
        case_insensitive: bool = True,
        domains: Sequence[str] = (),
        scram: bool = True,
    ) -> None:
        self._servers = Servers(dsn, section="store.postgres", writes=True)
        self._password = password
        self._tls = tls
        self._timeout = timeout
        self.case_insensitive = case_insensitive
        matching = Matching.of(case_insensitive, domains)
        place = place_of(dsn, schema)
        self.tables = AccountTables(matching, scram=scram, schema=schema, place=place)
        self._connections = Connections(
            self._connect, self._close, self._drop, maximum=max_connections, timeout=timeout
        )
        self._schemes: frozenset[str] | None = None
        self._driver = self._load()

    async def lookup(self, name: str) -> Account | None:
        """The account that `name` logs in to, or None."""
        return await self.run(lambda: self.tables.lookup(name))

    async def lookup_address(self, address: str) -> Account | None:
        """The account that `address` belongs to, a disabled one too, or None.

        The rule is the one of `StaticAccounts`.
        """
        return await self.run(lambda: self.tables.lookup_address(address))

    async def held_schemes(self) -> frozenset[str]:
        """The schemes of the credentials by which somebody may log in."""
        self._schemes = await self.run(self.tables.held_schemes)
        return self._schemes

    def slowest_scheme(self) -> str | None:
        """The slowest of the schemes that were held when they were last asked for."""
        return default_scheme() if self._schemes is None else slowest(self._schemes)

    async def replace_credential(self, name: str, old: str, new: str) -> None:
        """Keep `new` in place of `old` for an account; nothing if it doesn't hold `old`."""
        await self.run(lambda: self.tables.replace_credential(name, old, new))

    async def record_use(self, name: str, app_password: str) -> None:
        """The account has logged in by that app password. Noted once a minute at most."""
        await self.run(lambda: self.tables.record_use(name, app_password))

    def list(self) -> tuple[Account, ...]:
        """All accounts, by name. Plain, and for a thread without an event loop."""
        with ManagedDatabase.opened(self) as managed:
            return managed.list()

    def search(self, text: str, first: int, most: int) -> tuple[Sequence[Account], int]:
        """A page of the accounts that fit. Plain, and for a thread without an event loop."""
        with ManagedDatabase.opened(self) as managed:
            return managed.search(text, first, most)

    async def aclose(self) -> None:
        """Close this event loop's connections. The next use opens others."""
        await self._connections.aclose()

    async def run(self, begin: Callable[[], Steps[T]]) -> T:
        """Run an operation whose statements are each a transaction. It may be run twice.

        Raises AccountError, and whatever the operation raises.
        """
        return await self._use(lambda connection: _run(connection, begin(), None), again=True)

    async def change(self, steps: Steps[T]) -> T:
        """Run an operation in one transaction. Raises as `run` does."""
        try:
            first = next(steps)
        except StopIteration as end:  # nothing had to be asked
            result: T = end.value
            return result

        async def work(connection: Connection) -> T:
            async with connection.transaction():
                return await _run(connection, steps, first)

        return await self._use(work, again=False)

    async def _use(self, work: Callable[[Connection], Awaitable[T]], *, again: bool) -> T:
        try:
            return await self._connections.use(work, again=again)
        except (AccountError, AccountExists, NoSuchAccount):  # the operation's own
            raise
        except TimeoutError:
            problem = f"no answer within {self._timeout:g} seconds"
        except Exception as error:  # noqa: BLE001 - whatever a driver raises is the same to a login
            problem = self._explain(error)
        # Raised here, so that no trace of what the driver raised, which may quote values, is left.
        raise AccountError(f"PostgreSQL: {problem}") from None

    def _explain(self, error: Exception) -> str:
        if getattr(error, "sqlstate", None) in _NO_TABLE:
            return "the tables of accounts aren't there: run `restante db upgrade`"
        return explain(self._driver, error)

    def _load(self) -> ModuleType:
        try:
            return import_module("asyncpg")
        except ImportError as error:
            raise AccountError(missing("postgres", "PostgreSQL", "asyncpg", error)) from None

    async def _connect(self) -> Connection:
        return await self._servers.connect(self._driver, self._password, self._tls, self._timeout)

    async def _close(self, connection: Connection) -> None:
        await connection.close()

    def _drop(self, connection: Connection) -> None:
        connection.terminate()


class ManagedDatabase(ManagedAccounts):
    """The same accounts for whoever changes them, on a thread without an event loop."""

    def __init__(self, accounts: DatabaseAccounts, runner: asyncio.Runner) -> None:
        self._accounts = accounts
        self._tables = accounts.tables
        self._runner = runner

    @classmethod
    @contextmanager
    def opened(cls, accounts: DatabaseAccounts) -> Iterator[ManagedDatabase]:
        """The accounts, whose connections are closed in the end."""
        with asyncio.Runner() as runner:
            try:
                yield cls(accounts, runner)
            finally:
                runner.run(accounts.aclose())

    def _read(self, steps: Steps[T]) -> T:
        return self._write(steps)

    def _write(self, steps: Steps[T]) -> T:
        return self._runner.run(self._accounts.change(steps))


@lru_cache
def _numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """A statement with numbers for its parameters, and the names of these in their order."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    places = {name: f"${number}" for number, name in enumerate(names, 1)}
    return _PARAMETER.sub(lambda match: places[match[1]], text), names


async def _run(connection: Connection, steps: Steps[T], statement: Statement | None) -> T:
    """Run an operation's statements. statement: the first, if it has given that already."""
    try:
        statement = statement or next(steps)
        while True:
            text, names = _numbered(statement.text)
            rows = await connection.fetch(text, *(statement.values[name] for name in names))
            statement = steps.send([tuple(row) for row in rows])
    except StopIteration as end:
        result: T = end.value
        return result
