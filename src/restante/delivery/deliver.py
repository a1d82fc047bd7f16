"""One message into the maildrops of several accounts.

The octets are stored exactly as they came, so POP3 gives back what was sent. The trace
lines that RFC 5321 §4.4 asks of a final delivery are added before them only when wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from restante.accounts.contract import Account
from restante.calls import Caller, OnThread
from restante.delivery.envelope import Envelope
from restante.delivery.observer import DeliveryObserver, tell
from restante.delivery.recipients import FULL, NEVER_FITS, Refusal
from restante.protocol.listing import UniqueId
from restante.stores.contract import Incoming, OverQuota, Store, StoreError

log = logging.getLogger(__name__)


class Recipient(NamedTuple):
    """An account, and the address under which it gets this message."""

    address: str
    account: Account


class Outcome(NamedTuple):
    """What became of one recipient's copy.

    unique_id: the message's, once it is durably in the maildrop; else None.
    kept: where the copy lies that couldn't be put into the maildrop; None if there is none.
    reason: why this copy failed, for the operator; empty when it didn't fail by itself.
    over_quota: the reason, if the maildrop has no room for it.
    """

    recipient: Recipient
    unique_id: UniqueId | None = None
    kept: Path | None = None
    reason: str = ""
    over_quota: OverQuota | None = None

    @property
    def taken(self) -> bool:
        """Whether the sender may be told that we have the message."""
        return self.unique_id is not None or self.kept is not None

    @property
    def failed(self) -> bool:
        """Whether this copy failed by itself, and not because its maildrop has no room."""
        return bool(self.reason) and self.over_quota is None


def no_room(outcomes: Sequence[Outcome]) -> Refusal | None:
    """The one reply for these copies, if a maildrop without room is why some aren't taken."""
    over = [each.over_quota for each in outcomes if not each.taken and each.over_quota is not None]
    if not over:
        return None
    # Of several recipients, others may have room: they mustn't lose the message.
    return NEVER_FITS if len(over) == len(outcomes) and all(e.never for e in over) else FULL


@dataclass(slots=True)
class _Copy:
    recipient: Recipient
    incoming: Incoming | None = None
    unique_id: UniqueId | None = None
    kept: Path | None = None
    reason: str = ""
    over_quota: OverQuota | None = None
    over: bool = False


