"""Nodes whose clocks differ by days, and that all have the same name: nothing changes."""

from __future__ import annotations

import poplib
import random

import pytest

from tests.app.support import wait_until
from tests.cluster.clients import Clients, log_in
from tests.cluster.conftest import Make
from tests.cluster.nodes import Node, deliver, running
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer

pytestmark = [only_cpython, pytest.mark.peer, pytest.mark.slow]

DAY = 86400

CLOCK = """
import time
right = time.time
time.time = lambda: right() + {seconds}
"""


@pytest.fixture
def nodes(make_nodes: Make) -> list[Node]:
    """One has the right time, one is a day ahead, one a day behind. All are called the same."""
    made = make_nodes(3)
    for node, seconds in zip(made, (0, DAY, -DAY), strict=True):
        config = node.folder / "restante.toml"
        config.write_text(config.read_text().replace(f'node = "{node.name}"', 'node = "one"'))
        node.begin_with(CLOCK.format(seconds=seconds))
    return made


def expires(server: PostgresServer, schema: str, account: str) -> float:
    """When the lease ends, from now on by the database's clock."""
    found = server.ask(
        "SELECT extract(epoch FROM expires - now()) FROM"
        f" {schema}.maildrops WHERE name = '{account}' AND holder LIKE '% on one, %'"
    )
    return float(found)


def test_a_lease_is_of_one_session_and_is_renewed(
    nodes: list[Node], server: PostgresServer
) -> None:
    right, ahead, behind = nodes
    with running(nodes):
        deliver(right.host, right.lmtp, "user0", "letter")
        for node in nodes:
            others = [each for each in nodes if each is not node]
            session = log_in(node.host, node.pop3, "user0")
            assert session.stat()[0] == 1
            seen = expires(server, node.schema, "user0")
            assert 0 < seen <= 5, "the database's clock counts"
            for _ in range(2):  # it is renewed in time, and no other session can take it
                wait_until(lambda: expires(server, right.schema, "user0") < 3, "half of its time")
                for other in others:
                    with pytest.raises(poplib.error_proto, match="IN-USE"):
                        log_in(other.host, other.pop3, "user0")
                wait_until(lambda: expires(server, right.schema, "user0") > 3, "the renewal")
            assert session.retr(1)[1][0] == b"Subject: letter"
            session.quit()
        # One that is killed keeps its maildrop until the lease ends, and no other session's.
        held = log_in(ahead.host, ahead.pop3, "user0")
        second = log_in(behind.host, behind.pop3, "user1")
        ahead.kill()
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            log_in(right.host, right.pop3, "user0")
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            log_in(right.host, right.pop3, "user1")
        second.quit()
        held.close()


def test_what_clients_were_told_is_kept(nodes: list[Node]) -> None:
    chance = random.Random(6)
    with running(nodes):
        with Clients(lambda: chance.choice(nodes).ports) as clients:
            for node in nodes:
                clients.wait_for(5)
                node.run("collect")
        clients.settle()
        assert clients.errors == []
        for node in nodes:
            node.stop()
            assert "rror" not in node.log
