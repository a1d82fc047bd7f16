"""Restante: a POP3 server for Python.

from restante import Maildir, Pop3Server

with Pop3Server(port=1110, accounts={"joe": "secret"}, store=Maildir("mail")):
    ...
"""

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
from restante.server.backend import Backend
from restante.server.client import ClientSession
from restante.server.listen.listener import Listener
from restante.server.observer import Observer
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
    Store,
    StoreError,
)
from restante.stores.maildir.store import Maildir
from restante.stores.memory import MemoryStore

__version__ = "0.1.0"

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
