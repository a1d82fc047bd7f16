"""The disk of the database, or of the bodies, is full: mail is refused, and none is lost."""

from __future__ import annotations

import os
import poplib
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.accounts.mysql_server import own_folder, unprivileged
from tests.app.support import wait_until
from tests.cluster.clients import log_in
from tests.cluster.conftest import Make
from tests.cluster.nodes import Node, deliver, running
from tests.conftest import Authority
from tests.needs import missing, only_cpython
from tests.postgres_server import PostgresServer

pytestmark = [only_cpython, pytest.mark.peer, pytest.mark.slow]

LETTER = os.urandom(400).hex()
"""The message is 200 times as long; see `deliver`."""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of so many MB at `folder`."""
    if os.geteuid() != 0:
        missing("only root can mount a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"only where file systems can be mounted: {error.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
    return ballast


def session_of(node: Node, account: str) -> poplib.POP3:
    """A session, once the database can begin one."""

    def opened() -> poplib.POP3 | None:
        try:
            return log_in(node.host, node.pop3, account)
        except poplib.error_proto as error:
            if b"[SYS/TEMP]" in error.args[0] or b"[IN-USE]" in error.args[0]:
                return None
            raise

    session: poplib.POP3 = wait_until(opened, "the maildrop")
    return session


def subjects(session: poplib.POP3) -> list[bytes]:
    return [session.top(number, 0)[1][0] for number in range(1, session.stat()[0] + 1)]


def deliver_until_full(node: Node) -> list[bytes]:
    """Deliver to user1 until that is refused; the subjects of what was taken."""
    taken: list[bytes] = []
    for _ in range(100):
        text = os.urandom(400).hex()
        try:
            deliver(node.host, node.lmtp, "user1", text)
        except smtplib.SMTPException as error:
            if "451" in str(error):
                return taken
            raise
        taken.append(f"Subject: {text}".encode())
    pytest.fail("the disk wasn't full")


def test_the_folder_of_bodies_is_full(make_nodes: Make, tmp_path: Path) -> None:
    bodies = tmp_path / "bodies"
    bodies.mkdir()
    with small_disk(bodies, 2) as disk:
        (node,) = make_nodes(1)
        with running([node]):
            deliver(node.host, node.lmtp, "user0", "before")
            session = log_in(node.host, node.pop3, "user0")
            ballast = fill(disk)
            for _ in range(2):
                with pytest.raises(smtplib.SMTPException, match="451"):
                    deliver(node.host, node.lmtp, "user0", LETTER)
            assert session.retr(1)[1][0] == b"Subject: before"
            deliver(node.host, node.lmtp, "user1", "before")  # equal bodies are stored once
            session.dele(1)
            session.quit()
            node.run("collect")
            ballast.unlink()
            deliver(node.host, node.lmtp, "user0", "after")
            for account, subject in ("user0", b"after"), ("user1", b"before"):
                session = log_in(node.host, node.pop3, account)
                assert subjects(session) == [b"Subject: " + subject]
                session.quit()
            assert "No space left on device" in node.log
        assert list((disk / "tmp").iterdir()) == [], "nothing is left of what was refused"


def test_the_disk_of_the_database_is_full(tmp_path: Path, authority: Authority) -> None:
    """Even its log has no room left: it ends, and recovers when there is room."""
    with own_folder("postgres") as folder, small_disk(folder, 160) as disk:
        if user := unprivileged("postgres"):
            shutil.chown(disk, user)
        server = PostgresServer(disk, authority.certificate.files()[0])
        server.prepare()
        server.start()
        try:
            node = Node(tmp_path, "n1", dsn=server.dsn, schema="restante", bodies="")
            with running([node]):
                deliver(node.host, node.lmtp, "user0", "before")
                session = log_in(node.host, node.pop3, "user0")
                session.dele(1)
                ballast = fill(disk)
                delivered = deliver_until_full(node)
                assert session.stat()[0] == 0
                ballast.unlink()
                if not server.is_running:
                    server.start()
                try:
                    session.quit()
                    left: list[bytes] = []
                except poplib.error_proto as error:
                    if b"[SYS/TEMP]" not in error.args[0]:
                        raise
                    left = [b"Subject: before"]
                session = session_of(node, "user0")
                assert subjects(session) == left
                session.quit()
                deliver(node.host, node.lmtp, "user2", "after")
                session = session_of(node, "user1")
                found = subjects(session)
                assert found[: len(delivered)] == delivered
                assert len(found) <= len(delivered) + 1, "one was refused that may be there"
                session.quit()
                session = session_of(node, "user2")
                assert subjects(session) == [b"Subject: after"]
                session.quit()
                node.stop()  # it has run all the time
        finally:
            server.stop()
