"""Where the configuration says that mail is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeVar

from restante.accounts.account import Account, Quota
from restante.app.config.problem import KeyMistake
from restante.app.config.settings import Settings, StoreSection, revealed
from restante.app.files import make_private_folder
from restante.calls import finished
from restante.stores.blobs.contract import Blobs
from restante.stores.contract import Answer, Store, StoreError, Usage
from restante.stores.maildir.store import Maildir

T = TypeVar("T")


def make_store(settings: Settings) -> Store:
    """The store. Nothing is opened yet, nor made; `make_folder_of_mail` comes before its first use.

    Raises ValueError for what can't be, StoreError when a library is missing.
    """
    given = settings.store
    shared: dict[str, Any] = {
        "quota": Quota(given.quota_octets, given.quota_messages),
        "undelete_days": given.undelete_days,
    }
    match given.kind:
        case "maildir":
            maildrops = settings.maildrops
            return Maildir(
                settings.mail_folder,
                make_root=False,
                template=maildrops.template,
                unique_ids=maildrops.unique_ids,
                fsync=maildrops.fsync,
                **shared,
            )
        case "sqlite":
            from restante.stores.sqlite.store import SqliteStore  # noqa: PLC0415 - not for others

            return SqliteStore(settings.mail_file, **shared)
        case "postgres":
            from restante.stores.postgres.store import PostgresStore  # noqa: PLC0415 - an extra

            section = given.postgres
            if not section.dsn.text:
                raise KeyMistake("store.postgres.dsn", "is missing")
            mine = {
                **revealed(section),
                "node": section.node or None,
                "login_delay": settings.pop3.login_delay,
                "login_burst": settings.pop3.login_burst,
            }
            return PostgresStore(**mine, bodies=_make_blobs(given), **shared)


def _make_blobs(given: StoreSection) -> Blobs | None:
    """Where bodies lie; None: in the database, beside the rest."""
    blobs: Blobs
    match given.bodies.kind:
        case "folder":
            from restante.stores.blobs.folder import FolderBlobs  # noqa: PLC0415 - not for others

            if given.bodies.folder.path is None:
                raise KeyMistake("store.bodies.folder.path", "is missing")
            blobs = FolderBlobs(given.bodies.folder.path)
        case "s3":
            from restante.stores.blobs.s3 import S3Blobs  # noqa: PLC0415 - an extra

            if not given.bodies.s3.bucket:
                raise KeyMistake("store.bodies.s3.bucket", "is missing")
            blobs = S3Blobs(**revealed(given.bodies.s3))
        case "postgres":
            return None
    if given.cache.folder is None:
        return blobs
    from restante.stores.blobs.cached import CachedBlobs  # noqa: PLC0415 - not for others

    return CachedBlobs(blobs, given.cache.folder, given.cache.max_octets)


def folder_of_mail(settings: Settings) -> Path | None:
    """The folder of this machine that mail is written to; None: it isn't kept on this machine."""
    match settings.store.kind:
        case "maildir":
            return settings.mail_folder
        case "sqlite":
            return settings.mail_file.parent
        case "postgres":
            bodies = settings.store.bodies
            return bodies.folder.path if bodies.kind == "folder" else None


def shown_place(settings: Settings) -> str:
    """Where mail is kept, for people."""
    match settings.store.kind:
        case "maildir":
            return str(settings.mail_folder)
        case "sqlite":
            return str(settings.mail_file)
        case "postgres":
            bodies = settings.store.bodies
            where = {
                "postgres": "",
                "folder": f", bodies in {bodies.folder.path}",
                "s3": f", bodies in the bucket {bodies.s3.bucket}",
            }
            return f"PostgreSQL{where[bodies.kind]}"


def make_folder_of_mail(settings: Settings) -> None:
    """Make the folder of this machine that mail is written to. Raises OSError."""
    folder = folder_of_mail(settings)
    if folder is not None:
        make_private_folder(folder)


def lost_folder_of_mail(settings: Settings) -> Path | None:
    """The folder that mail is written to, when a server has run here before and it isn't there."""
    folder = folder_of_mail(settings)
    if folder is None or folder.is_dir() or not settings.secret_file.exists():
        return None
    return folder


@asynccontextmanager
async def opened_store(settings: Settings, *, new: bool = False) -> AsyncIterator[Store]:
    """The store, closed in the end.

    Its folder is made, unless a server has run here before: then it was there, and what makes it
    anew is the server's start. new: it is made in any case.
    Raises as `make_store` does, StoreError for a folder that is gone, OSError.
    """
    lost = None if new else lost_folder_of_mail(settings)
    if lost is not None:
        raise StoreError(
            f"the folder of mail {lost} is gone: mount or restore it; or, if all mail may be new,"
            " make it"
        )
    make_folder_of_mail(settings)
    store = make_store(settings)
    try:
        yield store
    finally:
        await store.aclose()


def usages(settings: Settings, accounts: Sequence[Account]) -> list[Usage | None]:
    """What each account's maildrop holds; None where the store can't tell."""
    if settings.store.kind == "maildir" and not settings.mail_folder.is_dir():
        return [Usage(0, 0)] * len(accounts)  # and none is made
    if settings.store.kind == "sqlite" and not settings.mail_file.exists():
        return [Usage(0, 0)] * len(accounts)

    async def ask() -> list[Usage | None]:
        store = make_store(settings)
        found: list[Usage | None] = []
        try:
            for account in accounts:
                try:
                    usage: Usage = await answered(store.usage(account))
                    found.append(usage)
                except StoreError:
                    found.append(None)
        finally:
            await store.aclose()
        return found

    return asyncio.run(ask())


async def answered(answer: Answer[T]) -> T:
    """What a store's method gave, whichever way it gave it.

    A plain method has done its work already: this is for programs that have nothing else to do.
    """
    result: Any = finished(answer)
    value: T = await result if isawaitable(result) else result
    return value


def prepare_store(settings: Settings) -> None:
    """See that mail can be kept where it is to be, before anything else is begun.

    Raises as `opened_store` does, and StoreError.
    """

    async def prepare() -> None:
        async with opened_store(settings) as store:
            await answered(store.prepare())

    asyncio.run(prepare())
