"""The plans and times of the statements that sessions and deliveries make, on many rows.

    nice python -m benchmarks.postgres_plans --maildrops 1000000 --messages 50000000 --folder /big

It starts a PostgreSQL of its own (Debian's package `postgresql`) over an empty folder, and fills it
with generated rows: 600 octets of disk for each message. Then it prints three tables, and how long
a maildrop with 100,000 messages takes to open; with `--plans` each statement's plan, too. With
`--measure` the folder has been filled before. The folder is yours to remove.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from hashlib import md5, sha256
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any, NamedTuple

from benchmarks.postgres_rows import LARGE, RESTING, fill, server_in, set_up
from restante.accounts.account import Account
from restante.accounts.kept import ROW_VERSION
from restante.stores.drafts import BLOCK
from restante.stores.postgres import statements
from restante.stores.postgres.store import PostgresStore

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, WAL, TIMING OFF, FORMAT JSON) "

MEASURED = {"shared_buffers": "2GB", "max_wal_size": "4GB"}

Ask = tuple[str, str, list[Any]]
"""A statement's title, its text, and its arguments."""


class Message(NamedTuple):
    """One of the messages that `postgres_rows` has made, and where it lies."""

    name: str
    maildrop: int
    unique_id: str
    body: int
    digest: bytes


def message(number: int, maildrops: int, *, of_large: bool = False) -> Message:
    """The message of that number, or the one of the large maildrop."""
    maildrop = maildrops if of_large else 1 + number % maildrops
    unique_id = md5(f"{'large' if of_large else ''}{number}".encode()).hexdigest()[:22]
    digest = sha256(str(number).encode()).digest()
    return Message(f"user{maildrop}", maildrop, unique_id, number, digest)


def any_message(maildrops: int, messages: int) -> Message:
    """One that is in its maildrop."""
    while True:
        number = random.randrange(1, messages + 1)
        if number // maildrops % 10 != 9:
            return message(number, maildrops)


def asked(of: Message) -> list[Ask]:
    """What sessions and deliveries ask."""
    name, maildrop, unique_id, body, digest = of
    new = f"new{random.getrandbits(64):016x}"
    deliver = [[name], [body], [new], [5], [5], [0], [None], [False], [10**7], [10**13], True]
    return [
        ("`OPEN`", statements.OPEN, [name, "a session", 60.0, 0.0, 1, None, None]),
        ("`RENEW`", statements.RENEW, [maildrop, 0, 60.0]),
        ("`FETCH`", statements.FETCH, [maildrop, unique_id]),
        ("`FETCH_BOTH`", statements.FETCH_BOTH, [maildrop, unique_id, BLOCK, BLOCK]),
        ("`COMMIT` of a message", statements.COMMIT, [maildrop, None, [unique_id]]),
        ("`RELEASE`", statements.RELEASE, [maildrop, 0]),
        ("`USAGE`", statements.USAGE, [name]),
        ("`FIND_BODY`", statements.FIND_BODY, [digest]),
        ("`DELIVER` of a message", statements.DELIVER, deliver),
    ]


def with_account(of: Message, version: str) -> Ask:
    """The opening that sees whether the account has changed."""
    arguments = [of.name, "a session", 60.0, 0.0, 1, of.name, version]
    return "`OPEN`, with its account", statements.OPEN, arguments


def others(of: Message) -> list[Ask]:
    """What operators ask of a maildrop."""
    return [
        ("`REMOVED`", statements.REMOVED, [of.name, 7 * 86400.0]),
        ("`UNDELETE`", statements.UNDELETE, [of.name, 7 * 86400.0]),
    ]


OF_ALL: list[Ask] = [
    ("`FORGET` of 1,000", statements.FORGET, [4 * 86400.0, 1000, "restante"]),
    ("`STILL_USED`", statements.STILL_USED, []),
    ("`DOOM`", statements.DOOM, [0.0, 1000]),
    ("`LEASES`", statements.LEASES, []),
]
"""What isn't asked of one maildrop."""


class Plans:
    """Asks one connection, and takes back what that changes."""

    def __init__(self, connection: Any, store: PostgresStore, *, shown: bool) -> None:
        self._connection = connection
        self._text = store.database.text
        self._shown = shown

    async def __call__(self, ask: Ask, *, times: int = 1) -> dict[str, float]:
        """What it takes, the last of so many times: see `_figures`."""
        title, statement, arguments = ask
        explained = EXPLAIN + self._text(statement)
        plan = ""
        for _ in range(times):
            transaction = self._connection.transaction()
            await transaction.start()
            [(plan,)] = await self._connection.fetch(explained, *arguments)
            await transaction.rollback()
        [done] = json.loads(plan)
        if self._shown:
            print(f"== {title}")
            _show(done["Plan"])
        return _figures(done)

    async def version(self, name: str) -> str:
        """Of an account's row."""
        text = f"SELECT {ROW_VERSION} FROM {{schema}}.accounts AS a WHERE a.name_key = $1"
        return str(await self._connection.fetchval(self._text(text), name))


