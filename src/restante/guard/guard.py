"""The guard: who may connect, and how soon the next login is looked at.

Three things are counted: failed logins of an address, failed logins at an account, and
connections.

- Each has some free failures; after those the next try waits, twice as long each time. A try
  counts as failed until it is known not to be, so tries that come at once wait in line, and
  opening more connections gains nothing. What would wait longer than a client has patience is
  refused without looking.
- An address that goes on failing is banned, for longer each time. An account is never closed:
  at most it is looked at every two minutes for strangers, however many addresses they have.
  An address that has logged in to the account before doesn't wait for the account's sake, so
  its owner gets in while strangers are kept waiting. From a new address the owner is a
  stranger too, and waits with them.
- Names that don't exist are counted like those that do: nothing here knows which do.
- The same wrong password from the same address for the same name counts once: an old password
  saved somewhere locks nobody out, and whoever repeats himself learns nothing. Where a
  mechanism sends no password (APOP, CRAM-MD5, SCRAM) that can't be seen, and every one counts.
- IPv4-mapped addresses are IPv4. IPv6 counts by /64, which is what a customer is given at
  least. The /48 around it is slowed only after 8 times as many failures, and never banned;
  other customers may live there. It may have 4 times as many connections.
- Each account known at an address (up to 100) allows it one failure more: behind it is an
  office, or a provider's address translation. The places before login are limited too, but
  not for addresses where some account is known.

Peers on Unix sockets and in trusted networks are let through and not counted. All that is
remembered is bounded: 50,000 addresses and as many accounts with failures, 50,000 wrong
passwords (as keyed hashes), 50,000 bans, 100,000 known addresses; some 110 MB if all is full.
Tries that wait are connections before login, which are capped. An attacker can make the guard
forget by filling it, but each entry costs a try that failed.

Processes that share a book hear of each other's failures, bans and logins within a second or
two; within that time each of them counts for itself. Worker processes of one server tell each
other more, and sooner: see `share`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from threading import Lock
from unicodedata import category, normalize

from restante.accounts.names import MAX_NAME
from restante.guard.addresses import Peer, Peers, Rules
from restante.guard.ban_store import Ban, BanStore, BanStoreError, Failure, News, Old
from restante.guard.connection_limits import Places
from restante.guard.failures import Throttled, Tries
from restante.guard.gossip import Numbers, Word
from restante.guard.known import Bans, KnownAddresses, WrongSecrets
from restante.guard.settings import GuardSettings
from restante.networks import parse_network, shown
from restante.protocol.replies import Err

log = logging.getLogger("restante.access")

MAX_UNWRITTEN = 10_000
"""Failures, and logins, that wait for the book; more between two exchanges stay in memory."""

NEWS_SECONDS = 3600.0
"""How often the book hears that an address is still known to an account."""

_UNHEEDED = {"Mn", "Me", "Cf"}

FAILED_LOGINS = "failed logins"
"""The reason of bans that the guard decides by itself."""

REFUSED = Err("connection refused")
BANNED = Err("too many failed logins from this address: try again later", "SYS/TEMP")
CROWDED = Err("too many connections from this address: try again later", "SYS/TEMP")
FULL = Err("too many connections: try again later", "SYS/TEMP")
TOO_MANY_TRIES = Err("too many login attempts: try again later", "SYS/TEMP")
"""For a try that `Guard.ask` refuses: nothing was looked at, so it says nothing of the password,
and clients don't ask for another one."""


