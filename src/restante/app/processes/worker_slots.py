"""Slots for worker processes: which worker fills one, and when it is replaced."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from restante.app.processes.control import Link
from restante.app.processes.listen_sockets import Given

YOUNG_SECONDS = 10.0
"""A worker that dies before this age may do so again."""

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
"""Seconds until a worker that died young is replaced: for the second in a row, and at most. Each
time it is twice as long. Clients that the system has put in its queue wait meanwhile."""


@dataclass(eq=False, slots=True)
class WorkerSlot:
    """A slot for a worker process and, when that has ended, for the next one.

    since: when the worker was started, seconds since 1970. heard: when it last sent a message,
    monotonic. due: when the next one is to be started, monotonic; None: there is a worker.
    deaths: how many in a row died young. unsent: names of counters that it must still be told.
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
    unsent: set[str] = field(default_factory=set)

    @property
    def state(self) -> str:
        """In a word, for people."""
        if not self.pid:
            return "waiting"
        if self.stuck:
            return "stuck"
        return "ready" if self.ready else "starting"

    def filled(self, pid: int, link: Link) -> None:
        """A worker was started."""
        self.pid, self.link, self.due = pid, link, None
        self.ready = self.stuck = False
        self.restarts += 1

    def emptied(self) -> None:
        """The worker has ended: the next is due at once, or later each time if they die young."""
        self.ready = False
        self.deaths = self.deaths + 1 if time.time() - self.since < YOUNG_SECONDS else 1
        wait = FIRST_DELAY * 2 ** min(self.deaths - 2, 10) if self.deaths > 1 else 0.0
        self.due = time.monotonic() + min(LONGEST_DELAY, wait)
