"""Accounts in an operator's SQL database: what `PostgresAccounts` and `MysqlAccounts` share.

The operator writes the queries. What a client sent becomes a parameter of a query, never a
part of its text. What a query gives is read by the names of its columns, and whatever isn't
understood there is an AccountError: a restriction that was misspelt must not fall away.
"""

from __future__ import annotations

import ssl
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import ClassVar

from restante.accounts.connections import Connection, Connections
from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.names import Matching, is_valid_name, spellings
from restante.accounts.schemes import SCHEMES, slowest, split_credential
from restante.accounts.schemes import default_scheme as slowest_by_default
from restante.accounts.sql_queries import Query, compile_query, one_row_of
from restante.accounts.sql_rows import Row, account_of
from restante.extras import missing
from restante.settings_fields import suggest_settings


@suggest_settings
class SqlAccounts(AccountStore):
    """Accounts that an operator's queries find. Use `PostgresAccounts` or `MysqlAccounts`.

    dsn: where the database is, a URL. password: of the database's user, if not in `dsn`.
    lookup: one SELECT that finds the account of a login; placeholders `{name}`, or
        `{local}` and `{domain}`, which are what stands before and after its last "@".
    lookup_address: one SELECT that finds the account which an address belongs to;
        placeholders `{address}`, `{local}`, `{domain}`. Without it an address belongs to
        the account of that very name.
    update: one statement that keeps a better hash, with `{new}`, `{old}`, and `{name}` or
        `{local}` and `{domain}` of the account's name; without it, hashes are never replaced.
    schemes: those of the credentials that the accounts hold. Mechanisms that need one that
        isn't named are not announced. Without it only those are that take a password.
    default_scheme: of passwords that stand in the database without `{SCHEME}` before them.
    case_insensitive: names reach queries in lower case; their domain always does. A name with
        an internationalized domain is looked up with U-labels, then with A-labels.
    max_connections: open at the same time; further look-ups wait.
    timeout: seconds that a look-up may take, with waiting and connecting.
    tls: how the connection is protected, in place of what `dsn` says.

    A query gives one row or none. Its columns, in any order: `name` (always), `password`
    and `credentials` (an array, or one a line), `maildrop`, `display_name`, `email`,
    `disabled`, `master` (true or false), `protocols` and `networks` (an array, or divided
    by commas), `expires` (seconds since 1970, or a time; UTC if it has no zone), `quota_octets`,
    `quota_messages` and `expire_days` (whole numbers). NULL means that there is none, for
    `protocols`, `networks` and `expires` that nothing is limited, and for the last three what
    the store of maildrops says.

    Connections are opened when they are wanted, each event loop's its own. A look-up whose
    connection was lost while idle is tried once more on a new one.

    Raises ValueError for a query or setting that can't be, and AccountError when the
    driver isn't installed. Look-ups raise AccountError when the database can't be asked,
    gives several rows, or a column that isn't known or understood.
    """

    blocking = False

    product: ClassVar[str]
    library: ClassVar[str]
    extra: ClassVar[str]
    backslashes: ClassVar[bool]
    """A backslash in a quoted text of a query stands before a character to be taken as it is."""

    def __init__(
        self,
        dsn: str,
        *,
        lookup: str,
        lookup_address: str = "",
        update: str = "",
        schemes: Collection[str] = (),
        default_scheme: str = "CRYPT",
        case_insensitive: bool = True,
        password: str | None = None,
        max_connections: int = 10,
        timeout: float = 5.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._connections = Connections(
            self._connect, self._close, self._drop, maximum=max_connections, timeout=timeout
        )
        self._lookup = one_row_of(
            compile_query("lookup", lookup, {"name", "local", "domain"}, self.backslashes)
        )
        self._lookup_address = self._lookup
        if lookup_address:
            known = {"address", "local", "domain"}
            self._lookup_address = one_row_of(
                compile_query("lookup_address", lookup_address, known, self.backslashes)
            )
        if update:
            known = {"name", "local", "domain", "old", "new"}
            self._update = compile_query("update", update, known, self.backslashes)
            self.upgrades = True
        self._schemes = frozenset(map(_known, schemes))
        self._default_scheme = default_scheme.upper()
        unprefixed = _known(default_scheme)
        if schemes:
            self._slowest = slowest(name for name in SCHEMES if name in self._schemes)
        else:
            self._slowest = slowest([unprefixed]) or slowest_by_default()
        self.case_insensitive = case_insensitive
        self._matching = Matching(case_insensitive)
        self._timeout = timeout
        self._password = password
        self._tls = tls
        self._driver = self._load()
        self._read_dsn(dsn)

    async def lookup(self, name: str) -> Account | None:
        """The account that `name` logs in to, or None."""
        return await self._find(self._lookup, name)

    async def lookup_address(self, address: str) -> Account | None:
        """The account that `address` belongs to, a disabled one too, or None."""
        return await self._find(self._lookup_address, address)

    def name_key(self, name: str) -> str:
        """The same for names that log in to the same account, as far as the query tells."""
        values = _named(self._matching.key(name))
        heeds_all = not {"name", "domain"}.isdisjoint(self._lookup.gaps)
        return values["name" if heeds_all else "local"]

    def held_schemes(self) -> frozenset[str]:
        """The schemes that the accounts were said to hold."""
        return self._schemes

    def slowest_scheme(self) -> str | None:
        """The slowest of them; without any, a slow one: names mustn't show by quick answers."""
        return self._slowest

    async def aclose(self) -> None:
        """Close this event loop's connections. The next use opens others.

        Look-ups under way go on, and close theirs.
        """
        await self._connections.aclose()

    async def replace_credential(self, name: str, old: str, new: str) -> None:
        """Keep `new` in place of `old` for an account; nothing if it doesn't hold `old`."""
        values = _named(name) | {"new": new}
        # It may stand in the database without its scheme, or with it.
        bare = old.removeprefix(f"{{{self._default_scheme}}}")
        for spelling in {bare, old}:
            await self._ask(self._update, values | {"old": spelling}, again=False)

    async def _find(self, query: Query, name: str) -> Account | None:
        if not is_valid_name(name):
            return None
        rows: Sequence[Row] = ()
        for spelling in spellings(self._matching.key(name)):
            rows = rows or await self._ask(query, _named(spelling), again=True)
        if len(rows) > 1:
            raise AccountError(f"{self.product}: the query gives more than one account")
        try:
            return account_of(rows[0], self._default_scheme) if rows else None
        except ValueError as error:
            raise AccountError(f"{self.product}: {error}") from None

    async def _ask(self, query: Query, values: Mapping[str, str], *, again: bool) -> Sequence[Row]:
        """The rows of a query. again: it may be asked twice, as it changes nothing."""

        async def run(connection: Connection) -> Sequence[Row]:
            return await self._run(connection, query, values)

        try:
            return await self._connections.use(run, again=again)
        except TimeoutError:
            problem = f"no answer within {self._timeout:g} seconds"
        except Exception as error:  # noqa: BLE001 - whatever a driver raises is the same to a login
            problem = self._explain(error)
        # Raised here, so that no trace of what the driver raised, which may quote values, is left;
        # PyPy can take it for what is being handled still, and then it isn't shown.
        raise AccountError(f"{self.product}: {problem}") from None

    def _load(self) -> ModuleType:
        try:
            return import_module(self.library)
        except ImportError as error:
            raise AccountError(missing(self.extra, self.product, self.library, error)) from None

    @abstractmethod
    def _read_dsn(self, dsn: str) -> None:
        """Keep what `_connect` needs. Raises ValueError, which doesn't quote `dsn`."""

    @abstractmethod
    async def _connect(self) -> Connection:
        """A new connection."""

    @abstractmethod
    async def _run(
        self, connection: Connection, query: Query, values: Mapping[str, str]
    ) -> Sequence[Row]:
        """The rows that a query gives, and what it changes is kept."""

    @abstractmethod
    async def _close(self, connection: Connection) -> None:
        """Close a connection as its server likes it."""

    @abstractmethod
    def _drop(self, connection: Connection) -> None:
        """Close a connection at once."""

    @abstractmethod
    def _explain(self, error: Exception) -> str:
        """What went wrong, for the operator. Quotes nothing that the peer or a row holds."""


def _named(name: str) -> dict[str, str]:
    local, at, domain = name.rpartition("@")
    parts = {"local": local, "domain": domain} if at else {"local": name, "domain": ""}
    return {"name": name, "address": name} | parts


def _known(scheme: str) -> str:
    """The name of a scheme that may be spelt in several ways."""
    name, _ = split_credential(f"{{{scheme}}}")
    if name not in SCHEMES:
        raise ValueError(f"unknown password scheme {scheme!r}: known are {', '.join(SCHEMES)}")
    return name
