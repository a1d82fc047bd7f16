"""The test kit: POP3 servers that fail on purpose, and checks for all servers.

from restante.testing import MailServer

with MailServer(accounts={"joe": "secret"}) as server:
    ...

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING

from restante.public import lazily

if TYPE_CHECKING:
    from restante.testing.account import MailAccount as MailAccount
    from restante.testing.account import StoredMessage as StoredMessage
    from restante.testing.authority import Authority as Authority
    from restante.testing.contracts import AccountStoreContract as AccountStoreContract
    from restante.testing.contracts import BlobsContract as BlobsContract
    from restante.testing.contracts import MaildropStoreContract as MaildropStoreContract
    from restante.testing.contracts import MechanismContract as MechanismContract
    from restante.testing.contracts import StoreContract as StoreContract
    from restante.testing.contracts import StoreUnderTest as StoreUnderTest
    from restante.testing.issuer import Issuer as Issuer
    from restante.testing.recording import RecordedSession as RecordedSession
    from restante.testing.server import MailServer as MailServer
    from restante.testing.smtp import Delivered as Delivered
else:
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "account": "MailAccount StoredMessage",
            "authority": "Authority",
            "contracts": (
                "AccountStoreContract BlobsContract MaildropStoreContract MechanismContract"
                " StoreContract StoreUnderTest"
            ),
            "issuer": "Issuer",
            "recording": "RecordedSession",
            "server": "MailServer",
            "smtp": "Delivered",
        },
    )
