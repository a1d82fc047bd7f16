"""The server is killed (-9) hundreds of times. Nothing promised is lost, nothing else touched.

What SIGKILL can't show is a missing fsync: the system's cache outlives the process.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.crash import clients
from tests.crash.clients import Wire
from tests.crash.faults import FAULTS
from tests.crash.house import House
from tests.crash.ledger import PASSWORD

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

LIVES = 70
KILLS = 200
PROMISED = 200
REMOVED = 50


@contextmanager
def house(folder: Path, seed: int, fault: str = "none") -> Iterator[House]:
    made = House(folder, seed, fault)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.slow
@pytest.mark.timeout(600)  # on a busy machine a server achieves less before it is killed
def test_what_was_promised_outlives_hundreds_of_kills(tmp_path: Path) -> None:
    """Every 250 is there exactly once and whole, every removal with +OK is gone (D3), a drop
    without QUIT removes nothing (D5), unique-ids stay (U1), leases end with their process (L1).
    """
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    with house(tmp_path, seed) as home:
        ledger = home.ledger
        while home.kills < KILLS or ledger.promised < PROMISED or ledger.removed < REMOVED:
            assert home.live_and_die(LIVES) == []
        print(
            f"{home.kills} kills, {ledger.promised} copies promised,"
            f" {ledger.removed} removed with +OK"
        )


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_it_would_notice_a_store_that(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that can't fail proves nothing."""
    monkeypatch.setattr(clients, "RELEASE_SECONDS", 1.0)  # there is something to wait in vain for
    with house(tmp_path, 7, fault) as home:
        assert any(home.live_and_die(8) for _ in range(12))


def test_a_lease_is_free_as_soon_as_its_process_was_killed(tmp_path: Path) -> None:
    """L1: a lock that outlives its holder locks people out of their mail."""
    with house(tmp_path, 7) as home:
        for _ in range(5):
            home.start()
            with closing(Wire(home.server()[1]["pop3"])) as wire:
                assert wire.line().startswith(b"+OK")
                assert wire.command("USER anna").startswith(b"+OK")
                assert wire.command(f"PASS {PASSWORD}").startswith(b"+OK")
                home.kill()
        assert home.live_and_die(0) == []
