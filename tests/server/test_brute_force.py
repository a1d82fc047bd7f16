"""What an attacker with many addresses gets from a real server in an hour, and what the owner does.

The hour passes by a clock that is given: all delays are the real ones, and nobody waits for them.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import pytest

from restante import Guard, GuardSettings, MemoryStore, Pop3Server, calls
from tests.server import virtual_time
from tests.server.kit import NAME, PASSWORD

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only where all of 127.0.0.0/8 is this machine"
)

HOUR = 3600.0
EPOCH = 1_000_000.0
ATTACKERS = [f"127.0.1.{number}" for number in range(1, 31)]
OWNER = "127.0.0.1"


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done in place stays there, however busy the machine is: threads have real time."""
    monkeypatch.setattr(calls, "HARD_SECONDS", float("inf"))
    monkeypatch.setattr(calls, "MOST_WAITING", float("inf"))
    monkeypatch.setattr(calls, "CPU_SECONDS", float("inf"))


async def log_in(port: int, address: str, name: str, password: str) -> bytes:
    """The answer to a login from that address, or to the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        answer = await reader.readline()
        for line in (f"USER {name}", f"PASS {password}"):
            if answer.startswith(b"-ERR"):
                break
            writer.write(f"{line}\r\n".encode())
            answer = await reader.readline()
        return answer
    finally:
        writer.close()


class Attack:
    """Guesses from all addresses at once, each as fast as it is answered."""

    def __init__(self, port: int, name: Callable[[int], str]) -> None:
        self.looked_at: Counter[str] = Counter()
        self.turned_away: Counter[str] = Counter()
        self._port = port
        self._name = name
        self._numbers = count()

    async def guess_from(self, address: str) -> None:
        """Go on until the task is cancelled."""
        while True:
            number = next(self._numbers)
            try:
                answer = await log_in(self._port, address, self._name(number), f"guess {number}")
            except ConnectionError:
                answer = b""
            assert not answer.startswith(b"+OK")
            looked_at = answer.startswith(b"-ERR [AUTH]")
            (self.looked_at if looked_at else self.turned_away)[address] += 1
            if not looked_at:
                await asyncio.sleep(30)  # whoever is turned away may as well wait


async def attacked(server: Pop3Server, name: Callable[[int], str]) -> Attack:
    """An hour's attack, during which the owner polls once a minute and never waits."""
    attack, time = Attack(server.port, name), asyncio.get_running_loop().time
    assert (await log_in(server.port, OWNER, NAME, PASSWORD)).startswith(b"+OK")
    attackers = [asyncio.create_task(attack.guess_from(each)) for each in ATTACKERS]
    for minute in range(1, 61):
        await asyncio.sleep(minute * 60 - time())
        begun = time()
        answer = await log_in(server.port, OWNER, NAME, PASSWORD)
        assert answer.startswith(b"+OK"), answer
        assert time() == begun
    for each in attackers:
        each.cancel()
    ended = await asyncio.gather(*attackers, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
    return attack


@asynccontextmanager
async def house() -> AsyncIterator[Pop3Server]:
    loop = asyncio.get_running_loop()
    guard = Guard(GuardSettings(shared_networks=()), clock=lambda: EPOCH + loop.time())
    async with Pop3Server(
        port=0, accounts={NAME: PASSWORD}, store=MemoryStore(), guard=guard
    ) as server:
        yield server


def test_an_account_attacked_from_everywhere() -> None:
    async def main() -> None:
        async with house() as server:
            attack = await attacked(server, lambda _: NAME)
        guesses = sum(attack.looked_at.values())
        # 5 are free, 7 come while the delay grows, then one in two minutes: 42 in the first hour.
        assert 40 <= guesses <= 42
        assert sum(attack.turned_away.values()) > 50 * guesses

    virtual_time.run(main())


def test_many_accounts_attacked_from_many_addresses() -> None:
    async def main() -> None:
        async with house() as server:
            attack = await attacked(server, lambda number: f"user{number % 1000}")
            assert len(server.context.guard.bans()) == len(ATTACKERS)
        # Banned after 20, and the 3 or so that are forgiven meanwhile; for an hour.
        assert 20 <= max(attack.looked_at.values()) <= 24

    virtual_time.run(main())
