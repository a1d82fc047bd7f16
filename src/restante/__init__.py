"""Restante: a POP3 server for Python.

from restante import Maildir, Pop3Server

with Pop3Server(port=1110, accounts={"joe": "secret"}, store=Maildir("mail")):
    ...
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restante.accounts.chain import make_chain
    from restante.accounts.contract import Account, AccountError, AccountStore, AppPassword
    from restante.accounts.passwd_file import PasswdFile
    from restante.accounts.sqlite import SqliteAccounts
    from restante.accounts.static import StaticAccounts
    from restante.guard.ban_store import BanStore
    from restante.guard.guard import Guard
    from restante.guard.settings import GuardSettings
    from restante.protocol.claims import (
        Claim,
        IdentityClaim,
        PasswordClaim,
        SecretClaim,
        TokenClaim,
    )
    from restante.protocol.errors import Pop3Error
    from restante.protocol.replies import Err, MultiLine, Ok, Reply
    from restante.protocol.states import State
    from restante.server.client import ClientSession
    from restante.server.listen.listener import Listener
    from restante.server.server import Pop3Server
    from restante.server.tls.settings import Certificate, TlsSettings
    from restante.stores.contract import (
        CommitFailed,
        Content,
        Maildrop,
        MaildropInUse,
        MaildropStore,
        MessageGone,
        MessageInfo,
        StoreError,
    )
    from restante.stores.maildir.store import Maildir
    from restante.stores.memory import MemoryStore

__version__ = "0.1.0"

_HOMES = {
    "accounts.chain": "make_chain",
    "accounts.contract": "Account AccountError AccountStore AppPassword",
    "accounts.passwd_file": "PasswdFile",
    "accounts.sqlite": "SqliteAccounts",
    "accounts.static": "StaticAccounts",
    "guard.ban_store": "BanStore",
    "guard.guard": "Guard",
    "guard.settings": "GuardSettings",
    "protocol.claims": "Claim IdentityClaim PasswordClaim SecretClaim TokenClaim",
    "protocol.errors": "Pop3Error",
    "protocol.replies": "Err MultiLine Ok Reply",
    "protocol.states": "State",
    "server.client": "ClientSession",
    "server.listen.listener": "Listener",
    "server.server": "Pop3Server",
    "server.tls.settings": "Certificate TlsSettings",
    "stores.contract": "CommitFailed Content Maildrop MaildropInUse MaildropStore"
    " MessageGone MessageInfo StoreError",
    "stores.maildir.store": "Maildir",
    "stores.memory": "MemoryStore",
}
"""The public names, by the module that each comes from."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: who needs one needn't load them all."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'restante' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"restante.{home}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "Account",
    "AccountError",
    "AccountStore",
    "AppPassword",
    "BanStore",
    "Certificate",
    "Claim",
    "ClientSession",
    "CommitFailed",
    "Content",
    "Err",
    "Guard",
    "GuardSettings",
    "IdentityClaim",
    "Listener",
    "Maildir",
    "Maildrop",
    "MaildropInUse",
    "MaildropStore",
    "MemoryStore",
    "MessageGone",
    "MessageInfo",
    "MultiLine",
    "Ok",
    "PasswdFile",
    "PasswordClaim",
    "Pop3Error",
    "Pop3Server",
    "Reply",
    "SecretClaim",
    "SqliteAccounts",
    "State",
    "StaticAccounts",
    "StoreError",
    "TlsSettings",
    "TokenClaim",
    "make_chain",
]
