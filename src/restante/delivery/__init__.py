"""Mail coming in: by SMTP, by LMTP, from files; always for local accounts, never onwards.

The SMTP listener is `restante.delivery.smtp.smtp_protocol`, which needs the extra `server`.
"""

from restante.delivery.deliver import Delivery, Outcome, Recipient, Trace
from restante.delivery.importer import (
    ImportResult,
    Messages,
    SourceError,
    SourceMessage,
    import_messages,
    iter_messages,
)
from restante.delivery.intake import Intake
from restante.delivery.lmtp import lmtp_protocol
from restante.delivery.recipients import Recipients, Refusal

__all__ = [
    "Delivery",
    "ImportResult",
    "Intake",
    "Messages",
    "Outcome",
    "Recipient",
    "Recipients",
    "Refusal",
    "SourceError",
    "SourceMessage",
    "Trace",
    "import_messages",
    "iter_messages",
    "lmtp_protocol",
]
