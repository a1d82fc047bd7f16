"""How many connections there are: of an address, before login, and at an account."""

from __future__ import annotations

from collections import Counter

from restante.server.door.memory import take_away
from restante.server.door.peers import Peer, Rules
from restante.server.door.settings import DoorSettings


class Places:
    """Counts connections. Who is counted in has to be counted out."""

    def __init__(self, settings: DoorSettings, rules: Rules) -> None:
        self._settings = settings
        self._rules = rules
        self._connections: Counter[str] = Counter()
        self._before_login = 0
        self._sessions: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._connections) + len(self._sessions)

    @property
    def full(self) -> bool:
        """Whether as many as may be have not yet logged in."""
        return self._before_login >= self._settings.max_before_login

    @property
    def filling(self) -> bool:
        """Whether more than half of those places are taken."""
        return 2 * self._before_login > self._settings.max_before_login

    def crowded(self, peer: Peer) -> bool:
        """Whether there are as many from that address as may be."""
        return any(self._connections[key] >= most for key, most in self._rules.caps(peer))

    def enter(self, peer: Peer) -> None:
        """Count one in, before login."""
        for key, _ in self._rules.caps(peer):
            self._connections[key] += 1
        self._before_login += 1

    def logged_in(self) -> None:
        """One of those before login isn't any more."""
        self._before_login -= 1

    def leave(self, peer: Peer, *, logged_in: bool) -> None:
        """Count one out."""
        for key, _ in self._rules.caps(peer):
            take_away(self._connections, key)
        if not logged_in:
            self._before_login -= 1

    def enter_account(self, name: str, *, exempt: bool) -> bool:
        """Count a session in, unless there are as many as may be."""
        most = self._settings.max_sessions_per_account
        if not exempt and self._sessions[name] >= most:
            return False
        self._sessions[name] += 1
        return True

    def leave_account(self, name: str) -> None:
        """Count a session out."""
        take_away(self._sessions, name)
