"""`python -m benchmarks`: Restante and its peers, on the same maildrops, in the same run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import (
    charts,
    counting,
    others,
    pairs,
    profiling,
    python_build,
    report,
    servers,
    targets,
)
from benchmarks.report import Results
from benchmarks.run import run
from benchmarks.scenarios import SCENARIOS
from benchmarks.servers import PEERS, RESTANTE, Peer

DEFAULT_SERVERS = ("dovecot", "ceiling", "twisted", *RESTANTE)
QUICK_SERVERS = ("dovecot", "restante-uvloop")
SPECIAL = ("huge", "held", "cores")
BASELINE = report.FOLDER / "baseline.json"
DOCS = Path(__file__).parent.parent / "docs"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    scenarios = [*(scenario.name for scenario in SCENARIOS), *SPECIAL]
    names = [peer.name for peer in PEERS]
    add = found.add_argument
    add("--quick", action="store_true", help="two servers, less of everything: about a minute")
    add("--rounds", type=int, help="rounds of each scenario (default 5; quick 6)")
    add("--servers", nargs="+", choices=names, help=f"default: {' '.join(DEFAULT_SERVERS)}")
    add("--scenarios", nargs="+", choices=scenarios, help="default: all; quick: not huge, cores")
    add(
        "--peer",
        action="append",
        default=[],
        metavar="NAME='COMMAND LINE'",
        help="a further server; its command line is told "
        + ", ".join(f"{{{place}}}" for place in others.PLACES),
    )
    add(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="only compare this Restante with another checkout's, round by round",
    )
    add(
        "--handler",
        action="store_true",
        help="only compare an embedded server that has a plain handler of each command with one"
        " that has none; with --against: two that have it",
    )
    add("--markdown", action="store_true", help="print tables as Markdown")
    add("--dovecot-default", action="store_true", help="also Dovecot as Debian configures it")
    add("--held", type=int, help="sessions to be held (default 10000; quick 100)")
    add("--messages", type=int, default=100_000, help="in the huge maildrop (default 100000)")
    add("--soak", action="store_true", help="also 20,000 sessions, held for a while")
    add("--soak-seconds", type=float, default=60.0, help="for how long (default 60)")
    add("--no-pin", action="store_true", help="don't hold each server to one core")
    add("--output", type=Path, help="where results go (default: benchmarks/results/)")
    add("--baseline", action="store_true", help=f"where they go: {BASELINE.name} in that folder")
    add(
        "--compare",
        type=Path,
        metavar="FILE",
        help=f"a stored run to compare the ratios with; quick: {BASELINE.name}, if there is one",
    )
    add("--tolerance", type=float, default=0.2, help="what part a ratio may lose (default 0.2)")
    add("--charts", type=Path, metavar="FILE", help="only draw a stored run for docs/")
    add(
        "--profile",
        choices=[s.name for s in SCENARIOS],
        metavar="SCENARIO",
        help="only show where Restante's time goes",
    )
    add("--count", action="store_true", help="only count calls and bytecodes of a poll and RETR")
    add(
        "--observers",
        action="store_true",
        help="only compare polls that are watched with polls that nobody watches, without sockets",
    )
    add(
        "--watched",
        action="store_true",
        help="only compare servers with history, metrics, console or traces with one that nobody"
        " watches, round by round",
    )
    add("--by-function", action="store_true", help="with --count: of each function, too")
    return found


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, their defaults filled in."""
    asked = parser()
    options = asked.parse_args(arguments)
    quick = options.quick
    paired = bool(options.against or options.handler or options.watched)
    options.rounds = options.rounds or (6 if quick or paired else 5)
    options.held = (100 if quick else 10_000) if options.held is None else options.held
    options.servers = list(options.servers or (QUICK_SERVERS if quick else DEFAULT_SERVERS))
    special = () if paired else ("held",) if quick else SPECIAL
    every = [*(scenario.name for scenario in SCENARIOS), *special]
    short = options.handler or options.watched
    options.chosen = options.scenarios or (pairs.SHORT if short else every)
    try:
        if options.watched:
            from benchmarks import observers  # noqa: PLC0415 - needs libraries of extras

            options.servers = observers.watched_servers()
        elif paired:
            options.servers = list(pairs.pair(options.against, handler=options.handler))
        options.servers += map(_further, options.peer)
    except ValueError as error:
        asked.error(str(error))
    if options.dovecot_default and "dovecot-default" not in options.servers:
        options.servers.append("dovecot-default")
    if options.baseline:
        options.output = BASELINE
    elif quick and not paired and options.compare is None and BASELINE.exists():
        options.compare = BASELINE
    if not 1 <= options.rounds <= 100 or not 10 <= options.held <= 50_000:
        asked.error("--rounds is from 1 to 100, --held from 10 to 50000")
    if options.by_function and not options.count:
        asked.error("--by-function goes with --count")
    if not 10 <= options.messages <= 1_000_000 or not 0 < options.soak_seconds <= 3600:
        asked.error("--messages is from 10 to 1000000, --soak-seconds up to 3600")
    return options


def _further(given: str) -> str:
    """Let a further server be measured; its name. Raises ValueError."""
    name, equals, line = given.partition("=")
    if not equals:
        raise ValueError(f"--peer {given!r}: NAME='COMMAND LINE' is wanted")
    start = partial(others.start_further, others.words_of(line))
    servers.add(Peer(name, line, start))
    return name


def violations(results: Results) -> list[str]:
    """What servers sent that they must not."""
    return [
        f"{name}, {server}: {figures['violations']} violations, first: {figures['first_violation']}"
        for kind in ("scenarios", "memory")
        for name, by_server in results[kind].items()
        for server, figures in by_server.items()
        if figures["violations"]
    ]


def show(results: Results, options: argparse.Namespace) -> None:
    """Print what was measured."""
    form = report.as_markdown if options.markdown else report.columns
    if options.watched:
        from benchmarks import observers  # noqa: PLC0415 - needs libraries of extras

        print(form(observers.ratios(results)))
    elif options.against or options.handler:
        print(form(pairs.table(results)))
    else:
        print(report.tables(results, markdown=options.markdown))
        print("\n" + form(targets.table(targets.verdicts(results))))
    for line in report.notes(results):
        print(line)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and say by the exit status whether all is well."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.count:
        print(counting.table(counting.count(), by_function=options.by_function), end="\n\n")
        print(counting.retr_table(counting.count_retr(), by_function=options.by_function))
        return 0
    if options.observers:
        from benchmarks import observers  # noqa: PLC0415 - needs libraries of extras

        print(observers.table(observers.measure()))
        return 0
    if options.profile:
        return profiling.profile(options.profile)
    if options.charts:
        drawn = charts.draw(json.loads(options.charts.read_text()), DOCS / "performance")
        return 0 if drawn else 1
    stored = json.loads(options.compare.read_text()) if options.compare else None
    print(f"Python: {python_build.told(python_build.build())}\n", file=sys.stderr)
    results = run(options)
    path = report.store(results, options.output)
    show(results, options)
    print(f"\nPython: {python_build.told(results['build'])}")
    print(f"load: {results['generator']}; results in {path}")
    if not options.against and not options.handler and not options.watched:
        charts.draw(results, path.with_suffix(""))
    wrong = violations(results)
    for line in wrong:
        print(line)
    worse = False
    if stored is not None:
        text, worse = report.compare(results, stored, options.tolerance)
        print(f"\nagainst {options.compare}\n{text}")
    return 1 if wrong or worse else 0


if __name__ == "__main__":
    sys.exit(main())
