"""A soak: very many sessions, held for a while, with others that go on beside them."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

from benchmarks.held import FILES_EACH, Crowd, hold_until
from benchmarks.ours import can_have_workers
from benchmarks.processes import processor_seconds, resident
from benchmarks.servers import running

CONNECTIONS = 20_000
MANY = 1_000_000


def workers_for(connections: int, files: int) -> int:
    """How many worker processes it takes when each may have so many files open."""
    if not can_have_workers():
        return 1
    return -(-FILES_EACH * connections * 11 // 10 // files)


def soak(crowd: Crowd, server_name: str, connections: int, seconds: float) -> dict[str, object]:
    """Hold them for so long; each must be alive afterwards. Raises Unavailable."""
    ground = replace(crowd.ground, core=None, workers=workers_for(connections, crowd.files))
    with (
        running(server_name, ground) as server,
        crowd.holders(server.port, "clear", connections) as holders,
    ):
        begun = time.monotonic()
        trouble = hold_until(holders, connections)
        logging_in = time.monotonic() - begun
        held = sum(each.held for each in holders)
        if trouble:
            holders[-1].drop(100)
        memory, used = resident(server.pid), processor_seconds(server.pid)
        polls = crowd.polls(server, MANY)
        time.sleep(seconds)
        beside = polls.stop()
        asked = sum(each.held for each in holders)
        return {
            "wanted": connections,
            "sessions": held,
            "trouble": trouble,
            "workers": ground.workers,
            "files_allowed": crowd.files,
            "seconds": seconds,
            "logging_in_seconds": logging_in,
            "processor_seconds": processor_seconds(server.pid) - used,
            "resident_mib": memory / 2**20,
            "resident_after_mib": resident(server.pid) / 2**20,
            "asked": asked,
            "alive": sum(each.alive() for each in holders),
            "beside": asdict(beside),
        }
