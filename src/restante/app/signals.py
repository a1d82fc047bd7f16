"""Signals that end the server: the first lets it finish its work, a second ends it at once."""

from __future__ import annotations

import signal
import time

ENDINGS = ("SIGTERM", "SIGINT", "SIGHUP")
"""What would kill a process that doesn't heed it."""

SAME_SECONDS = 0.5
"""A signal that comes again so soon is the same one: `timeout` sends it to its program, and then to
the process group that the program is in."""


def ignore_further() -> None:
    """The process is about to end: a signal that comes now must not look like a crash."""
    for name in ENDINGS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class FirstSignal:
    """Tells a second signal from the first that arrives twice."""

    def __init__(self) -> None:
        self._number = 0
        self._at = 0.0

    def came(self, number: int) -> None:
        """The first has come."""
        self._number, self._at = number, time.monotonic()

    def is_again(self, number: int) -> bool:
        """Whether this is the first once more."""
        return number == self._number and time.monotonic() - self._at < SAME_SECONDS