class Delivery:
    """A message being delivered: `write` its octets, then `commit` or `abort`.

    store: where to; call: calls its functions.
    together: for SMTP, which has one reply for all recipients (RFC 5321 §4.1.1.4). False for
        LMTP, where each recipient stands alone (RFC 2033 §4.2).
    trace: whether trace lines are put before the message.
    spool: a folder for copies that can't be delivered, with `together`.
    observer: is told what became of each recipient's copy.

    Of several copies, each is written and made durable (`Incoming.prepare`) before any becomes
    visible (`Store.commit`). With `together`, a failure before the first commit leaves nobody a
    copy; the sender is told to try again, and nothing doubles. A commit that fails after another
    has succeeded can't be undone: the copy is then kept in `spool`, the operator is told by an
    error line with the recipient and the queue-id, and the sender is told that all went well,
    as trying again would double the message for the others. Without `spool`, or when it can't
    be written either, the sender is told to try again: nobody loses the message, some get it
    twice.

    Recipients that share a maildrop share one copy. The store's errors never come out of
    here. The methods are for one task, one call at a time.
    """

    def __init__(
        self,
        store: Store,
        recipients: Sequence[Recipient],
        envelope: Envelope,
        *,
        call: Caller,
        observer: DeliveryObserver | None = None,
        together: bool = False,
        trace: bool = False,
        spool: Path | None = None,
    ) -> None:
        self._store = store
        self._recipients = tuple(recipients)
        self._envelope = envelope
        self._call = call
        self._observer = observer
        self._together = together
        self._trace = trace
        self._copies: dict[str, _Copy] = {}
        for recipient in recipients:
            self._copies.setdefault(recipient.account.maildrop_name, _Copy(recipient))
        self._spool = spool if together and len(self._copies) > 1 else None
        self._local: Any = None
        self._begun = False
        self._octets = 0

    async def write(self, block: bytes) -> None:
        """Take the message's next octets."""
        if not self._begun:
            await self._begin()
        self._octets += len(block)
        for copy in self._alive():
            await self._step(copy, self._incoming(copy).write, block)
        if self._local is not None:
            await self._to_spool(self._local.write, block)

    async def commit(self) -> list[Outcome]:
        """Put the message into the maildrops, durably.

        Gives an outcome for each recipient, in their order.
        """
        if not self._begun:
            await self._begin()
        if len(self._copies) > 1:
            for copy in self._alive():
                await self._step(copy, self._incoming(copy).prepare)
        await self._commit(list(self._alive()))
        for copy in self._copies.values():
            if copy.reason and self._is_visible():
                await self._keep(copy)
        await self.abort()
        outcomes = [self._outcome(recipient) for recipient in self._recipients]
        for group in [outcomes] if self._together else [[each] for each in outcomes]:
            refusal = no_room(group)
            for outcome in group:
                self._tell(outcome, refusal)
        return outcomes

    async def abort(self) -> None:
        """Forget the message. Harmless after `commit` and when repeated."""
        for copy in self._copies.values():
            copy.over = True
            await self._forget(copy)
        local, self._local = self._local, None
        if local is not None:
            await self._call(OnThread, local.close)

    async def _commit(self, copies: Sequence[_Copy]) -> None:
        """Have the store put what is left of the copies into the maildrops."""
        if not copies:
            return
        incomings = [self._incoming(copy) for copy in copies]
        try:
            results = await self._call(self._store.commit, incomings, self._together)
            if len(results) != len(copies):
                raise TypeError(f"{type(self._store).__name__}.commit gave {results!r:.80}")
        except Exception as error:  # noqa: BLE001 - it is that of each copy
            results = [error] * len(copies)
        for copy, result in zip(copies, results, strict=True):
            copy.over = True
            if isinstance(result, str):
                copy.unique_id = UniqueId(result)
        for copy, result in zip(copies, results, strict=True):
            if isinstance(result, Exception):
                await self._failed(copy, result)

    def _alive(self) -> Iterator[_Copy]:
        """The copies that nothing has ended yet, looked at one by one."""
        return (copy for copy in self._copies.values() if not copy.over)

    def _incoming(self, copy: _Copy) -> Incoming:
        assert copy.incoming is not None
        return copy.incoming

    def _is_visible(self) -> bool:
        """Whether somebody has the message, and with it all others must have it."""
        return self._together and any(copy.unique_id for copy in self._copies.values())

    async def _begin(self) -> None:
        self._begun = True
        if self._spool is not None:
            from restante.delivery.spool import LocalCopy  # noqa: PLC0415 - seldom needed

            self._local = await self._to_spool(LocalCopy, self._spool)
        for copy in self._alive():
            copy.incoming = await self._step(copy, self._store.receive, copy.recipient.account)
            if copy.incoming is not None and self._trace:
                lines = self._envelope.trace(copy.recipient.address)
                await self._step(copy, copy.incoming.write, lines)

    async def _step(self, copy: _Copy, function: Callable[..., Any], *args: object) -> Any:
        """Call one of the store's functions. None when it failed."""
        try:
            return await self._call(function, *args)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this copy's
            await self._failed(copy, error)
            return None

    async def _failed(self, copy: _Copy, error: Exception) -> None:
        if not isinstance(error, (StoreError, OSError)):
            queue_id, account = self._envelope.queue_id, copy.recipient.account
            log.error("no delivery to %r (ref %s)", account, queue_id, exc_info=error)
        copy.reason, copy.over = str(error) or type(error).__name__, True
        copy.over_quota = error if isinstance(error, OverQuota) else None
        if copy.over_quota is None and self._observer is not None:
            tell(self._observer.store_failed, self._envelope, error)
        if self._together and not self._is_visible():
            await self.abort()
        await self._forget(copy)

    async def _forget(self, copy: _Copy) -> None:
        incoming, copy.incoming = copy.incoming, None
        if incoming is None or copy.unique_id is not None:
            return
        try:
            await self._call(incoming.abort)
        except Exception:
            log.exception("can't clear away what was written for %r", copy.recipient.account)

    async def _to_spool(self, function: Callable[..., Any], *args: object) -> Any:
        """Do something with the local copy, which is given up when that fails."""
        try:
            return await self._call(OnThread, function, *args)
        except Exception as error:  # noqa: BLE001 - whatever it is, the message goes on
            log.error("can't keep a copy in the folder %s: %s", self._spool, error)
            if self._local is not None:
                self._local.close()
                self._local = None
            return None

    async def _keep(self, copy: _Copy) -> None:
        if self._local is None:
            return
        queue_id, address = self._envelope.queue_id, copy.recipient.address
        number = list(self._copies).index(copy.recipient.account.maildrop_name)
        lines = self._envelope.trace(address) if self._trace else b""
        name = f"{queue_id}-{number}.eml"
        copy.kept = await self._to_spool(self._local.keep, name, lines)
        if copy.kept is not None:
            log.error(
                "not delivered, kept for you (queue-id %s, recipient %r): "
                "restante deliver --to %r < %s",
                *(queue_id, address, copy.recipient.account.name, copy.kept),
            )

    def _outcome(self, recipient: Recipient) -> Outcome:
        copy = self._copies[recipient.account.maildrop_name]
        return Outcome(recipient, copy.unique_id, copy.kept, copy.reason, copy.over_quota)

    def _tell(self, outcome: Outcome, refusal: Refusal | None) -> None:
        """refusal: what the sender is told, if some maildrop has no room."""
        observer, address = self._observer, outcome.recipient.address
        if observer is None:
            return
        if outcome.unique_id is not None:
            unique_id = outcome.unique_id
            tell(observer.delivered, self._envelope, address, self._octets, unique_id)
        elif refusal is not None and not outcome.taken and not outcome.failed:
            tell(observer.refused, self._envelope, address, str(refusal))
        else:
            reason, kept = outcome.reason or "another recipient's copy failed", outcome.kept
            kept_at = "" if kept is None else str(kept)
            tell(observer.not_delivered, self._envelope, address, self._octets, reason, kept_at)
