"""Nodes are killed under load: what was promised is kept."""

from __future__ import annotations

import os
import random

import pytest

from tests.cluster.conftest import Make
from tests.cluster.nodes import Clients, running

pytestmark = [pytest.mark.peer, pytest.mark.slow]

KILLS = int(os.environ.get("RESTANTE_KILLS", "12"))
"""How many nodes are killed."""


def test_what_clients_were_told_outlasts_kills(make_nodes: Make) -> None:
    nodes = make_nodes(3)
    chance = random.Random(KILLS)
    alive = list(nodes)
    ports = random.Random(2)

    def any_node() -> tuple[str, int, int]:
        node = ports.choice(alive)
        return node.host, node.pop3, node.lmtp

    with running(nodes):
        with Clients(any_node) as clients:
            for _ in range(KILLS):
                clients.wait_for(chance.randrange(6))
                node = chance.choice(nodes)
                alive.remove(node)
                node.kill()
                node.start()
                alive.append(node)
            clients.wait_for(5)
        clients.settle()
        assert min(clients.done[what] for what in ("deliveries", "sessions", "removed")) > KILLS
        assert nodes[0].run("collect").endswith("messages removed for good\n")
        clients.settle()