class Guard:
    """Safe to use from several threads; nothing here waits, but for `refresh` and `close`.

    Addresses are text, "" for a Unix socket. clock: seconds since 1970. key: 32 octets by
    which wrong passwords are hashed, the same in processes that tell each other of them.
    """

    def __init__(
        self,
        settings: GuardSettings | None = None,
        book: BanStore | None = None,
        clock: Callable[[], float] = time.time,
        *,
        key: bytes | None = None,
    ) -> None:
        self.settings = settings or GuardSettings()
        self._book = book
        self._book_works = True
        self._news = News()
        self._word: Word | None = None
        self._clock = clock
        self._lock = Lock()
        peers = Peers(self.settings)
        self._find, self._stranger = peers.find, peers.stranger
        rules = Rules(self.settings)
        self._known = KnownAddresses()
        self._tries = Tries(rules, self._known, self.settings.delay_max)
        self._places = Places(self.settings)
        self._bans = Bans()
        self._wrong = WrongSecrets(key)

    # Connections

    def admit(self, address: str) -> Err | None:
        """Count a new connection in, or say why not; one that was refused doesn't `leave`."""
        peer = self._stranger(address)
        if peer is None:
            return None
        if not peer.welcome:
            return REFUSED
        with self._lock:
            ban = self._bans.of(peer.address, self._clock())
            if ban is not None:
                return BANNED if ban.reason == FAILED_LOGINS else REFUSED
            if self._places.full and not (peer.shared or self._known.accounts_at(peer.key)):
                return FULL
            if self._places.crowded(peer):
                return CROWDED
            self._places.enter(peer)
        return None

    @property
    def is_filling(self) -> bool:
        """Whether strangers have taken more than half of the places that they have."""
        return self._places.filling

    def logged_in(self, address: str) -> None:
        """A connection that was admitted is no stranger's any more."""
        if self._stranger(address) is not None:
            with self._lock:
                self._places.logged_in()

    def leave(self, address: str, *, logged_in: bool) -> None:
        """A connection that was admitted has ended; `logged_in` if that was told before."""
        peer = self._stranger(address)
        if peer is not None:
            with self._lock:
                self._places.leave(peer, logged_in=logged_in)

    def enter_account(self, name: str, address: str) -> bool:
        """Count a connection that logs in to an account; False if there are too many already.

        One that got False doesn't `leave_account`.
        """
        exempt = self._stranger(address) is None
        with self._lock:
            return self._places.enter_account(name, exempt=exempt)

    def leave_account(self, name: str) -> None:
        """A connection that entered an account has ended."""
        with self._lock:
            self._places.leave_account(name)

    # Logins

    def is_open(self, address: str, name: str) -> bool:
        """Whether `ask` would say 0.0 now."""
        peer = self._stranger(address)
        if peer is None:
            return True
        with self._lock:
            now = self._clock()
            if self._is_closed(peer, now):
                return False
            return self._tries.start(peer, _key(name), now) <= now

    def ask(self, address: str, name: str) -> float | None:
        """Seconds that a login has to wait before it is looked at; None: it isn't looked at.

        name: as the peer gave it; "" if it gave none. Unless the answer is None, exactly one of
        `failed`, `succeeded` and `undecided` must follow, with the same address and name;
        `failed` too when the peer leaves meanwhile: else it could stand in others' way for
        nothing.
        """
        peer = self._stranger(address)
        if peer is None:
            return 0.0
        account = _key(name)
        with self._lock:
            now = self._clock()
            if self._is_closed(peer, now):
                return None
            start = self._tries.start(peer, account, now)
            if start - now > self.settings.delay_max:
                return None
            self._tries.enter(peer, account, now, start)
            return start - now

    def failed(self, address: str, name: str, secret: bytes | None) -> None:
        """A login was wrong. secret: what was tried, if it is known; only a keyed hash is kept."""
        peer = self._stranger(address)
        if peer is None:
            return
        account = _key(name)
        ban: Ban | None = None
        with self._lock:
            now = self._clock()
            self._tries.end(peer, account, now)
            if self._is_new(peer, account, secret):
                ban = self._count(peer, Failure(peer.key, account, now))
        if ban is not None and ban.until is not None:
            seconds = round(ban.until - ban.since)
            log.warning("banned: network=%s seconds=%d times=%d", ban.network, seconds, ban.times)

    def succeeded(self, address: str, name: str) -> None:
        """A login was right: the address is known to the account from now on."""
        peer = self._stranger(address)
        if peer is not None:
            with self._lock:
                self._tries.end(peer, _key(name), self._clock())
            self.recognise(address, name)

    def recognise(self, address: str, name: str) -> None:
        """The same for a login that was looked at in place, while the guard `is_open`."""
        peer = self._stranger(address)
        account = _key(name)
        if peer is not None and account and not peer.shared:
            with self._lock:
                self._remember(peer.key, account, self._clock())

    def undecided(self, address: str, name: str) -> None:
        """Whether a login is right couldn't be told: the accounts can't be asked."""
        peer = self._stranger(address)
        if peer is not None:
            with self._lock:
                self._tries.end(peer, _key(name), self._clock())

    # Bans

    def ban(self, network: str, seconds: float | None = None, reason: str = "") -> Ban:
        """Turn a network or address away from now on; None: for good. Raises ValueError."""
        name = shown(parse_network(network))
        with self._lock:
            now = self._clock()
            ban = Ban(name, now, None if seconds is None else now + seconds, reason)
            self._set_ban(ban)
        return ban

    def unban(self, network: str) -> bool:
        """Take a ban back, and forget the failures that led to it. False if there is none.

        Raises ValueError.
        """
        name = shown(parse_network(network))
        with self._lock:
            now = self._clock()
            found = self._bans.get(name)
            if found is None or not found.in_force(now):
                return False
            self._set_ban(Ban(name, now, now))
        return True

    def bans(self) -> list[Ban]:
        """The bans that are in force."""
        with self._lock:
            return self._bans.in_force(self._clock())

    def throttled(self) -> list[Throttled]:
        """Addresses and accounts that have used up their free failures."""
        with self._lock:
            return self._tries.throttled(self._clock())

    # The book

    def refresh(self) -> None:
        """Forget what is over, and exchange with the book; called about once a second, from a
        thread that may wait, and once before the server listens. A book that can't be used is
        logged, and the guard goes on without.
        """
        try:
            self.exchange()
        except BanStoreError as error:
            if self._book_works:
                log.error("the guard goes on without its book: %s", error)
            self._book_works = False
        else:
            if not self._book_works:
                log.info("the guard has its book again")
            self._book_works = True

    def exchange(self) -> None:
        """As `refresh`, but raises BanStoreError."""
        with self._lock:
            now = self._clock()
            old = self._old(now)
            self._tries.prune(now)
            self._bans.prune(old.bans)
            self._known.prune(old.known)
            news, self._news = self._news, News()
        if self._book is None:
            return
        try:
            heard = self._book.exchange(news, old)
        except BanStoreError:
            with self._lock:
                self._put_back(news)
            raise
        with self._lock:
            self._take(heard, old)

    def close(self) -> None:
        """Write what is left, and close the book."""
        self.refresh()
        if self._book is not None:
            self._book.close()

    def _old(self, now: float) -> Old:
        """What is of no use any more. Bans that are over are, for a while: the next one will be
        longer, and other processes must hear when one was taken back."""
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
        for ban in news.bans.values():
            if ban.until is None or ban.until >= old.bans:
                self._keep_ban(ban)
        for (address, account), at in news.known.items():
            if at >= old.known:
                self._known.keep(address, account, at)
        for failure in news.failures:
            if failure.at >= old.failures:
                self._hear(failure)

    def _hear(self, failure: Failure) -> None:
        """Count another process's failure. It bans nobody: that is the other one's to do."""
        peer = self._find(failure.address.partition("/")[0])
        ban = self._bans.get(peer.key)
        if ban is None or failure.at > ban.since:  # else it has been atoned for
            self._tries.count_address(peer, failure.at)
        self._tries.count_account(failure.account, failure.at)

    # Other processes of this server

    def share(self) -> None:
        """Note from now on what other processes of this server are to be told, for `tell`."""
        with self._lock:
            self._word = Word()
            self._places.share()
            self._tries.share()

    def tell(self) -> tuple[Word, dict[str, float]]:
        """What is new here since the last time, and the numbers here that have changed."""
        with self._lock:
            assert self._word is not None
            word, self._word = self._word, Word()
            return word, self._places.changes() | self._tries.changes()

    def hear(self, word: Word) -> None:
        """Take in what another process has told."""
        bans = {fields[0]: Ban(*fields) for fields in word.bans}
        known = {(address, account): at for address, account, at in word.known}
        failures = [Failure(*fields) for fields in word.failures]
        with self._lock:
            self._take(News(bans, known, failures), self._old(self._clock()))
            for digest in word.wrong:
                self._wrong.keep(bytes.fromhex(digest))

    def hear_numbers(self, elsewhere: Mapping[str, Numbers]) -> None:
        """Take in the numbers elsewhere, by their labels, as far as they have changed."""
        with self._lock:
            self._places.hear(elsewhere)
            self._tries.hear(elsewhere)

    # Within the lock

    def _is_new(self, peer: Peer, account: str, secret: bytes | None) -> bool:
        """Whether a failure counts: the same wrong password counts once."""
        if secret is None:
            return True
        digest = self._wrong.add(peer.key, account, secret)
        if digest is not None and self._word is not None:
            self._word.add_wrong(digest)
        return digest is not None

    def _is_closed(self, peer: Peer, now: float) -> bool:
        """Whether a peer that is connected already, by whatever protocol, may not log in."""
        return not peer.welcome or self._bans.of(peer.address, now) is not None

    def _count(self, peer: Peer, failure: Failure) -> Ban | None:
        """Count a failure of our own; the ban that it leads to."""
        if self._book is not None and len(self._news.failures) < MAX_UNWRITTEN:
            self._news.failures.append(failure)
        if self._word is not None:
            self._word.add_failure(failure)
        self._tries.count_account(failure.account, failure.at)
        reached = self._tries.count_address(peer, failure.at)
        if not reached or not self.settings.ban_seconds:
            return None
        if self._bans.of(peer.address, failure.at) is not None:
            return None
        before = self._bans.get(peer.key)
        times = 1 + (before.times if before else 0)
        seconds = min(self.settings.ban_max, self.settings.ban_seconds * 2.0 ** min(times - 1, 40))
        ban = Ban(peer.key, failure.at, failure.at + seconds, FAILED_LOGINS, times)
        self._set_ban(ban)
        return ban

    def _set_ban(self, ban: Ban) -> None:
        self._keep_ban(ban)
        if self._book is not None:
            self._news.bans[ban.network] = ban
        if self._word is not None:
            self._word.add_ban(ban)

    def _keep_ban(self, ban: Ban) -> None:
        """From a ban on, the failures before it count no more."""
        if self._bans.keep(ban):
            self._tries.forgive(ban.network)

    def _remember(self, key: str, account: str, now: float) -> None:
        before = self._known.since(key, account)
        if before is not None and 0 <= now - before < NEWS_SECONDS:
            return
        self._known.keep(key, account, now)
        if self._book is not None and len(self._news.known) < MAX_UNWRITTEN:
            self._news.known[key, account] = now
        if self._word is not None:
            self._word.add_known(key, account, now)


def _key(name: str) -> str:
    """The name as it is counted: the same for those that some store may take for the same."""
    return _folded(name[:MAX_NAME])


@lru_cache(4096)
def _folded(name: str) -> str:
    # Directories and databases may heed neither accents nor blanks, nor which form a letter has.
    letters = normalize("NFKD", normalize("NFKD", name).casefold())
    kept = "".join(c for c in letters if not c.isspace() and category(c) not in _UNHEEDED)
    key = kept or name
    return key if key.isascii() else key.encode("utf-8", "backslashreplace").decode()
