"""Where `restante migrate` moves mail from and to, as its command line says it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from restante.accounts.contract import Account, AccountError, AccountStore
from restante.app.accounts import opened_accounts
from restante.app.config.load import load
from restante.app.config.settings import Settings
from restante.app.maildrops import make_store
from restante.calls import finished
from restante.migration.contract import Source
from restante.migration.stores import StoreSource, dovecot_order
from restante.stores.contract import Store
from restante.stores.maildir.store import Maildir
from restante.stores.sqlite.store import SqliteStore

MaildirFormat: TypeAlias = Literal["own", "dovecot"]
FORMATS: tuple[MaildirFormat, ...] = get_args(MaildirFormat)

KINDS = """\
maildir:/srv/mail/{user}, sqlite:/srv/mail.sqlite or a configuration file, restante.toml"""


class PlaceError(ValueError):
    """What was given is no source, or no destination; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class StorePlace:
    """A store that is named on the command line, or by a configuration file.

    accounts: those of the configuration; None: each maildrop of the store is an account.
    made: a maildrop that isn't there is made; otherwise there is no account.
    """

    name: str
    store: Store
    accounts: AccountStore | None = None
    made: bool = False

    async def find(self, name: str) -> Account | None:
        """The account with this name. Raises AccountError."""
        accounts = self.accounts
        if accounts is not None:
            found: Any = await asyncio.to_thread(lambda: finished(accounts.lookup(name)))
            account: Account | None = await found if inspect.isawaitable(found) else found
            return account
        if isinstance(self.store, Maildir) and not self.made:
            folder = self.store.folder(Account(name))
            return Account(name) if await asyncio.to_thread(folder.is_dir) else None
        return Account(name)

    async def names(self) -> Sequence[str] | None:
        """The names of all accounts; None if they can't be told. Raises StoreError."""
        if self.accounts is not None:
            try:
                return [each.name for each in await asyncio.to_thread(self.accounts.list)]
            except AccountError:
                return None
        if isinstance(self.store, Maildir | SqliteStore):
            return await asyncio.to_thread(self.store.maildrops)
        return None


async def open_place(
    text: str, stack: AsyncExitStack, *, made: bool, unique_ids: MaildirFormat = "own"
) -> StorePlace:
    """A store by its URL or its configuration file; what it holds open is closed by the stack.

    made: maildrops that aren't there are made. unique_ids: of a Maildir. Raises PlaceError,
    ConfigError and what making the stores does.
    """
    kind, _, rest = text.partition(":")
    if text.endswith(".toml"):
        return await configured(load(Path(text)).settings, text, stack)
    if kind == "maildir" and rest:
        return StorePlace(text, make_maildir(rest, unique_ids), made=made)
    if kind == "sqlite" and rest:
        store = SqliteStore(rest)
        stack.callback(store.close)
        return StorePlace(text, store, made=made)
    raise PlaceError(f"{text!r}: allowed is {KINDS}")


async def configured(settings: Settings, name: str, stack: AsyncExitStack) -> StorePlace:
    """The store and the accounts of a configuration."""
    accounts = await stack.enter_async_context(opened_accounts(settings))
    store = make_store(settings)
    stack.push_async_callback(store.aclose)
    return StorePlace(name, store, accounts)


def make_maildir(path: str, unique_ids: MaildirFormat) -> Maildir:
    """Maildirs by a path such as /srv/mail/{domain}/{user}. Raises PlaceError."""
    before, brace, _ = path.partition("{")
    root, slash, _ = before.rpartition("/")
    template = path[len(root) + len(slash) :]
    if not brace:
        raise PlaceError(f"maildir:{path}: {{user}} is missing, as in maildir:/srv/mail/{{user}}")
    try:
        return Maildir((root or "/") if slash else ".", template=template, unique_ids=unique_ids)
    except ValueError as error:
        raise PlaceError(f"maildir:{path}: {error}") from error


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where mail comes from. format: whose unique-ids a Maildir has."""

    place: str
    format: MaildirFormat = "own"


async def open_source(options: SourceOptions, stack: AsyncExitStack) -> Source:
    """Where mail comes from. Raises as `open_place` does."""
    format = options.format
    place = await open_place(options.place, stack, made=False, unique_ids=format)
    order = None
    if format != "own":
        if not (isinstance(place.store, Maildir) and place.accounts is None):
            raise PlaceError(f"--from-format {format} is for a source maildir:...")
        order = dovecot_order(place.store)
    return StoreSource(place.store, place.find, place.names, name=place.name, order=order)
