"""What the guards of one server's processes tell each other, sooner than the book does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from restante.guard.ban_store import Ban, Failure

MAX_WORDS = 10_000
"""Of each kind, between two times of telling; beyond, only the book carries them."""

Numbers: TypeAlias = Mapping[str, float]
"""By names that begin with what they are of, such as `session:joe`."""


@dataclass(slots=True)
class Word:
    """What has happened since the last time. Nothing but text and numbers, to be sent.

    failures, bans, known: the fields of `Failure` and `Ban`; address, account and time.
    wrong: wrong passwords, hashed with the key that all have.
    """

    failures: list[tuple[str, str, float]] = field(default_factory=list)
    bans: list[tuple[str, float, float | None, str, int]] = field(default_factory=list)
    known: list[tuple[str, str, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.failures or self.bans or self.known or self.wrong)

    def add_failure(self, failure: Failure) -> None:
        """Tell of a failed login."""
        if len(self.failures) < MAX_WORDS:
            self.failures.append((failure.address, failure.account, failure.at))

    def add_ban(self, ban: Ban) -> None:
        """Tell of a ban."""
        if len(self.bans) < MAX_WORDS:
            self.bans.append((ban.network, ban.since, ban.until, ban.reason, ban.times))

    def add_known(self, address: str, account: str, at: float) -> None:
        """Tell who has logged in from where."""
        if len(self.known) < MAX_WORDS:
            self.known.append((address, account, at))

    def add_wrong(self, digest: bytes) -> None:
        """Tell of a wrong password."""
        if len(self.wrong) < MAX_WORDS:
            self.wrong.append(digest.hex())


def labelled(label: str, numbers: Numbers) -> dict[str, float]:
    """The numbers, their names with `label:` before them."""
    return {f"{label}:{name}": number for name, number in numbers.items()}


def by_label(numbers: Numbers) -> dict[str, dict[str, float]]:
    """What `labelled` has put together, by label."""
    found: dict[str, dict[str, float]] = {}
    for name, number in numbers.items():
        label, _, rest = name.partition(":")
        found.setdefault(label, {})[rest] = number
    return found
