"""Attempts to log in, counted by address and by account: when the next one may be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from restante.guard.addresses import DelayRules, Peer, is_site
from restante.guard.failure_counts import MAX_COUNTED, DelayRule, FailureCount, FailureCounts
from restante.guard.gossip import Numbers
from restante.guard.known import KnownAddresses


@dataclass(frozen=True, slots=True)
class Throttled:
    """An address or account whose next attempt has to wait.

    kind: `address`, `network` or `account`. until: when attempts are free again, in seconds
    since 1970.
    """

    kind: str
    name: str
    failures: int
    until: float


class Failures:
    """Failures of addresses and at accounts, and the attempts that aren't decided yet.

    An attempt that names no account, as one with a token may, counts for its address only:
    one attacker would slow down all who log in that way.
    """

    def __init__(self, rules: DelayRules, known: KnownAddresses, longest_wait: float) -> None:
        self.addresses = FailureCounts()
        self.accounts = FailureCounts()
        self._rules = rules
        self._known = known
        self._longest_wait = longest_wait
        self._first_is_free = rules.account.delay(1) == 0.0
        self._reserved: dict[str, float] | None = None  # what other processes are to be told
        self._told: set[str] = set()

    def __len__(self) -> int:
        return len(self.addresses) + len(self.accounts)

    # Attempts

    def begin(self, peer: Peer, account: str, now: float) -> float | None:
        """An attempt begins. Seconds until it may be checked; None: too many, and it is over."""
        start = now
        for key in peer.keys:
            if (count := self.addresses.get(key)) is not None:
                rule = self._rule(key)
                start = max(start, count.next_attempt(now, rule, self._longest_wait))
        count = self.accounts.get(account)
        is_known = (peer.key, account) in self._known.logins
        if count is not None and not is_known:
            rule = self._rules.account
            start = max(start, count.next_attempt(now, rule, self._longest_wait))
        if start - now > self._longest_wait:
            return None
        for key in peer.keys:
            count = self.addresses.use(key)
            count.begin(now, start, self._rule(key))
            self._tell("turn", key, count.reserved, now)
        if account:
            count = self.accounts.use(account)
            count.begin(now, None if is_known else start, self._rules.account)
            self._tell("queue", account, count.reserved, now)
        return start - now

    def begin_first(self, peer: Peer, account: str) -> bool:
        """Begin an attempt where nothing is counted, neither for the peer nor for the account.

        So it is nearly always, and so this is short. False: use `begin`.
        """
        addresses, accounts = self.addresses.counts, self.accounts.counts
        if account in accounts or not self._first_is_free:
            return False
        for key in peer.keys:
            if key in addresses:
                return False
        if len(addresses) >= MAX_COUNTED - 1 or len(accounts) >= MAX_COUNTED:
            return False
        for key in peer.keys:
            addresses[key] = None
        if account:
            accounts[account] = None
        return True

    def end(self, peer: Peer, account: str, now: float) -> None:
        """An attempt is over. What has nothing to be remembered is forgotten at once."""
        addresses, accounts = self.addresses.counts, self.accounts.counts
        for key in peer.keys:
            if key in addresses and addresses[key] is None:
                del addresses[key]
            else:
                self._end(self.addresses, key, now, self._rule(key), "turn")
        if account in accounts and accounts[account] is None:
            del accounts[account]
        elif account:
            self._end(self.accounts, account, now, self._rules.account, "queue")

    def _end(
        self, counts: FailureCounts, key: str, now: float, rule: DelayRule, label: str
    ) -> None:
        count = counts.get(key)
        if count is None:
            self._tell(label, key, 0.0, now)
            return
        count.end()
        self._tell(label, key, count.reserved, now)
        if count.is_idle(now, rule):
            counts.drop(key)

    # Failures

    def count_account(self, account: str, at: float) -> None:
        """Count a failure at an account."""
        if account:
            self.accounts.use(account).fail(at, self._rules.account)

    def count_address(self, peer: Peer, at: float) -> bool:
        """Count a failure of an address. True if it has had as many as it may."""
        reached = False
        for key in peer.keys:
            rule = self._rule(key)
            failures = round(self.addresses.use(key).fail(at, rule))
            reached = reached or (key == peer.key and failures >= rule.limit)
        return reached

    def forgive(self, key: str) -> None:
        """Forget the failures of an address."""
        self.addresses.drop(key)

    def prune(self, now: float) -> None:
        """Forget what is over."""
        self.addresses.prune(now, self._rules.of("", 0))
        self.accounts.prune(now, self._rules.account)

    def throttled(self, now: float) -> list[Throttled]:
        """Those that have used up their free failures."""
        found = []
        for key, count in self.addresses:
            kind = "network" if is_site(key) else "address"
            found += _throttled(kind, key, count, self._rule(key), now)
        for name, count in self.accounts:
            found += _throttled("account", name, count, self._rules.account, now)
        return found

    def _rule(self, key: str) -> DelayRule:
        return self._rules.of(key, self._known.accounts_at(key))

    # Other processes of this server

    def share(self) -> None:
        """From now on, keep for `changes` until when attempts keep later ones waiting."""
        self._reserved = {}

    def _tell(self, label: str, key: str, reserved: float, now: float) -> None:
        """Tell the others, unless attempts keep nobody waiting, and it wasn't told that they do."""
        if self._reserved is None:
            return
        name = f"{label}:{key}"
        if reserved > now:
            self._reserved[name] = reserved
        elif name in self._told:
            self._reserved[name] = 0.0
        else:
            self._reserved.pop(name, None)

    def changes(self) -> dict[str, float]:
        """Until when attempts keep later ones waiting, where that has changed; 0: no longer."""
        if not self._reserved:
            return {}
        found, self._reserved = self._reserved, {}
        self._told |= found.keys()
        self._told -= {name for name, reserved in found.items() if not reserved}
        return found

    def receive(self, elsewhere: Mapping[str, Numbers]) -> None:
        """The same of other processes, by label."""
        for label, counts in (("turn", self.addresses), ("queue", self.accounts)):
            for key, reserved in elsewhere.get(label, {}).items():
                count = counts.use(key) if reserved else counts.get(key)
                if count is not None:
                    count.receive(reserved)


def _throttled(
    kind: str, name: str, count: FailureCount, rule: DelayRule, now: float
) -> list[Throttled]:
    failures = count.failures(now, rule)
    if round(failures) < rule.free:
        return []
    until = now + (failures - rule.free + 0.5) * rule.forgiven
    return [Throttled(kind, name, round(failures), until)]
