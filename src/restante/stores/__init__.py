"""Where mail is kept: the contracts for stores of your own, and the stores that come with us.

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING

from restante.public import lazily

if TYPE_CHECKING:
    from restante.stores.blobs.cached import CachedBlobs as CachedBlobs
    from restante.stores.blobs.contract import BlobDamaged as BlobDamaged
    from restante.stores.blobs.contract import BlobMissing as BlobMissing
    from restante.stores.blobs.contract import Blobs as Blobs
    from restante.stores.blobs.folder import FolderBlobs as FolderBlobs
    from restante.stores.blobs.s3 import S3Blobs as S3Blobs
    from restante.stores.contract import AccountChanged as AccountChanged
    from restante.stores.contract import Answer as Answer
    from restante.stores.contract import CommitFailed as CommitFailed
    from restante.stores.contract import Committed as Committed
    from restante.stores.contract import Content as Content
    from restante.stores.contract import Incoming as Incoming
    from restante.stores.contract import Lease as Lease
    from restante.stores.contract import LeaseInfo as LeaseInfo
    from restante.stores.contract import LeaseLost as LeaseLost
    from restante.stores.contract import Maildrop as Maildrop
    from restante.stores.contract import MaildropInUse as MaildropInUse
    from restante.stores.contract import MaildropStore as MaildropStore
    from restante.stores.contract import MessageGone as MessageGone
    from restante.stores.contract import MessageInfo as MessageInfo
    from restante.stores.contract import Messages as Messages
    from restante.stores.contract import OpenedTooSoon as OpenedTooSoon
    from restante.stores.contract import OverQuota as OverQuota
    from restante.stores.contract import Removed as Removed
    from restante.stores.contract import Source as Source
    from restante.stores.contract import Store as Store
    from restante.stores.contract import StoreError as StoreError
    from restante.stores.contract import UniqueIdTaken as UniqueIdTaken
    from restante.stores.contract import Usage as Usage
    from restante.stores.maildir.store import Maildir as Maildir
    from restante.stores.memory import MemoryStore as MemoryStore
    from restante.stores.postgres.store import PostgresStore as PostgresStore
    from restante.stores.sqlite.store import SqliteStore as SqliteStore
else:
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "blobs.cached": "CachedBlobs",
            "blobs.contract": "BlobDamaged BlobMissing Blobs",
            "blobs.folder": "FolderBlobs",
            "blobs.s3": "S3Blobs",
            "contract": (
                "AccountChanged Answer CommitFailed Committed Content Incoming Lease"
                " LeaseInfo LeaseLost Maildrop MaildropInUse MaildropStore MessageGone"
                " MessageInfo Messages OpenedTooSoon OverQuota Removed Source Store StoreError"
                " UniqueIdTaken Usage"
            ),
            "maildir.store": "Maildir",
            "memory": "MemoryStore",
            "postgres.store": "PostgresStore",
            "sqlite.store": "SqliteStore",
        },
    )
