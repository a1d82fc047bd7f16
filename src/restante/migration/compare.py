"""Whether a client that has its mail from the source would download any of it again."""

from __future__ import annotations

from typing import Protocol

from restante.calls import Caller
from restante.migration.contract import SourceLost, SourceMaildrop
from restante.migration.reading import wire_digest
from restante.migration.report import AccountReport, Trouble
from restante.protocol.listing import MessageNumber
from restante.stores.contract import Maildrop, MessageGone, StoreError


class Advancing(Protocol):
    """Is told of each message that was compared."""

    def advanced(self, account: str, octets: int) -> None: ...


async def compare(
    report: AccountReport,
    source: SourceMaildrop,
    destination: Maildrop,
    *,
    call: Caller,
    bodies: bool,
    max_octets: int,
    watcher: Advancing | None = None,
) -> None:
    """Compare what both show, and put into the report what differs.

    Each message of the source must be at the destination with its unique-id, its octets and its
    place among the others. bodies: with its octets one by one, too, which means that all are
    read at both ends.

    A message that only the destination has is counted (`more`). It differs, since a client
    downloads it, unless its body was compared and is none of the source's: new mail.
    """
    there = destination.listing
    places = {has: at for at, has in enumerate(there.unique_ids)}
    mine = _Reader(source, call, max_octets, source.slack)
    other = _Reader(destination, call, max_octets)
    digests: set[bytes] = set()
    latest = -1
    for at, unique_id in enumerate(source.listing.unique_ids):
        place = places.pop(unique_id, None)
        try:
            reason = await _difference(mine, at, other, place, digests if bodies else None)
        except MessageGone:
            report.vanished += 1
            continue
        if place is not None:
            if not reason and place < latest:
                reason = "it comes after another that it preceded at the source"
            latest = max(place, latest)
        if reason:
            report.differs.append(Trouble(unique_id, reason))
        if watcher is not None:
            watcher.advanced(report.account, source.listing.octets[at])
    report.more = len(places)
    for unique_id, at in places.items():
        reason = "only the destination has it"
        if bodies:
            _, digest, reason = await other.read(at)
            if digest in digests:
                reason = "the source has it with another unique-id"
        if reason:
            report.differs.append(Trouble(unique_id, reason))


async def _difference(
    source: _Reader, at: int, destination: _Reader, place: int | None, digests: set[bytes] | None
) -> str:
    """How a message differs at both ends; nothing if it doesn't.

    digests: where the digest of the source's message is put; None: bodies aren't compared.
    Raises MessageGone when the message isn't at the source any more.
    """
    octets, digest, reason = source.listed_octets(at), b"", ""
    if digests is not None:
        octets, digest, reason = await source.read(at)
        digests.add(digest)
    if place is None:
        return "it isn't at the destination"
    there = destination.listed_octets(place)
    slack = source.slack if digests is None else 0
    if not reason and not octets <= there <= octets + slack:
        return f"it has {octets} octets at the source and {there} at the destination"
    if not reason and digests is not None:
        try:
            _, other, reason = await destination.read(place)
        except MessageGone:
            return "it has just been removed from the destination"
        if not reason and other != digest:
            return "its octets are others than at the source"
    return reason


class _Reader:
    """Reads the messages of one end."""

    def __init__(self, maildrop: Maildrop, call: Caller, most: int, slack: int = 0) -> None:
        self._maildrop = maildrop
        self.slack = slack
        self._call = call
        self._most = most

    def listed_octets(self, at: int) -> int:
        """The octets of a message, as they are listed."""
        return self._maildrop.listing.octets[at]

    async def read(self, at: int) -> tuple[int, bytes, str]:
        """The octets of a message and their digest; or why it can't be read.

        Raises MessageGone, and SourceLost when no other can be read either.
        """
        number = MessageNumber(at + 1)
        try:
            return *(await wire_digest(self._maildrop, number, self._call, self._most)), ""
        except (MessageGone, SourceLost):
            raise
        except (StoreError, OSError) as error:
            return 0, b"", f"it can't be read: {error}"
