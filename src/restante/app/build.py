"""The parts of a server, made as the configuration says."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Protocol

from restante.accounts.chain import make_chain
from restante.accounts.contract import Account, AccountStore, Addressable, Closes
from restante.accounts.kerberos import Kerberos
from restante.accounts.names import check_address
from restante.accounts.oauth import OAuth
from restante.accounts.passwd_file import PasswdFile
from restante.accounts.schemes import SCHEMES, split_credential
from restante.accounts.sqlite import SqliteAccounts
from restante.accounts.static import StaticAccounts
from restante.app.config.settings import (
    Kind,
    LdapSection,
    Secret,
    Settings,
    SqlSection,
    StaticAccountSection,
)
from restante.guard.ban_store import BanStore
from restante.guard.guard import Guard
from restante.networks import network_set
from restante.server.listen.listener import Listener
from restante.server.settings import Settings as ServerSettings
from restante.server.tls.settings import Certificate, TlsSettings
from restante.stores.maildir.store import Maildir


class ReplaceableAccounts:
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


class Accounts(AccountStore, Addressable, Protocol):
    """What every store here can do: find accounts by name, and by address."""


def make_accounts(settings: Settings) -> Accounts:
    """The stores that the configuration names, as one.

    Raises ValueError for what can't be, AccountError when a library is missing.
    """
    stores = [make_store_of(settings, kind) for kind in settings.accounts.kinds]
    if len(stores) == 1:
        return stores[0]
    return make_chain(stores)


@asynccontextmanager
async def opened_accounts(settings: Settings) -> AsyncIterator[Accounts]:
    """The accounts, closed in the end. Raises as `make_accounts` does."""
    accounts = make_accounts(settings)
    try:
        yield accounts
    finally:
        await close_accounts(accounts)


async def close_accounts(accounts: Accounts) -> None:
    """Close what a store holds open."""
    if isinstance(accounts, Closes):
        await accounts.aclose()


def find_account(settings: Settings, name: str, *, by_address: bool = False) -> Account | None:
    """The account of that name or address. Raises as `make_accounts` and look-ups do."""

    async def find() -> Account | None:
        async with opened_accounts(settings) as accounts:
            found = (accounts.lookup_address if by_address else accounts.lookup)(name)
            return await found if inspect.isawaitable(found) else found

    return asyncio.run(find())


def make_store_of(settings: Settings, kind: Kind) -> Accounts:
    """One store. Raises as `make_accounts` does."""
    given = settings.accounts
    match kind:
        case "sqlite":
            return make_sqlite_accounts(settings)
        case "static":
            return ReplaceableAccounts(make_static_accounts(settings))
        case "passwd-file":
            if given.passwd_file.path is None:
                raise ValueError("accounts.passwd_file.path is missing")
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
    return {**_revealed(section), "case_insensitive": case_insensitive}


def _make_ldap(section: LdapSection) -> Accounts:
    from restante.accounts.ldap import LdapAccounts  # noqa: PLC0415 - not needed by others

    return LdapAccounts(**_revealed(section))


def make_sqlite_accounts(settings: Settings) -> SqliteAccounts:
    """The accounts that `restante user` changes."""
    return SqliteAccounts(
        settings.accounts_file,
        case_insensitive=settings.accounts.case_insensitive,
        domains=settings.delivery.domains,
        scram=settings.accounts.scram,
    )


def make_oauth(settings: Settings) -> OAuth | None:
    """None when it isn't configured. Raises ValueError, and ImportError without the libraries."""
    section = settings.oauth
    if not section.is_wanted:
        return None
    values = _revealed(section)
    if section.algorithms is None:  # then those that OAuth thinks best
        del values["algorithms"]
    return OAuth(**values)


def make_kerberos(settings: Settings) -> Kerberos | None:
    """None when it isn't configured. Raises ValueError, OSError, ImportError."""
    section = settings.kerberos
    if section.keytab is None:
        return None
    return Kerberos(
        section.keytab,
        service=section.service,
        hostname=section.hostname or None,
        realms=section.realms,
    )


def make_guard(settings: Settings, *, key: bytes | None = None, writer: int | None = None) -> Guard:
    """The guard, with its book. key, writer: the same in all worker processes; see there."""
    return Guard(settings.guard, BanStore(settings.bans_file, writer), key=key)


def make_listeners(settings: Settings) -> list[Listener]:
    """Where POP3 is spoken. Raises ValueError for proxies that can't be told."""
    networks = tuple(settings.pop3.proxy_networks)
    listeners = settings.pop3_listeners()
    return [Listener(**asdict(each), proxy_networks=networks) for _, each in listeners]


def server_settings(settings: Settings) -> ServerSettings:
    """What the sections server, pop3 and login say of the POP3 server. Raises ValueError."""
    known = {each.name for each in fields(ServerSettings)}
    given = {
        each.name: getattr(section, each.name)
        for section in (settings.server, settings.pop3, settings.login)
        for each in fields(section)
        if each.name in known
    }
    return ServerSettings(**{**given, "hostname": settings.server.hostname or None})


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
    network_set(given.networks)
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
    )


def make_store(settings: Settings) -> Maildir:
    """Raises ValueError for a template that could lead out of the root."""
    maildrops = settings.maildrops
    return Maildir(
        settings.mail_folder,
        template=maildrops.template,
        unique_ids=maildrops.unique_ids,
        fsync=maildrops.fsync,
    )


def certificates(settings: Settings) -> tuple[Certificate | None, dict[str, Certificate]]:
    """The one for everybody, if there is one, and those by host name."""
    tls = settings.tls
    default = None
    if tls.certificate is not None:
        default = _certificate(tls.certificate, tls.key, tls.key_password)
    elif tls.development:
        default = Certificate(*settings.development_certificate)
    by_name = {
        name: _certificate(each.certificate, each.key, each.key_password)
        for name, each in tls.names.items()
    }
    return default, by_name


def _certificate(chain: Path, key: Path | None, password: Secret | None) -> Certificate:
    return Certificate(chain, key, None if password is None else password.text)


def make_all_tls(settings: Settings) -> tuple[TlsSettings | None, TlsSettings | None]:
    """What POP3 speaks TLS by, and what SMTP does. Raises as `make_tls` does."""
    pop3 = make_tls(settings, client_certificates=True)
    return pop3, make_tls(settings, client_certificates=False)


def make_tls(settings: Settings, *, client_certificates: bool) -> TlsSettings | None:
    """None without a certificate. Raises OSError, ssl.SSLError, ValueError.

    client_certificates: ask for them, if the configuration wants them at all. Only POP3
    does: servers that bring mail have none.
    """
    default, by_name = certificates(settings)
    if default is None:
        return None
    tls = settings.tls
    if not client_certificates:
        return TlsSettings(default, by_name=by_name)
    return TlsSettings(
        default,
        by_name=by_name,
        client_certificates=tls.client_certificates,
        client_ca=tls.client_ca,
    )


def _revealed(section: Any) -> dict[str, Any]:
    """The keys of a section and their values, secrets as plain text."""
    values = ((each.name, getattr(section, each.name)) for each in fields(section))
    return {name: value.text if isinstance(value, Secret) else value for name, value in values}
