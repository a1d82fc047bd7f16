"""Bans hold on all nodes: who guesses at one counts at the others."""

from __future__ import annotations

import poplib
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.app.support import wait_until
from tests.cluster.clients import ACCOUNTS, log_in
from tests.cluster.conftest import Make
from tests.cluster.nodes import Node, running
from tests.needs import only_cpython

pytestmark = [only_cpython, pytest.mark.peer, pytest.mark.slow]

OTHER = "127.0.0.2"
"""Another client's address."""

GUARD = """
[guard]
shared_networks = []
delay_first = 0
ban_after = {}
"""


@pytest.fixture
def nodes(make_nodes: Make) -> list[Node]:
    """Two, each of which would ban after eight failures, and one that says so to the other."""
    made = make_nodes(2)
    for node in made:
        config = node.folder / "restante.toml"
        config.write_text(config.read_text() + GUARD.format(8))
    return made


def guess(node: Node, number: int) -> None:
    """A login that fails, with another password each time."""
    with closing(poplib.POP3(node.host, node.pop3, timeout=60)) as client:
        client.user(ACCOUNTS[number % len(ACCOUNTS)])
        with pytest.raises(poplib.error_proto):
            client.pass_(f"guess {number}")


def is_turned_away(node: Node, address: str = "127.0.0.1") -> bool:
    with socket.create_connection((node.host, node.pop3), 60, (address, 0)) as client:
        return not client.recv(1000).startswith(b"+OK")


def wait_for_ban(node: Node, address: str = "127.0.0.1", *, held: bool = True) -> None:
    """Wait until a ban holds at a node, or doesn't any more."""
    wait_until(lambda: is_turned_away(node, address) == held, f"a ban at {node.name}")


def listed(node: Node) -> list[list[str]]:
    return [line.split("\t") for line in node.run("bans", "list").splitlines()]


def counted(node: Node) -> int:
    """Failures of this machine's address, as the ban store has them."""
    return sum(int(row[3]) for row in listed(node) if row[0] == "address")


def test_guesses_that_are_spread_over_the_nodes_are_banned_on_all(nodes: list[Node]) -> None:
    one, two = nodes
    with running(nodes):
        for number in range(7):
            guess(nodes[number % 2], number)
        wait_until(lambda: counted(one) == 7, "the failures of both nodes")
        one.run("bans", "ban", OTHER)
        wait_for_ban(two, OTHER)  # and so it has heard what was written before that
        assert not is_turned_away(two)
        guess(two, 7)  # the eighth in all, but only its fourth one
        assert is_turned_away(two)
        wait_for_ban(one)
        assert ["ban", "127.0.0.1"] in [row[:2] for row in listed(one)]
        one.run("bans", "unban", "127.0.0.1")
        for node in nodes:
            wait_for_ban(node, held=False)
            log_in(node.host, node.pop3, ACCOUNTS[0]).quit()


def test_an_operators_ban_holds_on_all_nodes_and_after_they_were_killed(
    nodes: list[Node], tmp_path: Path
) -> None:
    one, two = nodes
    with running(nodes):
        two.run("bans", "ban", "127.0.0.0/8", "--reason", "noise")
        for node in nodes:
            wait_for_ban(node)
        assert listed(one)[0][:2] == ["ban", "127.0.0.0/8"]
        one.kill()
        one.start()
        assert is_turned_away(one), "it knows before it listens"
        one.run("bans", "unban", "127.0.0.0/8")
        for node in nodes:
            wait_for_ban(node, held=False)
    assert not [*tmp_path.rglob("bans.sqlite")]
