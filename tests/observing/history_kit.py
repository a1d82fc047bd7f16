"""A server over a Maildir that keeps a history, and clients at several addresses."""

from __future__ import annotations

import poplib
import shutil
import socket
import sqlite3
import ssl
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from threading import Condition
from types import TracebackType
from typing import Any, Self

from restante import Certificate, ClientSession, Listener, Observer, Pop3Server
from restante.accounts import Account
from restante.observing import (
    Explanation,
    History,
    HistoryWriter,
    PostgresHistory,
    explain,
)
from restante.observing.history_file import HistoryFile
from restante.observing.history_place import HistoryPlace
from restante.observing.history_records import EndedSession
from restante.protocol.listing import Listing
from restante.stores import Maildir
from tests.postgres_server import PostgresServer

PASSWORD = "correct horse"
JOE, ANN = "127.0.0.1", "127.0.0.2"
"""Addresses of clients."""


def record(
    ids: list[str],
    *,
    account: str = "joe",
    opened: float = 0.0,
    ended: str = "QUIT",
    sent: tuple[int, ...] = (),
) -> EndedSession:
    """A session as an observer gives it to the thread."""
    at = opened or time.time()
    listing = Listing(ids, [100] * len(ids))
    notes = EndedSession(f"s-{at}", Account(account), JOE, listing, at)
    notes.mechanism = "USER"
    notes.ended = ended
    notes.sent = [(number, None) for number in sent]
    notes.retrieved = len(sent)
    return notes


class Kept:
    """A place for a history: an SQLite file, or the schema of a test's own in PostgreSQL.

    Whatever is made by it is closed by `close`.
    """

    def __init__(
        self, folder: Path, server: PostgresServer | None = None, schema: str = ""
    ) -> None:
        self.file = folder / "history.sqlite"
        self.server = server
        self.schema = schema
        self._made: list[HistoryPlace] = []

    def place(
        self, node: str = "a", *, dsn: str | None = None, timeout: float = 10.0
    ) -> HistoryPlace:
        """The place, as a node has it. dsn: of another way to the server."""
        made: HistoryPlace
        if self.server is None:
            made = HistoryFile(self.file)
        else:
            made = PostgresHistory(
                self.server.dsn if dsn is None else dsn,
                schema=self.schema, node=node, timeout=timeout,
            )  # fmt: skip
        self._made.append(made)
        return made

    def writer(self, node: str = "a", **bounds: Any) -> HistoryWriter:
        """One of a node."""
        return HistoryWriter(self.place(node), **bounds)

    def history(self) -> History:
        """What reads it."""
        return History(self.place())

    def ask(self, statement: str) -> str:
        """Have another program run a statement, with our words in braces. The first value."""
        text = self.place().dialect.text(statement)
        if self.server is not None:
            return self.server.ask(text)
        with closing(sqlite3.connect(self.file)) as database, database:
            rows = database.execute(text).fetchall()
        return str(rows[0][0]) if rows else ""

    def close(self) -> None:
        for each in self._made:
            each.close()


class At(poplib.POP3):
    """A client at an address of its own."""

    def __init__(self, address: str, port: int, trust: ssl.SSLContext | None = None) -> None:
        self._from = address
        self._trust = trust
        super().__init__("127.0.0.1", port, timeout=20)

    def _create_socket(self, timeout: Any) -> socket.socket:
        made = socket.create_connection(
            (self.host, self.port), timeout, source_address=(self._from, 0)
        )
        if self._trust is None:
            return made
        return self._trust.wrap_socket(made, server_hostname=self.host)


class Ends(Observer):
    """Counts the connections that have ended."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._count = 0

    def closed(self, session: ClientSession) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Return once so many have."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= count, 60)


class Watched:
    """A server whose one account, joe, has a Maildir below `folder`.

    kept: where its history is; else in a file. certificate: it has a second port, for TLS.
    """

    def __init__(
        self,
        folder: Path,
        kept: Kept | None = None,
        *,
        node: str = "a",
        certificate: Certificate | None = None,
        **bounds: Any,
    ) -> None:
        self.kept = Kept(folder) if kept is None else kept
        self.file = self.kept.file
        self.mail = folder / "mail" / "joe"
        self.writer = self.kept.writer(node, **bounds)
        self.history = self.kept.history()
        listeners = [Listener(port=0)]
        if certificate is not None:
            listeners.append(Listener(port=0, tls="implicit"))
        self.server = Pop3Server(
            accounts={"joe": PASSWORD, "ann": PASSWORD},
            store=Maildir(folder / "mail"),
            listeners=listeners,
            certificate=certificate,
            for_tests=True,
        )
        self.server.observe(self.writer.sessions)
        self.begun, self._ends = 0, Ends()
        self.server.observe(self._ends)
        for sub in ("tmp", "new", "cur"):
            (self.mail / sub).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.stop()
        self.writer.close()
        self.history.close()

    def put(self, name: str, octets: int = 100, sub: str = "new") -> Path:
        """A message that another program delivers, or puts there."""
        head = f"Subject: {name}\r\n\r\n".encode()
        path = self.mail / sub / name
        path.write_bytes(head + b"x" * (octets - len(head) - 2) + b"\r\n")
        return path

    def connect(self, address: str = JOE, *, trust: ssl.SSLContext | None = None) -> At:
        """A client that was greeted. trust: inside TLS."""
        self.begun += 1
        return At(address, self.server.addresses[0 if trust is None else 1][1], trust)

    def login(self, address: str = JOE, name: str = "joe") -> At:
        """A client that has logged in."""
        client = self.connect(address)
        client.user(name)
        client.pass_(PASSWORD)
        return client

    def session(
        self, address: str = JOE, *, fetch: Iterable[int] = (), delete: Iterable[int] = ()
    ) -> None:
        """A whole session, as a client has it that asks for unique-ids first."""
        client = self.login(address)
        client.uidl()
        for number in fetch:
            client.retr(number)
        for number in delete:
            client.dele(number)
        client.quit()
        self.written()

    def written(self) -> None:
        """Return once all clients have left and the history has been written."""
        self._ends.wait(self.begun)
        assert self.writer.flush(30)

    def explained(self, **how: Any) -> Explanation:
        """What there is to say of joe."""
        self.written()
        return explain(self.history, "joe", **how)

    def without_index(self) -> None:
        """Remove all that Restante keeps in the maildrop, as a copy without it does."""
        for path in self.mail.glob("restante.*"):
            path.unlink()

    def copy(self, source: Path, name: str) -> Path:
        """Put a file back under another name."""
        target = self.mail / "cur" / name
        shutil.copyfile(source, target)
        return target
