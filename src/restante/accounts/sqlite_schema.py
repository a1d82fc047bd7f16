"""The schema of the database of accounts, step by step."""

from __future__ import annotations

import sqlite3

from restante.accounts.contract import AccountError
from restante.accounts.sqlite_file import schema_version, transaction, use_wal

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE accounts (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            name_key TEXT NOT NULL UNIQUE,
            maildrop TEXT,
            display_name TEXT NOT NULL,
            email TEXT NOT NULL,
            email_key TEXT UNIQUE,
            disabled INTEGER NOT NULL DEFAULT 0
        )""",
        """CREATE TABLE credentials (
            account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
            scheme TEXT NOT NULL,
            credential TEXT NOT NULL,
            PRIMARY KEY (account, scheme, credential)
        ) WITHOUT ROWID""",
        "CREATE INDEX credentials_by_scheme ON credentials (scheme)",
    ),
    (
        "ALTER TABLE accounts ADD COLUMN protocols TEXT",
        "ALTER TABLE accounts ADD COLUMN networks TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE accounts ADD COLUMN expires REAL",
        "ALTER TABLE accounts ADD COLUMN master INTEGER NOT NULL DEFAULT 0",
        # The name of an app password; '' for what belongs to the account itself.
        "ALTER TABLE credentials ADD COLUMN app TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE credentials ADD COLUMN made REAL",
        "ALTER TABLE credentials ADD COLUMN used REAL",
        "CREATE UNIQUE INDEX app_passwords ON credentials (account, app) WHERE app <> ''",
        # Which schemes accounts hold is asked all the time; app passwords may be many.
        "DROP INDEX credentials_by_scheme",
        "CREATE INDEX credentials_by_scheme ON credentials (scheme, app)",
    ),
)
"""The schema, step by step. `PRAGMA user_version` says how many steps were taken; a step
that has been released is never changed."""


def prepare(database: sqlite3.Connection) -> None:
    """Bring the schema up to date."""
    database.execute("PRAGMA foreign_keys = ON")
    if schema_version(database) < len(MIGRATIONS):
        use_wal(database)
        with transaction(database):
            for number in range(schema_version(database), len(MIGRATIONS)):
                for statement in MIGRATIONS[number]:
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {number + 1}")
    elif schema_version(database) > len(MIGRATIONS):
        raise AccountError("the database of accounts was made by a newer version of Restante")
