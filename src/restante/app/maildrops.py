"""Where the configuration says that mail is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeVar

from restante.accounts.account import Account, Quota
from restante.app.config.settings import Settings
from restante.app.files import make_private_folder
from restante.calls import finished
from restante.stores.contract import Answer, Store, StoreError, Usage
from restante.stores.maildir.store import Maildir

T = TypeVar("T")


def make_store(settings: Settings) -> Store:
    """The store. Nothing is opened yet, nor made.

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
                template=maildrops.template,
                unique_ids=maildrops.unique_ids,
                fsync=maildrops.fsync,
                **shared,
            )
        case "sqlite":
            from restante.stores.sqlite.store import SqliteStore  # noqa: PLC0415 - not for others

            return SqliteStore(settings.mail_file, **shared)


def folder_of_mail(settings: Settings) -> Path:
    """The folder of this machine that mail is written to."""
    if settings.store.kind == "sqlite":
        return settings.mail_file.parent
    return settings.mail_folder


def shown_place(settings: Settings) -> str:
    """Where mail is kept, for people."""
    if settings.store.kind == "sqlite":
        return str(settings.mail_file)
    return str(settings.mail_folder)


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """The store, its folder made, and closed in the end.

    Raises as `make_store` does, and OSError.
    """
    make_private_folder(folder_of_mail(settings))
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
