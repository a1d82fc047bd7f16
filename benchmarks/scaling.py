"""What many mailboxes need: a model on the figures of `benchmarks.nodes`, and its check.

    python -m benchmarks.scaling --mailboxes 1000000 100000000

It reads what `python -m benchmarks.nodes` has stored, prints what so many mailboxes need, what
breaks first, and simulates one, two and three nodes beside what was measured of them. What users
do, what a core and a database bear, and prices are assumptions: each is an option.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import sys
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from benchmarks import report
from benchmarks.nodes import ACCOUNTS, AT_ONCE, FOLDER, RESULTS, S3
from restante.accounts.verify import MAX_REMEMBERED

T = TypeVar("T")

DAY = 86400.0
MONTH = 30.4 * DAY
PARTS = 10
"""Messages in a maildrop that is fetched or drained in the measurement."""


@dataclass(frozen=True)
class Work:
    """What one thing takes: microseconds of the node and of PostgreSQL, statements, WAL."""

    node_us: float
    postgres_us: float
    statements: float
    wal_octets: float

    def __sub__(self, other: Work) -> Work:
        return Work(*(max(0.0, a - b) for a, b in zip(self._all(), other._all(), strict=True)))

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(self._all(), other._all(), strict=True)))

    def __mul__(self, times: float) -> Work:
        return Work(*(each * times for each in self._all()))

    def _all(self) -> tuple[float, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


LISTED_OCTETS = 95.0
"""Of a message, in the index that lists a maildrop. By `benchmarks.postgres_plans`, as the next."""

POLLED_OCTETS = 1000.0
"""What a poll reads beside the listing: of a maildrop and its account, with their indexes."""


@dataclass(frozen=True)
class Costs:
    """What was measured. poll: with the look-up of its account. fetch, remove, deliver: of one
    message, beside the session. statement_seconds: how long one takes, when 8 are at work.
    message_octets, body_octets: in the tables, of a message and of its body's row. verify_us: of a
    node, for a password's check."""

    poll: Work
    fetch: Work
    remove: Work
    deliver: Work
    statement_seconds: float
    message_octets: float
    body_octets: float
    verify_us: float

    @classmethod
    def of(cls, results: dict[str, Any]) -> Costs:
        """Those of a stored run."""

        def work(scenario: str, kind: str) -> Work:
            figures = results["scenarios"][scenario][kind]
            return Work(*(figures[field.name] for field in fields(Work)))

        bodies = S3 if S3 in results["scenarios"]["fetch"] else FOLDER
        plain = work("poll", FOLDER)
        return cls(
            poll=work("poll", ACCOUNTS),
            fetch=(work("fetch", bodies) - plain) * (1 / PARTS),
            remove=(work("drain", FOLDER) - plain) * (1 / PARTS),
            deliver=work("deliver", bodies),
            statement_seconds=AT_ONCE / results["pgbench"]["polls_per_second"] / 2,
            message_octets=results["storage"]["message_octets"],
            body_octets=results["storage"]["body_octets"],
            verify_us=results["verify_us"],
        )


@dataclass(frozen=True)
class Demand:
    """What users do: assumed. Each message is delivered, fetched and removed once."""

    poll_seconds: float = 600.0
    peak: float = 2.0
    deliveries_a_day: float = 10.0
    messages_kept: float = 100.0
    message_octets: float = 30_000.0


@dataclass(frozen=True)
class Limits:
    """What one of each is taken to bear: assumed. busy: what part of a core is planned for."""

    busy: float = 0.5
    node_cores: float = 8.0
    shard_cores: float = 32.0
    shard_octets: float = 4e12
    shard_wal_octets: float = 100e6
    shard_memory: float = 128e9
    connections: float = 500.0
    pool: float = 20.0
    bucket_requests: float = 3500.0


@dataclass(frozen=True)
class Prices:
    """A month's, in any currency: assumed. copies: of the database, with its standby."""

    node_core: float = 20.0
    postgres_core: float = 40.0
    copies: float = 2.0
    postgres_gigabyte: float = 0.10
    object_gigabyte: float = 0.02
    million_puts: float = 5.0
    million_gets: float = 0.4


@dataclass(frozen=True)
class Need:
    """What so many mailboxes need. Rates are at the peak, a second. password_cores: on top, if no
    poll finds its password remembered."""

    mailboxes: float
    polls: float
    messages: float
    statements: float
    node_cores: float
    nodes: int
    password_cores: float
    postgres_cores: float
    wal_octets: float
    table_octets: float
    polled_octets: float
    shards: int
    connections_without_pooler: float
    connections: int
    object_requests: float
    object_octets: float
    cost: float


