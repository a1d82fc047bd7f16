"""What an attacker with many addresses gets from a real server in an hour, and what the owner does.

An hour passes in six seconds: every time in the guard's settings is divided by 600. What the
network and the server need isn't, which only slows the attacker: a try takes him 1 ms here, as
if it took 0.6 s.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from restante import Pop3Server
from restante.guard.settings import GuardSettings
from tests.server.kit import NAME, PASSWORD, serving

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only where all of 127.0.0.0/8 is this machine"
)

SCALE = 600
HOUR = 3600 / SCALE
REAL = GuardSettings()
SCALED = GuardSettings(
    delay_first=REAL.delay_first / SCALE,
    delay_max=REAL.delay_max / SCALE,
    account_delay_max=REAL.account_delay_max / SCALE,
    ban_window=REAL.ban_window / SCALE,
    ban_seconds=REAL.ban_seconds / SCALE,
    ban_max=REAL.ban_max / SCALE,
    shared_networks=(),
)
ATTACKERS = [f"127.0.1.{number}" for number in range(1, 31)]
OWNER = "127.0.0.1"


def log_in(port: int, address: str, name: str, password: str) -> bytes:
    """The answer to a login from that address, or to the connection."""
    with (
        socket.create_connection(
            ("127.0.0.1", port), timeout=15, source_address=(address, 0)
        ) as plain,
        plain.makefile("rwb") as stream,
    ):
        answer = stream.readline()
        for line in (f"USER {name}", f"PASS {password}"):
            if answer.startswith(b"-ERR"):
                break
            stream.write(f"{line}\r\n".encode())
            stream.flush()
            answer = stream.readline()
        return bytes(answer)


class Attack:
    """Guesses from all addresses at once, each as fast as it is answered."""

    def __init__(self, port: int, name: Callable[[int], str]) -> None:
        self.looked_at: Counter[str] = Counter()
        self.turned_away: Counter[str] = Counter()
        self._port = port
        self._name = name
        self._numbers = count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(a,)) for a in ATTACKERS]

    def _run(self, address: str) -> None:
        while not self._over.is_set():
            number = next(self._numbers)
            try:
                answer = log_in(self._port, address, self._name(number), f"guess {number}")
            except ConnectionError:
                answer = b""
            assert not answer.startswith(b"+OK")
            looked_at = answer.startswith(b"-ERR [AUTH]")
            (self.looked_at if looked_at else self.turned_away)[address] += 1
            if not looked_at:
                self._over.wait(0.02)  # twelve seconds: whoever is turned away may as well wait

    @contextmanager
    def going_on(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()


def attacked(server: Pop3Server, name: Callable[[int], str]) -> tuple[Attack, list[float]]:
    """An hour's attack, during which the owner polls; and how long each poll took."""
    attack, took = Attack(server.port, name), []
    assert log_in(server.port, OWNER, NAME, PASSWORD).startswith(b"+OK")
    with attack.going_on():
        end = time.monotonic() + HOUR
        while (begun := time.monotonic()) < end:
            answer = log_in(server.port, OWNER, NAME, PASSWORD)
            assert answer.startswith(b"+OK"), answer
            took.append(time.monotonic() - begun)
            time.sleep(0.1)
    return attack, took


@pytest.mark.slow
def test_an_account_attacked_from_everywhere() -> None:
    with serving(guard=SCALED) as server:
        attack, took = attacked(server, lambda _: NAME)
    guesses = sum(attack.looked_at.values())
    # 5 are free, 7 come while the delay grows, then one in two minutes: 42 in the first hour.
    assert 20 <= guesses <= 60
    assert sum(attack.turned_away.values()) > guesses
    assert sorted(took)[len(took) // 2] < 2


@pytest.mark.slow
def test_many_accounts_attacked_from_many_addresses() -> None:
    with serving(guard=SCALED) as server:
        attack, took = attacked(server, lambda number: f"user{number % 1000}")
        assert len(server.context.guard.bans()) > len(ATTACKERS) // 2
    # Banned after 20, and the 3 or so that are forgiven meanwhile; for an hour.
    assert max(attack.looked_at.values()) <= 30
    assert sorted(took)[len(took) // 2] < 2
