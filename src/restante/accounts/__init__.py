"""Accounts: the base class of their stores, the stores that there are, and what they need.

What `__all__` lists is public. Names are imported when they are used: some stores need libraries
of an extra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restante.accounts.chain import Chain
    from restante.accounts.contract import (
        Account,
        AccountError,
        AccountStore,
        AppPassword,
        PasswordCheck,
    )
    from restante.accounts.kerberos import Kerberos
    from restante.accounts.ldap import LdapAccounts
    from restante.accounts.mysql import MysqlAccounts
    from restante.accounts.names import AccountExists, NoSuchAccount
    from restante.accounts.oauth import OAuth
    from restante.accounts.pam import PamAccounts
    from restante.accounts.passwd_file import PasswdFile
    from restante.accounts.postgres import PostgresAccounts
    from restante.accounts.rights import Rights
    from restante.accounts.schemes import hash_password
    from restante.accounts.sqlite import SqliteAccounts
    from restante.accounts.static import StaticAccounts

_MODULES = {
    "Account": "account",
    "AccountError": "account",
    "AccountExists": "names",
    "AccountStore": "contract",
    "AppPassword": "account",
    "Chain": "chain",
    "Kerberos": "kerberos",
    "LdapAccounts": "ldap",
    "MysqlAccounts": "mysql",
    "NoSuchAccount": "names",
    "OAuth": "oauth",
    "PamAccounts": "pam",
    "PasswdFile": "passwd_file",
    "PasswordCheck": "account",
    "PostgresAccounts": "postgres",
    "Rights": "rights",
    "SqliteAccounts": "sqlite",
    "StaticAccounts": "static",
    "hash_password": "schemes",
}
"""The module of each public name."""

__all__ = [
    "Account",
    "AccountError",
    "AccountExists",
    "AccountStore",
    "AppPassword",
    "Chain",
    "Kerberos",
    "LdapAccounts",
    "MysqlAccounts",
    "NoSuchAccount",
    "OAuth",
    "PamAccounts",
    "PasswdFile",
    "PasswordCheck",
    "PostgresAccounts",
    "Rights",
    "SqliteAccounts",
    "StaticAccounts",
    "hash_password",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
