"""LOGIN-DELAY: how soon an account may log in again (RFC 2449 §6.5, §8.1.1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

MAX_ACCOUNTS = 100_000
"""Accounts that are remembered, some 12 MB at most. Beyond, the one that logged in longest ago is
forgotten. Only proven logins count, so filling this takes that many accounts."""


class LoginDelay:
    """A token bucket for each account: `burst` logins at once, then one each `seconds`.

    seconds: the delay; 0 lets everybody in at any time. clock: seconds, monotonic.
    """

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.monotonic, *, burst: int = 1
    ) -> None:
        if burst < 1:
            raise ValueError(f"burst={burst!r}: allowed is 1 or more")
        self.seconds = seconds
        self.burst = burst
        self._clock = clock
        # When each last login would have been, had every one been `seconds` after the one before.
        self._last: dict[str, float] = {}
        self._swept = clock()
        self._changes: dict[str, float] | None = None

    def share(self) -> None:
        """From now on, keep for `changes` what other processes of this server are to be told."""
        self._changes = {}

    def changes(self) -> dict[str, float]:
        """The logins here since the last call: when, by the monotonic clock, by name."""
        if not self._changes:
            return {}
        changes, self._changes = self._changes, {}
        return changes

    def receive(self, last: Mapping[str, float]) -> None:
        """The logins in another process. Two at the same moment may count as one."""
        for name, at in last.items():
            self._keep(name, max(at, self._last.pop(name, at)))

    def wait_for(self, name: str) -> float:
        """Seconds until `name` may log in; 0 if now."""
        last = self._last.get(name)
        if last is None:
            return 0.0
        return max(0.0, last + self.seconds * (2 - self.burst) - self._clock())

    def count(self, name: str) -> None:
        """`name` has logged in, and has its maildrop: a refused login costs no delay."""
        if self.seconds <= 0:
            return
        now = self._clock()
        if now - self._swept > self.seconds:
            self._last = {k: at for k, at in self._last.items() if at + self.seconds > now}
            self._swept = now
        last = self._last.pop(name, None)
        at = now if last is None else max(now, last + self.seconds)
        self._keep(name, at)
        if self._changes is not None:
            self._changes[name] = at

    def _keep(self, name: str, at: float) -> None:
        self._last[name] = at
        if len(self._last) > MAX_ACCOUNTS:
            del self._last[next(iter(self._last))]
