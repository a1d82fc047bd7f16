"""What the first start makes: a development certificate, a first account."""

from __future__ import annotations

import secrets

from restante.accounts.names import AccountExists
from restante.accounts.sqlite import SqliteAccounts
from restante.app.accounts import make_sqlite_accounts
from restante.app.administrators import Administrators
from restante.app.cert import make_certificate
from restante.app.config.load import Loaded
from restante.app.config.settings import Settings
from restante.app.files import write_file
from restante.app.guard import make_guard
from restante.app.maildrops import prepare_store
from restante.app.passwords import new_password
from restante.networks import own_host_name

FIRST_ACCOUNT = "me"
FIRST_ADMINISTRATOR = "admin"


def make_development_certificate(settings: Settings) -> bool:
    """Make it if it is wanted and isn't there; tell whether it was made. Raises OSError."""
    if settings.tls.certificate is not None or not settings.tls.development:
        return False
    certificate, key = settings.development_certificate
    if certificate.exists() and key.exists():
        return False
    names = ["localhost", settings.server.hostname or own_host_name()]
    make_certificate(certificate, key, names, replace=True)
    return True


def read_secret(settings: Settings) -> bytes:
    """The secret that keys of names without an account are made up from, made if it isn't
    there: it must stay the same, or they would give themselves away. Raises OSError.
    """
    path = settings.secret_file
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        secret = secrets.token_bytes(32)
        write_file(path, secret, mode=0o600)
    if len(secret) < 32:
        raise OSError(f"{path}: damaged; remove it and another is made")
    return secret


def make_databases(settings: Settings) -> None:
    """What several processes would make at the same moment.

    Raises OSError, AccountError, StoreError.
    """
    read_secret(settings)
    if settings.bans_file is not None:
        guard = make_guard(settings)
        guard.refresh()
        guard.close()
    if settings.store.kind == "sqlite":
        prepare_store(settings)
    if "sqlite" in settings.accounts.kinds:
        with make_sqlite_accounts(settings) as accounts:
            accounts.lookup(FIRST_ACCOUNT)


def make_first_account(loaded: Loaded) -> str | None:
    """Where nothing is configured and there are no accounts yet: make one.

    Gives its password, to be shown this once; None when none was made.
    """
    settings = loaded.settings
    if loaded.file is not None or settings.accounts.kinds != ("sqlite",):
        return None
    if settings.accounts_file.exists():
        return None
    password = new_password()
    try:
        with SqliteAccounts(settings.accounts_file) as accounts:
            accounts.add(FIRST_ACCOUNT, password)
    except AccountExists:  # another server was started at the same moment
        return None
    return password


def make_first_administrator(loaded: Loaded) -> str | None:
    """Where nothing is configured but the console is wanted and nobody may log in to it: make one.

    Gives its password, to be shown this once; None when none was made.
    """
    settings = loaded.settings
    if loaded.file is not None or settings.console.port == "off":
        return None
    if settings.administrators_file.exists():
        return None
    password = new_password()
    Administrators(settings.administrators_file).set(FIRST_ADMINISTRATOR, password, new=True)
    return password
