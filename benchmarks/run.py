"""A run: everything that the options say is measured, one thing after the other."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from benchmarks import held, huge, python_build, report
from benchmarks.cores import Cores
from benchmarks.corpus import HASHED, PASSWORD
from benchmarks.ground import Ground, Unavailable, make_certificate
from benchmarks.held import Crowd
from benchmarks.huge import Huge
from benchmarks.load import Generator
from benchmarks.measure import Field, Samples, drained
from benchmarks.programs import Programs
from benchmarks.report import Results
from benchmarks.scenarios import CANNED, SCENARIOS, Scenario
from benchmarks.servers import BY_NAME, RESTANTE, Running, running, versions
from benchmarks.soak import CONNECTIONS, soak

Figures: TypeAlias = dict[str, Any]
T = TypeVar("T")

MEMORY_ONLY = "dovecot-alone"
NOT_FOR = {
    "huge": ("ceiling", "twisted", MEMORY_ONLY),
    "cores": (MEMORY_ONLY, "dovecot-default", "restante-asyncio"),
}
"""Servers that are left out of these."""

CORE_SESSIONS = 6000
POLL = SCENARIOS[0]


class Run:
    """One run in a folder of its own, which is removed at its end."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        folder.chmod(0o755)  # for servers that change their user
        cores = sorted(os.sched_getaffinity(0))
        self.options = options
        self.pin = len(cores) > 1 and not options.no_pin
        self.programs = Programs(folder)
        self.generator = Generator(self.programs, cores[-1] if self.pin else None)
        self.free_generator = Generator(self.programs, None)
        names = [name for group in CANNED for name in group.names]
        names += drained(max(scenario.sessions for scenario in SCENARIOS)).names
        core = cores[0] if self.pin else None
        self.ground = Ground(folder, folder / "mail", dict.fromkeys(names, PASSWORD), core)
        self.results: Results = {}
        make_certificate(self.ground)

    def all(self) -> Results:
        """Measure it all."""
        options, chosen = self.options, self.options.chosen
        scenarios = [scenario for scenario in SCENARIOS if scenario.name in chosen]
        self.results = self._about(scenarios)
        field = Field(self.ground, self.generator, quick=options.quick)
        field.prepare({s.group for s in (*scenarios, POLL) if s.group is not None})
        self._scenarios([s for s in scenarios if not s.hashed], field, self.ground)
        if hashed := [s for s in scenarios if s.hashed]:
            accounts = dict.fromkeys(self.ground.accounts, HASHED)
            self._scenarios(hashed, field, replace(self.ground, accounts=accounts))
        if "huge" in chosen:
            self._huge(field)
        if "held" in chosen:
            self._held()
        if "cores" in chosen:
            self._cores()
        for name in self._present():
            if BY_NAME[name].why:
                self._skip(
                    f"all but {', '.join(BY_NAME[name].scenarios)} at {name}", BY_NAME[name].why
                )
        if options.soak:
            self._soak()
        return self.results

    def _about(self, scenarios: Iterable[Scenario]) -> Results:
        return {
            "taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "machine": report.machine(),
            "versions": versions(),
            "build": python_build.build(),
            "generator": self.programs.about,
            "pinned": self.pin,
            "quick": self.options.quick,
            "rounds": self.options.rounds,
            "load_before": os.getloadavg()[0],
            "skipped": {},
            "servers": list(self.options.servers),
            "titles": {scenario.name: scenario.about for scenario in scenarios},
            "scenarios": {},
            "memory": {},
            "cores": {},
        }

    def _skip(self, what: str, reason: object) -> None:
        if what not in self.results["skipped"]:
            self.results["skipped"][what] = str(reason)
            print(f"{what} is skipped: {reason}", file=sys.stderr)

    def _scenarios(self, scenarios: Sequence[Scenario], field: Field, ground: Ground) -> None:
        with ExitStack() as stack:
            servers = []
            for name in self.options.servers:
                if any(map(BY_NAME[name].does, scenarios)) and name not in self.results["skipped"]:
                    try:
                        starting = running(name, ground, self.programs.find("ceiling"))
                        servers.append(stack.enter_context(starting))
                    except Unavailable as reason:
                        self._skip(name, reason)
            for scenario in scenarios:
                able = [
                    server
                    for server in servers
                    if BY_NAME[server.name].does(scenario) and server.port_for(scenario.channel)
                ]
                figures = measured(scenario, able, field, self.options.rounds)
                self.results["scenarios"][scenario.name] = figures

    def _huge(self, field: Field) -> None:
        for scenario, about in huge.SCENARIOS.items():
            title = f"{self.options.messages:,} messages, {about}"
            self.results["titles"][scenario] = title
        begun = time.monotonic()
        work = field.work(POLL, 200)
        measure = Huge(self.ground, self.generator, work, self.options.messages)
        names = self._present(but=NOT_FOR["huge"])
        for turn in range(self.options.rounds):
            for name in turned(names, turn):
                try:
                    measure.measure(name)
                except Unavailable as reason:
                    self._skip(f"huge at {name}", reason)
        self.results["scenarios"] |= measure.figures()
        measure.remove()
        tell("the maildrop of many messages", begun)

    def _held(self) -> None:
        begun = time.monotonic()
        wanted = self.options.held
        crowd = Crowd(self.ground, self.programs, self.generator, wanted)
        names = [name for name in self._present() if not BY_NAME[name].scenarios]
        if "dovecot" in names and not self.options.quick and MEMORY_ONLY not in names:
            names.append(MEMORY_ONLY)
        self.results["titles"] |= {"idle": "in the clear", "idle-tls": "under TLS"}
        self.results["files_allowed"] = crowd.files
        for key, channel in (("idle", "clear"), ("idle-tls", "tls")):
            measure = partial(held.measure, crowd, wanted=wanted, channel=channel)
            self.results["memory"][key] = dict(self._each(key, names, measure))
        tell("held sessions", begun)

    def _cores(self) -> None:
        if len(os.sched_getaffinity(0)) < 2:
            self._skip("cores", "there is only one")
            return
        begun = time.monotonic()
        cores = Cores(self.ground, self.free_generator, CORE_SESSIONS)
        measure = partial(cores.measure, rounds=self.options.rounds)
        names = [name for name in self._present(but=NOT_FOR["cores"]) if BY_NAME[name].workers]
        self.results["cores"] = dict(self._each("cores", names, measure))
        tell("one core and two", begun)

    def _soak(self) -> None:
        crowd = Crowd(self.ground, self.programs, self.generator, CONNECTIONS)
        names = [name for name in self._present() if name in RESTANTE][:1]
        measure = partial(soak, crowd, connections=CONNECTIONS, seconds=self.options.soak_seconds)
        self.results["soak"] = dict(self._each("soak", names, measure))

    def _each(
        self, what: str, names: Iterable[str], measure: Callable[[str], Figures]
    ) -> Iterator[tuple[str, Figures]]:
        for name in names:
            try:
                yield name, measure(name)
            except Unavailable as reason:
                self._skip(f"{what} at {name}", reason)

    def _present(self, but: Sequence[str] = ()) -> list[str]:
        """Those of the wanted servers that are there, but for some."""
        return [
            name
            for name in self.options.servers
            if name not in self.results["skipped"] and name not in but
        ]


def run(options: argparse.Namespace) -> Results:
    """Measure what the options say; everything that was started is stopped at its end."""
    with tempfile.TemporaryDirectory(prefix="restante-benchmark-") as name:
        return Run(options, Path(name)).all()


def measured(
    scenario: Scenario, servers: Sequence[Running], field: Field, rounds: int
) -> dict[str, dict[str, object]]:
    """All rounds of a scenario, the servers in turn, another one first in each."""
    samples = {server.name: Samples() for server in servers}
    begun = time.monotonic()
    for turn in range(rounds):
        for server in turned(servers, turn):
            samples[server.name].add(*field.measure(scenario, server))
    tell(scenario.about, begun)
    return {name: each.figures() for name, each in samples.items()}


def turned(servers: Sequence[T], turn: int) -> Sequence[T]:
    """The same, another one first in each turn."""
    at = turn % max(1, len(servers))
    return (*servers[at:], *servers[:at])


def tell(what: str, begun: float) -> None:
    """Say how long something took."""
    print(f"{what}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
