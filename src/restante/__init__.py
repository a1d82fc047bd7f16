"""Restante: a POP3 server for Python.

from restante import Maildir, Pop3Server

with Pop3Server(port=1110, accounts={"joe": "secret"}, store=Maildir("mail")):
    ...

What `__all__` lists here and in `restante.accounts`, `restante.stores`, `restante.sasl` and
`restante.server` is public. All else may change.
"""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.accounts.account import (
        Account,
        AccountError,
        AppPassword,
    )
    from restante.accounts.chain import (
        Chain,
    )
    from restante.accounts.contract import (
        AccountStore,
    )
    from restante.accounts.kerberos import (
        Kerberos,
    )
    from restante.accounts.oauth import (
        OAuth,
    )
    from restante.accounts.passwd_file import (
        PasswdFile,
    )
    from restante.accounts.sqlite import (
        SqliteAccounts,
    )
    from restante.accounts.static import (
        StaticAccounts,
    )
    from restante.calls import (
        OnThread,
    )
    from restante.guard.ban_store import (
        BanStore,
    )
    from restante.guard.guard import (
        Guard,
    )
    from restante.guard.postgres_bans import (
        PostgresBanStore,
    )
    from restante.guard.settings import (
        GuardSettings,
    )
    from restante.guard.sqlite_bans import (
        SqliteBanStore,
    )
    from restante.protocol.claims import (
        Claim,
        IdentityClaim,
        PasswordClaim,
        SecretClaim,
        TokenClaim,
    )
    from restante.protocol.errors import (
        Pop3Error,
    )
    from restante.protocol.listing import (
        Listing,
    )
    from restante.protocol.replies import (
        Err,
        MultiLine,
        Ok,
        Reply,
    )
    from restante.protocol.states import (
        State,
    )
    from restante.server.backend import (
        Backend,
    )
    from restante.server.client import (
        ClientSession,
    )
    from restante.server.listen.listener import (
        Listener,
    )
    from restante.server.observer import (
        Observer,
    )
    from restante.server.peer import (
        Peer,
    )
    from restante.server.server import (
        Pop3Server,
    )
    from restante.server.settings import (
        Settings,
    )
    from restante.server.tls.settings import (
        Certificate,
        TlsSettings,
    )
    from restante.stores.contract import (
        CommitFailed,
        Content,
        Incoming,
        Lease,
        LeaseLost,
        Maildrop,
        MaildropInUse,
        MaildropStore,
        MessageGone,
        MessageInfo,
        Messages,
        Source,
        Store,
        StoreError,
    )
    from restante.stores.maildir.store import (
        Maildir,
    )
    from restante.stores.memory import (
        MemoryStore,
    )

__version__ = "0.1.0"

_HOMES = {
    "accounts.account": "Account AccountError AppPassword",
    "accounts.chain": "Chain",
    "accounts.contract": "AccountStore",
    "accounts.kerberos": "Kerberos",
    "accounts.oauth": "OAuth",
    "accounts.passwd_file": "PasswdFile",
    "accounts.sqlite": "SqliteAccounts",
    "accounts.static": "StaticAccounts",
    "calls": "OnThread",
    "guard.ban_store": "BanStore",
    "guard.guard": "Guard",
    "guard.postgres_bans": "PostgresBanStore",
    "guard.settings": "GuardSettings",
    "guard.sqlite_bans": "SqliteBanStore",
    "protocol.claims": "Claim IdentityClaim PasswordClaim SecretClaim TokenClaim",
    "protocol.errors": "Pop3Error",
    "protocol.listing": "Listing",
    "protocol.replies": "Err MultiLine Ok Reply",
    "protocol.states": "State",
    "server.backend": "Backend",
    "server.client": "ClientSession",
    "server.listen.listener": "Listener",
    "server.observer": "Observer",
    "server.peer": "Peer",
    "server.server": "Pop3Server",
    "server.settings": "Settings",
    "server.tls.settings": "Certificate TlsSettings",
    "stores.contract": "CommitFailed Content Incoming Lease LeaseLost Maildrop MaildropInUse"
    " MaildropStore MessageGone MessageInfo Messages Source Store StoreError",
    "stores.maildir.store": "Maildir",
    "stores.memory": "MemoryStore",
}
"""The public names, by the module that each comes from."""


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "Account",
    "AccountError",
    "AccountStore",
    "AppPassword",
    "Backend",
    "BanStore",
    "Certificate",
    "Chain",
    "Claim",
    "ClientSession",
    "CommitFailed",
    "Content",
    "Err",
    "Guard",
    "GuardSettings",
    "IdentityClaim",
    "Incoming",
    "Kerberos",
    "Lease",
    "LeaseLost",
    "Listener",
    "Listing",
    "Maildir",
    "Maildrop",
    "MaildropInUse",
    "MaildropStore",
    "MemoryStore",
    "MessageGone",
    "MessageInfo",
    "Messages",
    "MultiLine",
    "OAuth",
    "Observer",
    "Ok",
    "OnThread",
    "PasswdFile",
    "PasswordClaim",
    "Peer",
    "Pop3Error",
    "Pop3Server",
    "PostgresBanStore",
    "Reply",
    "SecretClaim",
    "Settings",
    "Source",
    "SqliteAccounts",
    "SqliteBanStore",
    "State",
    "StaticAccounts",
    "Store",
    "StoreError",
    "TlsSettings",
    "TokenClaim",
]
