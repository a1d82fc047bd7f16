"""Where Restante's time goes in a scenario: by function, and by system call.

py-spy looks at the server from outside, some hundred times a second, and costs it next to
nothing. Without py-spy, cProfile runs inside it; that makes each call dearer, so what has many
small calls looks worse than it is. strace's own cost is so high that only its counts mean
anything.
"""

from __future__ import annotations

import pstats
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import ours
from benchmarks.corpus import HASHED, PASSWORD
from benchmarks.ground import Ground, make_certificate
from benchmarks.load import Generator
from benchmarks.measure import Field, drained, used_by
from benchmarks.processes import start_on, stop
from benchmarks.programs import Programs
from benchmarks.report import columns, number
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.servers import Running, running

PEER = "restante-uvloop"
RATE = 500
ROWS = 30
ROUNDS = 3
"""Rounds of the scenario that are had under a profiler."""

START_SECONDS = 1.0
"""How long py-spy and strace take to attach."""

_LOOP = "Runner.run (asyncio/runners.py)"
"""What is under it is the server; what is above it, how it was started."""

_WAITING = ("Condition.wait", "wait (threading")
"""Threads without work, which py-spy takes for busy ones now and then."""

Spots = dict[str, tuple[float, float]]
"""What part of the time each function took, by itself and with what it called."""


class Bench:
    """The load of one scenario."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        folder.chmod(0o755)
        self._scenario = scenario
        self._generator = Generator(Programs(folder), None)
        group = scenario.group or drained(scenario.sessions)
        word = HASHED if scenario.hashed else PASSWORD
        self.ground = Ground(folder, folder / "mail", dict.fromkeys(group.names, word), None)
        self._field = Field(self.ground, self._generator, quick=False)
        make_certificate(self.ground)
        if scenario.group is not None:
            self._field.prepare([scenario.group])

    def load(self, server: Running, rounds: int = 1) -> int:
        """Have sessions; how many."""
        done = 0
        for _ in range(rounds):
            work = self._field.work(self._scenario, self._scenario.sessions)
            port = server.port_for(self._scenario.channel)
            done += self._generator.run(port, work).sessions
        return done

    def microseconds(self, server: Running) -> float:
        """Processor time of a session, without a profiler."""
        work = self._field.work(self._scenario, self._scenario.sessions)
        port = server.port_for(self._scenario.channel)
        seconds, outcome = used_by(server, lambda: self._generator.run(port, work))
        return seconds / outcome.sessions * 1e6


def profile(name: str) -> int:
    """Print where the time of a scenario's sessions goes; an exit status."""
    scenario = next(each for each in SCENARIOS if each.name == name)
    beside = Path(sys.executable).with_name("py-spy")
    spy = str(beside) if beside.exists() else shutil.which("py-spy")
    with tempfile.TemporaryDirectory(prefix="restante-benchmark-") as folder:
        bench = Bench(Path(folder), scenario)
        with running(PEER, bench.ground) as server:
            bench.load(server)
            each = bench.microseconds(server)
            spots = by_py_spy(bench, server, spy) if spy else None
            calls = system_calls(bench, server)
        how = "by py-spy"
        if spots is None:
            how = "by cProfile (py-spy would show more: pip install -r benchmarks/requirements.txt)"
            spots = by_cprofile(bench)
    print(f"{scenario.about}, {PEER}: {number(each)} µs of processor time a session\n")
    for title, which in (("its own time", 0), ("with what it calls", 1)):
        rows = [[f"function, {title}, {how}", "part", "µs a session"]]
        for spot in sorted(spots, key=lambda spot: -spots[spot][which])[:ROWS]:
            part = spots[spot][which]
            rows.append([spot, f"{part:.1%}", number(part * each)])
        print(columns(rows) + "\n")
    print(calls)
    return 0


def by_py_spy(bench: Bench, server: Running, spy: str) -> Spots | None:
    """By samples of the running server."""
    file = bench.ground.folder / "stacks"
    command = [spy, "record", "--pid", server.pid, "--subprocesses", "--rate", RATE]
    command += ["--format", "raw", "--output", file]
    with _attached(command, bench.ground.folder / "py-spy.log") as watcher:
        bench.load(server, ROUNDS)
        watcher.send_signal(signal.SIGINT)
    return of_stacks(file.read_text().splitlines()) if file.exists() else None


def of_stacks(lines: Iterable[str]) -> Spots:
    """Of lines `outermost;…;innermost COUNT`."""
    own: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] + ")" for frame in stack.split(";")]
        if frames[-1].startswith(_WAITING):
            continue
        if _LOOP in frames:
            frames = frames[frames.index(_LOOP) :]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            every[frame] += int(count)
    samples = max(1, own.total())
    return {frame: (own[frame] / samples, count / samples) for frame, count in every.items()}


def by_cprofile(bench: Bench) -> Spots:
    """From inside, at a server of its own."""
    folder = bench.ground.folder / "profiled"
    folder.mkdir()
    statistics = folder / "statistics"
    command = (sys.executable, "-m", "benchmarks.profiled", statistics)
    process, ports = ours.start_with(command, bench.ground, folder, folder / "errors.log")
    try:
        bench.load(Running(PEER, process.pid, *ports), ROUNDS)
    finally:
        stop(process)
    found = pstats.Stats(str(statistics))
    entries: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = vars(found)[
        "stats"
    ]
    waiting = {key: each for key, each in entries.items() if "run_until_complete" in key[2]}
    total = sum(each[2] for each in entries.values()) - sum(each[2] for each in waiting.values())
    return {
        f"{name} ({Path(file).name})": (own / total, every / total)
        for (file, _, name), (_, _, own, every, _) in entries.items()
        if "run_until_complete" not in name
    }


def system_calls(bench: Bench, server: Running) -> str:
    """Their counts for a session."""
    strace = shutil.which("strace")
    if strace is None:
        return "system calls are skipped: strace is not installed"
    file = bench.ground.folder / "calls"
    command = [strace, "-c", "-f", "-U", "name,calls,errors", "-o", file, "-p", server.pid]
    with _attached(command, bench.ground.folder / "strace.log") as watcher:
        sessions = bench.load(server)
        watcher.send_signal(signal.SIGINT)
    return counts(file.read_text() if file.exists() else "", sessions)


def counts(text: str, sessions: int) -> str:
    """What strace has counted, for one session."""
    rows = [["system call", "a session"]]
    for line in text.splitlines():
        name, *numbers = line.split()
        if numbers and numbers[0].isdigit() and name != "total":
            rows.append([name, f"{int(numbers[0]) / sessions:.2f}"])
    return columns(rows) if len(rows) > 1 else "strace could not attach"


@contextmanager
def _attached(command: list[object], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that watches the server; it is ended, at the latest, at the end."""
    with log.open("wb") as errors:
        watcher = start_on(None, command, stdout=errors, stderr=errors)
        try:
            time.sleep(START_SECONDS)
            yield watcher
            watcher.wait(30)
        finally:
            if watcher.poll() is None:
                watcher.kill()
                watcher.wait()
