"""Mail over every limit is refused for good, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.clients import log_in, send_by_lmtp
from tests.cluster.conftest import Make
from tests.cluster.nodes import Node, running
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer

pytestmark = [only_cpython, pytest.mark.peer, pytest.mark.slow]

LINE = 78
"""Octets of a line with its end."""


@pytest.fixture
def node(make_nodes: Make) -> Node:
    """Messages may have 65,536 octets, and a maildrop 50,000."""
    (made,) = make_nodes(1)
    config = made.folder / "restante.toml"
    text = config.read_text().replace("[lmtp]", "[delivery]\nsize_limit = 65536\n[lmtp]")
    config.write_text(text.replace("[store]\n", "[store]\nquota_octets = 50000\n"))
    return made


def replies(node: Node, lines: int, *accounts: str, letter: bytes = b"x") -> list[str]:
    """What is answered to a message of so many lines, for each recipient."""
    message = [b"Subject: %d" % lines, b"", *[letter * (LINE - 2)] * lines]
    return [reply.decode()[:9] for reply in send_by_lmtp(node.host, node.lmtp, accounts, message)]


def test_a_body_over_every_limit(node: Node, server: PostgresServer, tmp_path: Path) -> None:
    def kept() -> tuple[str, int]:
        """Rows of bodies, and files."""
        rows = server.ask(f"SELECT count(*) FROM {node.schema}.bodies")
        return rows, len(list((tmp_path / "bodies").glob("??/??/*")))

    with running([node]):
        assert replies(node, 100, "user0") == ["250 2.0.0"]
        assert kept() == ("1", 1)
        # Larger than any message may be, if it weren't for the quota; and than the quota.
        for _ in range(2):
            assert replies(node, 900, "user0", "user1") == ["552 5.3.4"] * 2
            assert replies(node, 700, "user0", "user1") == ["552 5.2.3"] * 2
        assert kept() == ("1", 1)
        # There is no room for it now, but there may be another time.
        assert replies(node, 600, "user0", "user1") == ["452 4.2.2", "250 2.0.0"]
        for account, subjects in ("user0", [b"100"]), ("user1", [b"600"]):
            session = log_in(node.host, node.pop3, account)
            numbers = range(1, session.stat()[0] + 1)
            assert [session.retr(n)[1][0] for n in numbers] == [b"Subject: " + s for s in subjects]
            session.quit()
        node.stop()