def need(mailboxes: float, costs: Costs, demand: Demand, limits: Limits, prices: Prices) -> Need:
    """The arithmetic."""
    average_messages = mailboxes * demand.deliveries_a_day / DAY
    polls = mailboxes / demand.poll_seconds * demand.peak
    messages = average_messages * demand.peak
    whole = costs.poll * polls + (costs.fetch + costs.remove + costs.deliver) * messages
    node_cores = whole.node_us / 1e6 / limits.busy
    postgres_cores = whole.postgres_us / 1e6 / limits.busy
    kept = mailboxes * demand.messages_kept
    table_octets = kept * (costs.message_octets + costs.body_octets)
    object_octets = kept * demand.message_octets
    shards = ceil(
        max(
            postgres_cores / limits.shard_cores,
            table_octets / limits.shard_octets,
            whole.wal_octets / limits.shard_wal_octets,
        )
    )
    puts_a_month = average_messages * MONTH
    cost = (
        node_cores * prices.node_core
        + prices.copies * postgres_cores * prices.postgres_core
        + prices.copies * table_octets / 1e9 * prices.postgres_gigabyte
        + object_octets / 1e9 * prices.object_gigabyte
        + puts_a_month / 1e6 * (prices.million_puts + prices.million_gets)
    )
    return Need(
        mailboxes=mailboxes,
        polls=polls,
        messages=messages,
        statements=whole.statements,
        node_cores=node_cores,
        nodes=ceil(node_cores / limits.node_cores),
        password_cores=polls * costs.verify_us / 1e6 / limits.busy,
        postgres_cores=postgres_cores,
        wal_octets=whole.wal_octets,
        table_octets=table_octets,
        polled_octets=kept * LISTED_OCTETS + mailboxes * POLLED_OCTETS,
        shards=shards,
        connections_without_pooler=ceil(node_cores) * limits.pool,
        connections=ceil(whole.statements * costs.statement_seconds / limits.busy),
        object_requests=3 * messages,
        object_octets=object_octets,
        cost=cost,
    )


def breaks(costs: Costs, demand: Demand, limits: Limits) -> list[tuple[float, str]]:
    """What one database and one bucket bear: mailboxes, and what is used up then, in order."""
    many = 1e6
    seen = need(many, costs, demand, limits, Prices())
    both = seen.node_cores + seen.password_cores
    return sorted(
        (many * limit / used, what)
        for what, used, limit in (
            ("a node's cores, if no password is remembered", both, limits.node_cores),
            ("a node's memory of right passwords", many, limits.node_cores * MAX_REMEMBERED),
            ("the database's memory, for what polls read", seen.polled_octets, limits.shard_memory),
            ("a node's cores", seen.node_cores, limits.node_cores),
            ("connections, without a pooler", seen.connections_without_pooler, limits.connections),
            ("connections, with PgBouncer", seen.connections, limits.connections),
            ("the database's cores", seen.postgres_cores, limits.shard_cores),
            ("the database's log", seen.wal_octets, limits.shard_wal_octets),
            ("the database's disk", seen.table_octets, limits.shard_octets),
            ("requests of one bucket", seen.object_requests, limits.bucket_requests),
        )
    )


# The simulation

Process: TypeAlias = Generator[float | Callable[["Process"], None], None, None]
"""What happens to one client: it yields seconds to wait, or what to be called back by."""


class Clock:
    """Events in their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._events: list[tuple[float, int, Process]] = []

    def at(self, seconds: float, process: Process) -> None:
        """Let a process go on, seconds from now."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), process))

    def run(self, until: float) -> None:
        """Let things happen until then."""
        while self._events and self._events[0][0] <= until:
            self.now, _, process = heapq.heappop(self._events)
            wanted = next(process, None)
            if callable(wanted):
                wanted(process)
            elif wanted is not None:
                self.at(wanted, process)


class Places:
    """Something that so many can use at a time: cores, a node's one thread. First come first."""

    def __init__(self, clock: Clock, many: int) -> None:
        self._clock = clock
        self._free = many
        self._waiting: deque[Process] = deque()

    def take(self, process: Process) -> None:
        if self._free:
            self._free -= 1
            self._clock.at(0, process)
        else:
            self._waiting.append(process)

    def give(self) -> None:
        if self._waiting:
            self._clock.at(0, self._waiting.popleft())
        else:
            self._free += 1


