"""A listing: what one session sees of a maildrop, in message-number order.

It is made when the maildrop is opened and never changes, so message-numbers cannot
shift under a client (RFC 1939 §8: numbers are fixed for the session). What the
session marks as deleted is kept beside it, by the session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NewType

MessageNumber = NewType("MessageNumber", int)
"""1-based position in a listing. Never 0."""

UniqueId = NewType("UniqueId", str)
"""1 to 70 characters of 0x21 to 0x7E, unique in its maildrop for ever (RFC 1939 §7)."""

MAX_UNIQUE_ID = 70

NONE: Mapping[int, int] = MappingProxyType({})

_UNIQUE_ID = re.compile(rf"[!-~]{{1,{MAX_UNIQUE_ID}}}")


def valid_unique_id(text: str) -> bool:
    """Whether RFC 1939 §7 lets `text` be a unique-id."""
    return _UNIQUE_ID.fullmatch(text) is not None


def as_unique_id(text: str) -> UniqueId:
    """`text` itself if it may be a unique-id, else a stable digest of it that may."""
    if valid_unique_id(text):
        return UniqueId(text)
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return UniqueId("h" + digest[:48])


def distinct_unique_ids(texts: Iterable[str]) -> list[UniqueId]:
    """Unique-ids for `texts`, in order; the second of two equals gets a digest of its own.

    The answer depends on nothing but the sequence, so the same duplicates are told
    apart in the same way in every session.
    """
    taken: set[str] = set()
    result = []
    for text in texts:
        unique_id = as_unique_id(text)
        copy = 1
        while unique_id in taken:
            copy += 1
            unique_id = as_unique_id(f"{text}\0{copy}")
        taken.add(unique_id)
        result.append(unique_id)
    return result


class Listing:
    """Unique-ids and octets of a maildrop's messages, in message-number order.

    unique_ids: `UniqueId`s, distinct and valid (see `distinct_unique_ids`).
    octets: sizes in octets, as RFC 1939 §11 counts them.
    ascii_octets: of the messages with UTF-8 in their header (`Facts.utf8_header`), their size
        with the header in ASCII (`Facts.ascii_octets`), by message-number.
    internationalized: the numbers of those that are internationalized messages
        (`Facts.internationalized`); None: all of them. As an attribute, their sizes, too.
    total: the sum of octets, when it is known.
    blocks: those that are ready: `scan8`, of the messages as they are; `scan`, with the
        headers of internationalized messages in ASCII; `uidl`.
    count: how many messages there are.
    """

    __slots__ = (
        "_blocks", "ascii_octets", "count", "digested", "internationalized", "octets", "total",
        "totals", "unique_ids",
    )  # fmt: skip

    def __init__(
        self,
        unique_ids: Sequence[str],
        octets: Sequence[int],
        ascii_octets: Mapping[int, int] = NONE,
        internationalized: Iterable[int] | None = None,
        *,
        total: int | None = None,
        blocks: Mapping[str, bytes] | None = None,
    ) -> None:
        self.count = len(octets)
        if len(unique_ids) != self.count:
            raise ValueError("a listing needs one size for each unique-id")
        self.unique_ids = unique_ids
        self.octets = octets
        self.ascii_octets = self.internationalized = ascii_octets
        if internationalized is not None:
            self.internationalized = {n: ascii_octets[n] for n in internationalized}
        self.total = sum(octets) if total is None else total
        self._blocks = {} if blocks is None else dict(blocks)
        self.digested = b""
        """What `digest` gave, once it was asked for; empty before."""
        self.totals: Any = None
        """STAT's reply with all messages, once it was asked for."""

    def __len__(self) -> int:
        return self.count

    # In what follows, ascii_octets are the sizes of messages that the client gets with their
    # header in ASCII: `ascii_octets`, `internationalized`, or none.

    def size(self, number: int, ascii_octets: Mapping[int, int] = NONE) -> int:
        """Octets of message `number`."""
        return ascii_octets.get(number) or self.octets[number - 1]

    def total_size(self, ascii_octets: Mapping[int, int] = NONE) -> int:
        """Octets of all messages."""
        if not ascii_octets:
            return self.total
        return self.total + sum(n - self.octets[k - 1] for k, n in ascii_octets.items())

    def scan_block(self, ascii_octets: Mapping[int, int] = NONE) -> bytes:
        """All scan listings, CRLF after each (RFC 1939 §5 LIST). Kept once made."""
        key = "scan8"
        if ascii_octets:
            key = "scan" if ascii_octets is self.internationalized else "ascii"
        block = self._blocks.get(key)
        if block is None:
            sizes = enumerate(self.octets, 1)
            lines = [f"{n} {ascii_octets.get(n) or size}\r\n" for n, size in sizes]
            block = self._blocks[key] = "".join(lines).encode("ascii")
        return block

    def unique_id_block(self) -> bytes:
        """All unique-id listings, CRLF after each (RFC 1939 §7 UIDL). Kept once made."""
        block = self._blocks.get("uidl")
        if block is None:
            lines = [f"{n} {unique_id}\r\n" for n, unique_id in enumerate(self.unique_ids, 1)]
            block = self._blocks["uidl"] = "".join(lines).encode("ascii")
        return block

    def digest(self) -> bytes:
        """16 octets that tell listings apart by their unique-ids. Kept once made."""
        if not self.digested:
            self.digested = sha256(self.unique_id_block()).digest()[:16]
        return self.digested
