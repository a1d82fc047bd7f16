"""What the guard says of one connection: whether it may come in, log in, and stay.

A connection calls, in this order: `arrive`; for each attempt to log in `ask`, and then one of
`failed`, `undecided` and `proven`; after the right one `enter`, and `settled` when the maildrop
is open; and `leave` at its end. Most connections come from addresses with nothing counted
against them, so that way is kept short.
"""

from __future__ import annotations

import logging
from math import inf

from restante.accounts.names import MAX_NAME
from restante.guard.guard import FAILED_LOGINS, KNOWN_SECONDS, Guard, account_key
from restante.guard.login_delay import LoginDelay
from restante.protocol.replies import Err

log = logging.getLogger("restante.access")

REFUSED = Err("connection refused")
BANNED = Err("too many failed logins from this address: try again later", "SYS/TEMP")
CROWDED = Err("too many connections from this address: try again later", "SYS/TEMP")
FULL = Err("too many connections: try again later", "SYS/TEMP")
TOO_MANY_TRIES = Err("too many login attempts: try again later", "SYS/TEMP")
"""For an attempt that `ask` refuses. Nothing was checked, so it says nothing of the password,
and clients don't ask for another one."""


def too_soon(seconds: float) -> Err:
    """For a login that comes too soon after the last one, by so many seconds."""
    values = {"seconds": max(1, round(seconds))}
    return Err("log in again in {seconds} seconds", "LOGIN-DELAY", values)


