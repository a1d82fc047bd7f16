"""Nodes are cut off from the database and come back: no mail is lost, and none comes twice."""

from __future__ import annotations

import os
import poplib
import random
import smtplib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.support import wait_until
from tests.cluster.networks import Place, places
from tests.cluster.nodes import Clients, Node, deliver, log_in, running
from tests.conftest import Authority
from tests.postgres_server import postgres

pytestmark = [pytest.mark.peer, pytest.mark.slow]

CUTS = int(os.environ.get("RESTANTE_CUTS", "4"))
"""How many times nodes are cut off."""


@contextmanager
def nodes_apart(count: int, folder: Path, authority: Authority) -> Iterator[list[Node]]:
    """Nodes, each in a network of its own, over one database and one folder of bodies."""
    with places(count) as made:
        networks = [f"{place.database}/30" for place in made]
        with postgres(authority.certificate.files()[0], networks) as server:
            nodes = [_node(folder, place, n, server.dsn) for n, place in enumerate(made, 1)]
            with running(nodes):
                yield nodes


def _node(folder: Path, place: Place, number: int, dsn: str) -> Node:
    bodies = f'[store.bodies]\nkind = "folder"\n[store.bodies.folder]\npath = "{folder / "bodies"}"'
    return Node(
        folder, f"n{number}",
        dsn=dsn.replace("localhost", place.database), schema="restante", bodies=bodies,
        host=place.address, place=place,
    )  # fmt: skip


def test_a_session_that_was_cut_off_removes_nothing_any_more(
    tmp_path: Path, authority: Authority
) -> None:
    with nodes_apart(2, tmp_path, authority) as (one, two):
        deliver(one.host, one.lmtp, "user0", "letter")
        session = log_in(one.host, one.pop3, "user0")
        session.dele(1)
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            log_in(two.host, two.pop3, "user0")
        one.place.cut()
        # The lease ends; the other node takes the maildrop over, and nothing is missing.
        began = time.monotonic()

        def taken_over() -> poplib.POP3 | None:
            try:
                return log_in(two.host, two.pop3, "user0")
            except poplib.error_proto as error:
                if b"[IN-USE]" in error.args[0]:
                    return None
                raise

        other = wait_until(taken_over, "the end of the lease")
        assert time.monotonic() - began < 60, "a lease of 5 seconds"
        assert other.stat()[0] == 1
        with pytest.raises(poplib.error_proto, match=r"SYS/TEMP"):
            log_in(one.host, one.pop3, "user1")
        with pytest.raises(smtplib.SMTPException, match="451"):
            deliver(one.host, one.lmtp, "user0", "later")
        one.place.heal()
        with pytest.raises(poplib.error_proto, match=r"SYS/TEMP"):
            session.quit()
        session.close()
        other.quit()

        def works() -> bool:
            try:
                log_in(one.host, one.pop3, "user0").quit()
            except poplib.error_proto:
                return False
            return True

        wait_until(works, "the node that was cut off, without a restart")
        left = log_in(two.host, two.pop3, "user0")
        assert left.stat()[0] == 1
        left.quit()


def test_what_clients_were_told_outlasts_cuts(tmp_path: Path, authority: Authority) -> None:
    with nodes_apart(3, tmp_path, authority) as nodes:
        chance, choice = random.Random(CUTS), random.Random(3)

        def any_node() -> tuple[str, int, int]:
            node = choice.choice(nodes)
            return node.host, node.pop3, node.lmtp

        with Clients(any_node) as clients:
            for _ in range(CUTS):
                clients.wait_for(chance.randrange(6))
                cut = chance.sample(nodes, chance.choice((1, 1, 2)))
                for node in cut:
                    node.place.cut()
                time.sleep(chance.uniform(0.1, 9))  # shorter and longer than a lease
                for node in cut:
                    node.place.heal()
            clients.wait_for(5)
        clients.settle()
        assert min(clients.done[what] for what in ("deliveries", "sessions", "removed")) > CUTS
