"""A history in PostgreSQL, which all nodes write and read."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from restante.accounts.connections import Connection
from restante.accounts.postgres_driver import UNICODE
from restante.networks import own_host_name
from restante.observing.history_place import (
    DAY,
    PRUNE_SECONDS,
    TABLES,
    Bounds,
    Dialect,
    HistoryError,
    HistoryPlace,
    Table,
    Tables,
)
from restante.stores.contract import StoreError
from restante.stores.postgres.database import Database
from restante.stores.postgres.plain import PlainDatabase

T = TypeVar("T")

PAUSE_SECONDS = 5.0
"""How long a transaction may wait for its node: one that was cut off keeps the others from writing
no longer."""

REMOVED_TOGETHER = 2000
"""Rows of each table that one transaction removes for their age, and at once for the size."""

ROUNDS = 8
"""How often one transaction removes as many for the size: it writes some hundreds at most."""

_CANCELED = "57014"
"""The SQLSTATE of a statement that took longer than it may."""

_LOCK = "SELECT sessions, listings, deliveries, refusals FROM {state} FOR UPDATE"
_BEGIN_ANEW = """
INSERT INTO {state} (sessions, listings, deliveries, refusals, pruned) SELECT
    coalesce((SELECT max(number) FROM {sessions}), 0),
    coalesce((SELECT max(number) FROM {listings}), 0),
    coalesce((SELECT max(number) FROM {deliveries}), 0),
    coalesce((SELECT max(number) FROM {refusals}), 0),
    to_timestamp(0)
ON CONFLICT DO NOTHING
"""
"""Somebody has emptied the table. What all rows take is counted when they are next pruned: now."""

_END = """
UPDATE {state} AS s SET sessions = ?, listings = ?, deliveries = ?, refusals = ?,
    octets = octets - ?
    + coalesce((SELECT sum(weight) FROM {sessions} WHERE number {among}), 0)
    + coalesce((SELECT sum(weight) FROM {listings} WHERE number {among}), 0)
    + coalesce((SELECT sum(weight) FROM {deliveries} WHERE number {among}), 0)
    + coalesce((SELECT sum(weight) FROM {refusals} WHERE number {among}), 0)
RETURNING octets, pruned < now() - ? * interval '1 second' AS due
"""
"""Note the last numbers, and what the rows take that have the new ones."""

_REMOVED = "UPDATE {state} SET octets = octets - ? RETURNING octets"
_COUNTED = "UPDATE {state} SET pruned = now(), octets = coalesce(?, octets) RETURNING octets"

_OLDEST = """
SELECT count(*), max(at), (array_agg(at ORDER BY at))[1 + count(*) / 8] FROM (
    SELECT at FROM (
        (SELECT since AS at FROM {sessions} ORDER BY since LIMIT ?)
        UNION ALL (SELECT at FROM {deliveries} ORDER BY at LIMIT ?)
        UNION ALL (SELECT since FROM {refusals} ORDER BY since LIMIT ?)
    ) AS oldest ORDER BY at LIMIT ?
) AS first
"""
"""How many rows there are, so many at most; times up to which these lie, and an eighth of them."""

_REMOVE_SESSIONS = """
WITH gone AS (
    DELETE FROM {sessions} WHERE number = ANY(ARRAY(
        SELECT number FROM {sessions} WHERE since <= ? AND until <= ? ORDER BY since LIMIT ?
    )) RETURNING maildrop, weight
)
SELECT count(*), coalesce(sum(weight), 0)::bigint, array_agg(DISTINCT maildrop) FROM gone
"""
_REMOVE_LISTINGS = """
WITH gone AS (
    DELETE FROM {listings} AS l WHERE maildrop {among} AND at <= ? AND (
        NOT EXISTS (SELECT FROM {sessions} AS s WHERE s.maildrop = l.maildrop)
        OR number < (
            SELECT max(number) FROM {listings} AS base
            WHERE base.maildrop = l.maildrop AND base.whole IS NOT NULL
        )
    ) RETURNING weight
)
SELECT coalesce(sum(weight), 0)::bigint FROM gone
"""
"""Listings are differences: what the newest ones are made up from stays."""

_REMOVE_LEFT = """
DELETE FROM {listings} AS l
WHERE NOT EXISTS (SELECT FROM {sessions} AS s WHERE s.maildrop = l.maildrop)
"""
"""Listings that no session leads to, as when somebody has emptied the table of sessions only."""

_REMOVE_OTHERS = """
WITH gone AS (
    DELETE FROM {table} WHERE number = ANY(ARRAY(
        SELECT number FROM {table} WHERE at <= ? ORDER BY at LIMIT ?
    )) RETURNING weight
)
SELECT count(*), coalesce(sum(weight), 0)::bigint FROM gone
"""
_REMOVE_DELIVERIES = _REMOVE_OTHERS.replace("{table}", "{deliveries}")
_REMOVE_REFUSALS = _REMOVE_OTHERS.replace("{table}", "{refusals}").replace(" at ", " since ")
_REMOVE_COUNTS = "DELETE FROM {counts} WHERE minute < ?"
_SUM = """
SELECT coalesce((SELECT sum(weight) FROM {sessions}), 0)
    + coalesce((SELECT sum(weight) FROM {listings}), 0)
    + coalesce((SELECT sum(weight) FROM {deliveries}), 0)
    + coalesce((SELECT sum(weight) FROM {refusals}), 0)
