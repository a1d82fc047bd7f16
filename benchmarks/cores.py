"""One core and two: what a second worker process adds.

The generator shares the machine, so on two cores it takes from the servers what it needs
itself. Beside the plain growth of sessions a second there is therefore what the server's own
processor time would yield if it had both cores to itself.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from benchmarks import corpus
from benchmarks.corpus import PASSWORD, Group
from benchmarks.ground import Ground, mail_user
from benchmarks.load import Generator, Work
from benchmarks.measure import LEARNING
from benchmarks.processes import processor_seconds, seconds_by_process
from benchmarks.servers import BY_NAME, Running, running

CORES = Group("core", 32, (2500,) * 10)
WORKERS = (1, 2)
WARM_UP = 256


class Cores:
    """Measures polls at servers that aren't held to a core."""

    def __init__(self, ground: Ground, generator: Generator, sessions: int) -> None:
        self._generator = generator
        self._sessions = sessions
        self._expected = corpus.fill(ground.maildrops, CORES)
        for name in CORES.names:
            corpus.give_to(ground.maildrops / name, *mail_user())
        self._ground = replace(ground, core=None, accounts=dict.fromkeys(CORES.names, PASSWORD))

    def measure(self, name: str, rounds: int) -> dict[str, object]:
        """The figures by number of workers, and how they grow. Raises Unavailable."""
        taken: dict[str, list[dict[str, float]]] = {str(workers): [] for workers in WORKERS}
        with ExitStack() as stack:
            servers = {}
            for count in WORKERS:
                folder = self._ground.folder / f"cores{count}"
                ground = replace(self._ground, own=folder, workers=count)
                servers[str(count)] = stack.enter_context(running(name, ground))
            learning = LEARNING if BY_NAME[name].learns else 0
            for server in servers.values():
                self._generator.run(server.port, self._work(WARM_UP + learning * self._sessions))
            for _ in range(rounds):  # in turn: the machine's own pace changes
                for workers, server in servers.items():
                    taken[workers].append(self._round(server))
        found = {
            workers: {key: median(each[key] for each in of_each) for key in of_each[0]}
            for workers, of_each in taken.items()
        }
        return {**found, **growth(found["1"], found["2"])}

    def _work(self, sessions: int) -> Work:
        return Work("poll", CORES.prefix, CORES.accounts, self._expected, sessions, CORES.accounts)

    def _round(self, server: Running) -> dict[str, float]:
        before, by_process = processor_seconds(server.pid), seconds_by_process(server.pid)
        outcome = self._generator.run(server.port, self._work(self._sessions))
        time.sleep(0.1)
        used = processor_seconds(server.pid) - before
        shares = sorted(
            seconds - by_process.get(pid, 0.0)
            for pid, seconds in seconds_by_process(server.pid).items()
        )
        return {
            "sessions_per_second": outcome.sessions / outcome.seconds,
            "cpu_us": used / outcome.sessions * 1e6,
            "server_cores": used / outcome.seconds,
            "generator_cores": outcome.cpu_seconds / outcome.seconds,
            "second_to_busiest": shares[-2] / shares[-1] if len(shares) > 1 else 0.0,
            "violations": outcome.violations,
        }


def growth(one: dict[str, float], two: dict[str, float]) -> dict[str, float]:
    """How throughput grows from one worker to two.

    measured: by the clock, the generator taking its part of both cores. by_processor_time: of
    what each second of the server's own processor time yields, both cores being the server's.
    """
    return {
        "measured": two["sessions_per_second"] / one["sessions_per_second"],
        "by_processor_time": 2 * one["cpu_us"] / two["cpu_us"],
    }
