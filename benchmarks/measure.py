"""Measuring: rounds of load at each server in turn, and the figures that come of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks import corpus
from benchmarks.client import Client, any_certificate
from benchmarks.corpus import Expected, Group
from benchmarks.load import Generator, Outcome, Work
from benchmarks.processes import private_memory, processor_seconds
from benchmarks.scenarios import BARE, BOX, DRAIN_SIZES, IDLE_SIZES, MIX, SMALL, WIRE, Scenario
from benchmarks.servers import Ground, Running, mail_user

GROUPS = (BOX, SMALL, MIX, WIRE, BARE)


@dataclass
class Samples:
    """What the rounds of one scenario gave at one server."""

    cpu_us: list[float] = field(default_factory=list)
    sessions_per_second: list[float] = field(default_factory=list)
    megabytes_per_second: list[float] = field(default_factory=list)
    violations: int = 0
    first_violation: str = ""

    def add(self, seconds_used: float, outcome: Outcome) -> None:
        """Take a round's figures."""
        self.cpu_us.append(seconds_used / outcome.sessions * 1e6)
        self.sessions_per_second.append(outcome.sessions / outcome.seconds)
        self.megabytes_per_second.append(outcome.octets / outcome.seconds / 1e6)
        self.violations += outcome.violations
        self.first_violation = self.first_violation or outcome.first_violation

    def figures(self) -> dict[str, object]:
        """Medians, and each round's figures."""
        return {
            "cpu_us": median(self.cpu_us),
            "sessions_per_second": median(self.sessions_per_second),
            "megabytes_per_second": median(self.megabytes_per_second),
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
            scenario.script, group.prefix, accounts, expected, sessions, shared, scenario.tls
        )

    def measure(self, scenario: Scenario, server: Running) -> tuple[float, Outcome]:
        """One round at one server: the processor seconds it used, and what the load saw."""
        sessions = scenario.quick_sessions if self._quick else scenario.sessions
        port = server.tls_port if scenario.tls else server.port
        warm_up = self.work(scenario, 2 * scenario.concurrency)
        self._generator.run(port, warm_up)
        work = self.work(scenario, sessions)
        before = settled_seconds(server.pid)
        outcome = self._generator.run(port, work)
        return settled_seconds(server.pid) - before, outcome


def drained(sessions: int) -> Group:
    """Maildrops to be emptied: one for each session."""
    return Group("drain", sessions, DRAIN_SIZES)


def idle(sessions: int) -> Group:
    """Maildrops for sessions that do nothing."""
    return Group("idle", sessions, IDLE_SIZES)


def settled_seconds(pid: int) -> float:
    """Processor seconds of a server, once it has nothing left to do."""
    last = processor_seconds(pid)
    for _ in range(50):
        time.sleep(0.04)
        used = processor_seconds(pid)
        if used == last:
            break
        last = used
    return last


def memory_per_session(server: Running, sessions: int, *, tls: bool = False) -> dict[str, float]:
    """KiB that one idle, logged-in session costs: what twice as many add, each.

    The first `sessions` are the warm-up, so what a server needs once isn't counted.
    """
    context = any_certificate() if tls else None
    port = server.tls_port if tls else server.port
    with ExitStack() as held:
        used = []
        for half in range(2):
            for number in range(half * sessions, (half + 1) * sessions):
                client = held.enter_context(Client(port, context))
                client.log_in(f"idle{number}")
            settled_seconds(server.pid)
            used.append(private_memory(server.pid))
    private, share = (
        (second - first) / sessions / 1024 for first, second in zip(*used, strict=True)
    )
    return {"private_kib": private, "share_kib": share}
