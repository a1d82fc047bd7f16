"""The guard: who may connect, and how soon the next login is checked.

Three things are counted: failed logins of an address, failed logins at an account, and
connections.

- Each has some free failures; after those the next attempt waits, twice as long each time. An
  attempt counts as failed until it is decided, so attempts that come at once wait in line, and
  opening more connections gains nothing. An attempt that would wait longer than clients do is
  refused without a check.
- An address that goes on failing is banned, for longer each time. An account is never locked:
  strangers get one attempt every two minutes at worst, however many addresses they have. An
  address that has logged in to the account before doesn't wait because of it, so its owner
  gets in while strangers wait. From a new address the owner is a stranger too.
- Names that don't exist are counted like those that do: the guard doesn't know which do.
- The same wrong password from the same address for the same name counts once: an old password
  saved somewhere locks nobody out, and whoever repeats himself learns nothing. Where a
  mechanism sends no password (APOP, CRAM-MD5, SCRAM) every failure counts.
- IPv4-mapped addresses are IPv4. IPv6 counts by /64, which is what a customer is given at
  least. The /48 around it is slowed only after 8 times as many failures, and never banned;
  other customers may live there. It may have 4 times as many connections.
- Each account known at an address (up to 100) allows it one failure more: behind it is an
  office, or a provider's address translation. Connections before login are limited in all, but
  an address where some account is known may connect beyond that limit.

Clients on Unix sockets and in trusted networks are let through and not counted. All that is
remembered is bounded: 50,000 addresses and as many accounts with failures, 50,000 wrong
passwords (as keyed hashes), 50,000 bans, 100,000 known addresses; some 110 MB if all is full.
Attempts that wait are connections before login, which are limited. An attacker can make the
guard forget by filling it, but each entry costs a failed attempt.

Bans, failures and known addresses are kept in the ban store, by which `restante bans` and
servers that share the store learn of them within a second or two. Worker processes of one
server tell each other sooner, and of connections too: see `Guard.share`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from threading import Lock
from unicodedata import category, normalize

from restante.guard.addresses import DelayRules, Peer, Peers
from restante.guard.ban_store import Ban, BanStore, BanStoreError, Failure, News, Old
from restante.guard.connection_limits import ConnectionLimits
from restante.guard.failures import Failures, Throttled
from restante.guard.gossip import Gossip, Numbers
from restante.guard.known import Bans, KnownAddresses, WrongSecrets
from restante.guard.settings import GuardSettings
from restante.networks import parse_network, shown
from restante.settings_fields import suggest_settings

log = logging.getLogger("restante.access")

MAX_UNWRITTEN = 10_000
"""Failures, and logins, that wait to be written to the ban store; more stay in memory only."""

KNOWN_SECONDS = 3600.0
"""How often it is written that an address is still known to an account."""

FAILED_LOGINS = "failed logins"
"""The reason of bans that the guard decides by itself."""

_IGNORED = {"Mn", "Me", "Cf"}
"""Categories of characters that don't count in names: accents, and what can't be seen."""


@suggest_settings
class Guard:
    """What is counted and remembered for all connections; each has an `Admission`.

    Safe to use from several threads. Nothing waits but `refresh`, `exchange` and `close`.

    ban_store: keeps bans and failures over a restart, and brings those of other servers that
    share it; None: nothing does. clock: seconds since
    1970. key: 32 octets by which wrong passwords are hashed, the same in processes that tell
    each other of them.
    """

    def __init__(
        self,
        settings: GuardSettings | None = None,
        ban_store: BanStore | None = None,
        clock: Callable[[], float] = time.time,
        *,
        key: bytes | None = None,
    ) -> None:
        if not isinstance(settings, GuardSettings | None):
            raise TypeError(f"settings={settings!r}: give restante.GuardSettings")
        self.settings = settings or GuardSettings()
        self.clock = clock
        self.lock = Lock()
        """Of all that is counted here. `Admission` takes it too."""
        peers = Peers(self.settings)
        self._peer = peers.find
        self.stranger = peers.stranger
        """The peer at an address; None for one on a Unix socket or in a trusted network."""
        self.known = KnownAddresses()
        self.failures = Failures(DelayRules(self.settings), self.known, self.settings.delay_max)
        self.limits = ConnectionLimits(self.settings)
        self.bans_by_network = Bans()
        self._wrong = WrongSecrets(key)
        self._ban_store = ban_store
        self._ban_store_works = True
        self._news = News()
        self._gossip: Gossip | None = None

    @property
    def is_filling(self) -> bool:
        """Whether connections before login have reached more than half of their limit."""
        return self.limits.filling

    # For `Admission`, which holds the lock

    def is_banned(self, peer: Peer) -> Ban | None:
        """The ban that the peer is under, if any."""
        return self.bans_by_network.of(peer.address, self.clock())

    def begin_attempt(self, peer: Peer, account: str) -> float | None:
        """Seconds until an attempt may be checked; None: it isn't checked, and doesn't count."""
        if not peer.welcome or self.is_banned(peer) is not None:
            return None
        return self.failures.begin(peer, account, self.clock())

    def count_failure(self, peer: Peer, account: str, secret: bytes | None) -> Ban | None:
        """Count a failed attempt. Gives the ban that it leads to.

        secret: what was tried, if that is known; only a keyed hash is kept.
        """
        now = self.clock()
        self.failures.end(peer, account, now)
        if not self._is_new(peer, account, secret):
            return None
        failure = Failure(peer.key, account, now)
        if self._ban_store is not None and len(self._news.failures) < MAX_UNWRITTEN:
            self._news.failures.append(failure)
        if self._gossip is not None:
            self._gossip.add_failure(failure)
        self.failures.count_account(account, now)
        if not self.failures.count_address(peer, now) or not self.settings.ban_seconds:
            return None
        return self._ban_for_failures(peer, now)

    def remember_login(self, peer: Peer, account: str, now: float) -> None:
        """From now on the peer's address is known to the account."""
        self.known.keep(peer.key, account, now)
        if self._ban_store is not None and len(self._news.known) < MAX_UNWRITTEN:
            self._news.known[peer.key, account] = now
        if self._gossip is not None:
            self._gossip.add_known(peer.key, account, now)

    # Bans

    def ban(self, network: str, seconds: float | None = None, reason: str = "") -> Ban:
        """Turn a network or address away from now on; None: for good. Raises ValueError."""
        name = shown(parse_network(network))
        with self.lock:
            now = self.clock()
            since = self._since(self.bans_by_network.get(name), now)
            ban = Ban(name, since, None if seconds is None else now + seconds, reason)
            self._set_ban(ban)
        return ban

    def unban(self, network: str) -> bool:
        """Take a ban back, and forget the failures that led to it. False if there is none.

        Raises ValueError.
        """
        name = shown(parse_network(network))
        with self.lock:
            now = self.clock()
            found = self.bans_by_network.get(name)
            if found is None or not found.in_force(now):
                return False
            self._set_ban(Ban(name, self._since(found, now), now))
        return True

    def bans(self) -> list[Ban]:
        """The bans that are in force."""
        with self.lock:
            return self.bans_by_network.in_force(self.clock())

    def throttled(self) -> list[Throttled]:
        """Addresses and accounts that have used up their free failures."""
        with self.lock:
            return self.failures.throttled(self.clock())

    # The ban store

    def refresh(self) -> None:
        """Forget what is over, and exchange news with the ban store.

        Called about once a second, from a thread that may wait, and once before the server
        listens. A ban store that can't be used is logged, and the guard goes on without it.
        """
        try:
            self.exchange()
        except BanStoreError as error:
            if self._ban_store_works:
                log.error("The ban store can't be used; bans are kept in memory only: %s", error)
            self._ban_store_works = False
        else:
            if not self._ban_store_works:
                log.info("The ban store can be used again")
            self._ban_store_works = True

    def exchange(self) -> None:
        """As `refresh`, but raises BanStoreError."""
        with self.lock:
            now = self.clock()
            old = self._old(now)
            self.failures.prune(now)
            self.bans_by_network.prune(old.bans)
            self.known.prune(old.known)
            news, self._news = self._news, News()
        if self._ban_store is None:
            return
        try:
            received = self._ban_store.exchange(news, old)
        except BanStoreError:
            with self.lock:
                self._put_back(news)
            raise
        with self.lock:
            self._take(received, old)

    def close(self) -> None:
        """Write what is left, and close the ban store."""
        if self._news != News():
            self.refresh()
        if self._ban_store is not None:
            self._ban_store.close()

    def _old(self, now: float) -> Old:
        """What is of no use any more. Bans that are over are, for a while: the next one will be
        longer, and other processes must learn when one was taken back."""
        settings = self.settings
        return Old(
            bans=now - max(3600.0, settings.ban_max),
            known=now - settings.remember_days * 86_400,
            failures=now - settings.ban_window,
        )

    def _put_back(self, news: News) -> None:
        """Keep for the next time what couldn't be written."""
        later = self._news
        later.bans = news.bans | later.bans
        later.known = news.known | later.known
        later.failures = (news.failures + later.failures)[-MAX_UNWRITTEN:]

    def _take(self, news: News, old: Old) -> None:
        """Count what other processes have written or told."""
        for ban in news.bans.values():
            if ban.until is None or ban.until >= old.bans:
                self._keep_ban(ban)
        for (address, account), at in news.known.items():
            if at >= old.known:
                self.known.keep(address, account, at)
        for failure in news.failures:
            if failure.at >= old.failures:
                self._take_failure(failure)

    def _take_failure(self, failure: Failure) -> None:
        """Count a failure in another process, which is also the one to ban the address."""
        peer = self._peer(failure.address.partition("/")[0])
        ban = self.bans_by_network.get(peer.key)
        if ban is None or failure.at > ban.since:  # a ban makes up for the failures before it
            self.failures.count_address(peer, failure.at)
        self.failures.count_account(failure.account, failure.at)

    # Other processes of this server

    def share(self) -> None:
        """From now on, keep for `changes` what other processes of this server are to be told."""
        with self.lock:
            self._gossip = Gossip()
            self.limits.share()
            self.failures.share()

    def changes(self) -> tuple[Gossip, dict[str, float]]:
        """What has happened here since the last call, and the numbers that have changed."""
        with self.lock:
            assert self._gossip is not None
            gossip, self._gossip = self._gossip, Gossip()
            return gossip, self.limits.changes() | self.failures.changes()

    def receive(self, gossip: Gossip) -> None:
        """Count what has happened in another process."""
        bans = {fields[0]: Ban(*fields) for fields in gossip.bans}
        known = {(address, account): at for address, account, at in gossip.known}
        failures = [Failure(*fields) for fields in gossip.failures]
        with self.lock:
            self._take(News(bans, known, failures), self._old(self.clock()))
            for digest in gossip.wrong:
                self._wrong.keep(bytes.fromhex(digest))

    def receive_numbers(self, elsewhere: Mapping[str, Numbers]) -> None:
        """The numbers of other processes that have changed, by label."""
        with self.lock:
            self.limits.receive(elsewhere)
            self.failures.receive(elsewhere)

    # Within the lock

    def _is_new(self, peer: Peer, account: str, secret: bytes | None) -> bool:
        """Whether a failure counts: the same wrong password counts once."""
        if secret is None:
            return True
        digest = self._wrong.add(peer.key, account, secret)
        if digest is not None and self._gossip is not None:
            self._gossip.add_wrong(digest)
        return digest is not None

    def _ban_for_failures(self, peer: Peer, now: float) -> Ban | None:
        """Ban an address, for twice as long as the last time. None: it is banned already."""
        if self.is_banned(peer) is not None:
            return None
        before = self.bans_by_network.get(peer.key)
        times = 1 + (before.times if before else 0)
        seconds = min(self.settings.ban_max, self.settings.ban_seconds * 2.0 ** min(times - 1, 40))
        ban = Ban(peer.key, now, now + seconds, FAILED_LOGINS, times)
        self._set_ban(ban)
        return ban

    @staticmethod
    def _since(before: Ban | None, now: float) -> float:
        """Since when an operator's word holds. The clock of the server that wrote what was said
        before may be ahead of this one, and what is older never replaces what is newer."""
        return now if before is None else max(now, before.since)

    def _set_ban(self, ban: Ban) -> None:
        self._keep_ban(ban)
        if self._ban_store is not None:
            self._news.bans[ban.network] = ban
        if self._gossip is not None:
            self._gossip.add_ban(ban)

    def _keep_ban(self, ban: Ban) -> None:
        """Keep a ban. The failures before it don't count any more."""
        if self.bans_by_network.keep(ban):
            self.failures.forgive(ban.network)


@lru_cache(4096)
def account_key(name: str) -> str:
    """The key by which failures at an account are counted: the same for all names that some
    store may take for the same. name: cut to `MAX_NAME` characters."""
    # Directories and databases may ignore case, accents, blanks, and which form a letter has.
    letters = normalize("NFKD", normalize("NFKD", name).casefold())
    kept = "".join(c for c in letters if not c.isspace() and category(c) not in _IGNORED)
    key = kept or name
    return key if key.isascii() else key.encode("utf-8", "backslashreplace").decode()
