"""What the guards of one server's worker processes tell each other.

They learn it from each other, within a tenth of a second, and not from the ban store: that
keeps what must survive a restart, and brings what `restante bans` and other servers write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from restante.guard.ban_store import Ban, Failure

MAX_ENTRIES = 10_000
"""Of each kind, between two exchanges. What is more than that isn't told."""

Numbers: TypeAlias = Mapping[str, float]
"""By names that begin with what is counted, such as `session:joe`."""


@dataclass(slots=True)
class Gossip:
    """What has happened since the last exchange: nothing but text and numbers, to be sent.

    failures, bans: the fields of `Failure` and `Ban`. known: address, account and time of a
    login. wrong: wrong passwords, as hashes with the key that all processes have.
    """

    failures: list[tuple[str, str, float]] = field(default_factory=list)
    bans: list[tuple[str, float, float | None, str, int]] = field(default_factory=list)
    known: list[tuple[str, str, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.failures or self.bans or self.known or self.wrong)

    def add_failure(self, failure: Failure) -> None:
        """Add a failed login."""
        if len(self.failures) < MAX_ENTRIES:
            self.failures.append((failure.address, failure.account, failure.at))

    def add_ban(self, ban: Ban) -> None:
        """Add a ban."""
        if len(self.bans) < MAX_ENTRIES:
            self.bans.append((ban.network, ban.since, ban.until, ban.reason, ban.times))

    def add_known(self, address: str, account: str, at: float) -> None:
        """Add a login to an account from an address."""
        if len(self.known) < MAX_ENTRIES:
            self.known.append((address, account, at))

    def add_wrong(self, digest: bytes) -> None:
        """Add a wrong password."""
        if len(self.wrong) < MAX_ENTRIES:
            self.wrong.append(digest.hex())


def labelled(label: str, numbers: Numbers) -> dict[str, float]:
    """The numbers, their names with `label:` before them."""
    return {f"{label}:{name}": number for name, number in numbers.items()}


def by_label(numbers: Numbers) -> dict[str, dict[str, float]]:
    """The numbers that `labelled` has put together, by label."""
    found: dict[str, dict[str, float]] = {}
    for name, number in numbers.items():
        label, _, rest = name.partition(":")
        found.setdefault(label, {})[rest] = number
    return found
