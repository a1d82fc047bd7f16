"""Mail coming in: by SMTP, by LMTP, from files; always for local accounts, never onwards."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `restante deliver` needs few of them."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'restante.delivery' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"restante.delivery.{home}"), name)
    return found


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
