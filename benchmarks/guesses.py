"""How long owners wait for a password check while somebody guesses passwords.

    python -m benchmarks.guesses

Guesses at unknown names come all at once, again and again, in the same process. Meanwhile
owners whose passwords aren't remembered log in. What they wait, and how many are refused, is
shown for an unbounded queue in order of arrival, as it was, and for `Hashing`.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from restante.accounts.hashing import Busy, Hashing
from restante.accounts.schemes import hash_password, verify
from restante.threads import WorkerThreads

GUESSES = 120
"""Guesses that wait at the same time. Each that is answered is followed by another."""

OWNERS = 5
"""Logins of owners, one after the other."""

Run: TypeAlias = Callable[[Callable[[], bool], bool], Awaitable[bool]]


async def measure(run: Run, guesses: int, *, first: bool) -> tuple[list[float], int]:
    """Seconds that owners' checks took, and how many owners were refused."""
    credential = hash_password("right")
    over = asyncio.Event()

    async def attack() -> None:
        while not over.is_set():
            try:
                await run(partial(verify, credential, "wrong"), False)
            except Busy:
                await asyncio.sleep(1.0)  # the least that a refused login is made to wait

    attackers = [asyncio.create_task(attack()) for _ in range(guesses)]
    await asyncio.sleep(1.0)
    took, refused = [], 0
    for _ in range(OWNERS):
        begun = time.monotonic()
        try:
            assert await run(partial(verify, credential, "right"), first)
        except Busy:
            refused += 1
        else:
            took.append(time.monotonic() - begun)
    over.set()
    for attacker in attackers:
        attacker.cancel()
    await asyncio.gather(*attackers, return_exceptions=True)
    return took, refused


def shown(name: str, took: list[float], refused: int) -> str:
    """One line of the table."""
    if not took:
        return f"{name:44} all {refused} refused"
    median, worst = statistics.median(took), max(took)
    return f"{name:44} median {median:6.3f} s, worst {worst:6.3f} s, {refused} of {OWNERS} refused"


async def main() -> None:
    """Measure and print."""
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} threads, {hash_password('x')[:10]}, {GUESSES} guesses waiting at any time")
    for name, guesses, bounded, first in (
        ("nobody guesses", 0, True, True),
        ("unbounded queue", GUESSES, False, True),
        ("bounded, owner at a known address", GUESSES, True, True),
        ("bounded, owner at an unknown address", GUESSES, True, False),
    ):
        threads = WorkerThreads("hashing", 0, cores)
        hashing = Hashing(threads)

        async def in_order(work: Callable[[], bool], first: bool) -> bool:
            return await threads.run(work)  # noqa: B023 - used before the next round

        async def in_turn(work: Callable[[], bool], first: bool) -> bool:
            return await hashing.run(work, first=first)  # noqa: B023

        found = await measure(in_turn if bounded else in_order, guesses, first=first)
        threads.stop()
        print(shown(name, *found))


if __name__ == "__main__":
    asyncio.run(main())
