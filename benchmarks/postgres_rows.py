"""A PostgreSQL with as many generated accounts and messages as a machine bears."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme
from tests.accounts.mysql_server import unprivileged
from tests.postgres_server import PostgresServer

from restante.stores.postgres.schema import upgrade

LARGE = 100_000
"""Messages of the last maildrop."""

RESTING = 10_000
"""Messages that were removed from it, and can be had back."""

FILLING = {
    "fsync": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "maintenance_work_mem": "1GB",
}
"""While rows are put into tables: nothing of this is needed twice."""

ACCOUNTS = """
INSERT INTO restante.accounts (name, name_key, display_name, email)
    SELECT 'user' || n, 'user' || n, '', '' FROM generate_series(1, {maildrops}) AS n;
INSERT INTO restante.credentials (account, scheme, credential)
    SELECT n, 'ARGON2ID', '{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$' || md5(n::text)
        || '$' || md5('hash' || n) || substr(md5('rest' || n), 1, 11)
    FROM generate_series(1, {maildrops}) AS n;
INSERT INTO restante.credentials (account, scheme, credential)
    SELECT n, 'SCRAM-SHA-256', '{SCRAM-SHA-256}4096,' || md5(n::text) || ',' || md5('stored' || n)
        || ',' || md5('server' || n) FROM generate_series(1, {maildrops}) AS n
"""

MAILDROPS = """
INSERT INTO restante.maildrops (name, messages, octets)
    SELECT 'user' || n, here, here * 20000 FROM (
        SELECT n, CASE WHEN n = {maildrops} THEN {large} ELSE 0 END + (
            SELECT count(*) FROM generate_series(n - 1, {messages}, {maildrops}) AS m
            WHERE m > 0 AND m / {maildrops} % 10 < 9
        ) AS here FROM generate_series(1, {maildrops}) AS n
    ) AS counted
"""

BODIES = """
INSERT INTO restante.bodies
    (digest, octets, stored_octets, encoding, header_end, needs_stuffing, state, unused)
    SELECT sha256(n::text::bytea), 20000, 9000, 'zstd', 2000, FALSE, 'stored', FALSE
    FROM generate_series(1, {messages}) AS n
"""

BLOCKS = """
INSERT INTO restante.blocks (body, number, octets)
    SELECT n, 0, decode(substr(repeat(md5(n::text), 563), 1, 18000), 'hex')
    FROM generate_series(1, least({messages}, {large})) AS n
"""
"""The octets of the bodies of the large maildrop alone: of all they would fill the machine."""

MESSAGES = """
INSERT INTO restante.messages
    (maildrop, unique_id, body, octets, ascii_octets, utf8, pinned, arrived, removed)
    SELECT 1 + n % {maildrops}, substr(md5(n::text), 1, 22), n, 20000, 20000, 0, FALSE,
        now() - ({messages} - n) * interval '30 days' / {messages},
        CASE WHEN n / {maildrops} % 10 = 9 THEN now() - n % 7 * interval '1 day' END
    FROM generate_series(1, {messages}) AS n;
INSERT INTO restante.messages
    (maildrop, unique_id, body, octets, ascii_octets, utf8, pinned, arrived, removed)
    SELECT {maildrops}, substr(md5('large' || n), 1, 22), n, 20000, 20000, 0, FALSE, now(),
        CASE WHEN n > {large} THEN now() - interval '1 day' END
    FROM generate_series(1, {large} + {resting}) AS n
"""
"""A tenth of them are removed, and rest. Those of one maildrop lie far from each other, as mail
that came over weeks does."""

_CONSTRAINTS = """
SELECT 'ALTER TABLE ' || conrelid::regclass, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'restante'::regnamespace AND conrelid IN ({tables})
    AND contype IN ('p', 'u', 'f') ORDER BY contype = 'f', contype
"""

_INDEXES = """
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN ({tables})
    AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)
"""

_FILLED = {
    "accounts, credentials": ACCOUNTS,
    "maildrops": MAILDROPS,
    "bodies": BODIES,
    "blocks": BLOCKS,
    "messages": MESSAGES,
}

_TABLES = ("accounts", "credentials", "maildrops", "bodies", "blocks", "messages")


@contextmanager
def server_in(folder: Path) -> Iterator[PostgresServer]:
    """A running server over a folder, with what it had when the folder was used before."""
    certificate = folder / "server.pem"
    if is_new := not (folder / "data").exists():
        folder.mkdir(parents=True, exist_ok=True)
        bundle = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem
        bundle.write_to_path(certificate)
    if owner := unprivileged("postgres"):
        shutil.chown(folder, owner)
    server = PostgresServer(folder, certificate, measured=True)
    if is_new:
        server.prepare()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def fill(server: PostgresServer, maildrops: int, messages: int) -> None:
    """Make the tables and put rows into them; indexes are made when the rows are there."""
    asyncio.run(upgrade(server.dsn))
    set_up(server, FILLING)
    numbers = {"maildrops": maildrops, "messages": messages, "large": LARGE, "resting": RESTING}
    tables = ", ".join(f"'restante.{name}'::regclass" for name in _TABLES)
    constraints = [row.split("|", 2) for row in _rows(server, _CONSTRAINTS, tables)]
    indexes = [row.split("|", 1) for row in _rows(server, _INDEXES, tables)]
    for table, name, _ in reversed(constraints):
        server.execute(f"{table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        server.execute(f"DROP INDEX {name}")
    for names, text in _FILLED.items():
        for name, number in numbers.items():
            text = text.replace("{" + name + "}", str(number))  # noqa: PLW2901 - one after another
        # Into tables that were emptied in the same transaction: then it isn't logged.
        emptied = ", ".join(f"restante.{name.strip()}" for name in names.split(","))
        _timed(server, names, f"BEGIN;\nTRUNCATE {emptied} RESTART IDENTITY;\n{text};\nCOMMIT")
    for table, name, definition in constraints:
        # A row in 50 million that another table lacks would be a mistake in the lines above.
        known = " NOT VALID" if definition.startswith("FOREIGN") else ""
        _timed(server, name, f"{table} ADD CONSTRAINT {name} {definition}{known}")
    for name, definition in indexes:
        _timed(server, name, definition)
    _timed(server, "vacuum", "VACUUM ANALYZE")


def set_up(server: PostgresServer, settings: dict[str, str]) -> None:
    """Have these settings and no others, from a new start on."""
    server.execute(
        "ALTER SYSTEM RESET ALL",
        *(f"ALTER SYSTEM SET {name} = '{value}'" for name, value in settings.items()),
    )
    server.stop()
    server.start()


def _rows(server: PostgresServer, statement: str, tables: str) -> list[str]:
    return server.ask(statement.replace("{tables}", tables)).splitlines()


def _timed(server: PostgresServer, what: str, statement: str) -> None:
    begun = time.monotonic()
    server.execute(statement)
    print(f"{what}: {time.monotonic() - begun:.0f} s", flush=True)
