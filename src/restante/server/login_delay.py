"""LOGIN-DELAY: how soon an account may log in again (RFC 2449 §6.5, §8.1.1)."""

from __future__ import annotations

import time
from collections.abc import Callable


class LoginDelay:
    """Remembers when each account last logged in.

    seconds: the delay; 0 lets everybody in at any time. clock: seconds, monotonic.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._last: dict[str, float] = {}
        self._swept = clock()

    def wait_for(self, name: str) -> float:
        """Seconds until `name` may log in; 0 if now."""
        last = self._last.get(name)
        return 0.0 if last is None else max(0.0, self.seconds - (self._clock() - last))

    def count(self, name: str) -> None:
        """`name` has logged in, and has its maildrop: a refused login costs no delay."""
        if self.seconds <= 0:
            return
        now = self._clock()
        if now - self._swept > self.seconds:
            self._last = {k: at for k, at in self._last.items() if now - at < self.seconds}
            self._swept = now
        self._last[name] = now
