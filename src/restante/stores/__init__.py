"""Where mail is kept: the contracts for stores of your own, and the stores that come with us.

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.stores.blobs.cached import (
        CachedBlobs,
    )
    from restante.stores.blobs.contract import (
        BlobDamaged,
        BlobMissing,
        Blobs,
    )
    from restante.stores.blobs.folder import (
        FolderBlobs,
    )
    from restante.stores.blobs.s3 import (
        S3Blobs,
    )
    from restante.stores.contract import (
        AccountChanged,
        Answer,
        CommitFailed,
        Committed,
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
        Removed,
        Source,
        Store,
        StoreError,
        UniqueIdTaken,
        Usage,
    )
    from restante.stores.maildir.store import (
        Maildir,
    )
    from restante.stores.memory import (
        MemoryStore,
    )
    from restante.stores.postgres.store import (
        PostgresStore,
    )
    from restante.stores.sqlite.store import (
        SqliteStore,
    )

_HOMES = {
    "blobs.cached": "CachedBlobs",
    "blobs.contract": "BlobDamaged BlobMissing Blobs",
    "blobs.folder": "FolderBlobs",
    "blobs.s3": "S3Blobs",
    "contract": (
        "AccountChanged Answer CommitFailed Committed Content Incoming Lease LeaseInfo LeaseLost"
        " Maildrop MaildropInUse MaildropStore MessageGone MessageInfo Messages OverQuota Removed"
        " Source Store StoreError UniqueIdTaken Usage"
    ),
    "maildir.store": "Maildir",
    "memory": "MemoryStore",
    "postgres.store": "PostgresStore",
    "sqlite.store": "SqliteStore",
}


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "AccountChanged",
    "Answer",
    "BlobDamaged",
    "BlobMissing",
    "Blobs",
    "CachedBlobs",
    "CommitFailed",
    "Committed",
    "Content",
    "FolderBlobs",
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
    "PostgresStore",
    "Removed",
    "S3Blobs",
    "Source",
    "SqliteStore",
    "Store",
    "StoreError",
    "UniqueIdTaken",
    "Usage",
]
