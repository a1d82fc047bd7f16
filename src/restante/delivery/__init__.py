"""Mail coming in: by SMTP, by LMTP, from files; always for local accounts, never onwards."""

from typing import TYPE_CHECKING

from restante.public import lazily

if TYPE_CHECKING:
    from restante.delivery.connection import HeldOff as HeldOff
    from restante.delivery.connection import lmtp_protocol as lmtp_protocol
    from restante.delivery.connection import smtp_protocol as smtp_protocol
    from restante.delivery.deliver import Delivery as Delivery
    from restante.delivery.deliver import Outcome as Outcome
    from restante.delivery.deliver import Recipient as Recipient
    from restante.delivery.envelope import Envelope as Envelope
    from restante.delivery.importer import ImportResult as ImportResult
    from restante.delivery.importer import import_messages as import_messages
    from restante.delivery.intake import Intake as Intake
    from restante.delivery.observer import AccessLog as AccessLog
    from restante.delivery.observer import DeliveryObserver as DeliveryObserver
    from restante.delivery.observer import DeliveryObservers as DeliveryObservers
    from restante.delivery.recipients import Recipients as Recipients
    from restante.delivery.recipients import Refusal as Refusal
    from restante.delivery.sources import Messages as Messages
    from restante.delivery.sources import SourceError as SourceError
    from restante.delivery.sources import SourceMessage as SourceMessage
    from restante.delivery.sources import iter_messages as iter_messages
else:
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "connection": "HeldOff lmtp_protocol smtp_protocol",
            "deliver": "Delivery Outcome Recipient",
            "envelope": "Envelope",
            "importer": "ImportResult import_messages",
            "intake": "Intake",
            "observer": "AccessLog DeliveryObserver DeliveryObservers",
            "recipients": "Recipients Refusal",
            "sources": "Messages SourceError SourceMessage iter_messages",
        },
    )
