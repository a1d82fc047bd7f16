"""How often somebody has failed, and when the next try may be looked at."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

MAX_TALLIES = 50_000
"""Addresses, and as many accounts, whose failures are remembered: some 15 MB each at most.
Beyond, the one that was quiet longest is forgotten. To have one forgotten an attacker has to
fail 50,000 times elsewhere, for the sake of a few free tries."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How tries of one kind are slowed.

    free: failures without delay. first, longest: seconds. limit: no more is counted.
    forgiven: seconds after which one failure is forgiven.
    """

    free: int
    first: float
    longest: float
    limit: int
    forgiven: float

    def delay(self, failures: float) -> float:
        """Seconds until the next try, after so many failures."""
        steps = round(failures) - self.free
        return 0.0 if steps < 0 else min(self.longest, self.first * 2.0 ** min(steps, 40))


class Tally:
    """The failures of one address, network or account, as a leaky bucket.

    A try counts as a failure from the moment it is let through until it is known not to be
    one. So those that come at once wait one after the other, each as long as if those before
    it had failed: opening many connections gains nothing.
    """

    __slots__ = ("_at", "_failures", "_heard", "_pending", "_reserved", "_turn")

    def __init__(self) -> None:
        self._failures = 0.0
        self._at = 0.0  # when that many
        self._turn = 0.0  # the next try's, for the failures' sake
        self._pending = 0
        self._reserved = 0.0  # until when those pending have taken all turns
        self._heard = 0.0  # the same, of those pending in other processes

    def failures(self, now: float, rule: Rule) -> float:
        """Failures not yet forgiven."""
        if not self._failures:
            return 0.0
        return max(0.0, self._failures - max(0.0, now - self._at) / rule.forgiven)

    def turn(self, now: float, rule: Rule, held: float) -> float:
        """When the next try may be looked at. held: the longest that a try waits, in seconds."""
        turn = max(now, self._turn, self._reserved, self._heard)
        if turn > now + held + rule.longest:  # no turn is: the clock was set back
            turn = self._at = self._turn = self._reserved = self._heard = now
        return turn

    def enter(self, now: float, start: float | None, rule: Rule) -> None:
        """A try is let through, to be looked at from `start`; None: it takes nobody's turn."""
        self._pending += 1
        if start is not None:
            self._reserved = start + rule.delay(self.failures(now, rule) + self._pending)

    @property
    def reserved(self) -> float:
        """Until when those that aren't over have taken all turns; 0 if there are none."""
        return self._reserved

    def hear(self, reserved: float) -> None:
        """Until when tries in other processes have taken all turns; 0 if there are none."""
        self._heard = reserved

    def end(self) -> None:
        """A try is over."""
        self._pending = max(0, self._pending - 1)
        if not self._pending:
            self._reserved = 0.0

    def fail(self, at: float, rule: Rule) -> float:
        """Count a failure. Gives how many there are now."""
        self._failures = min(float(rule.limit), self.failures(at, rule) + 1)
        self._at = max(self._at, at)
        self._turn = max(self._turn, at + rule.delay(self._failures))
        return self._failures

    def is_idle(self, now: float, rule: Rule) -> bool:
        """Whether there is nothing to be remembered."""
        if self._pending or self._turn > now or self._heard > now:
            return False
        return not self.failures(now, rule)


class Tallies:
    """Tallies by name, at most `MAX_TALLIES`, in the order in which they were last used."""

    def __init__(self) -> None:
        self.found: OrderedDict[str, Tally] = OrderedDict()

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[tuple[str, Tally]]:
        return iter(self.found.items())

    def get(self, name: str) -> Tally | None:
        """The tally of that name, if there is one."""
        return self.found.get(name)

    def use(self, name: str) -> Tally:
        """The tally of that name, new if there is none."""
        tally = self.found.get(name)
        if tally is not None:
            self.found.move_to_end(name)
            return tally
        if len(self.found) >= MAX_TALLIES:
            self.found.popitem(last=False)
        tally = self.found[name] = Tally()
        return tally

    def drop(self, name: str) -> None:
        """Forget it."""
        self.found.pop(name, None)

    def prune(self, now: float, rule: Rule) -> None:
        """Forget those at rest, as far as they are the longest unused."""
        while self.found:
            name, tally = next(iter(self.found.items()))
            if not tally.is_idle(now, rule):
                return
            del self.found[name]