class Log:
    """The database's log: who comes while it is written waits for the next time."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._waiting: list[Process] = []
        self._writing = False

    def flush(self, process: Process) -> None:
        self._waiting.append(process)
        if not self._writing:
            self._writing = True
            self._clock.at(0, self._write())

    def _write(self) -> Process:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            yield self._seconds
            for each in taken:
                self._clock.at(0, each)
        self._writing = False


@dataclass(frozen=True)
class Machine:
    """Where nodes, PostgreSQL and load run. Seconds of a core for a poll of each. slower: how many
    times, as others use the machine. flush_seconds: for a write of the log to the disk."""

    cores: int
    node: float
    postgres: float
    load: float
    slower: float
    flush_seconds: float


@dataclass(frozen=True)
class Simulated:
    """What came of a simulation. refused: polls that found their maildrop leased."""

    polls_per_second: float
    p50_ms: float
    p99_ms: float
    refused: int


def simulate(
    machine: Machine,
    nodes: int,
    *,
    seconds: float = 20.0,
    clients: int = AT_ONCE,
    rate: float = 0.0,
    maildrops: int = 0,
    seed: int = 1,
) -> Simulated:
    """Polls for a while. `clients` at each node that poll again at once, each a maildrop of its
    own; or with `rate`, polls that come at random, so many a second, at any of the maildrops."""
    clock, chance = Clock(), random.Random(seed)
    cores, log = Places(clock, machine.cores), Log(clock, machine.flush_seconds)
    threads = [Places(clock, 1) for _ in range(nodes)]
    loads = [Places(clock, 1) for _ in range(nodes)]
    leased: set[int] = set()
    lasted: list[float] = []
    refused = 0

    def use(demand: float, own: Places | None) -> Process:
        if own is not None:
            yield own.take
        yield cores.take
        yield demand * machine.slower * chance.uniform(0.5, 1.5)
        cores.give()
        if own is not None:
            own.give()

    def statement() -> Process:
        yield from use(machine.postgres / 2, None)
        yield log.flush

    def poll(node: int, maildrop: int) -> Process:
        nonlocal refused
        begun = clock.now
        yield from use(machine.load / 2, loads[node])
        yield from use(machine.node / 3, threads[node])
        yield from statement()
        if maildrop in leased:
            refused += 1
            return
        leased.add(maildrop)
        yield from use(machine.node / 3, threads[node])
        yield from statement()
        leased.discard(maildrop)
        yield from use(machine.node / 3, threads[node])
        yield from use(machine.load / 2, loads[node])
        lasted.append(clock.now - begun)

    def again(node: int, maildrop: int) -> Process:
        while True:
            yield from poll(node, maildrop)

    def arrivals() -> Process:
        while True:
            yield chance.expovariate(rate)
            clock.at(0, poll(chance.randrange(nodes), chance.randrange(maildrops)))

    if rate:
        clock.at(0, arrivals())
    else:
        for number in range(nodes * clients):
            clock.at(0, again(number % nodes, number))
    clock.run(seconds)
    lasted.sort()
    middle, late = (lasted[int((len(lasted) - 1) * rank)] * 1000 for rank in (0.5, 0.99))
    return Simulated(len(lasted) / seconds, middle, late, refused)


def machine_of(results: dict[str, Any]) -> Machine:
    """The measured machine: what a poll takes of it with one node, and how long its log takes.
    How much others slow it down is what makes one simulated node as quick as the real one."""
    cores, one = results["machine"]["cores"], results["nodes"]["1"]
    node, postgres, load = (
        one[part] * cores / one["polls_per_second"] for part in ("nodes", "postgres", "load")
    )
    machine = Machine(cores, node, postgres, load, 1.0, results["flush_ms"] / 1000)
    low, high = 1.0, 10.0
    for _ in range(12):
        middle = (low + high) / 2
        found = simulate(replace(machine, slower=middle), 1, seconds=5.0)
        quicker = found.polls_per_second > one["polls_per_second"]
        low, high = (middle, high) if quicker else (low, middle)
    return replace(machine, slower=low)


# What is printed


def need_table(needs: Sequence[Need]) -> report.Rows:
    """Columns of mailboxes."""
    rows: list[tuple[str, Callable[[Need], str]]] = [
        ("polls a second, at the peak", lambda n: f"{n.polls:,.0f}"),
        ("messages a second, at the peak", lambda n: f"{n.messages:,.0f}"),
        ("cores of nodes", lambda n: f"{n.node_cores:,.0f}"),
        ("nodes", lambda n: f"{n.nodes:,}"),
        (
            "cores more, if no password is remembered",
            lambda n: f"{n.password_cores:,.0f}",
        ),
        ("statements a second", lambda n: f"{n.statements:,.0f}"),
        ("cores of PostgreSQL", lambda n: f"{n.postgres_cores:,.0f}"),
        ("WAL, MB a second", lambda n: f"{n.wal_octets / 1e6:,.1f}"),
        ("tables, TB", lambda n: f"{n.table_octets / 1e12:,.2f}"),
        ("of these read by polls, GB", lambda n: f"{n.polled_octets / 1e9:,.1f}"),
        ("databases (shards)", lambda n: f"{n.shards:,}"),
        ("connections without a pooler", lambda n: f"{n.connections_without_pooler:,.0f}"),
        ("connections with PgBouncer", lambda n: f"{n.connections:,}"),
        ("object requests a second", lambda n: f"{n.object_requests:,.0f}"),
        ("bodies, TB", lambda n: f"{n.object_octets / 1e12:,.1f}"),
        ("cost a month", lambda n: f"{n.cost:,.0f}"),
        ("cost a month of 1,000 mailboxes", lambda n: f"{n.cost / n.mailboxes * 1000:,.2f}"),
    ]
    head = ["mailboxes", *(f"{each.mailboxes:,.0f}" for each in needs)]
    return [head, *([title, *map(tell, needs)] for title, tell in rows)]


def cost_table(costs: Costs) -> report.Rows:
    """What the model takes from the measurement."""
    head = ["", "node, µs", "PostgreSQL, µs", "statements", "WAL, octets"]
    named = (
        ("a poll, with its account", costs.poll),
        ("fetching a message", costs.fetch),
        ("removing a message", costs.remove),
        ("delivering a message", costs.deliver),
    )
    return [head] + [
        [name, f"{w.node_us:,.0f}", f"{w.postgres_us:,.0f}", f"{w.statements:.1f}",
         f"{w.wal_octets:,.0f}"]
        for name, w in named
    ]  # fmt: skip


def check_table(results: dict[str, Any], machine: Machine) -> report.Rows:
    """Simulated beside measured. One node is what the machine was fitted on."""
    rows = [["nodes", "measured, polls a second", "simulated", "median, ms", "simulated"]]
    for name, seen in results["nodes"].items():
        if name.isdigit():
            found = simulate(machine, int(name))
            rows.append(
                [name, f"{seen['polls_per_second']:,.0f}", f"{found.polls_per_second:,.0f}",
                 f"{seen['p50_ms']:.1f}", f"{found.p50_ms:.1f}"]
            )  # fmt: skip
    return rows


def planned(costs: Costs, demand: Demand, limits: Limits, flush: float) -> tuple[float, Simulated]:
    """A machine of one core for the node, and one core of PostgreSQL for each that the model asks
    for, under the polls that the model gives them; and what becomes of them."""
    polls = limits.busy * 1e6 / costs.poll.node_us
    share = ceil(polls * costs.poll.postgres_us / 1e6 / limits.busy)
    machine = Machine(
        1 + share, costs.poll.node_us / 1e6, costs.poll.postgres_us / 1e6, 0.0, 1.0, flush
    )
    maildrops = max(1, int(polls * demand.poll_seconds))
    return polls, simulate(machine, 1, rate=polls, maildrops=maildrops, seconds=30.0)


def _options(parser: argparse.ArgumentParser, *kinds: type) -> None:
    for kind in kinds:
        for field in fields(kind):
            name = f"--{field.name.replace('_', '-')}"
            parser.add_argument(
                name, type=float, default=field.default, help=f"default {field.default:g}"
            )


def _of(kind: Callable[..., T], given: Mapping[str, Any]) -> T:
    names = {field.name for field in fields(cast("Any", kind))}
    return kind(**{name: value for name, value in given.items() if name in names})


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--mailboxes", type=float, nargs="+", default=[1e6, 1e8])
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    _options(parser, Demand, Limits, Prices)
    options = parser.parse_args(arguments)
    given = vars(options)
    if not all(value > 0 for value in given.values() if isinstance(value, float)):
        parser.error("only what is more than 0 is allowed")
    if options.busy > 1 or min(options.mailboxes) < 1:
        parser.error("--busy is up to 1, --mailboxes 1 or more")
    demand, limits, prices = (_of(Demand, given), _of(Limits, given), _of(Prices, given))
    results = json.loads(options.results.read_text())
    costs, form = Costs.of(results), report.as_markdown if options.markdown else report.columns
    machine = machine_of(results)
    print(f"Measured {results['taken']}\n\n{form(cost_table(costs))}\n")
    needs = [need(each, costs, demand, limits, prices) for each in options.mailboxes]
    print(form(need_table(needs)))
    print("\nWhat one of each bears:")
    for mailboxes, what in breaks(costs, demand, limits):
        print(f"{mailboxes:14,.0f} mailboxes: {what}")
    print(f"\n{form(check_table(results, machine))}")
    polls, found = planned(costs, demand, limits, machine.flush_seconds)
    print(
        f"\nThe log was written to the disk in {results['flush_ms']:.2f} ms; fitted on one node:"
        f" others made all {machine.slower:.2f} times slower.\n"
        f"{polls:,.0f} polls a second for one core of a node, at random: median"
        f" {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms, refused {found.refused}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
