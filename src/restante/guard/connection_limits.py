"""How many connections there are: of an address, before login, and of an account."""

from __future__ import annotations

from collections.abc import Mapping

from restante.guard.counters import Counters
from restante.guard.gossip import Numbers, labelled
from restante.guard.settings import GuardSettings


class ConnectionLimits:
    """Counts connections. Whoever counts one in must count it out.

    addresses: connections by address and, for IPv6, by /48. sessions: logged in, by account.
    before_login: connections of this process with no proven login. most_before_login: how many
    these may be, with those of other processes taken into account.
    """

    __slots__ = ("_max", "_told", "addresses", "before_login", "most_before_login", "sessions")

    def __init__(self, settings: GuardSettings) -> None:
        self.addresses = Counters()
        self.sessions = Counters()
        self.before_login = 0
        self.most_before_login = self._max = settings.max_before_login
        self._told = 0  # of `before_login`

    def __len__(self) -> int:
        return len(self.addresses) + len(self.sessions)

    @property
    def filling(self) -> bool:
        """Whether connections before login, of all processes, are more than half of their limit."""
        return self.before_login > self.most_before_login - self._max / 2

    # Other processes of this server

    def share(self) -> None:
        """From now on, keep what changes for `changes`."""
        self.addresses.share()
        self.sessions.share()

    def changes(self) -> dict[str, float]:
        """The numbers of this process that have changed since the last call."""
        found = labelled("address", self.addresses.changes())
        found |= labelled("session", self.sessions.changes())
        if self.before_login != self._told:
            found["stranger:"] = self._told = self.before_login
        return found

    def receive(self, elsewhere: Mapping[str, Numbers]) -> None:
        """The numbers of other processes that have changed, by label."""
        self.addresses.receive(elsewhere.get("address", {}))
        self.sessions.receive(elsewhere.get("session", {}))
        for number in elsewhere.get("stranger", {}).values():
            self.most_before_login = self._max - int(number)
