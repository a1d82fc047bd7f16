"""A ban store in PostgreSQL: for any number of nodes and their operators."""

from __future__ import annotations

import ssl
from contextlib import suppress

from restante.guard.ban_store import (
    KEPT,
    Ban,
    BanStore,
    BanStoreError,
    Failure,
    News,
    Old,
    new_writer,
)
from restante.stores.contract import StoreError
from restante.stores.postgres.plain import PlainDatabase

_LAST = "SELECT bans, known, failures FROM {schema}.guard_numbers"

_BANS = """
SELECT number, network, since, until, reason, times FROM {schema}.bans
WHERE number > $1 ORDER BY number
"""
_KNOWN = """
SELECT number, address, account, at FROM {schema}.known_addresses
WHERE number > $1 ORDER BY number
"""
_FAILURES = """
SELECT number, writer, address, account, at FROM {schema}.failed_logins
WHERE number > $1 ORDER BY number
"""

_WRITE = """
WITH last AS (
    UPDATE {schema}.guard_numbers SET bans = bans + cardinality($1::text[]),
        known = known + cardinality($6::text[]), failures = failures + cardinality($10::text[])
    RETURNING bans - cardinality($1::text[]) AS bans, known - cardinality($6::text[]) AS known,
        failures - cardinality($10::text[]) AS failures
), new_bans AS (
    INSERT INTO {schema}.bans AS before (number, network, since, until, reason, times)
    SELECT last.bans + new.place, network, since, until, reason, times FROM last, unnest(
        $1::text[], $2::float8[], $3::float8[], $4::text[], $5::int8[]
    ) WITH ORDINALITY AS new (network, since, until, reason, times, place)
    ON CONFLICT (network) DO UPDATE SET number = excluded.number, since = excluded.since,
        until = excluded.until, reason = excluded.reason, times = excluded.times
    WHERE before.since <= excluded.since
), new_known AS (
    INSERT INTO {schema}.known_addresses AS before (number, address, account, at)
    SELECT last.known + new.place, address, account, at FROM last, unnest(
        $6::text[], $7::text[], $8::float8[]
    ) WITH ORDINALITY AS new (address, account, at, place)
    ON CONFLICT (address, account) DO UPDATE SET number = excluded.number, at = excluded.at
    WHERE before.at <= excluded.at
)
INSERT INTO {schema}.failed_logins (number, writer, address, account, at)
SELECT last.failures + new.place, $9::int8, address, account, at FROM last, unnest(
    $10::text[], $11::text[], $12::float8[]
) WITH ORDINALITY AS new (address, account, at, place)
"""
"""Write. Each INSERT reads `last`, and so waits until those who write just now have committed.
No number that is smaller can be written any more then, so readers may go on from these."""

_REMOVE_OLD = """
WITH last AS (
    SELECT bans, known, failures FROM {schema}.guard_numbers FOR UPDATE
), old_bans AS (
    DELETE FROM {schema}.bans USING last WHERE until < $1 OR number <= last.bans - $4
), old_known AS (
    DELETE FROM {schema}.known_addresses USING last WHERE at < $2 OR number <= last.known - $4
)
DELETE FROM {schema}.failed_logins USING last WHERE at < $3 OR number <= last.failures - $4
"""
"""Remove what ended before $1, $2, $3, and all but the newest $4 of each kind."""


class PostgresBanStore(BanStore):
    """The tables of a store in PostgreSQL, by asyncpg (extra `postgres`).

    dsn, password, schema, timeout, tls: as of `PostgresStore`; `restante db upgrade` makes the
        tables. It has one connection of its own.
    writer: a number, the same in processes that tell each other of failures themselves: the
        others don't read here what one of them has written. It must be new at each start.

    Times are those of the nodes, whose clocks must agree within some seconds. When a connection is
    lost just as it has written, a failure may count twice for others, but never not at all.

    It works on whichever thread calls it, in an event loop of its own; the thread must have none.

    Raises ValueError for an argument that can't be, BanStoreError when asyncpg isn't installed.
    """

    def __init__(
        self,
        dsn: str,
        *,
        password: str | None = None,
        schema: str = "restante",
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        writer: int | None = None,
    ) -> None:
        try:
            self._plain = PlainDatabase(
                dsn, password=password, schema=schema, timeout=timeout, tls=tls
            )
        except StoreError as error:
            raise BanStoreError(str(error)) from None
        self._database = self._plain.database
        self._writer = new_writer() if writer is None else writer
        self._seen = dict.fromkeys(("bans", "known", "failures"), 0)
        self._unread = True

    def exchange(self, written: News, old: Old) -> News:
        """Write what is new here, and get what others have written since the last time."""
        try:
            return self._plain.run(lambda database: self._exchange(written, old))
        except StoreError as error:
            raise BanStoreError(str(error)) from None

    def close(self) -> None:
        """Close the connection. The next use opens another."""
        self._plain.close()

    async def _exchange(self, written: News, old: Old) -> News:
        heard, seen = await self._read()
        if written.bans or written.known or written.failures:
            await self._write(written)
            with suppress(StoreError):  # it is written: what is old can wait for the next time
                await self._database.rows(_REMOVE_OLD, old.bans, old.known, old.failures, KEPT)
        self._seen, self._unread = seen, False
        return heard

    async def _read(self) -> tuple[News, dict[str, int]]:
        """What wasn't read yet, and the numbers that are read then."""
        last = await self._database.row(_LAST)
        if any(last[kind] < number for kind, number in self._seen.items()):
            # The database was restored from a copy: what was read says nothing of what is there.
            self._seen, self._unread = dict.fromkeys(self._seen, 0), True
        news, seen = News(), dict(self._seen)
        if last["bans"] > seen["bans"]:
            for number, *values in await self._database.rows(_BANS, seen["bans"]):
                news.bans[values[0]] = Ban(*values)
                seen["bans"] = number
        if last["known"] > seen["known"]:
            for number, address, account, at in await self._database.rows(_KNOWN, seen["known"]):
                news.known[address, account] = at
                seen["known"] = number
        if last["failures"] > seen["failures"]:
            rows = await self._database.rows(_FAILURES, seen["failures"])
            for number, writer, *values in rows:
                seen["failures"] = number
                if writer != self._writer or self._unread:
                    news.failures.append(Failure(*values))
        # All up to `last` had been committed, so it was read above or isn't there any more.
        return news, {kind: max(number, last[kind]) for kind, number in seen.items()}

    async def _write(self, news: News) -> None:
        bans, failures = news.bans.values(), news.failures
        known = {(address, _text(account)): at for (address, account), at in news.known.items()}
        await self._database.rows(
            _WRITE,
            [ban.network for ban in bans],
            [ban.since for ban in bans],
            [ban.until for ban in bans],
            [_text(ban.reason) for ban in bans],
            [ban.times for ban in bans],
            [address for address, _ in known],
            [account for _, account in known],
            [*known.values()],
            self._writer,
            [failure.address for failure in failures],
            [_text(failure.account) for failure in failures],
            [failure.at for failure in failures],
        )


def _text(text: str) -> str:
    """The text without what PostgreSQL can't store: clients give names as they like."""
    return text.replace("\0", "\ufffd").encode("utf-8", "backslashreplace").decode()
