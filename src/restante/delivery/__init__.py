"""Mail coming in: by SMTP, by LMTP, from files; always for local accounts, never onwards."""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.delivery.connection import HeldOff, lmtp_protocol, smtp_protocol
    from restante.delivery.deliver import Delivery, Outcome, Recipient
    from restante.delivery.envelope import Envelope
    from restante.delivery.importer import ImportResult, import_messages
    from restante.delivery.intake import Intake
    from restante.delivery.observer import AccessLog, DeliveryObserver, DeliveryObservers
    from restante.delivery.recipients import Recipients, Refusal
    from restante.delivery.sources import Messages, SourceError, SourceMessage, iter_messages

_HOMES = {
    "connection": "HeldOff lmtp_protocol smtp_protocol",
    "deliver": "Delivery Outcome Recipient",
    "envelope": "Envelope",
    "importer": "ImportResult import_messages",
    "intake": "Intake",
    "observer": "AccessLog DeliveryObserver DeliveryObservers",
    "recipients": "Recipients Refusal",
    "sources": "Messages SourceError SourceMessage iter_messages",
}
"""The public names, by the module that each comes from."""


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "AccessLog",
    "Delivery",
    "DeliveryObserver",
    "DeliveryObservers",
    "Envelope",
    "HeldOff",
    "ImportResult",
    "Intake",
    "Messages",
    "Outcome",
    "Recipient",
    "Recipients",
    "Refusal",
    "SourceError",
    "SourceMessage",
    "import_messages",
    "iter_messages",
    "lmtp_protocol",
    "smtp_protocol",
]
