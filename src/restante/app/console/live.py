"""What the running server says, asked by its admin socket; and what was counted of it lately."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from restante.app.errors import NoAnswer
from restante.app.processes.admin_client import ANSWER_SECONDS, Row, Wanted, ask

SAMPLE_SECONDS = 10.0
SAMPLES = 360
"""An hour of them."""


class Sample(NamedTuple):
    """at: seconds since 1970. sessions: open then. octets: of messages, sent in these."""

    at: float
    sessions: int


@dataclass
class Answer:
    """rows: what was said. problem: why nothing was, or not all of it; "" if all is well."""

    rows: list[Row] = field(default_factory=list)
    problem: str = ""


@dataclass
class Sessions(Answer):
    """Some live sessions, the newest first.

    found: how many fit. left: how many of those began before. total: how many there are.
    """

    found: int = 0
    left: int = 0
    total: int = 0


class Server:
    """The running server. Its methods wait for it: they are called on threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._stopping = threading.Event()
        threading.Thread(target=self._sample, name="samples", daemon=True).start()

    def ask(self, question: str, *, seconds: float = 2 * ANSWER_SECONDS) -> Answer:
        """The rows of an answer; what is wrong is told in it. seconds: how long to wait."""
        found = Answer()
        try:
            for row in ask(self._path, question, seconds=seconds):
                if row.get("end"):
                    silent = row.get("silent", ())
                    if silent:
                        pids = ", ".join(map(str, silent))
                        found.problem = f"Worker {pids} doesn't answer."
                else:
                    found.rows.append(row)
        except NoAnswer as error:
            found.problem = f"The server doesn't answer: {error}"
        return found

    def sessions(self, wanted: Wanted) -> Sessions:
        """The newest sessions that fit."""
        answer = self.ask(wanted.question())
        rows = [row for row in answer.rows if "session" in row]
        rows.sort(key=lambda row: (row["since"], row["session"]), reverse=True)
        numbers = [row for row in answer.rows if "total" in row]
        found, left, total = (
            sum(row[name] for row in numbers) for name in ("found", "left", "total")
        )
        return Sessions(rows[: wanted.most], answer.problem, found, left, total)

    def _sample(self) -> None:
        while True:
            rows = self.ask("status").rows
            if rows:
                sessions = sum(int(row["sessions"]) for row in rows)
                self.samples.append(Sample(time.time(), sessions))
            if self._stopping.wait(SAMPLE_SECONDS):
                return

    def close(self) -> None:
        """Sample no more."""
        self._stopping.set()
