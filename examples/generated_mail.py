"""An application that serves its own messages: invoices made from rows in SQLite.

    python examples/generated_mail.py --database shop.db --port 1110
    curl pop3://127.0.0.1:1110/1 -u ada:lovelace

No message is stored anywhere: three methods turn rows into mail while it is read, and
DELE with QUIT marks a row as collected.
"""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from email.message import EmailMessage
from email.policy import SMTP

from restante import Account, MaildropStore, MessageGone, MessageInfo, Pop3Server

SCHEMA = """
CREATE TABLE IF NOT EXISTS invoice (
    number INTEGER PRIMARY KEY, customer TEXT, item TEXT, cents INTEGER, collected INTEGER DEFAULT 0
);
INSERT OR IGNORE INTO invoice VALUES (1, 'ada', 'Punched cards', 1250, 0);
INSERT OR IGNORE INTO invoice VALUES (2, 'ada', 'Brass gears', 99900, 0);
INSERT OR IGNORE INTO invoice VALUES (3, 'bob', 'Rubber duck', 499, 0);
"""


class Invoices(MaildropStore):
    """Each open invoice of a customer is a message."""

    def __init__(self, path: str) -> None:
        self.path = path
        with closing(self._open()) as database:
            database.executescript(SCHEMA)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path)

    def list(self, account: Account) -> Iterable[MessageInfo]:
        query = "SELECT number FROM invoice WHERE customer = ? AND NOT collected ORDER BY number"
        with closing(self._open()) as database:
            rows = database.execute(query, (account.name,)).fetchall()
        return [MessageInfo(f"invoice-{number}") for (number,) in rows]

    def read(self, account: Account, unique_id: str) -> bytes:
        number = int(unique_id.removeprefix("invoice-"))
        query = "SELECT item, cents FROM invoice WHERE number = ? AND customer = ?"
        with closing(self._open()) as database:
            row = database.execute(query, (number, account.name)).fetchone()
        if row is None:
            raise MessageGone(unique_id)
        item, cents = row
        message = EmailMessage()
        message["From"] = "shop@example.org"
        message["To"] = f"{account.name}@example.org"
        message["Subject"] = f"Invoice {number}"
        message.set_content(f"{item}: {cents / 100:.2f}\n")
        return message.as_bytes(policy=SMTP)

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
        numbers = [(int(each.removeprefix("invoice-")), account.name) for each in unique_ids]
        update = "UPDATE invoice SET collected = 1 WHERE number = ? AND customer = ?"
        with closing(self._open()) as database, database:
            database.executemany(update, numbers)


def build(port: int, path: str) -> Pop3Server:
    """A server over the shop's database."""
    accounts = {"ada": "lovelace", "bob": "builder"}
    return Pop3Server(port=port, accounts=accounts, store=Invoices(path))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=1110)
    arguments.add_argument("--database", default="shop.db")
    given = arguments.parse_args()
    with build(given.port, given.database) as server:
        print(f"POP3 on 127.0.0.1 port {server.port}", flush=True)
        input("Enter stops it\n")


if __name__ == "__main__":
    main()
