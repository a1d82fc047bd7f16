"""The model of many mailboxes: its arithmetic, and its simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.nodes import RESULTS, tables
from benchmarks.scaling import (
    DAY,
    Costs,
    Demand,
    Limits,
    Machine,
    Prices,
    Work,
    breaks,
    cost_table,
    need,
    need_table,
    simulate,
)

from benchmarks import report

COSTS = Costs(
    poll=Work(1000, 500, 3, 300),
    fetch=Work(400, 100, 1, 0),
    remove=Work(100, 100, 0, 200),
    deliver=Work(500, 800, 4, 1500),
    statement_seconds=0.002,
    message_octets=400,
    body_octets=100,
    verify_us=50_000,
)
DEMAND = Demand(
    poll_seconds=600,
    peak=2,
    deliveries_a_day=DAY / 600,  # as many messages as polls
    messages_kept=100,
    message_octets=10_000,
)
LIMITS = Limits(
    busy=0.5, node_cores=8, shard_cores=4, shard_octets=1e12, shard_wal_octets=1e9,
    connections=100, pool=20, bucket_requests=3000,
)  # fmt: skip
MAILBOXES = 600_000


def test_what_mailboxes_need_is_their_rates_times_what_was_measured() -> None:
    seen = need(MAILBOXES, COSTS, DEMAND, LIMITS, Prices())
    assert seen.polls == pytest.approx(2000)
    assert seen.messages == pytest.approx(2000)
    assert seen.statements == pytest.approx(2000 * (3 + 1 + 4))
    assert seen.node_cores == pytest.approx(2000 * (1000 + 400 + 100 + 500) / 1e6 / 0.5)
    assert seen.postgres_cores == pytest.approx(2000 * (500 + 100 + 100 + 800) / 1e6 / 0.5)
    assert seen.nodes == 1
    assert seen.password_cores == pytest.approx(2000 * 0.05 / 0.5)
    assert seen.shards == 2  # 6 cores at 4 each
    assert seen.wal_octets == pytest.approx(2000 * 2000)
    assert seen.table_octets == pytest.approx(MAILBOXES * 100 * 500)
    assert seen.polled_octets == pytest.approx(MAILBOXES * (100 * 95 + 1000))
    assert seen.connections_without_pooler == 8 * 20
    assert seen.connections == 64  # 16,000 statements of 2 ms, half of the time
    assert seen.object_requests == pytest.approx(3 * 2000)
    assert seen.object_octets == pytest.approx(MAILBOXES * 100 * 10_000)


def test_cost_is_the_sum_of_its_parts_and_puts_are_paid_at_the_average_rate() -> None:
    free = Prices(*[0.0] * 7)
    assert need(MAILBOXES, COSTS, DEMAND, LIMITS, free).cost == 0
    cores = need(MAILBOXES, COSTS, DEMAND, LIMITS, replace(free, node_core=3)).cost
    assert cores == pytest.approx(8 * 3)
    bodies = need(MAILBOXES, COSTS, DEMAND, LIMITS, replace(free, object_gigabyte=2)).cost
    assert bodies == pytest.approx(MAILBOXES * 100 * 10_000 / 1e9 * 2)
    puts = need(MAILBOXES, COSTS, DEMAND, LIMITS, replace(free, million_puts=1)).cost
    assert puts == pytest.approx(1000 * 30.4 * DAY / 1e6)


def test_what_breaks_first_is_used_up_by_as_many_mailboxes_as_the_model_says() -> None:
    found = {what: mailboxes for mailboxes, what in breaks(COSTS, DEMAND, LIMITS)}
    assert list(found.values()) == sorted(found.values())
    many = found["the database's cores"]
    assert need(many, COSTS, DEMAND, LIMITS, Prices()).postgres_cores == pytest.approx(4)


def test_costs_are_read_from_a_measurement_without_the_session_in_a_message() -> None:
    def figures(node: float) -> dict[str, float]:
        return {"node_us": node, "postgres_us": 10, "statements": 2, "wal_octets": 5}

    results: dict[str, Any] = {
        "scenarios": {
            "poll": {"accounts": figures(150), "folder": figures(100)},
            "fetch": {"folder": figures(1100)},
            "drain": {"folder": figures(90)},
            "deliver": {"folder": figures(700)},
        },
        "storage": {"message_octets": 1, "body_octets": 2},
        "verify_us": 30,
        "pgbench": {"polls_per_second": 2000},
    }
    costs = Costs.of(results)
    assert costs.poll.node_us == 150
    assert costs.fetch == Work(100, 0, 0, 0)
    assert costs.remove.node_us == 0  # less than nothing is noise
    assert costs.deliver.node_us == 700
    assert costs.statement_seconds == pytest.approx(0.002)


def test_a_simulated_node_is_as_quick_as_its_one_thread_and_two_are_twice_as_quick() -> None:
    machine = Machine(8, node=0.001, postgres=0.0001, load=0, slower=1, flush_seconds=0)
    one, two = (simulate(machine, nodes, seconds=5) for nodes in (1, 2))
    assert one.polls_per_second == pytest.approx(1000, rel=0.05)
    assert two.polls_per_second == pytest.approx(2000, rel=0.05)


def test_simulated_cores_that_are_all_busy_set_the_pace() -> None:
    machine = Machine(2, node=0.001, postgres=0.001, load=0, slower=2, flush_seconds=0)
    seen = simulate(machine, 3, seconds=5)
    assert seen.polls_per_second == pytest.approx(500, rel=0.05)


def test_simulated_polls_wait_for_the_log_together() -> None:
    machine = Machine(8, node=0.00001, postgres=0.00001, load=0, slower=1, flush_seconds=0.010)
    seen = simulate(machine, 1, seconds=5, clients=50)
    assert 20 <= seen.p50_ms <= 45
    assert seen.polls_per_second > 1000


def test_a_simulated_maildrop_is_leased_to_one_poll_at_a_time() -> None:
    machine = Machine(2, node=0.001, postgres=0.001, load=0, slower=1, flush_seconds=0.001)
    rare = simulate(machine, 1, rate=100, maildrops=10**6, seconds=5)
    often = simulate(machine, 1, rate=100, maildrops=1, seconds=5)
    assert rare.refused == 0
    assert often.refused > 0


def test_the_page_has_the_figures_of_the_stored_run_and_what_is_computed_from_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    results = json.loads(RESULTS.read_text())
    costs, demand, limits = Costs.of(results), Demand(), Limits()
    needs = [need(each, costs, demand, limits, Prices()) for each in (1e6, 1e8)]
    shown = report.as_markdown(cost_table(costs)) + "\n" + report.as_markdown(need_table(needs))
    measured = [line for line in tables(results, report.as_markdown).splitlines() if "|" in line]
    for line in (*measured, *shown.splitlines()):
        assert line in page
    for mailboxes, what in breaks(costs, demand, limits):
        assert f"| {mailboxes:,.0f} | {what} |" in page
    assert results["taken"] in page
