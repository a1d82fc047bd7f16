"""Where `restante migrate` moves mail from and to, as its command line says it."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from restante.accounts.contract import Account, AccountError, AccountStore
from restante.app.accounts import opened_accounts
from restante.app.config.load import load
from restante.app.config.settings import Settings
from restante.app.errors import StartError
from restante.app.maildrops import answered, opened_store, shown_place
from restante.app.owner import refuse_root
from restante.calls import finished
from restante.migration.contract import DEFAULT_MAX_OCTETS, Source
from restante.migration.dovecot import DovecotSource
from restante.migration.imap import ImapSource
from restante.migration.pop3 import Pop3Source
from restante.migration.servers import Passwords, Server, Tls, read_passwords
from restante.migration.stores import (
    StoreSource,
    shown_by_courier,
    shown_by_dovecot,
    shown_by_nobody_else,
)
from restante.migration.unique_ids import UniqueIdFormat
from restante.stores.contract import Store, StoreError
from restante.stores.maildir.store import Maildir
from restante.stores.sqlite.store import SqliteStore

MaildirFormat: TypeAlias = Literal["own", "dovecot", "courier"]
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
        """The account with this name.

        Raises AccountError, and StoreError for a maildrop that root would spoil for its owner.
        """
        accounts = self.accounts
        if accounts is not None:
            found: Any = await asyncio.to_thread(lambda: finished(accounts.lookup(name)))
            account: Account | None = await found if inspect.isawaitable(found) else found
            return account
        if isinstance(self.store, Maildir):
            folder = self.store.folder(Account(name))
            if not self.made:
                return Account(name) if await asyncio.to_thread(folder.is_dir) else None
            try:
                await asyncio.to_thread(refuse_root, folder, "move this maildrop", "migrate")
            except StartError as error:
                raise StoreError(str(error), temporary=False) from error
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

    made: what isn't there is made, maildrops and a database's file. unique_ids: of a Maildir.
    Raises PlaceError, ConfigError and what making the stores does.
    """
    kind, _, rest = text.partition(":")
    if text.endswith(".toml"):
        return await configured(load(Path(text)).settings, stack)
    if kind == "maildir" and rest:
        return StorePlace(text, make_maildir(rest, unique_ids), made=made)
    if kind == "sqlite" and rest:
        if not made and not await asyncio.to_thread(Path(rest).is_file):
            raise PlaceError(f"{text}: there is no such file")
        store = SqliteStore(rest)
        stack.callback(store.close)
        return StorePlace(text, store, made=made)
    raise PlaceError(f"{text!r}: allowed is {KINDS}")


async def configured(settings: Settings, stack: AsyncExitStack) -> StorePlace:
    """The store and the accounts of a configuration. Raises as `opened_store` does."""
    accounts = await stack.enter_async_context(opened_accounts(settings))
    store = await stack.enter_async_context(opened_store(settings, new=True))
    await answered(store.prepare())
    return StorePlace(shown_place(settings), store, accounts)


def owned_by(text: str) -> Path:
    """What a store's owner owns, of those that `open_place` opens: its folder, or its file.

    Raises PlaceError, ConfigError.
    """
    kind, _, rest = text.partition(":")
    if text.endswith(".toml"):
        return load(Path(text)).settings.server.data
    if kind == "sqlite" and rest:
        file = Path(rest)
        return file if file.exists() else file.parent
    if kind == "maildir" and rest:
        return Path(_split_path(rest)[0])
    raise PlaceError(f"{text!r}: allowed is {KINDS}")


def _split_path(path: str) -> tuple[str, str]:
    """The folder of Maildirs, and the template for those in it. Raises PlaceError."""
    before, brace, _ = path.partition("{")
    root, slash, _ = before.rpartition("/")
    if not brace:
        raise PlaceError(f"maildir:{path}: {{user}} is missing, as in maildir:/srv/mail/{{user}}")
    return (root or "/") if slash else ".", path[len(root) + len(slash) :]