def _figures(done: dict[str, Any]) -> dict[str, float]:
    """Milliseconds, pages that were looked at, those of them that were read, octets of WAL."""
    top = done["Plan"]
    read = top["Shared Read Blocks"]
    return {
        "ms": done["Execution Time"],
        "pages": top["Shared Hit Blocks"] + read,
        "read": read,
        "wal": top["WAL Bytes"],
    }


def _show(node: dict[str, Any], depth: int = 0) -> None:
    """Print a plan: what each step does, by which index, and how many rows it gave."""
    names = ("Subplan Name", "Node Type", "Relation Name", "Index Name", "Alias", "Actual Rows")
    words = " ".join(str(node[name]) for name in names if name in node)
    print(f"{'  ' * depth}{words}; pages: {node['Shared Hit Blocks'] + node['Shared Read Blocks']}")
    for each in node.get("Plans", ()):
        _show(each, depth + 1)


async def by_size(plans: Plans, maildrops: int, messages: int) -> None:
    """What statements take of a small maildrop and of the large one, with all in memory."""
    print("\n| statement | ms | pages | octets of WAL | of the large one, ms | pages |")
    print("| --- | --- | --- | --- | --- | --- |")
    lists = []
    for of in (message(76, maildrops), message(76, maildrops, of_large=True)):
        opening = with_account(of, await plans.version(of.name))
        lists.append([opening, *asked(of), *others(of)])
    for small, large in zip(*lists, strict=True):
        one, other = await plans(small, times=3), await plans(large, times=3)
        print(
            f"| {small[0]} | {one['ms']:.2f} | {one['pages']} | {one['wal']:,}"
            f" | {other['ms']:.2f} | {other['pages']:,} |",
            flush=True,
        )
    for ask in OF_ALL:
        took = await plans(ask, times=2)
        print(f"| {ask[0]} | {took['ms']:.2f} | {took['pages']:,} | {took['wal']:,} | | |")


async def at_random(plans: Plans, maildrops: int, messages: int, count: int) -> None:
    """What statements take of messages and maildrops that nobody has asked for a while."""
    print("\n| statement | median, ms | 90 of 100, ms | 99 of 100, ms | pages, of these read |")
    print("| --- | --- | --- | --- | --- |")
    for place, (title, _, _) in enumerate(asked(message(1, maildrops))):
        took = [await plans(asked(any_message(maildrops, messages))[place]) for _ in range(count)]
        ms = quantiles([each["ms"] for each in took], n=100)
        pages, read = (fmean(each[what] for each in took) for what in ("pages", "read"))
        print(
            f"| {title} | {ms[49]:.2f} | {ms[89]:.2f} | {ms[98]:.2f} | {pages:.0f}, {read:.1f} |",
            flush=True,
        )


async def measure(dsn: str, maildrops: int, messages: int, *, shown: bool, count: int) -> None:
    """Print what a filled database does."""
    store = PostgresStore(dsn, timeout=600.0)
    connection = await store.database._connect()
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    print(
        f"{maildrops:,} accounts, {messages + LARGE + RESTING:,} messages, {size / 1e9:.1f} GB,"
        f" PostgreSQL {await connection.fetchval('SHOW server_version')}"
    )
    plans = Plans(connection, store, shown=shown)
    await at_random(plans, maildrops, messages, count)
    await by_size(plans, maildrops, messages)
    await connection.close()
    large = Account(f"user{maildrops}")
    for _ in range(3):
        begun = time.monotonic()
        maildrop = await store.open(large)
        seconds = time.monotonic() - begun
        await maildrop.close()
        print(f"open {len(maildrop.listing):,} messages: {seconds * 1000:.0f} ms")
    await store.aclose()


def main() -> None:
    """Read the arguments, start the server, fill it, measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--maildrops", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--measure", action="store_true", help="the folder was filled before")
    parser.add_argument("--plans", action="store_true", help="show them, too")
    parser.add_argument("--times", type=int, default=500, help="of each statement, at random")
    given = parser.parse_args()
    with server_in(given.folder.absolute()) as server:
        if not given.measure:
            fill(server, given.maildrops, given.messages)
        set_up(server, MEASURED)
        work = measure(
            server.dsn, given.maildrops, given.messages, shown=given.plans, count=given.times
        )
        asyncio.run(work)


if __name__ == "__main__":
    main()
