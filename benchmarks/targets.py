"""What is aimed at, and whether a run has reached it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.report import Results, ratios

OURS, STANDARD_LOOP, CEILING = "restante-uvloop", "restante-asyncio", "ceiling"
AIMING = {OURS: "", "restante-pypy": ", PyPy"}
"""Servers that the targets are for, and how their lines are told apart."""

TIMES_LESS = {
    "poll": 7,
    "sync": 7,
    "fetch-small": 4,
    "pipelined": 4,
    "fetch-mix": 4,
    "fetch-large": 8,
    "fetch-bare": 3.5,
    "tls-poll": 3,
    "tls-resumed": 3,
    "tls-large": 4,
    "drain": 3,
    "poll-hashed": 20,
    "huge-disk": 10,
    "huge-worker": 50,
}
"""How many times less processor time than Dovecot, tuned for speed, a session may take."""

STANDARD_LOOP_TIMES_LESS = 2
TIMES_CEILING = 2.2
"""How many times the ceiling's processor time polls and syncs may take."""

KIB_A_SESSION = {"idle": 8, "idle-tls": 36}
OCTETS_A_MESSAGE = 400
GROWTH = 1.8
"""How many times more sessions a second two cores have than one."""


@dataclass(frozen=True)
class Verdict:
    """One target, what was seen, and whether it was reached."""

    what: str
    seen: str
    target: str
    met: bool


def verdicts(results: Results) -> list[Verdict]:
    """All targets that the run says something of."""
    found = []
    for server, suffix in AIMING.items():
        for each in (
            *_against_dovecot(results, server),
            *_against_the_ceiling(results, server),
            *_memory(results, server),
            *_cores(results, server),
        ):
            found.append(replace(each, what=each.what + suffix))
    return [*found, *_standard_loop(results)]


def _against_dovecot(results: Results, server: str) -> Iterator[Verdict]:
    compared = ratios(results)
    titles: dict[str, str] = results["titles"]
    for name, times in TIMES_LESS.items():
        if ratio := compared.get(name, {}).get(server):
            yield Verdict(titles[name], f"1/{ratio:.1f}", f"1/{times:g}", ratio >= times)


def _standard_loop(results: Results) -> Iterator[Verdict]:
    titles: dict[str, str] = results["titles"]
    for name, by_server in ratios(results).items():
        if name in results["scenarios"] and (ratio := by_server.get(STANDARD_LOOP)):
            title = f"{titles[name]}, asyncio"
            least = STANDARD_LOOP_TIMES_LESS
            yield Verdict(title, f"1/{ratio:.1f}", f"1/{least}", ratio >= least)


def _against_the_ceiling(results: Results, server: str) -> Iterator[Verdict]:
    for name in ("poll", "sync"):
        times = times_ceiling(results, name, server)
        if times is not None:
            title = f"{results['titles'][name]}, against the ceiling"
            yield Verdict(title, f"{times:.1f} times", f"{TIMES_CEILING} times", times <= 2.2)


def times_ceiling(results: Results, scenario: str, server: str = OURS) -> float | None:
    """How many times the ceiling's processor time a server takes."""
    by_server: dict[str, Any] = results["scenarios"].get(scenario, {})
    if CEILING not in by_server or server not in by_server:
        return None
    times: float = by_server[server]["cpu_us"] / by_server[CEILING]["cpu_us"]
    return times


def _memory(results: Results, server: str) -> Iterator[Verdict]:
    for name, most in KIB_A_SESSION.items():
        figures = results["memory"].get(name, {}).get(server)
        if figures:
            seen, title = figures["private_kib"], f"idle session {results['titles'][name]}"
            yield Verdict(title, f"{seen:.1f} KiB", f"{most} KiB", seen <= most)
            held, wanted = figures["sessions"], figures["wanted"]
            title = f"sessions held {results['titles'][name]}"
            yield Verdict(title, f"{held:,}", f"{wanted:,}", held == wanted)
    first = results["scenarios"].get("huge-first", {}).get(server)
    if first:
        seen = first["octets_a_message"]
        title = "memory at first sight of many messages"
        target = f"{OCTETS_A_MESSAGE} octets each"
        yield Verdict(title, f"{seen:,.0f} octets each", target, seen <= OCTETS_A_MESSAGE)


def _cores(results: Results, server: str) -> Iterator[Verdict]:
    figures = results.get("cores", {}).get(server)
    if figures:
        for key, how in (
            ("measured", "by the clock, the generator taking its part"),
            ("by_processor_time", "by the server's processor time"),
        ):
            seen = figures[key]
            title = f"from one core to two, {how}"
            yield Verdict(title, f"{seen:.2f} times", f"{GROWTH} times", seen >= GROWTH)


def table(found: list[Verdict]) -> list[list[str]]:
    """Rows to be printed."""
    rows = [["targets", "seen", "at most / at least", ""]]
    rows += [
        [each.what, each.seen, each.target, "met" if each.met else "NOT MET"] for each in found
    ]
    return rows