"""
_OCTETS = "SELECT octets FROM {state}"


def _given(columns: Mapping[str, str]) -> str:
    found = (f"(value->>{at})::{kind} AS {name}" for at, (name, kind) in enumerate(columns.items()))
    return f"(SELECT {', '.join(found)} FROM jsonb_array_elements(?::jsonb))"  # noqa: S608


class PostgresHistory(HistoryPlace):
    """The tables of a store in PostgreSQL, by asyncpg (extra `postgres`), for any number of nodes.

    dsn, password, schema, timeout, tls: as of `PostgresStore`; `restante db upgrade` makes the
        tables. It has one connection of its own.
    node: the name that is written beside this node's sessions; None: the host's.

    The size is what the rows and their places in indexes take, about. The files of the tables are
    larger by what PostgreSQL has not used again yet. It is counted row by row as they are written
    and removed; that a row of polls may grow or shrink isn't counted. So all rows are summed up
    when what is too old is removed, every ten minutes by one of the nodes, and before anything is
    removed for the size where there are few rows, as when the tables were emptied. A sum that takes
    more than half of `timeout` is left for the next time.

    It works on whichever thread calls it, in an event loop of its own; the thread must have none.

    Raises ValueError for an argument that can't be, HistoryError when asyncpg isn't installed.
    """

    def __init__(
        self,
        dsn: str,
        *,
        password: str | None = None,
        schema: str = "restante",
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        node: str | None = None,
    ) -> None:
        try:
            self._plain = PlainDatabase(
                dsn, password=password, schema=schema, timeout=timeout, tls=tls
            )
        except StoreError as error:
            raise HistoryError(str(error)) from None
        self.sum_seconds = timeout / 2
        self.node = own_host_name() if node is None else node
        self.dialect = Dialect(
            table=f'"{schema}".history_{{}}',
            position="strpos",
            among="= ANY(?)",
            given=_given,
            mark=lambda number: f"${number}",
            node="node",
            unicode=UNICODE,
        )

    def rows(self, statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        text = self.dialect.text(statement)
        return self._run(lambda database: database.rows(text, *values))

    def octets(self) -> int:
        rows = self.rows(_OCTETS, []) or self.rows(_SUM, [])
        return int(rows[0][0])

    def close(self) -> None:
        self._plain.close()

    def write(self, add: Callable[[Tables], Awaitable[None]], bounds: Bounds) -> None:
        asked = False

        async def work(connection: Connection) -> None:
            nonlocal asked
            if asked:
                # It may be there. Twice there, it would be told as if a client had come twice.
                raise StoreError("PostgreSQL: the answer to a commit was lost")
            tables = _PostgresTables(self, connection)
            await tables.begin()
            await add(tables)
            await tables.end(bounds)
            asked = True
            await tables.commit()

        self._run(lambda database: database.use(work))

    def _run(self, work: Callable[[Database], Awaitable[T]]) -> T:
        try:
            return self._plain.run(work)
        except StoreError as error:
            raise HistoryError(str(error)) from None


class _PostgresTables(Tables):
    """The tables in a transaction that has locked the only row of `history_state`."""

    def __init__(self, place: PostgresHistory, connection: Connection) -> None:
        self.node = place.node
        self._text = place.dialect.text
        self._connection = connection
        self._sum_seconds = place.sum_seconds
        self._before: dict[Table, int] = {}
        self._numbers: dict[Table, int] = {}
        self._gone = 0

    async def begin(self) -> None:
        """Begin, and wait until nobody else writes."""
        await self._connection.execute(
            f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = '{PAUSE_SECONDS * 1000:.0f}ms'"
        )
        rows = await self.rows(_LOCK)
        if not rows:
            await self.run(_BEGIN_ANEW)
            rows = await self.rows(_LOCK)
        self._before = dict(zip(TABLES, rows[0], strict=True))
        self._numbers = dict(self._before)

    async def commit(self) -> None:
        await self._connection.execute("COMMIT")

    async def end(self, bounds: Bounds) -> None:
        """Note what was written, and remove what is beyond the bounds."""
        numbers = [self._numbers[table] for table in TABLES]
        new = [[*range(self._before[table] + 1, self._numbers[table] + 1)] for table in TABLES]
        [(octets, due)] = await self.rows(_END, *numbers, self._gone, *new, PRUNE_SECONDS)
        if due:
            [(now,)] = await self.rows("SELECT extract(epoch FROM now())::float8")
            if await self._remove(now - bounds.days * DAY, now - bounds.days * DAY):
                octets = await self._count()
        most, is_counted = REMOVED_TOGETHER, False
        for _ in range(ROUNDS):
            if octets <= bounds.max_octets:
                break
            [(rows, last, eighth)] = await self.rows(_OLDEST, most, most, most, most)
            if rows < most and not is_counted:
                await self.run(_REMOVE_LEFT)
                octets, is_counted = await self._count(), True
                continue
            if last is None:
                break
            await self._remove(eighth if rows < most else last, float("inf"))
            [(octets,)] = await self.rows(_OCTETS)

    async def _count(self) -> int:
        """Sum up what the rows take, unless that takes too long. What is noted then."""
        octets = None
        await self._connection.execute(
            "SAVEPOINT counting;"
            f" SET LOCAL statement_timeout = '{max(1.0, self._sum_seconds * 1000):.0f}ms'"
        )
        try:
            [(octets,)] = await self.rows(_SUM)
        except Exception as error:
            if getattr(error, "sqlstate", None) != _CANCELED:
                raise
        await self._connection.execute("ROLLBACK TO counting")
        [(noted,)] = await self.rows(_COUNTED, octets)
        return int(noted)

    async def _remove(self, since: float, until: float) -> bool:
        """Remove what began up to a time and ended up to another. Whether that was all of it."""
        most = REMOVED_TOGETHER
        [(removed, gone, maildrops)] = await self.rows(_REMOVE_SESSIONS, since, until, most)
        all_of_it: bool = removed < most
        if maildrops:
            [(octets,)] = await self.rows(_REMOVE_LISTINGS, maildrops, since)
            gone += octets
        for statement in (_REMOVE_DELIVERIES, _REMOVE_REFUSALS):
            [(removed, octets)] = await self.rows(statement, since, most)
            gone += octets
            all_of_it = all_of_it and removed < most
        if all_of_it:
            await self.run(_REMOVE_COUNTS, int(since // 60))
        await self.run(_REMOVED, gone)
        return all_of_it

    async def rows(self, statement: str, *values: Any) -> Sequence[Sequence[Any]]:
        rows: Sequence[Any] = await self._connection.fetch(self._text(statement), *values)
        return rows

    async def run(self, statement: str, *values: Any) -> None:
        await self._connection.execute(self._text(statement), *values)

    async def run_each(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        await self._connection.executemany(self._text(statement), values)

    async def remove(self, table: Table, where: str, *values: Any) -> None:
        [(gone,)] = await self.rows(
            f"WITH gone AS (DELETE FROM {{{table}}} WHERE {where} RETURNING number, weight)"  # noqa: S608
            " SELECT coalesce(sum(weight) FILTER (WHERE number <= ?), 0)::bigint FROM gone",
            *values,
            self._before[table],
        )
        self._gone += gone

    def number(self, table: Table) -> int:
        self._numbers[table] += 1
        return self._numbers[table]
