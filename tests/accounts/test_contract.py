"""Our own stores of accounts keep the contract for them, and the contract finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from restante.accounts.account import Account
from restante.accounts.chain import Chain
from restante.accounts.contract import AccountStore
from restante.accounts.passwd_file import PasswdFile
from restante.accounts.sqlite import SqliteAccounts
from restante.accounts.static import StaticAccounts
from restante.testing.contracts import AccountStoreContract
from restante.testing.contracts.accounts import AccountsUnderTest

pytestmark = pytest.mark.usefixtures("cheap_hashes")

JOE = Account("joe", ("{PLAIN}geheim",))
EVE = Account("eve", ("{PLAIN}geheim",), disabled=True)
MULLER = Account("MÜLLER", ("{PLAIN}other",), display_name="Ägidius")


class TestStaticAccounts(AccountStoreContract):
    def make_store(self, folder: Path) -> AccountStore:
        return StaticAccounts([JOE, EVE, MULLER])


class TestSqliteAccounts(AccountStoreContract):
    def make_store(self, folder: Path) -> AccountStore:
        store = SqliteAccounts(folder / "accounts.sqlite")
        for name in ("joe", "eve"):
            store.add(name, "geheim")
        store.disable("eve")
        store.add("MÜLLER", "other", display_name="Ägidius")
        return store


class TestPasswdFile(AccountStoreContract):
    def make_store(self, folder: Path) -> AccountStore:
        (folder / "passwd").write_text("joe:{PLAIN}geheim\neve:{PLAIN}geheim::::::nologin\n")
        return PasswdFile(folder / "passwd")


class TestChain(AccountStoreContract):
    def make_store(self, folder: Path) -> AccountStore:
        return Chain([StaticAccounts([EVE]), Users({"joe": JOE})])


class Users(AccountStore):
    """The smallest store there can be, async."""

    blocking = False

    def __init__(self, users: dict[str, Account]) -> None:
        self.users = users

    async def lookup(self, name: str) -> Account | None:
        return self.users.get(name)


class TestStoreOfOneMethod(AccountStoreContract):
    def make_store(self, folder: Path) -> AccountStore:
        return Users({"joe": JOE, "eve": EVE})


class Patterns(Users):
    """Takes names for patterns, as a query with LIKE does."""

    async def lookup(self, name: str) -> Account | None:
        return JOE if name in ("%", "joe") else self.users.get(name)


class LetsAllIn(Users):
    async def lookup(self, name: str) -> Account | None:
        return Account(name, ("{PLAIN}geheim",))


class Trims(Users):
    async def lookup(self, name: str) -> Account | None:
        return self.users.get(name.strip())


class Shows(Users):
    def __repr__(self) -> str:
        return f"Shows({[each.credentials for each in self.users.values()]})"


Test = Callable[[AccountStoreContract, AccountsUnderTest], None]


@pytest.mark.parametrize(
    ("store", "test"),
    [
        (Patterns({"eve": EVE}), lambda c, a: c.test_a_name_is_data(a, "%")),
        (LetsAllIn({}), AccountStoreContract.test_no_password_lets_in_somebody_unknown),
        (LetsAllIn({}), AccountStoreContract.test_no_password_lets_in_a_disabled_account),
        (Trims({"joe": JOE}), lambda c, a: c.test_an_unfit_name_is_nobody(a, " joe")),
        (Shows({"joe": JOE}), AccountStoreContract.test_secrets_are_not_shown),
        (Users({}), AccountStoreContract.test_an_account_is_found_by_its_name),
        (
            Users({"joe": Account("joe", check_password=lambda _: True)}),
            lambda c, a: c.test_a_wrong_password_does_not(a, "gehei"),
        ),
    ],
)
def test_a_store_that_breaks_the_contract_is_found(store: AccountStore, test: Test) -> None:
    accounts = AccountsUnderTest(store)
    try:
        with pytest.raises(AssertionError):
            test(AccountStoreContract(), accounts)
    finally:
        accounts.finish()
