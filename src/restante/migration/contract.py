"""Where mail is moved from: what a source must offer.

A source is only read. It shows the maildrop of one account as a POP3 client would see it: the
unique-ids, the octets, the order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType

from restante.calls import Caller
from restante.protocol.listing import MessageNumber
from restante.stores.contract import LeaseLost, Maildrop, StoreError

NONE: Mapping[str, str] = MappingProxyType({})

DEFAULT_MAX_OCTETS = 1024 * 1024 * 1024
"""Octets of the largest message that is moved: far more than mail has, and an end for a server
that never stops sending."""

MAX_MESSAGES = 2_000_000
"""Messages that a maildrop may have at its source."""


class SourceLost(StoreError):
    """The source can't be read any more; opening the maildrop again may help."""


class SourceMaildrop(Maildrop):
    """One account's maildrop at its source.

    listing: as the destination shall show it. mapped: what RFC 1939 §7 doesn't allow as a
        unique-id, or what the source shows for two messages, by the unique-id of the listing
        that stands for it. A client downloads those messages once more. slack: so many octets
        more than it lists RETR may send: a last line end that the message lacks. waiting: the
        unique-ids of messages that the source's server hasn't seen yet. It will give them others
        if it goes on, so they are moved by the last run only, when it is stopped.
    """

    slack: int = 0
    waiting: Set[str] = frozenset()
    mapped: Mapping[str, str] = NONE

    def commit(self, numbers: Sequence[MessageNumber]) -> None:
        """Nothing is ever removed from a source. Raises LeaseLost."""
        raise LeaseLost("a source of mail is only read")


class Source(ABC):
    """Where mail is moved from.

    name: what it is called in reports; without a password.

    `call` calls a plain function on a thread and an async one in place: what may wait for a
    disk or a server goes through it.
    """

    name: str = ""

    @abstractmethod
    async def open(self, account: str, call: Caller) -> SourceMaildrop:
        """The account's maildrop as it is now. Its plain methods are called on threads.

        Raises MaildropInUse while a session has it, StoreError otherwise.
        """

    async def accounts(self) -> Sequence[str] | None:
        """The names of all accounts; None where the source can't tell. Raises StoreError."""
        return None
