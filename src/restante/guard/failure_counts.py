"""How often an address or an account has failed, and when the next attempt may be checked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

MAX_COUNTED = 50_000
"""Addresses, and as many accounts, whose failures are remembered: some 15 MB each at most.
Beyond, the one that was quiet longest is forgotten. To have one forgotten an attacker has to
fail 50,000 times elsewhere, and gains a few attempts without delay."""


@dataclass(frozen=True, slots=True)
class DelayRule:
    """How attempts of one kind are slowed.

    free: failures without delay. first, longest: delays in seconds. limit: the most failures
    that are counted. forgiven: seconds after which one failure is forgiven.
    """

    free: int
    first: float
    longest: float
    limit: int
    forgiven: float

    def delay(self, failures: float) -> float:
        """Seconds until the next attempt, after so many failures."""
        steps = round(failures) - self.free
        return 0.0 if steps < 0 else min(self.longest, self.first * 2.0 ** min(steps, 40))


class FailureCount:
    """The failures of one address, network or account, as a leaky bucket.

    An attempt counts as a failure from when it begins until it is decided. So attempts that
    come at once wait one after the other, each as long as if those before it had failed:
    opening many connections gains nothing.
    """

    __slots__ = ("_at", "_elsewhere", "_failures", "_next", "_undecided", "reserved")

    def __init__(self, undecided: int = 0) -> None:
        self._failures = 0.0
        self._at = 0.0  # when there were that many
        self._next = 0.0  # when the next attempt may be checked, because of the failures
        self._undecided = undecided
        self.reserved = 0.0
        """Until when undecided attempts keep later ones waiting; 0 if there are none."""
        self._elsewhere = 0.0  # the same, of attempts in other processes

    def failures(self, now: float, rule: DelayRule) -> float:
        """Failures that aren't forgiven yet."""
        if not self._failures:
            return 0.0
        return max(0.0, self._failures - max(0.0, now - self._at) / rule.forgiven)

    def next_attempt(self, now: float, rule: DelayRule, longest_wait: float) -> float:
        """When the next attempt may be checked. longest_wait: of any attempt, in seconds."""
        at = max(now, self._next, self.reserved, self._elsewhere)
        if at > now + longest_wait + rule.longest:  # impossible, so the clock was set back
            at = self._at = self._next = self.reserved = self._elsewhere = now
        return at

    def begin(self, now: float, start: float | None, rule: DelayRule) -> None:
        """An attempt begins, to be checked at `start`; None: it keeps no other one waiting."""
        self._undecided += 1
        if start is not None:
            self.reserved = start + rule.delay(self.failures(now, rule) + self._undecided)

    def receive(self, reserved: float) -> None:
        """Until when attempts in other processes keep later ones waiting; 0: there are none."""
        self._elsewhere = reserved

    def end(self) -> None:
        """An attempt was decided, or given up."""
        self._undecided = max(0, self._undecided - 1)
        if not self._undecided:
            self.reserved = 0.0

    def fail(self, at: float, rule: DelayRule) -> float:
        """Count a failure. Gives how many there are now."""
        self._failures = min(float(rule.limit), self.failures(at, rule) + 1)
        self._at = max(self._at, at)
        self._next = max(self._next, at + rule.delay(self._failures))
        return self._failures

    def is_idle(self, now: float, rule: DelayRule) -> bool:
        """Whether there is nothing to be remembered."""
        if self._undecided or self._next > now or self._elsewhere > now:
            return False
        return not self.failures(now, rule)


class FailureCounts:
    """Counts by name, at most `MAX_COUNTED`, in the order in which they were last used.

    counts: None stands for a name that has a single attempt, undecided and without delay, and
    no failures. Nearly all attempts are like that, and cost no object.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: OrderedDict[str, FailureCount | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[tuple[str, FailureCount]]:
        return ((name, count) for name, count in self.counts.items() if count is not None)

    def get(self, name: str) -> FailureCount | None:
        """The count of that name, if there is one."""
        if name not in self.counts:
            return None
        count = self.counts[name]
        if count is None:
            count = self.counts[name] = FailureCount(undecided=1)
        return count

    def use(self, name: str) -> FailureCount:
        """The count of that name, new if there is none."""
        count = self.get(name)
        if count is not None:
            self.counts.move_to_end(name)
            return count
        if len(self.counts) >= MAX_COUNTED:
            self.counts.popitem(last=False)
        count = self.counts[name] = FailureCount()
        return count

    def drop(self, name: str) -> None:
        """Forget it."""
        self.counts.pop(name, None)

    def prune(self, now: float, rule: DelayRule) -> None:
        """Forget those that are idle, as far as they are the longest unused."""
        while self.counts:
            name, count = next(iter(self.counts.items()))
            if count is None or not count.is_idle(now, rule):
                return
            del self.counts[name]
