"""What the guard keeps over restarts, shared by the processes of one server, by its operator, and
by other servers.

The rule of every ban store: rows are numbered as they are written, and never changed. What
replaces a row is written as a new one, so that each reader asks for the numbers it hasn't seen.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TypeAlias

KEPT = 100_000
"""Rows of each kind that are kept and read, the newest."""


@dataclass(frozen=True, slots=True)
class Ban:
    """A network that is turned away.

    network: or a single address. since, until: seconds since 1970; until None: for good.
    times: how often in a row the guard banned it by itself; 0: an operator did.
    """

    network: str
    since: float
    until: float | None
    reason: str = ""
    times: int = 0

    def in_force(self, now: float) -> bool:
        """Whether it holds at this time."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed login. address: as the guard counts it. at: seconds since 1970."""

    address: str
    account: str
    at: float


Known: TypeAlias = dict[tuple[str, str], float]
"""When an address (first) last logged in to an account (second)."""


@dataclass(slots=True)
class News:
    """What has happened since the last time."""

    bans: dict[str, Ban] = field(default_factory=dict)
    known: Known = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Old:
    """Bans that ended, logins and failures before these times are of no use any more."""

    bans: float
    known: float
    failures: float


def new_writer() -> int:
    """A number that no other writer has."""
    return int.from_bytes(os.urandom(7), "big")


class BanStoreError(Exception):
    """The ban store can't be read or written; the text says why."""


class BanStore(ABC):
    """Keeps bans, failures and known addresses. Safe to use from several threads.

    Its methods wait, so they are called from threads that may. Each opens again what was closed.
    """

    @abstractmethod
    def exchange(self, written: News, old: Old) -> News:
        """Write what is new here, and get what others have written since the last time.

        Bans and known addresses come back to their writer too, failures don't. The first time
        all that is kept comes, failures included. What is old is removed with the next writing.

        Raises BanStoreError when nothing could be exchanged: the same is to be written again.
        """

    @abstractmethod
    def close(self) -> None:
        """Close what is open. The next use opens it again."""
