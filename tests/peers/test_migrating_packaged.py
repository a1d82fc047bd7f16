"""Mail moves from servers as Debian 13 has them, while they run: Courier, and Dovecot 2.4.

They are found by RESTANTE_POP3_SERVERS; see scripts/pop3-servers.
"""

from __future__ import annotations

import imaplib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from restante.migration.contract import Source
from restante.migration.dovecot import DovecotSource
from restante.migration.imap import ImapSource
from restante.migration.pop3 import Pop3Source
from restante.migration.servers import Passwords, Server
from restante.stores import SqliteStore
from tests.conftest import Authority
from tests.corpus import NASTY, wire_form
from tests.migration.kit import check, move, shown
from tests.testing.conformance import debian13
from tests.testing.conformance.debian13 import INETD, NAME, PASSWORD, Packaged, Running

pytestmark = pytest.mark.peer

COURIER_WITH_IMAP = Packaged(
    "courier-imap",
    debian13.COURIER.start.replace(
        ". /etc/courier/pop3d-ssl\n",
        """. /etc/courier/imapd-ssl
. /etc/courier/imapd
"""
        + INETD.strip().removeprefix("exec ").replace("{port}", "{imap}")
        + """ /usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir &
. /etc/courier/pop3d-ssl
""",
    ),
)

DOVECOT_WITH_IMAP = Packaged(
    "dovecot-imapd",
    debian13.DOVECOT.start.replace("protocols = pop3\n", "protocols = pop3 imap\n").replace(
        "service pop3-login {",
        """service imap-login {
  inet_listener imap {
    port = {imap}
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {""",
    ),
)

UNTOLD = {"dot-at-byte-0", "dot-alone-at-byte-0", "one-dot"}
"""These begin with a dot, which the servers themselves don't send rightly."""

MESSAGES = [octets for name, octets in NASTY.items() if name not in UNTOLD]
MESSAGES += [b"Subject: %d\n\n%d\n.\n..\n" % (n, n) for n in range(40)]


def deliver(server: Running, messages: Sequence[bytes], first: int = 0) -> None:
    """Put messages where the server's delivery agent would."""
    for number, octets in enumerate(messages, first):
        path = server.folder / "mail" / "new" / f"{1_700_000_000 + number}.M{number}P1.host"
        path.write_bytes(octets)
        os.chown(path, 65533, 8)


def client(server: Running) -> list[tuple[str, bytes]]:
    """What a client of the old server sees: unique-ids and octets."""
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        answers = connection.makefile("rb")

        def ask(command: str) -> bytes:
            connection.sendall(f"{command}\r\n".encode())
            line = answers.readline()
            assert line.startswith(b"+OK"), (command, line)
            return line

        def lines() -> bytes:
            found = []
            while (line := answers.readline()) != b".\r\n":
                assert line
                found.append(line.removeprefix(b"."))
            return b"".join(found)

        answers.readline()
        connection.sendall(b"UTF8\r\n")  # without it, Courier shows no header of UTF-8
        answers.readline()
        ask(f"USER {NAME}")
        ask(f"PASS {PASSWORD}")
        ask("UIDL")
        mail = []
        for number, unique_id in (line.split(b" ", 1) for line in lines().splitlines()):
            ask(f"RETR {int(number)}")
            mail.append((unique_id.decode(), lines()))
        ask("QUIT")
        return mail


def pop3(server: Running) -> Source:
    there = Server(host="localhost", port=server.port, tls="none", timeout=30.0)
    return Pop3Source(there, Passwords({NAME: PASSWORD}), max_octets=10_000_000)


def imap(server: Running) -> Source:
    there = Server(host="localhost", port=server.imap, tls="none", timeout=30.0)
    return ImapSource(there, Passwords({NAME: PASSWORD}), max_octets=10_000_000)


@pytest.fixture
def courier(tmp_path: Path, authority: Authority) -> Iterator[Running]:
    with debian13.running(COURIER_WITH_IMAP, tmp_path, authority) as server:
        deliver(server, MESSAGES)
        yield server


@pytest.fixture
def dovecot(tmp_path: Path, authority: Authority) -> Iterator[Running]:
    with debian13.running(DOVECOT_WITH_IMAP, tmp_path, authority) as server:
        deliver(server, MESSAGES)
        yield server


def moves_whole(server: Running, source: Source, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "mail.sqlite")
    seen = client(server)
    (account,) = move(source, store, NAME).accounts
    assert (account.moved, account.is_well) == (len(seen), True), account
    assert shown(store, NAME) == seen
    deliver(server, [b"Subject: later\n\nlater\n"], first=len(seen))
    (account,) = move(source, store, NAME).accounts
    assert (account.moved, account.is_well) == (1, True)
    assert shown(store, NAME) == client(server)
    assert check(source, store, NAME, bodies=True).is_well
    store.close()


def test_from_courier_by_pop3(tmp_path: Path, authority: Authority) -> None:
    even = [each for each in MESSAGES if len(wire_form(each)) == len(each) + each.count(b"\n")]
    odd = [
        each for each in MESSAGES if each not in even
    ]  # Courier lists other octets than it sends
    with debian13.running(COURIER_WITH_IMAP, tmp_path, authority) as server:
        deliver(server, even)
        moves_whole(server, pop3(server), tmp_path)
        deliver(server, odd, first=len(MESSAGES) + 1)
        store = SqliteStore(tmp_path / "mail.sqlite")
        (account,) = move(pop3(server), store, NAME).accounts
        assert (account.moved, account.failed, account.error) == (len(odd), [], "")
        assert 0 < len(account.other_octets) <= len(odd)
        assert shown(store, NAME) == client(server)
        store.close()


def test_from_dovecot_24_by_pop3(dovecot: Running, tmp_path: Path) -> None:
    moves_whole(dovecot, pop3(dovecot), tmp_path)


def test_from_dovecot_24_by_imap(tmp_path: Path, authority: Authority) -> None:
    messages = [octets for octets in MESSAGES if b"\0" not in octets]  # IMAP can't send these
    with debian13.running(DOVECOT_WITH_IMAP, tmp_path, authority) as server:
        deliver(server, messages)
        moves_whole(server, imap(server), tmp_path)


def test_courier_counts_for_imap_and_for_pop3_apart(courier: Running) -> None:
    """So what IMAP shows says nothing of the unique-ids that clients of POP3 have seen."""
    seen = [unique_id for unique_id, _ in client(courier)]
    time.sleep(1.1)  # both begin with the time
    with imaplib.IMAP4("localhost", courier.imap) as there:
        there.login(NAME, PASSWORD)
        there.select("INBOX", readonly=True)
        (validity,) = there.response("UIDVALIDITY")[1]
    assert isinstance(validity, bytes)
    assert not seen[0].endswith(validity.decode())


def test_from_dovecot_24_by_its_tools(dovecot: Running, tmp_path: Path) -> None:
    def program(name: str) -> str:
        path = tmp_path / name
        inside = f"nsenter --target {dovecot.pid} --mount --pid --root --wd"
        path.write_text(f'#!/bin/sh\nexec {inside} {name} "$@"\n')
        path.chmod(0o755)
        return str(path)

    source = DovecotSource(doveadm=program("doveadm"), doveconf=program("doveconf"))
    moves_whole(dovecot, source, tmp_path)
