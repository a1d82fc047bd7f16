"""How many connections there are: of an address, before login, and at an account."""

from __future__ import annotations

from collections.abc import Mapping

from restante.guard.addresses import Peer
from restante.guard.counters import Counts
from restante.guard.gossip import Numbers, labelled
from restante.guard.settings import GuardSettings


class Places:
    """Counts connections. Who is counted in has to be counted out."""

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self._connections = Counts()
        self._before_login = 0
        self._before_login_elsewhere = 0
        self._told = 0  # of `_before_login`
        self._sessions = Counts()

    def __len__(self) -> int:
        return len(self._connections) + len(self._sessions)

    @property
    def full(self) -> bool:
        """Whether as many as may be have not yet logged in."""
        return self._strangers >= self._settings.max_before_login

    @property
    def filling(self) -> bool:
        """Whether more than half of those places are taken."""
        return 2 * self._strangers > self._settings.max_before_login

    @property
    def _strangers(self) -> int:
        return self._before_login + self._before_login_elsewhere

    def crowded(self, peer: Peer) -> bool:
        """Whether there are as many from that address as may be."""
        for key, most in peer.caps:  # noqa: SIM110 - the plain loop, at every connection
            if self._connections.of(key) >= most:
                return True
        return False

    def enter(self, peer: Peer) -> None:
        """Count one in, before login."""
        for key, _ in peer.caps:
            self._connections.add(key)
        self._before_login += 1

    def logged_in(self) -> None:
        """One of those before login isn't any more."""
        self._before_login -= 1

    def leave(self, peer: Peer, *, logged_in: bool) -> None:
        """Count one out."""
        for key, _ in peer.caps:
            self._connections.take_away(key)
        if not logged_in:
            self._before_login -= 1

    def enter_account(self, name: str, *, exempt: bool) -> bool:
        """Count a session in, unless there are as many as may be."""
        most = self._settings.max_sessions_per_account
        if not exempt and self._sessions.of(name) >= most:
            return False
        self._sessions.add(name)
        return True

    def leave_account(self, name: str) -> None:
        """Count a session out."""
        self._sessions.take_away(name)

    # Other processes of this server

    def share(self) -> None:
        """Note from now on what changes, for `changes`."""
        self._connections.share()
        self._sessions.share()

    def changes(self) -> dict[str, float]:
        """The numbers here that have changed since the last time."""
        found = labelled("address", self._connections.changes())
        found |= labelled("session", self._sessions.changes())
        if self._before_login != self._told:
            found["stranger:"] = self._told = self._before_login
        return found

    def hear(self, elsewhere: Mapping[str, Numbers]) -> None:
        """The numbers elsewhere, by their labels, as far as they have changed."""
        self._connections.hear(elsewhere.get("address", {}))
        self._sessions.hear(elsewhere.get("session", {}))
        for number in elsewhere.get("stranger", {}).values():
            self._before_login_elsewhere = int(number)
