"""Other POP3 servers, each as a throw-away on loopback with one account and its mail."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import pytest

from restante import Maildir, Pop3Server, __version__
from restante.testing.conformance.probe import Target
from restante.testing.conformance.seed import (
    ImapSeed,
    MaildirSeed,
    MboxSeed,
    Seed,
    SmtpSeed,
)
from tests.conftest import Authority
from tests.dialogues import dovecot
from tests.ports import free_port
from tests.testing.conformance import debian13
from tests.testing.conformance.debian13 import NAME, PASSWORD, Packaged, running, version_of

Way: TypeAlias = Callable[[Packaged, Path, Authority], contextlib.AbstractContextManager[Target]]
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Peer:
    """name, version: for the table. started: a running server to check."""

    name: str
    version: Callable[[], str]
    started: Callable[[Path, Authority], contextlib.AbstractContextManager[Target]]


@contextmanager
def restante(folder: Path, authority: Authority) -> Iterator[Target]:
    """Restante with its defaults, over a Maildir, STLS offered."""
    (folder / "mail" / NAME).mkdir(parents=True)
    with Pop3Server(
        port=0,
        tls="starttls",
        certificate=authority.certificate,
        accounts={NAME: PASSWORD},
        store=Maildir(folder / "mail"),
    ) as server:
        yield _target(server.port, authority, "stls", MaildirSeed(folder / "mail" / NAME))


def _target(
    port: int, authority: Authority, tls: str, seed: Seed | None, wait: float = 5.0
) -> Target:
    return Target(
        "127.0.0.1", port, tls=tls, ca=authority.file, user=NAME, password=PASSWORD, seed=seed,
        timeout=wait,
    )  # fmt: skip


@contextmanager
def debians_dovecot(folder: Path, authority: Authority) -> Iterator[Target]:
    """As tests/dialogues starts it: with the exclusive lock, mail in a Maildir."""
    with dovecot.running(authority) as server:
        server.give({})  # makes folders for another client, and takes the number
        maildir = server._maildir("127.0.0.1")
        for part in ("cur", "new", "tmp"):
            (maildir / part).mkdir(parents=True)
        for path in (maildir, *maildir.iterdir()):
            os.chown(path, dovecot.NOBODY, dovecot.NOBODY)
        yield _target(server.port, authority, "stls", MaildirSeed(maildir))


def dovecot_version() -> str:
    said = subprocess.run(["dovecot", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[0]


@contextmanager
def dovecot_23(folder: Path, authority: Authority) -> Iterator[Target]:
    """The same where it is Dovecot 2.3."""
    if not Path("/usr/sbin/dovecot").exists() or not dovecot_version().startswith("2.3."):
        pytest.skip("only with Dovecot 2.3, of Debian 12")
    with debians_dovecot(folder, authority) as target:
        yield target


OCTETS = """
from benchmarks import twisted_server
twisted_server.Mailbox.getMessage = lambda self, index: open(self.list[index], "rb")
twisted_server.main()
"""


@contextmanager
def twisted(folder: Path, authority: Authority) -> Iterator[Target]:
    """twisted.mail.pop3 over its own Maildir, as benchmarks/twisted_server.py has it.

    But messages are read as octets: as it is, RETR sends nothing after its status line.
    """
    if importlib.util.find_spec("twisted") is None:
        pytest.skip("only with Twisted (pip install -r benchmarks/requirements.txt)")
    maildir = folder / "mail" / NAME
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    about, ready = folder / "about.json", folder / "ready"
    about.write_text(json.dumps({"maildrops": str(folder / "mail"), "accounts": {NAME: PASSWORD}}))
    process = subprocess.Popen(
        [sys.executable, "-c", OCTETS, about, ready],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 30
        while not ready.exists() or not ready.read_text().endswith("\n"):
            assert process.poll() is None, "Twisted doesn't start"
            assert time.monotonic() < until
            time.sleep(0.05)
        yield _target(int(ready.read_text()), authority, "none", MaildirSeed(maildir))
    finally:
        process.kill()
        process.wait()


FENGTANG = """
import asyncio, sys
from pathlib import Path
from fengtang.serve.server import MailServer

database, pop_port, smtp_port, name, password = sys.argv[1:]
server = MailServer(
    Path(database), smtp_port=int(smtp_port), pop_port=int(pop_port), domain="example.org",
    users={name: password}, allow_outbound=False,
)
asyncio.run(server.serve_forever())
"""


class FengTangSeed(SmtpSeed):
    """Mail goes in by SMTP. It is removed from the database, as QUIT leaves it there."""

    def __init__(self, port: int, database: Path) -> None:
        super().__init__("127.0.0.1", port, f"{NAME}@example.org")
        self._database = database

    def empty(self) -> bool:
        with contextlib.closing(sqlite3.connect(self._database, timeout=20)) as database:
            database.execute("DELETE FROM messages")
            database.commit()
        return True


@contextmanager
def fengtang(folder: Path, authority: Authority) -> Iterator[Target]:
    """The mail server of FengTang, which keeps mail in a file of SQLite's."""
    if importlib.util.find_spec("fengtang") is None:
        pytest.skip("only with FengTang (pip install fengtang)")
    pop_port, smtp_port = free_port(), free_port()
    ports = [str(pop_port), str(smtp_port)]
    process = subprocess.Popen(
        [sys.executable, "-c", FENGTANG, folder / "mail.db", *ports, NAME, PASSWORD],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        debian13.wait_until_it_answers(process, pop_port)
        seed = FengTangSeed(smtp_port, folder / "mail.db")
        yield _target(pop_port, authority, "none", seed)
    finally:
        process.kill()
        process.wait()


# Of Debian 13, in a system of their own


@contextmanager
def with_maildir(server: Packaged, folder: Path, authority: Authority) -> Iterator[Target]:
    with running(server, folder, authority) as it:
        yield _target(it.port, authority, "stls", MaildirSeed(it.folder / "mail"))


@contextmanager
def with_mbox(
    server: Packaged, folder: Path, authority: Authority, *, tls: str = "none"
) -> Iterator[Target]:
    with running(server, folder, authority) as it:
        yield _target(it.port, authority, tls, MboxSeed(it.folder / "var-mail" / NAME))


@contextmanager
def with_imap(server: Packaged, folder: Path, authority: Authority) -> Iterator[Target]:
    with running(server, folder, authority) as it:
        yield _target(it.port, authority, "stls", ImapSeed("127.0.0.1", it.imap, NAME, PASSWORD))


def _packaged(name: str, server: Packaged, way: Way) -> Peer:
    return Peer(name, partial(version_of, server.package), partial(way, server))


PEERS = [
    Peer("Restante", lambda: __version__, restante),
    Peer("Dovecot 2.3", dovecot_version, dovecot_23),
    _packaged("Dovecot 2.4", debian13.DOVECOT, with_maildir),
    _packaged("Courier", debian13.COURIER, with_maildir),
    _packaged("Cyrus", debian13.CYRUS, with_imap),
    _packaged("GNU mailutils", debian13.MAILUTILS, partial(with_mbox, tls="stls")),
    _packaged("popa3d", debian13.POPA3D, with_mbox),
    _packaged("solid-pop3d", debian13.SOLID, with_mbox),
    Peer("Twisted", lambda: version("twisted"), twisted),
    Peer("FengTang", lambda: version("fengtang"), fengtang),
]
