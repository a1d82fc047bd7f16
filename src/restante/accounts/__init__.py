"""Accounts: the base class of their stores, the stores that there are, and what they need.

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING

from restante.public import lazily

if TYPE_CHECKING:
    from restante.accounts.account import Account as Account
    from restante.accounts.account import AccountError as AccountError
    from restante.accounts.account import AccountRow as AccountRow
    from restante.accounts.account import AppPassword as AppPassword
    from restante.accounts.account import PasswordCheck as PasswordCheck
    from restante.accounts.account import Quota as Quota
    from restante.accounts.chain import Chain as Chain
    from restante.accounts.contract import AccountStore as AccountStore
    from restante.accounts.kerberos import Kerberos as Kerberos
    from restante.accounts.ldap import LdapAccounts as LdapAccounts
    from restante.accounts.mysql import MysqlAccounts as MysqlAccounts
    from restante.accounts.names import AccountExists as AccountExists
    from restante.accounts.names import NoSuchAccount as NoSuchAccount
    from restante.accounts.oauth import OAuth as OAuth
    from restante.accounts.pam import PamAccounts as PamAccounts
    from restante.accounts.passwd_file import PasswdFile as PasswdFile
    from restante.accounts.postgres import PostgresAccounts as PostgresAccounts
    from restante.accounts.rights import Rights as Rights
    from restante.accounts.schemes import hash_password as hash_password
    from restante.accounts.sqlite import SqliteAccounts as SqliteAccounts
    from restante.accounts.static import StaticAccounts as StaticAccounts
else:
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
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
        },
    )