class Admission:
    """One connection from `address`, "" for a Unix socket. All its methods are quick.

    login_delay: how soon an account may log in again; None: at any time.
    """

    __slots__ = (
        "_account",
        "_admitted",
        "_attempt",
        "_bans_version",
        "_guard",
        "_key",
        "_login_delay",
        "_peer",
        "_undisturbed",
        "address",
    )

    _key: str  # by which the attempt's account is counted
    _undisturbed: bool  # nothing was counted against the attempt when it began

    def __init__(self, guard: Guard, login_delay: LoginDelay | None, address: str) -> None:
        self.address = address
        self._guard = guard
        self._login_delay = login_delay
        self._peer = guard.stranger(address)  # None: nothing is counted
        self._bans_version = -1  # of the bans, when the peer was last found not to be banned
        self._admitted = False
        self._attempt: str | None = None  # the name of the attempt that isn't decided
        self._account: str | None = None  # the account that it is a session of

    # The connection

    def arrive(self) -> Err | None:
        """Count the connection in, or say why it is refused. Harmless when repeated."""
        peer = self._peer
        if peer is None or self._admitted:
            return None
        if not peer.welcome:
            return REFUSED
        guard = self._guard
        with guard.lock:
            bans, limits = guard.bans_by_network, guard.limits
            if bans.version and (ban := guard.is_banned(peer)) is not None:
                return BANNED if ban.reason == FAILED_LOGINS else REFUSED
            self._bans_version = bans.version
            if (
                limits.before_login >= limits.most_before_login
                and not peer.shared
                and not guard.known.accounts_at(peer.key)
            ):
                return FULL
            for at, (key, limit) in enumerate(peer.limits):
                if not limits.addresses.add(key, limit):
                    for counted in peer.keys[:at]:
                        limits.addresses.remove(counted)
                    return CROWDED
            limits.before_login += 1
            self._admitted = True
        return None

    def leave(self) -> None:
        """The connection has ended. Harmless when repeated."""
        if self._attempt is not None:
            self.failed(None)
        limits, peer, account = self._guard.limits, self._peer, self._account
        with self._guard.lock:
            if account is not None:
                self._account = None
                limits.sessions.remove(account)
            elif self._admitted:
                limits.before_login -= 1
            if self._admitted and peer is not None:
                self._admitted = False
                for key in peer.keys:
                    limits.addresses.remove(key)

    # Attempts to log in

    def ask(self, name: str) -> float | None:
        """An attempt to log in begins: seconds until it may be checked; None: it isn't checked.

        name: as the client gave it, "" if it gave none. Asked again for the same name, the
        attempt goes on: SCRAM looks at the account before there is a claim. An attempt that was
        broken off for another one has failed.
        """
        if self._attempt is not None:
            if self._attempt == name:
                return 0.0
            self.failed(None)
        peer, guard = self._peer, self._guard
        if peer is None:
            return 0.0
        key = self._key = account_key(name[:MAX_NAME])
        with guard.lock:
            unbanned = self._bans_version == guard.bans_by_network.version
            self._undisturbed = unbanned and guard.failures.begin_first(peer, key)
            wait = 0.0 if self._undisturbed else guard.begin_attempt(peer, key)
        if wait is not None:
            self._attempt = name
        return wait

    def failed(self, secret: bytes | None) -> None:
        """The attempt was wrong. secret: what was tried; None: that isn't known.

        Also for a client that leaves before its attempt is checked.
        """
        if self._attempt is not None and self._peer is not None:
            self._attempt = None
            with self._guard.lock:
                ban = self._guard.count_failure(self._peer, self._key, secret)
            if ban is not None and ban.until is not None:
                seconds = round(ban.until - ban.since)
                values = ban.network, seconds, ban.times
                log.warning("banned: network=%s seconds=%d times=%d", *values)

    def undecided(self) -> None:
        """Whether the attempt was right can't be told: the accounts can't be asked."""
        if self._attempt is not None and self._peer is not None:
            self._attempt = None
            with self._guard.lock:
                self._guard.failures.end(self._peer, self._key, self._guard.clock())

    def proven(self, name: str) -> None:
        """The login with `name` was right: the address is known to the account from now on.

        name: "" for ANONYMOUS.
        """
        peer, guard = self._peer, self._guard
        if peer is None:
            return
        with guard.lock:
            now = guard.clock()
            if self._attempt is not None:
                self._attempt = None
                guard.failures.end(peer, self._key, now)
            if peer.shared or not name:
                return  # it may be anybody's, or nobody has become known
            key = account_key(name[:MAX_NAME])
            before = guard.known.logins.get((peer.key, key))
            if before is None or not 0 <= now - before < KNOWN_SECONDS:
                guard.remember_login(peer, key, now)

    def is_known(self, name: str) -> bool:
        """Whether the address has logged in to the account before, or is trusted."""
        peer = self._peer
        if peer is None:
            return True
        return (peer.key, account_key(name[:MAX_NAME])) in self._guard.known.logins

    def goes_first(self, name: str, has_succeeded: bool) -> bool:
        """Whether the attempt's password check goes ahead of others'; see `Hashing.run`.

        It does from an address that is known to the account, or trusted. It also does when the
        account `has_succeeded` lately, unless failures or other attempts are counted for it or
        for the address: else guesses at such names would keep the owners of others waiting.
        """
        return self.is_known(name) or (has_succeeded and self._undisturbed)

    # The session

    def enter(self, account_name: str) -> Err | None:
        """Count the connection as a session of an account, or say why it may not be one."""
        delay = self._login_delay
        if delay is not None and delay.seconds and (wait := delay.wait_for(account_name)) > 0:
            return too_soon(wait)
        guard = self._guard
        most = guard.settings.max_sessions_per_account
        with guard.lock:
            limits = guard.limits
            if limits.sessions.add(account_name, inf if self._peer is None else most):
                self._account = account_name
                if self._admitted:
                    limits.before_login -= 1
                return None
        return Err(
            "more than {limit} sessions of this account at once", "SYS/TEMP", {"limit": most}
        )

    def has_room(self, account_name: str) -> bool:
        """Whether `enter` would let the connection be a session of the account now."""
        delay = self._login_delay
        if delay is not None and delay.seconds and delay.wait_for(account_name) > 0:
            return False
        guard = self._guard
        with guard.lock:
            sessions = guard.limits.sessions.count(account_name)
        return self._peer is None or sessions < guard.settings.max_sessions_per_account

    def step_back(self) -> None:
        """Undo `enter`. Harmless when repeated."""
        if self._account is not None:
            name, self._account = self._account, None
            limits = self._guard.limits
            with self._guard.lock:
                limits.sessions.remove(name)
                if self._admitted:
                    limits.before_login += 1

    def settled(self) -> None:
        """The session has begun: its login counts for LOGIN-DELAY."""
        delay = self._login_delay
        if delay is not None and delay.seconds and self._account is not None:
            delay.count(self._account)
