"""The plans of the statements that sessions and deliveries make, on a database of some size.

    python -m benchmarks.postgres_plans --maildrops 1000000 --messages 5000000

It starts a PostgreSQL of its own in a temporary folder (Debian's package `postgresql`), fills it
with generated rows, and prints for each statement its plan and time, and how long a maildrop with
100,000 messages takes to open.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trustme
from tests.postgres_server import postgres

from restante.accounts.account import Account
from restante.stores.postgres import statements
from restante.stores.postgres.schema import upgrade
from restante.stores.postgres.store import PostgresStore

LARGE = 100_000

FILL = """
SET session_replication_role = replica;
INSERT INTO {schema}.maildrops (name) SELECT 'user' || n FROM generate_series(1, {maildrops}) AS n;
INSERT INTO {schema}.bodies
    (digest, octets, stored_octets, encoding, header_end, needs_stuffing, state, unused)
    SELECT sha256(n::text::bytea), 20000, 9000, 'zstd', 2000, FALSE, 'stored', FALSE
    FROM generate_series(1, {messages}) AS n;
INSERT INTO {schema}.messages
    (maildrop, unique_id, body, octets, ascii_octets, utf8, pinned, arrived, removed)
    SELECT 1 + n % {maildrops}, substr(md5(n::text), 1, 22), n, 20000, 20000, 0, FALSE,
        now() - (n % 1000) * interval '1 hour',
        CASE WHEN n % 10 = 0 THEN now() - (n % 6) * interval '1 day' END
    FROM generate_series(1, {messages}) AS n;
INSERT INTO {schema}.messages
    (maildrop, unique_id, body, octets, ascii_octets, utf8, pinned, arrived)
    SELECT {maildrops}, substr(md5('large' || n), 1, 22), n, 20000, 20000, 0, FALSE, now()
    FROM generate_series(1, {large}) AS n;
UPDATE {schema}.maildrops AS d SET messages = m.messages, octets = m.octets FROM (
    SELECT maildrop, count(*) AS messages, sum(octets) AS octets FROM {schema}.messages
    WHERE removed IS NULL GROUP BY maildrop) AS m WHERE d.id = m.maildrop;
"""


async def measure(dsn: str, maildrops: int, messages: int) -> None:
    """Fill the database and print what it does."""
    await upgrade(dsn)
    store = PostgresStore(dsn, timeout=600.0)
    begun = time.monotonic()
    connection = await store.database._connect()
    fill = FILL.replace("{maildrops}", str(maildrops)).replace("{messages}", str(messages))
    for step in fill.replace("{large}", str(LARGE)).split(";\n"):
        if step.strip():
            await connection.execute(store.database.text(step))
    await connection.execute("VACUUM ANALYZE")
    seconds = time.monotonic() - begun
    [row] = await connection.fetch("SELECT pg_size_pretty(pg_database_size(current_database()))")
    print(
        f"{maildrops} maildrops, {messages + LARGE} messages, {row[0]}: {seconds:.0f} s to fill\n"
    )
    [typical] = await connection.fetch(
        store.database.text(
            "SELECT d.name, d.id, m.unique_id, m.body, b.digest FROM {schema}.maildrops AS d"
            " JOIN {schema}.messages AS m ON m.maildrop = d.id JOIN {schema}.bodies AS b"
            " ON b.id = m.body WHERE d.id = 77 AND m.removed IS NULL LIMIT 1"
        )
    )
    name, number, unique_id, body, digest = typical
    new = [["user77"], [body], ["new"], [5], [5], [0], [None], [False], [100], [10**9], True]
    for title, statement, arguments in (
        ("open", statements.OPEN, [name, "a session", 60.0]),
        ("renew", statements.RENEW, [number, 1, 60.0]),
        ("fetch", statements.FETCH, [number, unique_id]),
        ("commit", statements.COMMIT, [number, 1, [unique_id]]),
        ("release", statements.RELEASE, [number, 1]),
        ("usage", statements.USAGE, [name]),
        ("find the body", statements.FIND_BODY, [digest]),
        ("deliver", statements.DELIVER, new),
        ("undelete", statements.UNDELETE, [name, 7 * 86400.0]),
        ("collect: forget", statements.FORGET, [4 * 86400.0, 1000, "restante"]),
        ("collect: still used", statements.STILL_USED, []),
        ("collect: doom", statements.DOOM, [0.0, 1000]),
        ("leases", statements.LEASES, []),
    ):
        await explain(connection, store, title, statement, arguments)
    await connection.close()
    large = Account(f"user{maildrops}")
    for _ in range(3):
        begun = time.monotonic()
        maildrop = await store.open(large)
        seconds = time.monotonic() - begun
        await maildrop.close()
        print(f"open {len(maildrop.listing)} messages: {seconds * 1000:.0f} ms")
    await store.aclose()


async def explain(
    connection: Any, store: PostgresStore, title: str, statement: str, arguments: list[Any]
) -> None:
    """Print the plan of a statement, as it was done; the second time, when all is in memory."""
    text = store.database.text(statement)
    for _ in range(2):
        rows = await connection.fetch(
            f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {text}", *arguments
        )
    lines = [row[0] for row in rows]
    print(f"== {title}: {lines[-1].strip()}")
    print("\n".join(lines[:-2]), end="\n\n")


def main() -> None:
    """Read the arguments, start the server, measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--maildrops", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        certificate = Path(folder) / "server.pem"
        trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            certificate
        )
        with postgres(certificate) as server:
            asyncio.run(measure(server.dsn, given.maildrops, given.messages))


if __name__ == "__main__":
    main()
