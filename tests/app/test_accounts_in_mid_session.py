"""An account is removed, or gets another name, while a session has its maildrop."""

from __future__ import annotations

import os
import poplib
import signal
import smtplib
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.app.conftest import Call
from tests.app.support import PASSWORD, Server, wait_until
from tests.app.test_stores import database, tables  # noqa: F401 - database is a fixture
from tests.postgres_server import PostgresServer

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals of Unix"),
    pytest.mark.slow,
]

BASE = "[tls]\ndevelopment = true\n[pop3]\nfailure_delay = 0\n"


class Accounts(ABC):
    """What an operator does with accounts while the server runs."""

    server: Server

    def __init__(self, folder: Path, call: Call, store: str) -> None:
        self.folder = folder
        self.call = call
        self.store = store

    @abstractmethod
    def put(self, *names: str, maildrop: str = "joe") -> None:
        """These are there from now on, and no others; all have the same maildrop."""


class Managed(Accounts):
    """By `restante user`. kind: where they are."""

    def __init__(self, folder: Path, call: Call, store: str, kind: str) -> None:
        super().__init__(folder, call, store)
        self.there: set[str] = set()
        config = folder / "restante.toml"
        config.write_text(f'[accounts]\nkind = "{kind}"\n{BASE}{store}')
        config.chmod(0o600)

    def put(self, *names: str, maildrop: str = "joe") -> None:
        for name in self.there - set(names):
            assert self.call("user", "remove", name).status == 0
        for name in set(names) - self.there:
            given = f"{PASSWORD}\n".encode()
            added = self.call(
                "user", "add", name, "--maildrop", maildrop, "--password-stdin", given=given
            )
            assert added.status == 0, added.err
        self.there = set(names)


class Static(Accounts):
    """In the configuration file, which SIGHUP has read again."""

    def put(self, *names: str, maildrop: str = "joe") -> None:
        config = self.folder / "restante.toml"
        table = "".join(
            f'{name} = {{password = "{PASSWORD}", maildrop = "{maildrop}"}}\n' for name in names
        )
        config.write_text(
            f'[accounts]\nkind = "static"\n[accounts.static]\n{table}{BASE}{self.store}'
        )
        config.chmod(0o600)
        if hasattr(self, "server"):
            reloads = self.server.log.read_text().count("restante.app: reloaded")
            self.server.signal(signal.SIGHUP)
            self.server.wait_for_log("restante.app: reloaded", reloads + 1)


@pytest.fixture(params=["sqlite-maildir", "sqlite-sqlite", "static-postgres", "database-postgres"])
def accounts(request: pytest.FixtureRequest, folder: Path, call: Call) -> Accounts:
    """Each place of accounts, and each store."""
    kind, _, store = request.param.partition("-")
    text = f'[store]\nkind = "{store}"\n'
    if store == "postgres":
        server: PostgresServer = request.getfixturevalue("database")
        text += tables(server, folder)
    if kind == "static":
        return Static(folder, call, text)
    return Managed(folder, call, text, kind)


@contextmanager
def running(accounts: Accounts) -> Iterator[Server]:
    with Server(accounts.folder) as server:
        accounts.server = server
        yield server


def deliver(server: Server, text: str, to: str) -> None:
    with smtplib.LMTP("127.0.0.1", server.port("lmtp", "none"), timeout=20) as client:
        client.sendmail("a@x.example", [to], f"Subject: {text}\r\n\r\n{text}\r\n".encode())


def subjects(session: poplib.POP3) -> list[bytes]:
    return [session.top(number, 0)[1][0] for number in range(1, session.stat()[0] + 1)]


def unique_ids(session: poplib.POP3) -> list[bytes]:
    return [line.split()[1] for line in session.uidl()[1]]


def test_a_removed_accounts_session_goes_on_and_its_mail_stays(accounts: Accounts) -> None:
    accounts.put("joe")
    with running(accounts) as server:
        for text in ("one", "two"):
            deliver(server, text, "joe")
        session = server.login("joe")
        ids = unique_ids(session)
        accounts.put()
        assert subjects(session) == [b"Subject: one", b"Subject: two"]
        session.dele(1)
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="550"):
            deliver(server, "three", "joe")
        with pytest.raises(poplib.error_proto, match="AUTH"):
            server.login("joe")
        session.quit()
        assert accounts.call("leases", "list").out in ("", "no leases\n")
        # Its mail waits for whoever gets the maildrop again.
        accounts.put("joe")
        session = server.login("joe")
        assert unique_ids(session) == ids[1:]
        session.quit()


@pytest.mark.parametrize("accounts", ["sqlite-maildir", "database-postgres"], indirect=True)
def test_a_session_that_is_dropped_after_its_account_was_removed_removes_nothing(
    accounts: Accounts,
) -> None:
    accounts.put("joe")
    with running(accounts) as server:
        deliver(server, "one", "joe")
        session = server.login("joe")
        session.dele(1)
        accounts.put()
        session.close()
        accounts.put("joe")

        def opened() -> poplib.POP3 | None:
            try:
                return server.login("joe")
            except poplib.error_proto as error:
                if b"[IN-USE]" in error.args[0]:
                    return None
                raise

        session = wait_until(opened, "the lease's end")
        assert subjects(session) == [b"Subject: one"]
        session.quit()


def test_another_name_of_the_same_maildrop_waits_for_the_session_and_finds_all_mail(
    accounts: Accounts,
) -> None:
    accounts.put("joe")
    with running(accounts) as server:
        for text in ("one", "two"):
            deliver(server, text, "joe")
        session = server.login("joe")
        ids = unique_ids(session)
        session.dele(2)
        accounts.put("ben")
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            server.login("ben")
        deliver(server, "three", "ben")  # which arrives meanwhile
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="550"):
            deliver(server, "four", "joe")
        session.quit()
        with pytest.raises(poplib.error_proto, match="AUTH"):
            server.login("joe")
        session = server.login("ben")
        assert subjects(session) == [b"Subject: one", b"Subject: three"]
        assert unique_ids(session)[0] == ids[0]
        session.quit()


@pytest.mark.parametrize("accounts", ["sqlite-maildir", "database-postgres"], indirect=True)
def test_mail_whose_recipient_is_removed_while_it_comes_is_delivered_or_refused(
    accounts: Accounts,
) -> None:
    """It was taken for that maildrop: it isn't lost, nor anybody else's."""
    accounts.put("joe")
    with running(accounts) as server:
        address = "127.0.0.1", server.port("lmtp", "none")
        with (
            closing(socket.create_connection(address, 20)) as client,
            client.makefile("rb") as replies,
        ):

            def say(line: bytes) -> bytes:
                client.sendall(line + b"\r\n")
                return next(iter(replies.readline, b""))

            assert replies.readline().startswith(b"220")
            client.sendall(b"LHLO x\r\n")
            while replies.readline()[3:4] == b"-":
                pass
            assert say(b"MAIL FROM:<a@x.example>").startswith(b"250")
            assert say(b"RCPT TO:<joe>").startswith(b"250")
            accounts.put()
            assert say(b"DATA").startswith(b"354")
            assert say(b"Subject: late\r\n\r\nlate\r\n.").startswith(b"250")
        accounts.put("joe")
        session = server.login("joe")
        assert subjects(session) == [b"Subject: late"]
        session.quit()
