"""One message into the maildrops of several accounts.

The octets are stored exactly as they came, so POP3 gives back what was sent. The trace
lines that RFC 5321 §4.4 asks of a final delivery are added before them only when wanted.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from threading import Lock
from typing import NamedTuple

from restante.accounts.contract import Account
from restante.contained import contained
from restante.protocol.listing import UniqueId
from restante.stores.contract import Incoming, ReceivesMail

log = logging.getLogger(__name__)


class Recipient(NamedTuple):
    """An account, and the address under which it gets this message."""

    address: str
    account: Account


class Outcome(NamedTuple):
    """What became of one recipient's copy.

    unique_id: the message's, once it is durably in the maildrop; else None.
    reference: under which the log tells why it isn't; None when nothing went wrong
        with this copy itself.
    """

    recipient: Recipient
    unique_id: UniqueId | None
    reference: str | None


@dataclass(frozen=True, slots=True)
class Trace:
    """What the trace lines say (RFC 5321 §4.4): who sent it, from where, by which protocol."""

    sender: str = ""
    helo: str = ""
    peer: str = ""
    hostname: str = "localhost"
    protocol: str = "ESMTP"

    def lines(self, address: str) -> bytes:
        """Return-Path, Delivered-To and Received for the copy that goes to `address`."""
        helo, peer = self.helo or "unknown", self.peer or "local"
        texts = (
            f"Return-Path: <{self.sender}>",
            f"Delivered-To: {address}",
            f"Received: from {helo} ({peer})",
            f"\tby {self.hostname} with {self.protocol}; {formatdate(localtime=True)}",
        )
        return b"".join(_printable(text).encode() + b"\r\n" for text in texts)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)


@dataclass(slots=True)
class _Copy:
    recipient: Recipient
    incoming: Incoming | None = None
    unique_id: UniqueId | None = None
    reference: str | None = None


class Delivery:
    """A message being delivered: write to every maildrop first, then commit to all.

    together: True for SMTP, which has one reply for all recipients: when one copy fails
        before the first is committed, nobody gets the message. A commit that fails after
        others have succeeded can't be undone; the sender is then told to try again, so
        some may get the message twice, and none can lose it. False for LMTP, where each
        recipient stands alone.
    trace: adds trace lines before the message.

    Recipients that share a maildrop share one copy. The store's errors never come out of
    here: they are logged under a reference and shown in the outcomes. The methods block;
    call them on a worker thread. `abort` may be called from another thread at any time.
    """

    def __init__(
        self,
        store: ReceivesMail,
        recipients: Sequence[Recipient],
        *,
        together: bool = False,
        trace: Trace | None = None,
    ) -> None:
        self._store = store
        self._recipients = tuple(recipients)
        self._together = together
        self._trace = trace
        self._copies: dict[str, _Copy] = {}
        for recipient in recipients:
            self._copies.setdefault(recipient.account.maildrop_name, _Copy(recipient))
        self._begun = self._over = False
        self._lock = Lock()

    def write(self, block: bytes) -> None:
        """Take the message's next octets."""
        with self._lock:
            self._write(block)

    def commit(self, last: bytes = b"") -> list[Outcome]:
        """Take the last octets and put the message into the maildrops, durably.

        Gives an outcome for each recipient, in their order.
        """
        with self._lock:
            self._write(last)
            for copy in self._copies.values():
                if not self._over:
                    self._commit(copy)
            self._abort()
        return [self._outcome(recipient) for recipient in self._recipients]

    def abort(self) -> None:
        """Forget the message. Harmless after `commit` and when repeated."""
        with self._lock:
            self._abort()

    def _write(self, block: bytes) -> None:
        for copy in self._copies.values():
            if self._over:
                return
            try:
                with contained:
                    if not self._begun:
                        self._begin(copy)
                    if copy.incoming is not None and block:
                        copy.incoming.write(block)
            except Exception as error:  # noqa: BLE001 - a store is anybody's code
                self._failed(copy, error)
        self._begun = True

    def _begin(self, copy: _Copy) -> None:
        copy.incoming = self._store.receive(copy.recipient.account)
        if self._trace is not None:
            copy.incoming.write(self._trace.lines(copy.recipient.address))

    def _commit(self, copy: _Copy) -> None:
        if copy.incoming is None:
            return
        try:
            with contained:
                copy.unique_id = copy.incoming.commit()
        except Exception as error:  # noqa: BLE001
            self._failed(copy, error)

    def _failed(self, copy: _Copy, error: Exception) -> None:
        copy.reference = new_reference()
        log.error(
            "no delivery to %r (ref %s)", copy.recipient.account, copy.reference, exc_info=error
        )
        _forget(copy)
        if self._together:
            self._abort()

    def _abort(self) -> None:
        self._over = True
        for copy in self._copies.values():
            if copy.unique_id is None:
                _forget(copy)

    def _outcome(self, recipient: Recipient) -> Outcome:
        copy = self._copies[recipient.account.maildrop_name]
        return Outcome(recipient, copy.unique_id, copy.reference)


def _forget(copy: _Copy) -> None:
    incoming, copy.incoming = copy.incoming, None
    if incoming is None:
        return
    try:
        with contained:
            incoming.abort()
    except Exception:
        log.exception("can't clear away what was written for %r", copy.recipient.account)


def new_reference() -> str:
    """A short name for one error: the peer is told it, the log explains it."""
    return secrets.token_hex(3)
