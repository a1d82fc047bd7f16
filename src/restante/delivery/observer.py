"""Who is told of each message that was delivered, not delivered or refused."""

from __future__ import annotations

import logging
from collections.abc import Callable

from restante.contained import call_contained
from restante.delivery.envelope import Envelope

log = logging.getLogger("restante.delivery")


class DeliveryObserver:
    """Told of what happens to mail that comes in. Every method does nothing here.

    The methods are called in place, on the event loop: they must not block. What they raise
    is logged and changes nothing.

    recipient: the address as the client gave it, or the account's name for an import.
    octets: the message's size as it came, without trace lines.
    """

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        """A copy is durably in the recipient's maildrop."""

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        """A copy could not be put into the maildrop.

        kept: path of the copy that an operator must deliver, as the sender was told that all
            went well; empty when the sender was told to try again.
        """

    def refused(self, envelope: Envelope, recipient: str, reply: str) -> None:
        """A recipient or a message was refused, or a client was sent away.

        recipient: empty when it is about no one recipient. reply: what the client was told.
        """

    def login_refused(self, what: str, name: str, peer: str, mechanism: str) -> None:
        """A login by SMTP has failed, or wasn't looked at as there were too many."""


class DeliveryObservers(DeliveryObserver):
    """Several observers as one. What one of them raises is logged; the others are told."""

    def __init__(self, *observers: DeliveryObserver) -> None:
        self._observers = observers

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        for each in self._observers:
            tell(each.delivered, envelope, recipient, octets, unique_id)

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        for each in self._observers:
            tell(each.not_delivered, envelope, recipient, octets, reason, kept)

    def refused(self, envelope: Envelope, recipient: str, reply: str) -> None:
        for each in self._observers:
            tell(each.refused, envelope, recipient, reply)

    def login_refused(self, what: str, name: str, peer: str, mechanism: str) -> None:
        for each in self._observers:
            tell(each.login_refused, what, name, peer, mechanism)


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
        not delivered: recipient=… sender=… octets=… peer=… protocol=… tls=… queue=… reason='…'
        not delivered: … kept='<path>' reason='…'
        refused: recipient=… sender=… peer=… protocol=… tls=… queue=… reply='550 5.1.1 …'
        login failed: account='joe' peer=192.0.2.1 mechanism=SMTP-PLAIN
        login held off: account='joe' peer=192.0.2.1 mechanism=SMTP-PLAIN

    (one line each). Levels: delivered and refused INFO, logins WARNING, not delivered ERROR.
    A sender who is refused at RCPT has no queue-id yet: then there is no `queue`.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger("restante.access")

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        self._log.info(
            "delivered: recipient=%r sender=%r octets=%d unique_id=%s %s",
            *(recipient, envelope.sender, octets, unique_id, _way(envelope)),
        )

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        self._log.error(
            "not delivered: recipient=%r sender=%r octets=%d %s%s reason=%r",
            *(recipient, envelope.sender, octets, _way(envelope)),
            *(f" kept={kept!r}" if kept else "", reason),
        )

    def refused(self, envelope: Envelope, recipient: str, reply: str) -> None:
        self._log.info(
            "refused: recipient=%r sender=%r %s reply=%r",
            *(recipient, envelope.sender, _way(envelope), reply),
        )

    def login_refused(self, what: str, name: str, peer: str, mechanism: str) -> None:
        self._log.warning(
            "%s: account=%r peer=%s mechanism=SMTP-%s", what, name, peer or "unix", mechanism
        )


def _way(envelope: Envelope) -> str:
    queue = f" queue={envelope.queue_id}" if envelope.queue_id else ""
    peer, tls = envelope.peer or "local", envelope.tls or "no"
    return f"peer={peer} protocol={envelope.protocol} tls={tls}{queue}"
