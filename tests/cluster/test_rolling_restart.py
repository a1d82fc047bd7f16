"""Nodes behind HAProxy are restarted one after the other, and no client notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.clients import Clients, Ports
from tests.cluster.conftest import Make
from tests.cluster.nodes import haproxy, running

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def test_three_nodes_are_restarted_under_load_without_an_error(
    make_nodes: Make, tmp_path: Path
) -> None:
    nodes = make_nodes(3, notice=1, proxied=True)
    with running(nodes), haproxy(tmp_path, nodes) as (pop3, lmtp):
        with Clients(lambda: Ports("127.0.0.1", pop3, lmtp)) as clients:
            clients.wait_for(10)
            for node in nodes:
                node.stop()
                clients.wait_for(10)
                node.start()
                clients.wait_for(10)
        clients.settle()
        assert clients.errors == []
        assert clients.done["deliveries"] > 20
    for node in nodes:
        assert "login: account='user" in node.log, "each node has served"
        assert "rror" not in node.log
