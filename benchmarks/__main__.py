"""`python -m benchmarks`: Restante and its peers, on the same maildrops, in the same run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report
from benchmarks.load import Generator
from benchmarks.measure import GROUPS, Field, Samples, drained, idle, memory_per_session
from benchmarks.report import Results
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.servers import (
    PEERS,
    Ground,
    Running,
    Unavailable,
    make_certificate,
    running,
    versions,
)

DEFAULT_SERVERS = ("dovecot", "restante-uvloop", "restante-asyncio")
MEMORY_ONLY = "dovecot-alone"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [peer.name for peer in PEERS]
    scenarios = [scenario.name for scenario in SCENARIOS]
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer sessions and rounds: about a minute")
    add("--rounds", type=int, help="rounds of each scenario (default 5; quick 2)")
    add("--servers", nargs="+", choices=names, help=f"default: {' '.join(DEFAULT_SERVERS)}")
    add("--scenarios", nargs="+", choices=scenarios, default=scenarios, help="default: all")
    add("--dovecot-default", action="store_true", help="also Dovecot as Debian configures it")
    add("--idle", type=int, help="idle sessions to measure memory by (default 200; quick 50)")
    add("--no-pin", action="store_true", help="don't hold each server to one core")
    add("--output", type=Path, help="where results go (default: benchmarks/results/)")
    add("--compare", type=Path, metavar="FILE", help="hold the ratios against a stored run")
    add("--tolerance", type=float, default=0.2, help="what part a ratio may lose (default 0.2)")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.idle = (50 if options.quick else 200) if options.idle is None else options.idle
    options.servers = list(options.servers or DEFAULT_SERVERS)
    if options.dovecot_default and "dovecot-default" not in options.servers:
        options.servers.append("dovecot-default")
    if not 1 <= options.rounds <= 100 or not 0 <= options.idle <= 1000:
        parser.error("--rounds is from 1 to 100, --idle from 0 to 1000")
    return options


def run(options: argparse.Namespace) -> Results:
    """Measure what the options say; everything that was started is stopped at its end."""
    chosen = [scenario for scenario in SCENARIOS if scenario.name in options.scenarios]
    cores = sorted(os.sched_getaffinity(0))
    pin = len(cores) > 1 and not options.no_pin
    with tempfile.TemporaryDirectory(prefix="restante-benchmark-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # for servers that change their user
        generator = Generator(folder, cores[-1] if pin else None)
        groups = (*GROUPS, drained(max(s.sessions for s in SCENARIOS)), idle(2 * options.idle))
        names = tuple(name for group in groups for name in group.names)
        ground = Ground(folder, folder / "mail", names, cores[0] if pin else None)
        make_certificate(ground)
        field = Field(ground, generator, quick=options.quick)
        field.prepare({s.group for s in chosen if s.group is not None} | {idle(2 * options.idle)})
        results: Results = {
            "taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "machine": report.machine(),
            "versions": versions(),
            "generator": generator.about,
            "pinned": pin,
            "quick": options.quick,
            "rounds": options.rounds,
            "load_before": os.getloadavg()[0],
            "skipped": {},
            "titles": {scenario.name: scenario.about for scenario in chosen},
        }
        servers = started(options.servers, ground, stack, results)
        results["servers"] = [server.name for server in servers]
        results["scenarios"] = {
            scenario.name: measured(scenario, servers, field, options.rounds) for scenario in chosen
        }
        stack.close()
        results["memory"] = memories(options, ground, results) if options.idle else {}
    return results


def started(
    names: Sequence[str], ground: Ground, stack: ExitStack, results: Results
) -> list[Running]:
    """Start the servers that are there; say which are not."""
    servers = []
    for name in names:
        try:
            servers.append(stack.enter_context(running(name, ground)))
        except Unavailable as reason:
            results["skipped"][name] = str(reason)
            print(f"{name} is skipped: {reason}", file=sys.stderr)
    return servers


def measured(
    scenario: Scenario, servers: Sequence[Running], field: Field, rounds: int
) -> dict[str, dict[str, object]]:
    """All rounds of a scenario, the servers in turn, another one first in each."""
    samples = {server.name: Samples() for server in servers}
    begun = time.monotonic()
    for turn in range(rounds):
        at = turn % max(1, len(servers))
        for server in (*servers[at:], *servers[:at]):
            samples[server.name].add(*field.measure(scenario, server))
    print(f"{scenario.about}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return {name: each.figures() for name, each in samples.items()}


def memories(options: argparse.Namespace, ground: Ground, results: Results) -> Results:
    """Memory of idle sessions, at servers started afresh; the plain and the TLS ones apart."""
    found: Results = {}
    names = list(results["servers"])
    if "dovecot" in names and MEMORY_ONLY not in names:
        names.insert(names.index("dovecot") + 1, MEMORY_ONLY)
        results["servers"] = names
    for key, title, tls in (("idle", "in the clear", False), ("idle-tls", "under TLS", True)):
        results["titles"][key] = title
        found[key] = {}
        for name in names:
            with running(name, ground) as server:
                found[key][name] = memory_per_session(server, options.idle, tls=tls)
    return found


def violations(results: Results) -> list[str]:
    """What servers sent that they must not."""
    return [
        f"{name}, {server}: {figures['violations']} violations, first: {figures['first_violation']}"
        for name, by_server in results["scenarios"].items()
        for server, figures in by_server.items()
        if figures["violations"]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and say by the exit status whether all is well."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    results = run(options)
    path = report.store(results, options.output)
    print(report.tables(results))
    print(f"\nload: {results['generator']}; results in {path}")
    wrong = violations(results)
    for line in wrong:
        print(line)
    worse = False
    if options.compare:
        text, worse = report.compare(
            results, json.loads(options.compare.read_text()), options.tolerance
        )
        print("\n" + text)
    return 1 if wrong or worse else 0


if __name__ == "__main__":
    sys.exit(main())
