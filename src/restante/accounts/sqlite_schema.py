"""The schema of the database of accounts, step by step."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from restante.accounts.account import AccountError
from restante.accounts.names import name_key
from restante.accounts.sqlite_file import schema_version, transaction, use_wal

log = logging.getLogger("restante.accounts")


def _new_keys(database: sqlite3.Connection) -> None:
    """Make the keys anew. They were case-folded, and two spellings of a domain were two keys."""
    for column, text in (("name_key", "name"), ("email_key", "email")):
        rows = database.execute(
            f"SELECT id, {text}, {column} FROM accounts WHERE {column} <> '' ORDER BY id"  # noqa: S608
        ).fetchall()
        new = {number: name_key(name) for number, name, _ in rows}
        changed = [row for row in rows if new[row[0]] != row[2]]
        taken = {key for number, _, key in rows if new[number] == key}
        for number, _, _ in changed:  # no name's key, as two accounts may exchange theirs
            _set_key(database, column, number, f"\0{number}")
        for number, name, _ in changed:
            if new[number] in taken:
                log.error("account %r: another one has this %s, by IDNA; not used", name, text)
            else:
                _set_key(database, column, number, new[number])
                taken.add(new[number])


def _set_key(database: sqlite3.Connection, column: str, number: int, key: str) -> None:
    database.execute(f"UPDATE accounts SET {column} = ? WHERE id = ?", (key, number))  # noqa: S608


MIGRATIONS: tuple[tuple[str | Callable[[sqlite3.Connection], None], ...], ...] = (
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
    (_new_keys,),
    (
        "ALTER TABLE accounts ADD COLUMN quota_octets INTEGER",
        "ALTER TABLE accounts ADD COLUMN quota_messages INTEGER",
        "ALTER TABLE accounts ADD COLUMN expire_days INTEGER",
    ),
)
"""The schema, step by step. `PRAGMA user_version` says how many steps were taken; a step
that has been released is never changed."""


def prepare(database: sqlite3.Connection) -> None:
    """Bring the schema up to date."""
    database.execute("PRAGMA foreign_keys = ON")
    database.create_function("lower", 1, str.lower, deterministic=True)  # its own knows ASCII only
    if schema_version(database) < len(MIGRATIONS):
        use_wal(database)
        with transaction(database):
            for number in range(schema_version(database), len(MIGRATIONS)):
                for step in MIGRATIONS[number]:
                    if callable(step):
                        step(database)
                    else:
                        database.execute(step)
                database.execute(f"PRAGMA user_version = {number + 1}")
    elif schema_version(database) > len(MIGRATIONS):
        raise AccountError("the database of accounts was made by a newer version of Restante")
