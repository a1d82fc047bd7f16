"""The stores of accounts that the configuration names."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from restante.accounts.account import Quota
from restante.accounts.chain import Chain
from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.kept import ManagedAccounts
from restante.accounts.names import check_address
from restante.accounts.passwd_file import PasswdFile
from restante.accounts.schemes import SCHEMES, split_credential
from restante.accounts.sqlite import SqliteAccounts
from restante.accounts.static import StaticAccounts
from restante.app.config.problem import KeyMistake
from restante.app.config.settings import (
    Kind,
    LdapSection,
    Settings,
    SqlSection,
    StaticAccountSection,
    revealed,
)
from restante.app.files import make_private_folder
from restante.calls import finished

if TYPE_CHECKING:
    from restante.accounts.database import DatabaseAccounts


class ReplaceableAccounts(AccountStore):
    """Static accounts that can be replaced by others while the server runs, all at once."""

    blocking = False

    def __init__(self, accounts: StaticAccounts) -> None:
        self.current = accounts

    def lookup(self, name: str) -> Account | None:
        return self.current.lookup(name)

    def lookup_address(self, address: str) -> Account | None:
        return self.current.lookup_address(address)

    def held_schemes(self) -> frozenset[str]:
        return self.current.held_schemes()

    def slowest_scheme(self) -> str | None:
        return self.current.slowest_scheme()

    def list(self) -> tuple[Account, ...]:
        return self.current.list()


def make_accounts(settings: Settings) -> AccountStore:
    """The stores that the configuration names, as one.

    Raises ValueError for what can't be, AccountError when a library is missing.
    """
    stores = [make_store_of(settings, kind) for kind in settings.accounts.kinds]
    if len(stores) == 1:
        return stores[0]
    return Chain(stores)


@asynccontextmanager
async def opened_accounts(settings: Settings) -> AsyncIterator[AccountStore]:
    """The accounts, closed in the end. Raises as `make_accounts` does."""
    accounts = make_accounts(settings)
    try:
        yield accounts
    finally:
        await close_accounts(accounts)


async def close_accounts(accounts: AccountStore) -> None:
    """Close what a store holds open."""
    await accounts.aclose()


def find_account(settings: Settings, name: str, *, by_address: bool = False) -> Account | None:
    """The account of that name or address. Raises as `make_accounts` and look-ups do."""

    async def find() -> Account | None:
        async with opened_accounts(settings) as accounts:
            found: Any = finished(
                (accounts.lookup_address if by_address else accounts.lookup)(name)
            )
            account: Account | None = await found if inspect.isawaitable(found) else found
            return account

    return asyncio.run(find())


def whose_address(settings: Settings, name: str) -> str:
    """What to add where there is no account of a name, but one that has it as its address; or "".

    Raises as `find_account` does.
    """
    found = find_account(settings, name, by_address=True) if "@" in name else None
    return "" if found is None else f": that is an address of the account {found.name!r}"


def make_store_of(settings: Settings, kind: Kind) -> AccountStore:
    """One store. Raises as `make_accounts` does."""
    given = settings.accounts
    match kind:
        case "sqlite":
            return make_sqlite_accounts(settings)
        case "database":
            return _make_database(settings)
        case "static":
            return ReplaceableAccounts(make_static_accounts(settings))
        case "passwd-file":
            if given.passwd_file.path is None:
                raise KeyMistake("accounts.passwd_file.path", "is missing")
            return PasswdFile(
                given.passwd_file.path,
                default_scheme=given.passwd_file.default_scheme,
                case_insensitive=given.case_insensitive,
                domains=settings.delivery.domains,
                username_format=given.passwd_file.username_format,
            )
        case "postgres":
            from restante.accounts.postgres import PostgresAccounts  # noqa: PLC0415 - an extra

            return PostgresAccounts(**_sql(given.postgres, given.case_insensitive))
        case "mysql":
            from restante.accounts.mysql import MysqlAccounts  # noqa: PLC0415 - an extra

            return MysqlAccounts(**_sql(given.mysql, given.case_insensitive))
        case "ldap":
            return _make_ldap(given.ldap)
        case "pam":
            from restante.accounts.pam import PamAccounts  # noqa: PLC0415 - an extra

            return PamAccounts(**asdict(given.pam))


def _sql(section: SqlSection, case_insensitive: bool) -> dict[str, Any]:
    return {**revealed(section), "case_insensitive": case_insensitive}


def _make_ldap(section: LdapSection) -> AccountStore:
    from restante.accounts.ldap import LdapAccounts  # noqa: PLC0415 - not needed by others

    return LdapAccounts(**revealed(section))


def _make_database(settings: Settings) -> DatabaseAccounts:
    from restante.accounts.database import DatabaseAccounts  # noqa: PLC0415 - an extra

    section = settings.store.postgres
    if settings.store.kind != "postgres":
        text = 'needs store.kind = "postgres" and store.postgres.dsn for accounts in the database'
        raise KeyMistake("accounts.kind", text)
    if not section.dsn.text:
        raise KeyMistake("store.postgres.dsn", "is missing")
    return DatabaseAccounts(
        section.dsn.text,
        password=None if section.password is None else section.password.text,
        schema=section.schema,
        max_connections=section.max_connections,
        timeout=section.timeout,
        case_insensitive=settings.accounts.case_insensitive,
        domains=settings.delivery.domains,
        scram=settings.accounts.scram,
    )


def managed_kind(settings: Settings) -> Kind | None:
    """The kind of accounts that can be changed from here; None: there are no such."""
    return next((kind for kind in settings.accounts.kinds if kind in ("sqlite", "database")), None)


@contextmanager
def managed_accounts(settings: Settings) -> Iterator[ManagedAccounts]:
    """The accounts that `restante user` changes. Raises AccountError where there are none such."""
    kind = managed_kind(settings)
    if kind is None:
        text = 'only accounts of kind "sqlite" or "database" are changed here'
        raise AccountError(f"{text}; static ones in accounts.static")
    if kind == "sqlite":
        make_private_folder(settings.accounts_file.parent)
        with make_sqlite_accounts(settings) as accounts:
            yield accounts
        return
    from restante.accounts.database import ManagedDatabase  # noqa: PLC0415 - an extra

    with ManagedDatabase.opened(_make_database(settings)) as managed:
        yield managed


def make_sqlite_accounts(settings: Settings) -> SqliteAccounts:
    """The accounts of kind "sqlite"."""
    return SqliteAccounts(
        settings.accounts_file,
        case_insensitive=settings.accounts.case_insensitive,
        domains=settings.delivery.domains,
        scram=settings.accounts.scram,
    )


def make_static_accounts(settings: Settings) -> StaticAccounts:
    """Raises ValueError for an account that can't be; the text quotes no password."""
    return StaticAccounts(
        [make_account(name, given) for name, given in settings.accounts.static.items()],
        case_insensitive=settings.accounts.case_insensitive,
        domains=settings.delivery.domains,
    )


def make_account(name: str, given: StaticAccountSection) -> Account:
    """Raises ValueError; the text quotes no password."""
    text = given.password.text
    scheme, _ = split_credential(text)
    if scheme and scheme not in SCHEMES:
        raise ValueError(
            f"unknown password scheme: known are {', '.join(SCHEMES)};"
            " a password that begins with a word in braces is written {PLAIN}{…"
        )
    (plain,) = StaticAccounts({name: text}).list()
    return replace(
        plain,
        email=check_address(given.email),
        display_name=given.display_name,
        maildrop=given.maildrop,
        disabled=given.disabled,
        protocols=None if given.protocols is None else frozenset(given.protocols),
        networks=tuple(given.networks),
        expires=None if given.expires is None else given.expires.timestamp(),
        master=given.master,
        quota=Quota.of(given.quota_octets, given.quota_messages),
        expire_days=given.expire_days,
    )
