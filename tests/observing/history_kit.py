"""A server over a Maildir that keeps a history, and clients at several addresses."""

from __future__ import annotations

import poplib
import shutil
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from threading import Condition
from types import TracebackType
from typing import Any, Self

from restante import Certificate, ClientSession, Listener, Observer, Pop3Server
from restante.observing import Explanation, History, HistoryWriter, explain
from restante.stores import Maildir

PASSWORD = "correct horse"
JOE, ANN = "127.0.0.1", "127.0.0.2"
"""Addresses of clients."""


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

    certificate: it has a second port, for TLS.
    """

    def __init__(
        self, folder: Path, *, certificate: Certificate | None = None, **bounds: Any
    ) -> None:
        self.file = folder / "history.sqlite"
        self.mail = folder / "mail" / "joe"
        self.writer = HistoryWriter(self.file, **bounds)
        self.history = History(self.file)
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
