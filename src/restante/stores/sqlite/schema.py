"""The schema of a mail file, step by step."""

from __future__ import annotations

import sqlite3

from restante.accounts.sqlite_file import schema_version, transaction, use_wal

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # lease: counts the sessions that the maildrop had. Whoever has another number than this
        # has lost the lease. holder is NULL while nobody has it.
        """CREATE TABLE maildrops (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            lease INTEGER NOT NULL DEFAULT 0,
            holder TEXT,
            expires REAL NOT NULL DEFAULT 0
        )""",
        # Equal bodies are stored once. used: when one was last delivered.
        """CREATE TABLE bodies (
            id INTEGER PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE,
            octets INTEGER NOT NULL,
            used REAL NOT NULL
        )""",
        """CREATE TABLE blocks (
            body INTEGER NOT NULL REFERENCES bodies ON DELETE CASCADE,
            number INTEGER NOT NULL,
            octets BLOB NOT NULL,
            PRIMARY KEY (body, number)
        )""",
        # removed: when a session's QUIT has removed the message; it waits to be collected.
        """CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            maildrop INTEGER NOT NULL REFERENCES maildrops,
            unique_id TEXT NOT NULL,
            body INTEGER NOT NULL REFERENCES bodies,
            octets INTEGER NOT NULL,
            header_end INTEGER NOT NULL,
            needs_stuffing INTEGER NOT NULL,
            ascii_octets INTEGER NOT NULL,
            dots BLOB,
            utf8 INTEGER NOT NULL,
            arrived REAL NOT NULL,
            removed REAL,
            UNIQUE (maildrop, unique_id)
        )""",
        "CREATE INDEX messages_of_maildrop ON messages (maildrop, id) WHERE removed IS NULL",
        "CREATE INDEX messages_of_body ON messages (body)",
        "CREATE INDEX messages_removed ON messages (removed) WHERE removed IS NOT NULL",
    ),
    (
        # Unique-ids that came from elsewhere: they are never used again, also when their
        # messages are forgotten. Of the messages that there are, nobody knows which ones came so.
        """CREATE TABLE restored (
            maildrop INTEGER NOT NULL REFERENCES maildrops,
            unique_id TEXT NOT NULL,
            PRIMARY KEY (maildrop, unique_id)
        ) WITHOUT ROWID""",
        "INSERT INTO restored SELECT maildrop, unique_id FROM messages",
    ),
)
"""`PRAGMA user_version` says how many steps were taken.

A step that was released is never changed."""


def prepare(database: sqlite3.Connection) -> None:
    """Bring the schema up to date. Raises sqlite3.Error."""
    database.execute("PRAGMA foreign_keys = ON")
    use_wal(database)
    if schema_version(database) == len(MIGRATIONS):
        return
    with transaction(database):
        version = schema_version(database)
        if version > len(MIGRATIONS):
            raise sqlite3.DatabaseError(
                f"the file's schema is number {version}, and this version of Restante knows"
                f" {len(MIGRATIONS)}: use the version that wrote it, or a newer one"
            )
        for step in MIGRATIONS[version:]:
            for statement in step:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
