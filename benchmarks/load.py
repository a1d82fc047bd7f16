"""Load: many sessions side by side, by the C program if there is a compiler."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import count
from threading import Lock

from benchmarks.client import Violation, any_certificate, converse
from benchmarks.corpus import PASSWORD, Expected
from benchmarks.processes import start_on
from benchmarks.programs import Programs

LIMIT = 300.0
"""Seconds after which a run of load is given up."""


@dataclass(frozen=True)
class Work:
    """Sessions to be had. script: poll, sync, fetch, pipelined or drain.

    With an account for each session they are taken in turn, else each of the sessions at
    the same time keeps one of its own. channel: clear, tls or resumed.
    """

    script: str
    prefix: str
    accounts: int
    expected: Expected
    sessions: int
    concurrency: int
    channel: str = "clear"


@dataclass(frozen=True)
class Outcome:
    """What came of it. octets: received; cpu_seconds: what the load itself took; resumed:
    sessions of TLS that were; *_ms: how long sessions lasted, from connecting to the end."""

    sessions: int
    seconds: float
    octets: int
    violations: int
    first_violation: str
    cpu_seconds: float = 0.0
    resumed: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    longest_ms: float = 0.0


class Generator:
    """Makes load. core: where it runs, if it is held to one."""

    def __init__(self, programs: Programs, core: int | None) -> None:
        self._programs = programs
        self._core = core

    def run(self, port: int, work: Work) -> Outcome:
        """Have all sessions; `port` must speak what `work.channel` says."""
        return self.begin(port, work).outcome()

    def begin(self, port: int, work: Work) -> Load:
        """Begin to have them."""
        program = self._programs.find("load")
        if program is not None and (self._programs.tls or work.channel == "clear"):
            expected = work.expected
            where = (port, work.channel, work.script, work.prefix, work.accounts, PASSWORD)
            seen = (expected.messages, expected.octets, expected.dots)
            command = [program, *where, *seen, work.sessions, work.concurrency]
        else:
            command = [sys.executable, "-m", "benchmarks.load", port, json.dumps(asdict(work))]
        return Load(start_on(self._core, command, stdout=subprocess.PIPE))


class Load:
    """A generator at work."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def stop(self) -> Outcome:
        """Begin no more sessions; the outcome of those that were begun (C program only)."""
        self._process.terminate()
        return self.outcome()

    def outcome(self) -> Outcome:
        """Wait for the end."""
        try:
            text, _ = self._process.communicate(timeout=LIMIT)
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        if self._process.returncode:
            raise RuntimeError(f"the load generator ended with {self._process.returncode}")
        return Outcome(**json.loads(text))


class Sessions:
    """The same in this process, a thread for each session at a time."""

    def __init__(self, port: int, work: Work) -> None:
        self._port = port
        self._work = work
        self._numbers, self._lock = count(), Lock()
        self._context = None if work.channel == "clear" else any_certificate()
        self._lasted: list[float] = []
        self._violations: list[str] = []
        self._octets = self._resumed = 0

    def run(self) -> Outcome:
        """Have them all."""
        work, begun, used = self._work, time.monotonic(), time.process_time()
        with ThreadPoolExecutor(work.concurrency) as threads:
            list(threads.map(self._keep_going, range(work.concurrency)))
        seconds, used = time.monotonic() - begun, time.process_time() - used
        wrong = self._violations
        if work.channel == "resumed" and self._resumed < work.sessions - work.concurrency:
            wrong.append(f"{self._resumed} of {work.sessions} sessions were resumed")
        lasted = sorted(self._lasted) or [0.0]
        at = [lasted[int((len(lasted) - 1) * part)] * 1e3 for part in (0.5, 0.99, 1)]
        first = wrong[0] if wrong else ""
        done = len(self._lasted)
        return Outcome(done, seconds, self._octets, len(wrong), first, used, self._resumed, *at)

    def _keep_going(self, place: int) -> None:
        work, ticket = self._work, None
        while (number := next(self._numbers)) < work.sessions:
            account = number if work.accounts >= work.sessions else place
            name, begun, received, resumed = f"{work.prefix}{account}", time.monotonic(), 0, False
            try:
                seen = converse(
                    self._port, work.script, name, work.expected, self._context, ticket=ticket
                )
                received, resumed = seen.received, seen.resumed
                ticket = seen.ticket if work.channel == "resumed" else None
            except (Violation, OSError) as error:
                self._violations.append(str(error))
            with self._lock:
                self._octets += received
                self._resumed += resumed
                self._lasted.append(time.monotonic() - begun)


def converse_all(port: int, work: Work) -> Outcome:
    """The sessions, had by this process."""
    return Sessions(port, work).run()


def main() -> None:
    """Do the work that the arguments describe and print the outcome as JSON."""
    port, text = sys.argv[1:]
    fields = json.loads(text)
    fields["expected"] = Expected(**fields["expected"])
    print(json.dumps(asdict(converse_all(int(port), Work(**fields)))))


if __name__ == "__main__":
    main()
