"""LOGIN-DELAY holds on all nodes: who has logged in at one must wait at the others."""

from __future__ import annotations

import poplib

import pytest

from tests.app.support import wait_until
from tests.cluster.clients import log_in
from tests.cluster.conftest import Make
from tests.cluster.nodes import running
from tests.needs import only_cpython

pytestmark = [only_cpython, pytest.mark.peer, pytest.mark.slow]


def test_who_has_logged_in_at_one_node_must_wait_at_the_others(make_nodes: Make) -> None:
    one, two = nodes = make_nodes(2)
    for node in nodes:
        config = node.folder / "restante.toml"
        config.write_text(config.read_text().replace("[pop3]", "[pop3]\nlogin_delay = 3"))
    with running(nodes):
        log_in(one.host, one.pop3, "user0").quit()
        for node in two, one, two:
            with pytest.raises(poplib.error_proto, match=r"\[LOGIN-DELAY\] log in again in \d sec"):
                log_in(node.host, node.pop3, "user0")
        log_in(two.host, two.pop3, "user1").quit()  # who hasn't

        def waited() -> poplib.POP3 | None:
            try:
                return log_in(two.host, two.pop3, "user0")
            except poplib.error_proto:
                return None

        wait_until(waited, "the delay").quit()
        two.stop()
        assert "error" not in two.log
