"""What the guard remembers: bans, logins, and wrong passwords. All of it is bounded."""

from __future__ import annotations

from collections import Counter, OrderedDict
from hashlib import blake2b
from secrets import token_bytes

from restante.guard.ban_store import Ban
from restante.networks import Address, NetworkMap, parse_network

MAX_BANS = 50_000
MAX_SECRETS = 50_000
MAX_KNOWN = 100_000
"""Beyond these, what was new or used longest ago is forgotten."""


class Bans:
    """Bans by network. Those that are over are kept for a while, as the next one is longer."""

    def __init__(self) -> None:
        self._found: NetworkMap[Ban] = NetworkMap()
        self.version = 0
        """Another number whenever a ban has been added or changed."""

    def __len__(self) -> int:
        return len(self._found)

    def get(self, network: str) -> Ban | None:
        """The ban of exactly this network, perhaps over."""
        return self._found.get(parse_network(network))

    def of(self, address: Address, now: float) -> Ban | None:
        """A ban in force that the address is under."""
        for ban in self._found.covering(address):
            if ban.in_force(now):
                return ban
        return None

    def in_force(self, now: float) -> list[Ban]:
        """All that are in force."""
        return [ban for ban in self._found.values() if ban.in_force(now)]

    def keep(self, ban: Ban) -> bool:
        """Put it in place of an older one. False if it is there already, or a newer one is."""
        network = parse_network(ban.network)
        before = self._found.get(network)
        if before is not None and (before.since > ban.since or before == ban):
            return False
        self._found.put(network, ban)
        self.version += 1
        if len(self._found) > MAX_BANS:
            self._drop(next(iter(self._found.values())))
        return True

    def prune(self, before: float) -> None:
        """Forget those that were over before this time."""
        for ban in [*self._found.values()]:
            if ban.until is not None and ban.until < before:
                self._drop(ban)

    def _drop(self, ban: Ban) -> None:
        self._found.drop(parse_network(ban.network))


class KnownAddresses:
    """Which addresses have logged in to which accounts."""

    def __init__(self) -> None:
        self.logins: OrderedDict[tuple[str, str], float] = OrderedDict()
        """When an address (first) last logged in to an account (second)."""
        self._accounts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.logins)

    def accounts_at(self, address: str) -> int:
        """How many accounts are known at an address."""
        return self._accounts[address]

    def keep(self, address: str, account: str, at: float) -> None:
        """Remember a login."""
        pair = address, account
        if pair not in self.logins:
            self._accounts[address] += 1
        self.logins[pair] = at
        self.logins.move_to_end(pair)
        if len(self.logins) > MAX_KNOWN:
            self._forget_oldest()

    def prune(self, before: float) -> None:
        """Forget logins before this time, as far as they are the oldest."""
        while self.logins and next(iter(self.logins.values())) < before:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        (address, _), _ = self.logins.popitem(last=False)
        take_away(self._accounts, address)


class WrongSecrets:
    """Which wrong passwords were tried, as hashes with a key of this server's processes."""

    def __init__(self, key: bytes | None = None) -> None:
        self._found: OrderedDict[bytes, None] = OrderedDict()
        self._key = key or token_bytes(32)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, address: str, account: str, secret: bytes) -> bytes | None:
        """Remember one. None if it was tried before, by that address for that account."""
        text = f"{address}\0{account}\0".encode() + secret
        digest = blake2b(text, digest_size=16, key=self._key).digest()
        return digest if self.keep(digest) else None

    def keep(self, digest: bytes) -> bool:
        """Remember a hash. False if it is there already."""
        new = digest not in self._found
        self._found[digest] = None
        self._found.move_to_end(digest)
        if len(self._found) > MAX_SECRETS:
            self._found.popitem(last=False)
        return new


def take_away(counter: Counter[str], key: str) -> None:
    """Count one less; a name with none is removed."""
    if counter[key] > 1:
        counter[key] -= 1
    else:
        del counter[key]
