"""Tries to log in, counted by address and by account: when the next one may be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from restante.guard.addresses import Peer, Rules, is_site
from restante.guard.gossip import Numbers
from restante.guard.known import KnownAddresses
from restante.guard.rates import Rule, Tallies, Tally


@dataclass(frozen=True, slots=True)
class Throttled:
    """Whose next try has to wait.

    kind: `address`, `network` or `account`. until: when tries are free again, in seconds
    since 1970.
    """

    kind: str
    name: str
    failures: int
    until: float


class Tries:
    """Failures of addresses and at accounts, and the tries that aren't decided yet.

    A try that names no account, as one with a token may, counts for its address only: one
    attacker would slow down all who log in that way.
    """

    def __init__(self, rules: Rules, known: KnownAddresses, held: float) -> None:
        self._rules = rules
        self._known = known
        self._held = held
        self._addresses = Tallies()
        self._accounts = Tallies()
        self._turns: dict[str, float] | None = None  # that other processes are to hear of
        self._told: set[str] = set()

    def __len__(self) -> int:
        return len(self._addresses) + len(self._accounts)

    def start(self, peer: Peer, account: str, now: float) -> float:
        """When a try that comes now may be looked at."""
        start = now
        if not self._addresses.found and not self._accounts.found:
            return start
        for key, rule in self._keys(peer):
            if (tally := self._addresses.get(key)) is not None:
                start = max(start, tally.turn(now, rule, self._held))
        tally = self._accounts.get(account)
        if tally is not None and (peer.key, account) not in self._known:
            start = max(start, tally.turn(now, self._rules.account, self._held))
        return start

    def enter(self, peer: Peer, account: str, now: float, start: float) -> None:
        """A try is let through, to be looked at from `start`."""
        for key, rule in self._keys(peer):
            tally = self._addresses.use(key)
            tally.enter(now, start, rule)
            self._note("turn", key, tally.reserved, now)
        if account:
            queued = None if (peer.key, account) in self._known else start
            tally = self._accounts.use(account)
            tally.enter(now, queued, self._rules.account)
            self._note("queue", account, tally.reserved, now)

    def end(self, peer: Peer, account: str, now: float) -> None:
        """A try is over; who has nothing to be remembered is forgotten at once."""
        for key, rule in self._keys(peer):
            self._end(self._addresses, key, now, rule, "turn")
        self._end(self._accounts, account, now, self._rules.account, "queue")

    def _end(self, tallies: Tallies, key: str, now: float, rule: Rule, label: str) -> None:
        tally = tallies.get(key)
        if tally is None:
            self._note(label, key, 0.0, now)
            return
        tally.end()
        self._note(label, key, tally.reserved, now)
        if tally.is_idle(now, rule):
            tallies.drop(key)

    def count_account(self, account: str, at: float) -> None:
        """Count a failure at an account."""
        if account:
            self._accounts.use(account).fail(at, self._rules.account)

    def count_address(self, peer: Peer, at: float) -> bool:
        """Count a failure of an address. True if it has had as many as it may."""
        reached = False
        for key, rule in self._keys(peer):
            failures = round(self._addresses.use(key).fail(at, rule))
            reached = reached or (key == peer.key and failures >= rule.limit)
        return reached

    def forgive(self, key: str) -> None:
        """Forget the failures of an address."""
        self._addresses.drop(key)

    def prune(self, now: float) -> None:
        """Forget what is over."""
        self._addresses.prune(now, self._rules.of("", 0))
        self._accounts.prune(now, self._rules.account)

    def throttled(self, now: float) -> list[Throttled]:
        """Those that have used up their free failures."""
        found = []
        for key, tally in self._addresses:
            kind = "network" if is_site(key) else "address"
            found += _throttled(kind, key, tally, self._rule(key), now)
        for name, tally in self._accounts:
            found += _throttled("account", name, tally, self._rules.account, now)
        return found

    # Other processes of this server

    def share(self) -> None:
        """Note from now on which turns are taken, for `changes`."""
        self._turns = {}

    def _note(self, label: str, key: str, reserved: float, now: float) -> None:
        """Turns are taken, or free again. Those of tries that needn't wait are nobody's news."""
        if self._turns is None:
            return
        name = f"{label}:{key}"
        if reserved > now:
            self._turns[name] = reserved
        elif name in self._told:
            self._turns[name] = 0.0
        else:
            self._turns.pop(name, None)

    def changes(self) -> dict[str, float]:
        """Until when turns are taken here, as far as that has changed since the last time."""
        if not self._turns:
            return {}
        found, self._turns = self._turns, {}
        self._told |= found.keys()
        self._told -= {name for name, reserved in found.items() if not reserved}
        return found

    def hear(self, elsewhere: Mapping[str, Numbers]) -> None:
        """Until when turns are taken elsewhere."""
        for label, tallies in (("turn", self._addresses), ("queue", self._accounts)):
            for key, reserved in elsewhere.get(label, {}).items():
                tally = tallies.use(key) if reserved else tallies.get(key)
                if tally is not None:
                    tally.hear(reserved)

    def _rule(self, key: str) -> Rule:
        return self._rules.of(key, self._known.accounts_at(key))

    def _keys(self, peer: Peer) -> Iterator[tuple[str, Rule]]:
        if peer.shared:
            return
        yield peer.key, self._rule(peer.key)
        if peer.site:
            yield peer.site, self._rule(peer.site)


def _throttled(kind: str, name: str, tally: Tally, rule: Rule, now: float) -> list[Throttled]:
    failures = tally.failures(now, rule)
    if round(failures) < rule.free:
        return []
    until = now + (failures - rule.free + 0.5) * rule.forgiven
    return [Throttled(kind, name, round(failures), until)]
