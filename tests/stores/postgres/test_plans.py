"""What each statement reads: how many pages of memory, by PostgreSQL's own count."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from restante.stores import PostgresStore
from restante.stores.postgres import statements
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer

pytestmark = only_cpython

SMALL, LARGE = 20, 4000

FILL = """
INSERT INTO {schema}.maildrops (name, messages, octets) VALUES
    ('small', {small}, 5 * {small}), ('large', {large}, 5 * {large});
INSERT INTO {schema}.accounts (name, name_key, display_name, email)
    VALUES ('small', 'small', '', ''), ('large', 'large', '', '');
INSERT INTO {schema}.bodies
    (digest, octets, stored_octets, encoding, header_end, needs_stuffing, state, unused)
    SELECT sha256(n::text::bytea), 5, 5, 'identity', 0, FALSE, 'stored', FALSE
    FROM generate_series(1, {small} + {large}) AS n;
INSERT INTO {schema}.messages
    (maildrop, unique_id, body, octets, ascii_octets, utf8, pinned, arrived, removed)
    SELECT CASE WHEN n <= {small} THEN 1 ELSE 2 END, 'm' || n, n, 5, 5, 0, FALSE, now(),
        CASE WHEN n % 10 = 0 THEN now() - interval '2 days' END
    FROM generate_series(1, {small} + {large}) AS n
"""

Arguments = Callable[[str, int, str, int], list[Any]]
"""Of a statement, for a maildrop's name and number, and a message's unique-id and body."""

SESSIONS: dict[str, Arguments] = {
    "RENEW": lambda name, number, unique_id, body: [number, 0, 60.0],
    "RELEASE": lambda name, number, unique_id, body: [number, 0],
    "STEP_BACK": lambda name, number, unique_id, body: [number, 0, 0.0],
    "COMMIT": lambda name, number, unique_id, body: [number, None, [unique_id]],
    "FETCH": lambda name, number, unique_id, body: [number, unique_id],
    "FETCH_BOTH": lambda name, number, unique_id, body: [number, unique_id, 1000, 1000],
    "ARRIVED": lambda name, number, unique_id, body: [number, unique_id],
    "MAKE_MAILDROPS": lambda name, number, unique_id, body: [[name]],
    "FIND_BODY": lambda name, number, unique_id, body: [b"%d" % body],
    "MAKE_BODY": lambda name, number, unique_id, body: [
        *(b"%d" % body, 5, 5, "identity", 0, False, None)
    ],
    "DELIVER": lambda name, number, unique_id, body: [
        *([name], [body], ["new"], [5], [5], [0], [None], [False], [10**9], [10**9], True)
    ],
    "LIVE_BODIES": lambda name, number, unique_id, body: [[body]],
    "USAGE": lambda name, number, unique_id, body: [name],
    "MAILDROP": lambda name, number, unique_id, body: [name],
    "TAKE_LEASE": lambda name, number, unique_id, body: [name],
    "PUT_BLOCK": lambda name, number, unique_id, body: [body, 0, b"12345"],
    "READ_BLOCK": lambda name, number, unique_id, body: [body, 0, 0, 5],
    "REMOVE_BLOCKS": lambda name, number, unique_id, body: [body],
}
"""Those that must not grow with the maildrop."""

GROW = {"OPEN", "PEEK", "LIST", "REMOVED", "UNDELETE"}
"""Those that list a maildrop, or what was removed from it."""

OF_ALL = {
    *("MAILDROPS", "LEASES", "FORGET", "COLLECT_ALONE", "STILL_USED", "DOOM", "DOOMED"),
    "DROP_BODIES",
}
"""Those of operators and the collector, which aren't about one maildrop."""

PARTS = {"ACCOUNT", "LISTING", "ROW_VERSION"}
"""Parts of statements."""


@pytest_asyncio.fixture
async def store(server: PostgresServer, schema: str) -> AsyncIterator[PostgresStore]:
    fill = FILL.replace("{schema}", schema).replace("{small}", str(SMALL))
    await asyncio.to_thread(server.execute, fill.replace("{large}", str(LARGE)), "VACUUM ANALYZE")
    made = PostgresStore(server.dsn, schema=schema, max_connections=1)
    yield made
    await made.aclose()


async def pages(store: PostgresStore, name: str, arguments: list[Any]) -> int:
    """How many pages a statement looks at. What it changes is taken back."""

    async def explain(connection: Any) -> int:
        text = store.database.text(getattr(statements, name))
        looked = 0
        for _ in range(2):  # the first time, PostgreSQL looks at its catalogue, too
            transaction = connection.transaction()
            await transaction.start()
            [(plan,)] = await connection.fetch(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", *arguments
            )
            await transaction.rollback()
            top = json.loads(plan)[0]["Plan"]
            looked = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
        return looked

    return await store.database.use(explain)


@pytest.mark.asyncio
async def test_no_statement_grows_with_the_maildrop(store: PostgresStore) -> None:
    grown = {}
    for name, arguments in SESSIONS.items():
        small = await pages(store, name, arguments("small", 1, "m5", 5))
        large = await pages(store, name, arguments("large", 2, f"m{SMALL + 5}", SMALL + 5))
        if large > small + 10:
            grown[name] = (small, large)
    assert not grown


@pytest.mark.asyncio
async def test_the_listing_reads_its_index_alone(store: PostgresStore) -> None:
    opened = await pages(store, "OPEN", ["large", "a session", 60.0, 0.0, 1, None, None])
    # 4000 entries of some 60 octets in pages of 8192, and not the messages themselves.
    assert opened < LARGE / 20


def test_every_statement_is_known_and_told() -> None:
    """A new one must be put above, where it belongs, and into the page that names them all."""
    names = {name for name in vars(statements) if re.fullmatch("[A-Z_]+", name)}
    assert names == {*SESSIONS, *GROW, *OF_ALL, *PARTS}
    page = Path(__file__).parents[3].joinpath("docs", "scaling.md").read_text("utf-8")
    assert [name for name in sorted(names - PARTS) if f"`{name}`" not in page] == []
