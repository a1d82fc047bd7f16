"""Measuring: rounds of load at each server in turn, and the figures that come of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks import corpus
from benchmarks.corpus import Expected, Group
from benchmarks.ground import Ground, mail_user
from benchmarks.load import Generator, Outcome, Work
from benchmarks.processes import processor_seconds
from benchmarks.scenarios import DRAIN_SIZES, Scenario
from benchmarks.servers import BY_NAME, Running

LEARNING = 20
"""Rounds that a server which becomes quicker has before it is measured."""

SETTLED = 0.0002
"""Processor seconds in 40 ms that an idle server may take: its own timers."""


@dataclass
class Samples:
    """What the rounds of one scenario gave at one server."""

    cpu_us: list[float] = field(default_factory=list)
    sessions_per_second: list[float] = field(default_factory=list)
    megabytes_per_second: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    generator_busy: list[float] = field(default_factory=list)
    violations: int = 0
    first_violation: str = ""

    def add(self, seconds_used: float, outcome: Outcome) -> None:
        """Take a round's figures."""
        self.cpu_us.append(seconds_used / outcome.sessions * 1e6)
        self.sessions_per_second.append(outcome.sessions / outcome.seconds)
        self.megabytes_per_second.append(outcome.octets / outcome.seconds / 1e6)
        self.p99_ms.append(outcome.p99_ms)
        self.generator_busy.append(outcome.cpu_seconds / outcome.seconds)
        self.violations += outcome.violations
        self.first_violation = self.first_violation or outcome.first_violation

    def figures(self) -> dict[str, object]:
        """Medians, and each round's figures. generator_busy: what part of a core it took."""
        return {
            "cpu_us": median(self.cpu_us),
            "sessions_per_second": median(self.sessions_per_second),
            "megabytes_per_second": median(self.megabytes_per_second),
            "p99_ms": median(self.p99_ms),
            "generator_busy": median(self.generator_busy),
            "violations": self.violations,
            "first_violation": self.first_violation,
            "rounds": asdict(self),
        }


class Field:
    """The maildrops, filled, and the load that goes to them."""

    def __init__(self, ground: Ground, generator: Generator, *, quick: bool) -> None:
        self._ground = ground
        self._generator = generator
        self._quick = quick
        self._expected: dict[str, Expected] = {}
        self._taught: set[tuple[int, str]] = set()

    def prepare(self, groups: Iterable[Group]) -> None:
        """Fill the maildrops that stay as they are."""
        for group in groups:
            self._expected[group.prefix] = self._fill(group)

    def _fill(self, group: Group) -> Expected:
        expected = corpus.fill(self._ground.maildrops, group)
        for name in group.names:
            corpus.give_to(self._ground.maildrops / name, *mail_user())
        return expected

    def work(self, scenario: Scenario, sessions: int) -> Work:
        """The scenario's sessions, as the generator takes them."""
        if scenario.group is not None:
            group, expected = scenario.group, self._expected[scenario.group.prefix]
        else:
            group = drained(sessions)
            expected = self._fill(group)
        shared = min(group.accounts, scenario.concurrency)
        accounts = group.accounts if scenario.group is None else shared
        return Work(
            scenario.script, group.prefix, accounts, expected, sessions, shared, scenario.channel
        )

    def measure(self, scenario: Scenario, server: Running) -> tuple[float, Outcome]:
        """One round at one server: the processor seconds it used, and what the load saw."""
        sessions = scenario.quick_sessions if self._quick else scenario.sessions
        port = server.port_for(scenario.channel)
        warm_up = self.work(scenario, 2 * scenario.concurrency)
        self._generator.run(port, warm_up)
        self.teach(scenario, server)
        work = self.work(scenario, sessions)
        return used_by(server, lambda: self._generator.run(port, work))

    def teach(self, scenario: Scenario, server: Running) -> None:
        """Let a server that becomes quicker become so, once for each kind of session."""
        if not BY_NAME[server.name].learns or (server.pid, scenario.name) in self._taught:
            return
        self._taught.add((server.pid, scenario.name))
        for _ in range(LEARNING):
            work = self.work(scenario, scenario.sessions)
            self._generator.run(server.port_for(scenario.channel), work)


def drained(sessions: int) -> Group:
    """Maildrops to be emptied: one for each session."""
    return Group("drain", sessions, DRAIN_SIZES)


def used_by(server: Running, load: Callable[[], Outcome]) -> tuple[float, Outcome]:
    """The processor seconds that a server takes for a load, and what the load saw."""
    before = settled_seconds(server.pid)
    outcome = load()
    return settled_seconds(server.pid) - before, outcome


def settled_seconds(pid: int) -> float:
    """Processor seconds of a server, once it has nothing left to do."""
    last = processor_seconds(pid)
    for _ in range(50):
        time.sleep(0.04)
        used = processor_seconds(pid)
        if used - last < SETTLED:
            break
        last = used
    return used