def make_maildir(path: str, unique_ids: MaildirFormat) -> Maildir:
    """Maildirs by a path such as /srv/mail/{domain}/{user}. Raises PlaceError."""
    root, template = _split_path(path)
    try:
        return Maildir(root, template=template, unique_ids=unique_ids)
    except ValueError as error:
        raise PlaceError(f"maildir:{path}: {error}") from error


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where mail comes from, and how it is had.

    place: a URL or a configuration file. format: whose unique-ids a Maildir has; None: its own, and
    a Maildir that holds a list of Dovecot's or Courier's is refused. unique_ids: how they are made
    of IMAP's numbers; None: as usual. passwords: of a server.
    tls: False allows passwords in the clear. ca: certificates that are trusted in place of the
    system's. max_octets: of the largest message that is moved.
    """

    place: str
    format: MaildirFormat | None = None
    unique_ids: str | None = None
    passwords: Passwords | None = None
    tls: bool = True
    ca: Path | None = None
    max_octets: int = DEFAULT_MAX_OCTETS


async def open_source(options: SourceOptions, stack: AsyncExitStack) -> Source:
    """Where mail comes from.

    Raises PlaceError, ConfigError, OSError and what making stores does.
    """
    kind, _, rest = options.place.partition(":")
    try:
        unique_ids = None if options.unique_ids is None else UniqueIdFormat(options.unique_ids)
        if kind in _PORTS and not options.place.endswith(".toml"):
            _refuse_others(options, kind, ("format",))
            return _server_source(options, kind, rest, unique_ids)
        if kind == "dovecot":
            _refuse_others(options, kind, ("format", "passwords", "ca", "tls"))
            return DovecotSource(rest or None, unique_ids=unique_ids)
        _refuse_others(options, kind, ("passwords", "ca", "tls"))
    except ValueError as error:
        raise PlaceError(str(error)) from error
    format = options.format
    is_maildir = kind == "maildir" and not options.place.endswith(".toml")
    if format is not None and not is_maildir:
        raise PlaceError(
            f"--from-format {format} is for Maildirs: --from maildir:/srv/mail/{{user}}"
        )
    if format != "dovecot" and unique_ids is not None:
        raise PlaceError("--unique-ids is for dovecot:, imap: and --from-format dovecot")
    place = await open_place(options.place, stack, made=False, unique_ids=format or "own")
    shown = None
    if format == "dovecot":
        assert isinstance(place.store, Maildir)
        shown = shown_by_dovecot(place.store, unique_ids or UniqueIdFormat())
    elif format == "courier":
        assert isinstance(place.store, Maildir)
        shown = shown_by_courier(place.store)
    elif format is None and is_maildir:
        assert isinstance(place.store, Maildir)
        shown = shown_by_nobody_else(place.store)
    return StoreSource(place.store, place.find, place.names, name=place.name, shown=shown)


_PORTS = {"pop3": 110, "pop3s": 995, "imap": 143, "imaps": 993}
_FLAGS = {
    "format": "--from-format",
    "passwords": "a file of passwords",
    "ca": "--ca",
    "tls": "--without-tls",
}


def _refuse_others(options: SourceOptions, kind: str, names: Sequence[str]) -> None:
    """Raises PlaceError for an option that doesn't go with this kind of source."""
    for name in names:
        if getattr(options, name) != getattr(_DEFAULTS, name):
            raise PlaceError(f"{_FLAGS[name]} doesn't go with --from {kind}:")


_DEFAULTS = SourceOptions("")


def _server_source(
    options: SourceOptions, kind: str, rest: str, unique_ids: UniqueIdFormat | None
) -> Source:
    """A POP3 or IMAP server. Raises ValueError, OSError."""
    server = _server(options, kind, rest)
    passwords = options.passwords
    if passwords is None:
        raise PlaceError(f"{options.place}: --users or --master must name a file with passwords")
    if kind.startswith("pop3"):
        if unique_ids is not None:
            raise PlaceError("--unique-ids: a POP3 server tells its unique-ids itself")
        return Pop3Source(server, passwords, max_octets=options.max_octets)
    return ImapSource(server, passwords, max_octets=options.max_octets, unique_ids=unique_ids)


def read_password_files(users: Path | None, master: Path | None) -> Passwords | None:
    """The passwords of accounts, and that of a master user; None without any file.

    Raises PlaceError, OSError.
    """
    if users is None and master is None:
        return None
    try:
        found = {} if users is None else read_passwords(users)
        masters = [] if master is None else list(read_passwords(master).items())
    except ValueError as error:
        raise PlaceError(str(error)) from error
    if master is not None and len(masters) != 1:
        raise PlaceError(f"{master}: allowed is one line, name:password")
    return Passwords(found, masters[0] if masters else None)


def _server(options: SourceOptions, kind: str, rest: str) -> Server:
    example = f"{kind}://mail.example.org"
    url = urlsplit(options.place)
    if url.username is not None or url.password is not None:
        raise PlaceError(f"no name and no password belongs into {example}: see --users")
    if not rest.startswith("//") or not url.hostname or url.path.strip("/") or url.query:
        raise PlaceError(f"{options.place!r}: allowed is {example} or {example}:{_PORTS[kind]}")
    try:
        port = url.port or _PORTS[kind]
    except ValueError:
        raise PlaceError(f"{options.place!r}: the port is none") from None
    context = None
    if options.ca is not None:
        context = ssl.create_default_context(cafile=options.ca)
    tls: Tls = "implicit" if kind.endswith("s") else "upgrade"
    if not options.tls:
        if tls == "implicit" or context is not None:
            raise PlaceError(f"--without-tls doesn't go with {kind}: or --ca")
        tls = "none"
    return Server(url.hostname, port, tls, context=context)
