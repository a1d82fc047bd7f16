"""Accounts: the base class of their stores, the stores that there are, and what they need.

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.accounts.account import (
        Account,
        AccountError,
        AccountRow,
        AppPassword,
        PasswordCheck,
        Quota,
    )
    from restante.accounts.chain import (
        Chain,
    )
    from restante.accounts.contract import (
        AccountStore,
    )
    from restante.accounts.kerberos import (
        Kerberos,
    )
    from restante.accounts.ldap import (
        LdapAccounts,
    )
    from restante.accounts.mysql import (
        MysqlAccounts,
    )
    from restante.accounts.names import (
        AccountExists,
        NoSuchAccount,
    )
    from restante.accounts.oauth import (
        OAuth,
    )
    from restante.accounts.pam import (
        PamAccounts,
    )
    from restante.accounts.passwd_file import (
        PasswdFile,
    )
    from restante.accounts.postgres import (
        PostgresAccounts,
    )
    from restante.accounts.rights import (
        Rights,
    )
    from restante.accounts.schemes import (
        hash_password,
    )
    from restante.accounts.sqlite import (
        SqliteAccounts,
    )
    from restante.accounts.static import (
        StaticAccounts,
    )

_HOMES = {
    "account": "Account AccountError AccountRow AppPassword PasswordCheck Quota",
    "chain": "Chain",
    "contract": "AccountStore",
    "kerberos": "Kerberos",
    "ldap": "LdapAccounts",
    "mysql": "MysqlAccounts",
    "names": "AccountExists NoSuchAccount",
    "oauth": "OAuth",
    "pam": "PamAccounts",
    "passwd_file": "PasswdFile",
    "postgres": "PostgresAccounts",
    "rights": "Rights",
    "schemes": "hash_password",
    "sqlite": "SqliteAccounts",
    "static": "StaticAccounts",
}


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "Account",
    "AccountError",
    "AccountExists",
    "AccountRow",
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
    "Quota",
    "Rights",
    "SqliteAccounts",
    "StaticAccounts",
    "hash_password",
]
