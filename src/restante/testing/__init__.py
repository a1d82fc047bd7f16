"""The test kit: POP3 servers that fail on purpose, and checks for all servers.

from restante.testing import MailServer

with MailServer(accounts={"joe": "secret"}) as server:
    ...

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.testing.account import (
        MailAccount,
        StoredMessage,
    )
    from restante.testing.authority import (
        Authority,
    )
    from restante.testing.contracts import (
        AccountStoreContract,
        BlobsContract,
        MaildropStoreContract,
        MechanismContract,
        StoreContract,
        StoreUnderTest,
    )
    from restante.testing.issuer import (
        Issuer,
    )
    from restante.testing.recording import (
        RecordedSession,
    )
    from restante.testing.server import (
        MailServer,
    )
    from restante.testing.smtp import (
        Delivered,
    )

_HOMES = {
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
}
"""The public names, by the module that each comes from."""


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "AccountStoreContract",
    "Authority",
    "BlobsContract",
    "Delivered",
    "Issuer",
    "MailAccount",
    "MailServer",
    "MaildropStoreContract",
    "MechanismContract",
    "RecordedSession",
    "StoreContract",
    "StoreUnderTest",
    "StoredMessage",
]
