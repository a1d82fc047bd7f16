"""Who is told of each message that was delivered, not delivered or refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from restante.contained import call_contained
from restante.delivery.envelope import Envelope

log = logging.getLogger("restante.delivery")


class DeliveryObserver:
    """Told of what happens to mail that comes in. Every method does nothing here.

    The methods are called in place, on the event loop: they must not block. What they raise
    is logged and changes nothing.

    recipient: the address as the client gave it, or the account's name for an import.
    octets: the message's size as it came, without trace lines.
    session: a connection's name in the logs, as `Envelope.session`.
    """

    def connected(self, session: str, peer: str, protocol: str) -> None:
        """A client was let in. peer: its address. protocol: `smtp` or `lmtp`."""

    def begun(self, envelope: Envelope) -> None:
        """A message begins to come in by a connection.

        What is set in the context (`contextvars`) here is seen by the store, also on worker
        threads, until `ended`, which is told in the same context.
        """

    def ended(self, envelope: Envelope) -> None:
        """The message that had begun was taken or wasn't: `delivered` and the like say which."""

    def closed(self, session: str) -> None:
        """The connection of a client that was let in has ended."""

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        """A copy is durably in the recipient's maildrop."""

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        """A copy could not be put into the maildrop, by a fault on our side.

        A maildrop that has no room for it is none: that is `refused`.

        kept: path of the copy that an operator must deliver, as the sender was told that all
            went well; empty when the sender was told to try again.
        """

    def store_failed(self, envelope: Envelope, error: Exception) -> None:
        """The store failed for a copy, of which `not_delivered` tells later.

        A maildrop that is full is no failure.
        """

    def refused(self, envelope: Envelope, recipient: str, reply: str) -> None:
        """A recipient or a message was refused, or a client was sent away.

        recipient: empty when it is about no one recipient. reply: what the client was told.
        A message that has come may be refused as well: it is too large, or a recipient's
        maildrop has no room; then others get it neither, where all have one reply (SMTP).
        """

    def logged_in(self, name: str, peer: str, mechanism: str, session: str) -> None:
        """A client has logged in by SMTP."""

    def login_refused(self, what: str, name: str, peer: str, mechanism: str, session: str) -> None:
        """A login by SMTP has failed, or wasn't looked at as there were too many.

        what: `login failed` or `login held off`.
        """


class DeliveryObservers(DeliveryObserver):
    """Several observers as one. What one of them raises is logged; the others are told."""

    def __init__(self, *observers: DeliveryObserver) -> None:
        self._observers = observers

    def connected(self, *said: Any) -> None:
        self._tell("connected", said)

    def begun(self, *said: Any) -> None:
        self._tell("begun", said)

    def ended(self, *said: Any) -> None:
        self._tell("ended", said)

    def closed(self, *said: Any) -> None:
        self._tell("closed", said)

    def delivered(self, *said: Any) -> None:
        self._tell("delivered", said)

    def not_delivered(self, *said: Any) -> None:
        self._tell("not_delivered", said)

    def store_failed(self, *said: Any) -> None:
        self._tell("store_failed", said)

    def refused(self, *said: Any) -> None:
        self._tell("refused", said)

    def logged_in(self, *said: Any) -> None:
        self._tell("logged_in", said)

    def login_refused(self, *said: Any) -> None:
        self._tell("login_refused", said)

    def _tell(self, event: str, said: tuple[Any, ...]) -> None:
        for each in self._observers:
            tell(getattr(each, event), *said)


def tell(method: Callable[..., None], *args: object) -> None:
    """Call a method of an observer. What it raises is logged."""
    try:
        call_contained(method, *args)
    except Exception:
        log.exception("an observer of deliveries failed")


class AccessLog(DeliveryObserver):
    """Writes a line for each event to the logger `restante.access`.

    These formats are stable. Texts that come from outside are quoted and escaped as Python
    does it (`%r`). `peer` is an IP address or `local`; `tls` is the version or `no`.

        delivered: recipient='joe@example.org' sender='ann@example.com' octets=1234
            unique_id=<unique-id> peer=192.0.2.1 protocol=ESMTPS tls=TLSv1.3 queue=<queue-id>
            session=<session>
        not delivered: recipient=… sender=… octets=… peer=… protocol=… tls=… queue=… session=…
            reason='…'
        not delivered: … kept='<path>' reason='…'
        refused: recipient=… sender=… peer=… protocol=… tls=… queue=… session=…
            reply='550 5.1.1 …'
        login failed: account='joe' peer=192.0.2.1 mechanism=SMTP-PLAIN session=<session>
        login held off: account='joe' peer=192.0.2.1 mechanism=SMTP-PLAIN session=<session>

    (one line each). Levels: delivered and refused INFO, logins WARNING, not delivered ERROR.
    A sender who is refused at RCPT has no queue-id yet: then there is no `queue`. What a
    command brings has no `session`.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger("restante.access")

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        form, way = _way(envelope)
        self._log.info(
            f"delivered: recipient=%r sender=%r octets=%d unique_id=%s {form}",
            *(recipient, envelope.sender, octets, unique_id, *way),
        )

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        form, way = _way(envelope)
        self._log.error(
            f"not delivered: recipient=%r sender=%r octets=%d {form}"
            f"{' kept=%r' if kept else ''} reason=%r",
            *(recipient, envelope.sender, octets, *way, *((kept,) if kept else ()), reason),
        )

    def refused(self, envelope: Envelope, recipient: str, reply: str) -> None:
        form, way = _way(envelope)
        self._log.info(
            f"refused: recipient=%r sender=%r {form} reply=%r",
            *(recipient, envelope.sender, *way, reply),
        )

    def login_refused(self, what: str, name: str, peer: str, mechanism: str, session: str) -> None:
        self._log.warning(
            "%s: account=%r peer=%s mechanism=SMTP-%s session=%s",
            *(what, name, peer or "unix", mechanism, session),
        )


def _way(envelope: Envelope) -> tuple[str, tuple[str, ...]]:
    """How a message came in: a part of the line with places, and what belongs there."""
    form = "peer=%s protocol=%s tls=%s"
    values: tuple[str, ...] = envelope.peer or "local", envelope.protocol, envelope.tls or "no"
    for name, value in (("queue", envelope.queue_id), ("session", envelope.session)):
        if value:
            form, values = f"{form} {name}=%s", (*values, value)
    return form, values
