"""Restante: a POP3 server for Python.

from restante import Maildir, Pop3Server

with Pop3Server(port=1110, accounts={"joe": "secret"}, store=Maildir("mail")):
    ...

What `__all__` lists here and in `restante.accounts`, `restante.stores`, `restante.sasl` and
`restante.server` is public. All else may change.
"""

from typing import TYPE_CHECKING

from restante.public import lazily

if TYPE_CHECKING:
    from restante.accounts.account import Account as Account
    from restante.accounts.account import AccountError as AccountError
    from restante.accounts.account import AppPassword as AppPassword
    from restante.accounts.chain import Chain as Chain
    from restante.accounts.contract import AccountStore as AccountStore
    from restante.accounts.kerberos import Kerberos as Kerberos
    from restante.accounts.oauth import OAuth as OAuth
    from restante.accounts.passwd_file import PasswdFile as PasswdFile
    from restante.accounts.sqlite import SqliteAccounts as SqliteAccounts
    from restante.accounts.static import StaticAccounts as StaticAccounts
    from restante.calls import OnThread as OnThread
    from restante.guard.ban_store import BanStore as BanStore
    from restante.guard.guard import Guard as Guard
    from restante.guard.postgres_bans import PostgresBanStore as PostgresBanStore
    from restante.guard.settings import GuardSettings as GuardSettings
    from restante.guard.sqlite_bans import SqliteBanStore as SqliteBanStore
    from restante.protocol.claims import Claim as Claim
    from restante.protocol.claims import IdentityClaim as IdentityClaim
    from restante.protocol.claims import PasswordClaim as PasswordClaim
    from restante.protocol.claims import SecretClaim as SecretClaim
    from restante.protocol.claims import TokenClaim as TokenClaim
    from restante.protocol.errors import Pop3Error as Pop3Error
    from restante.protocol.listing import Listing as Listing
    from restante.protocol.replies import Err as Err
    from restante.protocol.replies import MultiLine as MultiLine
    from restante.protocol.replies import Ok as Ok
    from restante.protocol.replies import Reply as Reply
    from restante.protocol.states import State as State
    from restante.server.backend import Backend as Backend
    from restante.server.client import ClientSession as ClientSession
    from restante.server.listen.listener import Listener as Listener
    from restante.server.observer import Observer as Observer
    from restante.server.peer import Peer as Peer
    from restante.server.server import Pop3Server as Pop3Server
    from restante.server.settings import Settings as Settings
    from restante.server.tls.settings import Certificate as Certificate
    from restante.server.tls.settings import TlsSettings as TlsSettings
    from restante.stores.contract import CommitFailed as CommitFailed
    from restante.stores.contract import Content as Content
    from restante.stores.contract import Incoming as Incoming
    from restante.stores.contract import Lease as Lease
    from restante.stores.contract import LeaseLost as LeaseLost
    from restante.stores.contract import Maildrop as Maildrop
    from restante.stores.contract import MaildropInUse as MaildropInUse
    from restante.stores.contract import MaildropStore as MaildropStore
    from restante.stores.contract import MessageGone as MessageGone
    from restante.stores.contract import MessageInfo as MessageInfo
    from restante.stores.contract import Messages as Messages
    from restante.stores.contract import Source as Source
    from restante.stores.contract import Store as Store
    from restante.stores.contract import StoreError as StoreError
    from restante.stores.maildir.store import Maildir as Maildir
    from restante.stores.memory import MemoryStore as MemoryStore
else:
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
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
            "stores.contract": (
                "CommitFailed Content Incoming Lease LeaseLost Maildrop MaildropInUse"
                " MaildropStore MessageGone MessageInfo Messages Source Store StoreError"
            ),
            "stores.maildir.store": "Maildir",
            "stores.memory": "MemoryStore",
        },
    )

__version__ = "0.1.0"
