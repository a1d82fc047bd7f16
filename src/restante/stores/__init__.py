"""Where mail is kept: the contracts for stores of your own, and the stores that come with us.

What `__all__` lists is public; all else in this package may change.
"""

from restante.stores.contract import (
    Answer,
    CommitFailed,
    Content,
    Incoming,
    Lease,
    LeaseInfo,
    LeaseLost,
    Maildrop,
    MaildropInUse,
    MaildropStore,
    MessageGone,
    MessageInfo,
    Messages,
    OverQuota,
    Source,
    Store,
    StoreError,
    UniqueIdTaken,
    Usage,
)
from restante.stores.maildir.store import Maildir
from restante.stores.memory import MemoryStore
from restante.stores.sqlite.store import SqliteStore

__all__ = [
    "Answer",
    "CommitFailed",
    "Content",
    "Incoming",
    "Lease",
    "LeaseInfo",
    "LeaseLost",
    "Maildir",
    "Maildrop",
    "MaildropInUse",
    "MaildropStore",
    "MemoryStore",
    "MessageGone",
    "MessageInfo",
    "Messages",
    "OverQuota",
    "Source",
    "SqliteStore",
    "Store",
    "StoreError",
    "UniqueIdTaken",
    "Usage",
]
