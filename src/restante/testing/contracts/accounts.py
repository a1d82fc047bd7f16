"""What every store of accounts promises, whatever it keeps them in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

from restante.accounts.account import Account, AccountError
from restante.accounts.contract import AccountStore
from restante.calls import finished
from restante.protocol.claims import PasswordClaim
from restante.server.peer import Peer
from restante.server.server import Pop3Server
from restante.stores.memory import MemoryStore

UNFIT = ["", " joe", "joe\n", "j\0oe", "x" * 256, "\ud800"]
HOSTILE = ["'; DROP TABLE accounts; --", "%", "_", "*", "../joe", "{PLAIN}", "joe' OR '1'='1"]
RIGHT = "geheim"
WRONG = ["", "Geheim", "geheim ", " geheim", "gehei", "{PLAIN}geheim", "x" * 1000]


class AccountsUnderTest:
    """A store of accounts, asked in the event loop of a server that has it."""

    def __init__(self, given: AccountStore) -> None:
        self.given = given
        self._runner = asyncio.Runner()
        self._server = Pop3Server(port=0, accounts=given, store=MemoryStore(), for_tests=True)
        self._runner.run(self._server.open())

    def finish(self) -> None:
        """Close the store."""

        async def stop() -> None:
            await self._server.close()
            await self.given.aclose()

        self._runner.run(stop())
        self._runner.close()

    def ask(self, function: Any, *args: Any) -> Any:
        """What a method of the store gives, plain or async."""
        given = finished(function(*args)) if callable(function) else function

        async def awaiting() -> Any:
            return await given

        return self._runner.run(awaiting()) if isawaitable(given) else given

    def lookup(self, name: str) -> Account | None:
        """The account that a name logs in to."""
        return _account(self.ask(self.given.lookup, name))

    def lookup_address(self, address: str) -> Account | None:
        """The account that an address belongs to."""
        return _account(self.ask(self.given.lookup_address, address))

    def log_in(self, name: str, password: str) -> str | None:
        """The account that a server lets in for this password; None for nobody."""
        return self.log_in_at_once([(name, password)])[0]

    def log_in_at_once(self, tries: list[tuple[str, str]]) -> list[str | None]:
        """The same for several that come together."""
        backend = self._server.context.backend

        async def log_in(name: str, password: str) -> str | None:
            peer = Peer(("127.0.0.1", 1))
            account = await backend.authenticate(PasswordClaim(name, password), peer)
            return account.name if account else None

        async def gathered() -> list[str | None]:
            return await asyncio.gather(*(log_in(*each) for each in tries))

        return self._runner.run(gathered())


def _account(found: Any) -> Account | None:
    assert found is None or isinstance(found, Account), f"{found!r} is no Account"
    return found


class AccountStoreContract:
    """Tests for a store of accounts. Derive a class named `Test…`, write `make_store`.

    The store must have an account `joe` with the password `geheim`, and a disabled one, `eve`,
    with the same password. It must have no account `nobody`.
    """

    def make_store(self, folder: Path) -> AccountStore:
        """The store under test. folder: a new one, for whatever it keeps."""
        raise NotImplementedError("write make_store(self, folder): it gives the store")

    @pytest.fixture
    def accounts(self, tmp_path: Path) -> Iterator[AccountsUnderTest]:
        """The store under test."""
        made = AccountsUnderTest(self.make_store(tmp_path))
        yield made
        made.finish()

    def test_it_is_a_store_of_accounts(self, accounts: AccountsUnderTest) -> None:
        assert isinstance(accounts.given, AccountStore)
        assert isinstance(accounts.given.blocking, bool)

    def test_an_account_is_found_by_its_name(self, accounts: AccountsUnderTest) -> None:
        joe = accounts.lookup("joe")
        assert joe is not None
        assert joe.name == "joe"
        assert not joe.disabled

    def test_an_unknown_name_is_nobody(self, accounts: AccountsUnderTest) -> None:
        assert accounts.lookup("nobody") is None
        assert accounts.lookup_address("nobody") is None

    def test_the_right_password_lets_in(self, accounts: AccountsUnderTest) -> None:
        for _ in range(2):
            assert accounts.log_in("joe", RIGHT) == "joe"

    @pytest.mark.parametrize("password", WRONG)
    def test_a_wrong_password_does_not(self, accounts: AccountsUnderTest, password: str) -> None:
        assert accounts.log_in("joe", password) is None
        assert accounts.log_in("joe", RIGHT) == "joe"
        assert accounts.log_in("joe", password) is None

    def test_a_credential_is_no_password(self, accounts: AccountsUnderTest) -> None:
        joe = accounts.lookup("joe")
        assert joe is not None
        for credential in joe.credentials:
            assert accounts.log_in("joe", credential) is None
            assert accounts.log_in("joe", credential.partition("}")[2]) in (None, "joe")

    def test_no_password_lets_in_a_disabled_account(self, accounts: AccountsUnderTest) -> None:
        assert accounts.log_in("eve", RIGHT) is None

    def test_no_password_lets_in_somebody_unknown(self, accounts: AccountsUnderTest) -> None:
        for password in (RIGHT, *WRONG):
            assert accounts.log_in("nobody", password) is None

    @pytest.mark.parametrize("name", UNFIT)
    def test_an_unfit_name_is_nobody(self, accounts: AccountsUnderTest, name: str) -> None:
        assert accounts.lookup(name) is None
        assert accounts.lookup_address(name) is None
        assert accounts.log_in(name, RIGHT) is None

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_name_is_data(self, accounts: AccountsUnderTest, name: str) -> None:
        """No pattern, no query, no path."""
        assert accounts.lookup(name) is None
        assert accounts.log_in(name, RIGHT) is None
        assert accounts.log_in("joe", RIGHT) == "joe"

    def test_names_of_one_account_have_one_key(self, accounts: AccountsUnderTest) -> None:
        """By it failed logins are counted, so a spelling must not be a way around."""
        key = accounts.given.name_key
        for name in ("joe", "JOE", "Joe"):
            found = accounts.lookup(name)
            assert found is None or key(name) == key("joe")
        assert key("nobody") != key("joe")

    def test_secrets_are_not_shown(self, accounts: AccountsUnderTest) -> None:
        shown = repr(accounts.lookup("joe")) + repr(accounts.given)
        assert RIGHT not in shown

    def test_the_schemes_that_are_held_are_told(self, accounts: AccountsUnderTest) -> None:
        held = accounts.ask(accounts.given.held_schemes)
        assert all(each == each.upper() for each in held)
        slowest = accounts.given.slowest_scheme()
        assert slowest is None or slowest == slowest.upper()

    def test_a_search_finds_what_is_listed(self, accounts: AccountsUnderTest) -> None:
        """By name, whichever part of it; where accounts can be listed."""
        store = accounts.given
        try:
            names = sorted((each.name for each in store.list()), key=str.lower)
        except AccountError:
            return
        assert [each.name for each in store.search("", 0, 1000)[0]] == names
        for name in names:
            for text in (name, name.upper(), name.lower()):
                found, number = store.search(text, 0, 1000)
                assert name in [each.name for each in found]
                assert number == len(found)
        found, number = store.search("no such account", 0, 1000)
        assert (len(found), number) == (0, 0)
        some, number = store.search("", 1, 1)
        assert ([each.name for each in some], number) == (names[1:2], len(names))

    def test_look_ups_may_come_together(self, accounts: AccountsUnderTest) -> None:
        tries = [("joe", RIGHT), ("joe", "wrong"), ("nobody", RIGHT), ("eve", RIGHT)] * 5
        assert accounts.log_in_at_once(tries) == ["joe", None, None, None] * 5

    def test_it_may_be_closed_twice(self, accounts: AccountsUnderTest) -> None:
        accounts.ask(accounts.given.aclose)
        accounts.ask(accounts.given.aclose)
