"""`python -m benchmarks.kit`: what a server of the test kit costs a test.

How long it takes to start and to close one, and how much processor time recording adds to a
session, beside a server that nobody watches. Client and server are in this process, as they are in
a test.
"""

from __future__ import annotations

import argparse
import poplib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from typing import Any

from restante import MemoryStore, Pop3Server
from restante.testing import MailServer

MESSAGE = b"Subject: Hello\r\n\r\n" + b"x" * 70 + b"\r\n"
MESSAGES = 10

MOST = 0.030
"""Seconds that a start may take."""
ACCOUNTS = {"joe": "secret"}

KINDS: dict[str, dict[str, Any]] = {
    "no TLS": {},
    "TLS": {"certificate": "valid"},
    "TLS and SMTP": {"certificate": "valid", "smtp": True},
}


@dataclass(frozen=True, slots=True)
class Life:
    """Median seconds that a server takes to be made and started, and to be closed."""

    kind: str
    start: float
    close: float


def life_of(kind: str, rounds: int) -> Life:
    """Measure one kind of `KINDS`. Its first server, which loads modules, isn't counted."""
    starts, closes = [], []
    for _ in range(rounds + 1):
        begun = perf_counter()
        server = MailServer(accounts=ACCOUNTS, **KINDS[kind]).start()
        started = perf_counter()
        server.close()
        starts.append(started - begun)
        closes.append(perf_counter() - started)
    return Life(kind, median(starts[1:]), median(closes[1:]))


@contextmanager
def watched() -> Iterator[int]:
    """The port of a server of the kit."""
    with MailServer(accounts=ACCOUNTS) as server:
        for _ in range(MESSAGES):
            server.accounts["joe"].add(MESSAGE)
        yield server.port


@contextmanager
def unwatched() -> Iterator[int]:
    """The port of a server that nobody watches."""
    store = MemoryStore()
    for _ in range(MESSAGES):
        store.add("joe", MESSAGE)
    with Pop3Server(port=0, accounts=ACCOUNTS, store=store, for_tests=True) as server:
        yield server.port


def session(port: int) -> None:
    """One client fetches everything."""
    client = poplib.POP3("127.0.0.1", port)
    client.user("joe")
    client.pass_("secret")
    for number in range(1, client.stat()[0] + 1):
        client.retr(number)
    client.quit()


def cost_of(serving: Callable[[], AbstractContextManager[int]], sessions: int) -> float:
    """Seconds of processor time that a session takes, client and server together."""
    with serving() as port:
        session(port)
        begun = process_time()
        for _ in range(sessions):
            session(port)
        return (process_time() - begun) / sessions


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kit", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="servers of each kind")
    parser.add_argument("--sessions", type=int, default=200, help="sessions of each turn")
    given = parser.parse_args(arguments)
    print("| a server with | starts in | of what it may take | closes in |\n|---|---|---|---|")
    lives = [life_of(kind, given.rounds) for kind in KINDS]
    for life in lives:
        print(
            f"| {life.kind} | {life.start * 1000:.1f} ms | {life.start / MOST:.0%} |"
            f" {life.close * 1000:.1f} ms |"
        )
    turns = [(cost_of(unwatched, given.sessions), cost_of(watched, given.sessions)) for _ in "abc"]
    alone, recorded = (median(each) * 1000 for each in zip(*turns, strict=True))
    commands = MESSAGES + 4
    more = (recorded - alone) / commands * 1000
    print(
        f"\nA session of {commands} commands takes {alone:.2f} ms of processor time,"
        f" client included; recorded, {recorded:.2f} ms: {recorded / alone:.1f} times as much,"
        f" {more:.0f} µs more a command."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
