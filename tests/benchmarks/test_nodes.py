"""The measurement of nodes over PostgreSQL: that it measures what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.corpus import Group
from benchmarks.nodes import AT_ONCE, BOX, POSTGRES, Site

from tests.conftest import Authority
from tests.needs import only_cpython
from tests.postgres_server import postgres

pytestmark = only_cpython


def test_sessions_are_counted_at_box_and_node(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres(authority.certificate.files()[0], measured=True) as database:
        site = Site(tmp_path, database)
        few = Group("box", AT_ONCE, (2500, 2500))
        monkeypatch.setitem(site.groups, "poll", few)
        monkeypatch.setitem(site.groups, "fetch", Group("small", AT_ONCE, (2000, 2000)))
        monkeypatch.setitem(site.groups, "drain", Group("drain", AT_ONCE, (2000,)))
        site.prepare()
        with site.running(BOX, BOX) as box, site.running(POSTGRES, POSTGRES) as node:
            at_box = site.measure(box, "poll", 16)
            poll = site.measure(node, "poll", 16)
            fetch = site.measure(node, "fetch", 16)
            drain = site.measure(node, "drain", AT_ONCE)
            delivery = site.measure(node, "deliver", 16)
            together = site.together([node], 16)
        storage = site.storage()
        alone = site.pgbench(1)
        flush = site.flush_ms()
    assert at_box["node_us"] > 0
    assert "postgres_us" not in at_box
    assert poll["postgres_us"] > 0
    # A node asks a little more by itself: the collector, for one.
    assert poll["statements"] == pytest.approx(2, abs=0.9)  # OPEN, RELEASE
    assert fetch["statements"] == pytest.approx(2 + 2, abs=0.9)  # one a message
    assert drain["statements"] == pytest.approx(3, abs=0.9)  # OPEN, COMMIT, RELEASE
    assert delivery["statements"] >= 4
    parts = sum(together[each] for each in ("nodes", "postgres", "load", "others", "idle"))
    assert parts == pytest.approx(1)
    assert storage["message_octets"] > 0
    assert alone["polls_per_second"] > 0
    assert alone["postgres_us"] > 0
    assert flush > 0
