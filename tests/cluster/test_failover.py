"""PostgreSQL fails over to its standby: nodes find it by themselves, and nothing is lost."""

from __future__ import annotations

import os
import poplib
import random
import smtplib
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.app.support import wait_until
from tests.cluster.clients import Clients, log_in
from tests.cluster.networks import places
from tests.cluster.nodes import Node, deliver, running
from tests.conftest import Authority
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer, primary_and_standby

pytestmark = [only_cpython, pytest.mark.peer, pytest.mark.slow]

FAILOVERS = int(os.environ.get("RESTANTE_FAILOVERS", "2"))
"""How many times the primary is killed."""


def nodes_over(servers: Sequence[PostgresServer], folder: Path, count: int) -> list[Node]:
    """Nodes that know of all these servers. Bodies are in the database, too."""
    dsn = servers[0].dsn_at(",".join(f"localhost:{each.port}" for each in servers))
    return [Node(folder, f"n{n}", dsn=dsn, schema="restante", bodies="") for n in range(count)]


def opened(node: Node, account: str) -> poplib.POP3 | None:
    """A session; None while the database can't be used, or the maildrop is in use."""
    try:
        return log_in(node.host, node.pop3, account)
    except poplib.error_proto as error:
        if b"[SYS/TEMP]" in error.args[0] or b"[IN-USE]" in error.args[0]:
            return None
        raise


def test_a_session_that_saw_it_goes_on(tmp_path: Path, authority: Authority) -> None:
    with primary_and_standby(authority.certificate.files()[0]) as (primary, standby):
        [node] = nodes_over((primary, standby), tmp_path, 1)
        with running([node]):
            for text in ("one", "two"):
                deliver(node.host, node.lmtp, "user0", text)
            session = log_in(node.host, node.pop3, "user0")
            listed = session.uidl()[1]
            session.dele(1)
            primary.kill()
            # Only the standby is there, which can't be written to.
            assert session.stat()[0] == 1
            assert session.uidl()[1] == listed[1:]
            with pytest.raises(poplib.error_proto, match=r"SYS/TEMP"):
                session.retr(2)
            with pytest.raises(poplib.error_proto, match=r"SYS/TEMP"):
                log_in(node.host, node.pop3, "user1")
            with pytest.raises(smtplib.SMTPException, match="451"):
                deliver(node.host, node.lmtp, "user0", "three")
            standby.promote()
            assert session.retr(2)[1][0] == b"Subject: two"
            session.quit()
            deliver(node.host, node.lmtp, "user0", "four")
            session = log_in(node.host, node.pop3, "user0")
            assert session.uidl()[1][0].split()[1] == listed[1].split()[1]
            assert session.stat()[0] == 2
            session.quit()
            node.stop()


def test_what_clients_were_told_outlasts_failovers(tmp_path: Path, authority: Authority) -> None:
    chance = random.Random(FAILOVERS)
    with primary_and_standby(authority.certificate.files()[0]) as servers:
        nodes = nodes_over(servers, tmp_path, 3)
        choice = random.Random(4)

        primary, standby = servers
        with running(nodes):
            with Clients(lambda: choice.choice(nodes).ports) as clients:
                for _ in range(FAILOVERS):
                    clients.wait_for(chance.randrange(10, 30))
                    primary.kill()
                    time.sleep(chance.uniform(0, 2))
                    standby.promote()
                    clients.wait_for(10)
                    primary, standby = standby, primary
                    standby.prepare_standby(primary)
                    standby.start()
                    primary.wait_for(standby)
                clients.wait_for(10)
            clients.settle()
            assert min(clients.done[what] for what in ("deliveries", "sessions", "removed")) > 5
            told = "SYS/TEMP", "IN-USE", "451"
            assert [each for each in clients.errors if not any(t in each for t in told)] == []
            for node in nodes:
                node.stop()  # each has run all the time


def test_a_primary_that_is_gone_without_a_word(tmp_path: Path, authority: Authority) -> None:
    """Its machine has no power, or its network is cut: nobody says that connections are broken."""
    with places(2) as apart:
        networks = [f"{at}/30" for place in apart for at in (place.database, place.clients)]
        with primary_and_standby(authority.certificate.files()[0], networks) as servers:
            primary, standby = servers
            nodes = [
                Node(
                    tmp_path, f"n{number}", host=place.address, place=place, bodies="",
                    schema="restante", dsn=primary.dsn_at(
                        f"{place.database}:{primary.port},{place.clients}:{standby.port}"
                    ),
                )
                for number, place in enumerate(apart)
            ]  # fmt: skip
            with running(nodes):
                deliver(nodes[0].host, nodes[0].lmtp, "user0", "letter")
                sessions = [
                    log_in(node.host, node.pop3, f"user{n}") for n, node in enumerate(nodes)
                ]
                for place in apart:
                    place.cut()
                standby.promote()
                for node in nodes:
                    wait_until(partial(opened, node, "user2"), "the standby").quit()
                    deliver(node.host, node.lmtp, "user1", f"by {node.name}")
                assert sessions[0].retr(1)[1][0] == b"Subject: letter"
                sessions[0].dele(1)
                for session in sessions:
                    session.quit()
                for account, messages in ("user0", 0), ("user1", 2):
                    session = wait_until(partial(opened, nodes[1], account), "the maildrop")
                    assert session.stat()[0] == messages
                    session.quit()
