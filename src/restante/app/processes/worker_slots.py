"""Places of worker processes: who fills one, and when the next one may."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from restante.app.processes.control import Link
from restante.app.processes.listen_sockets import Given

YOUNG_SECONDS = 10.0
"""A worker that dies before this age may do so again."""

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
"""Seconds before such a one is replaced: the second in a row, twice as long each time, and the
most. Meanwhile clients that the system has put in its queue wait, so this is short."""


@dataclass(eq=False, slots=True)
class Slot:
    """A place that a worker process fills, and when it dies, its successor.

    since: when the worker was started, seconds since 1970. heard: when it last said something,
    monotonic. due: when a successor is to be started, monotonic; None: there is a worker.
    deaths: of young ones, in a row. owed: numbers that it has yet to be told.
    """

    number: int
    given: Given
    pid: int = 0
    link: Link | None = None
    ready: bool = False
    reloading: bool = False
    since: float = 0.0
    heard: float = 0.0
    stuck: bool = False
    restarts: int = -1
    deaths: int = 0
    due: float | None = 0.0
    owed: set[str] = field(default_factory=set)

    @property
    def state(self) -> str:
        """In a word, for people."""
        if not self.pid:
            return "waiting"
        if self.stuck:
            return "stuck"
        return "ready" if self.ready else "starting"

    def fill(self, pid: int, link: Link) -> None:
        """There is a worker."""
        self.pid, self.link, self.due = pid, link, None
        self.ready = self.stuck = False
        self.restarts += 1

    def vacate(self) -> None:
        """There is none: the next is due at once, but slower and slower if they die young."""
        self.ready = False
        self.deaths = self.deaths + 1 if time.time() - self.since < YOUNG_SECONDS else 1
        wait = FIRST_WAIT * 2 ** min(self.deaths - 2, 10) if self.deaths > 1 else 0.0
        self.due = time.monotonic() + min(LONGEST_WAIT, wait)
