"""The parts of a server, made as the configuration says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TypeAlias

from pydantic import SecretStr

from restante.accounts.contract import Account
from restante.accounts.names import check_address
from restante.accounts.schemes import SCHEMES, split_credential
from restante.accounts.sqlite import SqliteAccounts
from restante.accounts.static import StaticAccounts
from restante.app.settings import Settings, StaticAccountSection
from restante.maildrops.maildir import Maildir
from restante.server.tls import Certificate, TlsSettings


class ReplaceableAccounts:
    """Static accounts that can be replaced by others while the server runs, all at once."""

    blocking = False

    def __init__(self, accounts: StaticAccounts) -> None:
        self.current = accounts

    def lookup(self, name: str) -> Account | None:
        return self.current.lookup(name)

    def lookup_address(self, address: str) -> Account | None:
        return self.current.lookup_address(address)

    def has_shared_secrets(self) -> bool:
        return self.current.has_shared_secrets()

    def slowest_scheme(self) -> str | None:
        return self.current.slowest_scheme()

    def list(self) -> tuple[Account, ...]:
        return self.current.list()


Accounts: TypeAlias = SqliteAccounts | ReplaceableAccounts


def make_accounts(settings: Settings) -> Accounts:
    """Raises ValueError for a static account that can't be."""
    if settings.accounts.kind == "static":
        return ReplaceableAccounts(make_static_accounts(settings))
    return SqliteAccounts(
        settings.accounts_file,
        case_insensitive=settings.accounts.case_insensitive,
        domains=settings.delivery.domains,
    )


@contextmanager
def opened_accounts(settings: Settings) -> Iterator[Accounts]:
    """The accounts, closed in the end. Raises as `make_accounts` does."""
    accounts = make_accounts(settings)
    with accounts if isinstance(accounts, SqliteAccounts) else nullcontext():
        yield accounts


def make_static_accounts(settings: Settings) -> StaticAccounts:
    """Raises ValueError for an account that can't be; the text quotes no password."""
    return StaticAccounts(
        [make_account(name, given) for name, given in settings.accounts.static.items()],
        case_insensitive=settings.accounts.case_insensitive,
        domains=settings.delivery.domains,
    )


def make_account(name: str, given: StaticAccountSection) -> Account:
    """Raises ValueError; the text quotes no password."""
    text = given.password.get_secret_value()
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
        default = Certificate(tls.certificate, tls.key, _revealed(tls.key_password))
    elif tls.development:
        default = Certificate(*settings.development_certificate)
    by_name = {
        name: Certificate(each.certificate, each.key, _revealed(each.key_password))
        for name, each in tls.names.items()
    }
    return default, by_name


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


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
