"""Load: many sessions side by side, by the C program if there is a compiler."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from threading import Lock

from benchmarks.client import Violation, any_certificate, converse
from benchmarks.corpus import PASSWORD, Expected

SOURCE = Path(__file__).with_name("load.c")
LIMIT = 300.0
"""Seconds after which a run of load is given up."""


@dataclass(frozen=True)
class Work:
    """Sessions to be had. script: poll, sync, fetch, pipelined or drain.

    With an account for each session they are taken in turn, else each of the sessions at
    the same time keeps one of its own.
    """

    script: str
    prefix: str
    accounts: int
    expected: Expected
    sessions: int
    concurrency: int
    tls: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it. octets: received."""

    sessions: int
    seconds: float
    octets: int
    violations: int
    first_violation: str


class Generator:
    """Makes load. core: where it runs, if it is held to one. `about` says how it's made."""

    def __init__(self, folder: Path, core: int | None) -> None:
        self._hold = ["taskset", "-c", str(core)] if core is not None else []
        compiler = shutil.which("cc") or shutil.which("gcc")
        self._program: Path | None = None
        self.about = "Python (no C compiler: sessions a second may be the generator's limit)"
        if compiler is not None:
            program = folder / "load"
            subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
            self._program = program
            self.about = "C for plain text, Python for TLS"

    def run(self, port: int, work: Work) -> Outcome:
        """Have all sessions; `port` must speak what `work.tls` says."""
        if self._program is not None and not work.tls:
            expected = work.expected
            where = (port, work.script, work.prefix, work.accounts, PASSWORD)
            seen = (expected.messages, expected.octets, expected.dots)
            command = [self._program, *where, *seen, work.sessions, work.concurrency]
        else:
            command = [sys.executable, "-m", "benchmarks.load", port, json.dumps(asdict(work))]
        done = subprocess.run(
            [*self._hold, *map(str, command)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=LIMIT,
        )
        return Outcome(**json.loads(done.stdout))


def converse_all(port: int, work: Work) -> Outcome:
    """The same in this process, a thread for each session at a time."""
    context = any_certificate() if work.tls else None
    numbers, lock = count(), Lock()
    octets = done = 0
    violations: list[str] = []

    def keep_going(place: int) -> None:
        nonlocal octets, done
        while (number := next(numbers)) < work.sessions:
            account = number if work.accounts >= work.sessions else place
            name = f"{work.prefix}{account}"
            try:
                received = converse(port, work.script, name, work.expected, context)
            except (Violation, OSError) as error:
                violations.append(str(error))
                received = 0
            with lock:
                octets += received
                done += 1

    begun = time.monotonic()
    with ThreadPoolExecutor(work.concurrency) as threads:
        list(threads.map(keep_going, range(work.concurrency)))
    seconds = time.monotonic() - begun
    return Outcome(done, seconds, octets, len(violations), violations[0] if violations else "")


def main() -> None:
    """Do the work that the arguments describe and print the outcome as JSON."""
    port, text = sys.argv[1:]
    fields = json.loads(text)
    fields["expected"] = Expected(**fields["expected"])
    print(json.dumps(asdict(converse_all(int(port), Work(**fields)))))


if __name__ == "__main__":
    main()
