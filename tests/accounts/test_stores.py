"""One suite for every store of accounts: the contract, and what both of ours promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import TypeAlias

import pytest

from restante.accounts.contract import (
    Account,
    AccountStore,
)
from restante.accounts.names import AccountExists, NoSuchAccount
from restante.accounts.schemes import hash_password
from restante.accounts.sqlite import SqliteAccounts
from restante.accounts.static import StaticAccounts
from restante.accounts.verify import Verifier
from restante.protocol.claims import PasswordClaim

pytestmark = pytest.mark.usefixtures("cheap_hashes")

Store: TypeAlias = StaticAccounts | SqliteAccounts


class Maker:
    """Makes stores of one kind, and puts accounts into them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.made: list[SqliteAccounts] = []

    def store(self, *, case_insensitive: bool = False, domains: Sequence[str] = ()) -> Store:
        if self.kind == "static":
            return StaticAccounts(case_insensitive=case_insensitive, domains=domains)
        path = self.folder / f"accounts-{len(self.made)}.db"
        store = SqliteAccounts(path, case_insensitive=case_insensitive, domains=domains)
        self.made.append(store)
        return store

    @staticmethod
    def add(store: Store, name: str, email: str = "", *, keep_secret: bool = False) -> None:
        if isinstance(store, SqliteAccounts):
            store.add(name, "geheim", email=email, keep_secret=keep_secret)
            return
        kept = (hash_password("geheim", "PLAIN"),) if keep_secret else ()
        store.add(Account(name, (hash_password("geheim"), *kept), email=email))


@pytest.fixture(params=["static", "sqlite"])
def maker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    maker = Maker(request.param, tmp_path)
    yield maker
    for store in maker.made:
        store.close()


def named(account: Account | None) -> str | None:
    return account.name if account else None


def test_is_a_store_of_accounts(maker: Maker) -> None:
    store = maker.store()
    assert isinstance(store, AccountStore)
    assert store.blocking is False
    assert store.upgrades is isinstance(store, SqliteAccounts)


def test_an_empty_store_knows_nobody(maker: Maker) -> None:
    store = maker.store()
    assert store.lookup("joe") is None
    assert store.lookup_address("joe@example.org") is None
    assert "PLAIN" not in store.held_schemes()
    assert store.slowest_scheme() is None
    assert store.list() == ()


def test_an_added_account_logs_in(maker: Maker) -> None:
    store = maker.store()
    maker.add(store, "joe", "joe@example.org")
    account = store.lookup("joe")
    assert account is not None
    assert (account.name, account.email, account.maildrop_name) == ("joe", "joe@example.org", "joe")
    assert Verifier(store).check(account, PasswordClaim("joe", "geheim"))
    assert store.list() == (account,)
    assert "geheim" not in repr(account) + repr(store)
    assert "$argon2id" not in repr(account) + repr(store)


def test_a_removed_account_does_not(maker: Maker) -> None:
    store = maker.store()
    maker.add(store, "joe", "joe@example.org")
    store.remove("joe")
    assert store.lookup("joe") is None
    assert store.lookup_address("joe@example.org") is None
    with pytest.raises(NoSuchAccount):
        store.remove("joe")
    maker.add(store, "joe", "joe@example.org")
    assert named(store.lookup("joe")) == "joe"


def test_sharp_s_and_double_s_are_two_names(maker: Maker) -> None:
    store = maker.store(case_insensitive=True)
    maker.add(store, "Strauß")
    assert store.lookup("strauss") is None
    maker.add(store, "strauss")
    assert named(store.lookup("STRAUSS")) == "strauss"
    assert named(store.lookup("strauß")) == "Strauß"


def test_u_labels_and_a_labels_are_one_domain(maker: Maker) -> None:
    """At login and for mail; but straße.example is not strasse.example (IDNA 2008)."""
    store = maker.store(domains=["münchen.example", "straße.example"])
    maker.add(store, "joe")
    maker.add(store, "ann@münchen.example", "ann@straße.example")
    for name in ("ann@MÜNCHEN.example", "ann@xn--mnchen-3ya.example"):
        assert named(store.lookup(name)) == "ann@münchen.example"
    for address, owner in {
        "joe@münchen.example": "joe",
        "joe@xn--mnchen-3ya.example": "joe",
        "ann@münchen.example": "ann@münchen.example",
        "ann@xn--mnchen-3ya.example": "ann@münchen.example",
        "ann@xn--strae-oqa.example": "ann@münchen.example",
        "joe@straße.example": "joe",
        "joe@XN--STRAE-OQA.example": "joe",
        "joe@strasse.example": None,
        "ann@strasse.example": None,
    }.items():
        assert named(store.lookup_address(address)) == owner
    with pytest.raises(AccountExists):
        maker.add(store, "ann@xn--mnchen-3ya.example")


def test_accounts_are_searched_a_page_at_a_time(maker: Maker) -> None:
    store = maker.store()
    for name in ("Zoë", "ann", "Bob", "100%", "a_b", "ÄNNE"):
        maker.add(store, name, email=f"{name.encode().hex()}@Example.org")

    def found(text: str, first: int = 0, most: int = 100) -> tuple[list[str], int]:
        accounts, number = store.search(text, first, most)
        assert all(store.lookup(account.name) == account for account in accounts)
        return [account.name for account in accounts], number

    assert found("", 0, 3) == (["100%", "a_b", "ann"], 6)
    assert found("", 3, 3) == (["Bob", "Zoë", "ÄNNE"], 6)
    assert found("", 6, 3) == ([], 6)
    assert found("", 0, 0) == ([], 6)
    assert found("ZOË") == (["Zoë"], 1)
    assert found("änne") == (["ÄNNE"], 1)
    assert found("@example.ORG", 1, 1) == (["a_b"], 6)
    for text, name in (("%", "100%"), ("_", "a_b")):  # no patterns
        assert found(text) == ([name], 1)
    assert found("\\") == ([], 0)
    assert found("nobody") == ([], 0)


def test_names_are_taken_once(maker: Maker) -> None:
    store = maker.store(case_insensitive=True)
    maker.add(store, "Zo\u00eb", "zoe@example.org")
    for name, email in [
        ("Zo\u00eb", ""),
        ("Zoe\u0308", ""),
        ("ZO\u00cb", ""),
        ("ann", "ZOE@EXAMPLE.ORG"),
    ]:
        with pytest.raises(AccountExists):
            maker.add(store, name, email)
    assert len(store.list()) == 1
    assert store.lookup("ann") is None


def test_several_accounts_may_have_no_address(maker: Maker) -> None:
    store = maker.store()
    maker.add(store, "joe")
    maker.add(store, "ann")
    assert [account.name for account in store.list()] in (["joe", "ann"], ["ann", "joe"])
    assert store.lookup_address("") is None


@pytest.mark.parametrize("name", ["", " joe", "joe\n", "j\0oe", "x" * 256, "\ud800"])
def test_unfit_names_are_not_added_and_not_found(maker: Maker, name: str) -> None:
    store = maker.store()
    with pytest.raises(ValueError):
        maker.add(store, name)
    assert store.lookup(name) is None
    assert store.lookup_address(name) is None
    assert store.lookup_address(name + "@example.org") is None


def test_an_unfit_address_is_not_added(maker: Maker) -> None:
    store = maker.store()
    with pytest.raises(ValueError, match="e-mail"):
        maker.add(store, "joe", "example.org")
    assert store.list() == ()


@pytest.mark.parametrize("name", ["'; DROP TABLE accounts; --", "%", "_", "*", "../joe", "{PLAIN}"])
def test_names_are_data(maker: Maker, name: str) -> None:
    store = maker.store()
    maker.add(store, "joe")
    assert store.lookup(name) is None
    maker.add(store, name)
    assert named(store.lookup(name)) == name
    assert named(store.lookup("joe")) == "joe"


def test_case(maker: Maker) -> None:
    exact, loose = maker.store(), maker.store(case_insensitive=True)
    for store in (exact, loose):
        maker.add(store, "Joe@Example.org")
        assert named(store.lookup("Joe@EXAMPLE.org")) == "Joe@Example.org"
    assert exact.lookup("joe@example.org") is None
    assert named(loose.lookup("JOE@example.org")) == "Joe@Example.org"


def test_shared_secrets_are_known(maker: Maker) -> None:
    """A3, A6: so that APOP and CRAM-MD5 are announced only if somebody can use them."""
    store = maker.store()
    maker.add(store, "joe")
    assert "PLAIN" not in store.held_schemes()
    maker.add(store, "ann", keep_secret=True)
    assert "PLAIN" in store.held_schemes()
    assert store.slowest_scheme() == "ARGON2ID"
    store.remove("ann")
    assert "PLAIN" not in store.held_schemes()


class TestAddresses:
    def lookup(
        self, maker: Maker, *domains: str, fold: bool = False
    ) -> Callable[[str], str | None]:
        store = maker.store(domains=domains, case_insensitive=fold)
        maker.add(store, "joe")
        maker.add(store, "ann", "Ann.Lee@example.org")
        maker.add(store, "bob@example.net", "joe@example.com")
        return lambda address: named(store.lookup_address(address))

    def test_by_e_mail_address(self, maker: Maker) -> None:
        lookup = self.lookup(maker, "example.org")
        assert lookup("Ann.Lee@example.org") == "ann"
        assert lookup("Ann.Lee@EXAMPLE.org") == "ann"
        assert lookup("ann.lee@example.org") is None
        assert self.lookup(maker, "example.org", fold=True)("ann.lee@example.org") == "ann"

    def test_by_name(self, maker: Maker) -> None:
        lookup = self.lookup(maker, "example.org")
        assert lookup("bob@example.net") == "bob@example.net"
        assert lookup("joe") == "joe"
        assert lookup("bob") is None

    def test_by_local_part_in_our_domains(self, maker: Maker) -> None:
        lookup = self.lookup(maker, "Example.org", "example.com")
        assert lookup("joe@example.org") == "joe"
        assert lookup("joe@EXAMPLE.ORG") == "joe"
        assert lookup("joe@example.info") is None
        assert lookup("bob@example.org") is None
        assert lookup("@example.org") is None
        assert lookup("joe@") is None

    def test_by_local_part_in_any_domain_when_none_is_named(self, maker: Maker) -> None:
        assert self.lookup(maker)("joe@anywhere.example") == "joe"

    def test_the_e_mail_address_comes_first(self, maker: Maker) -> None:
        assert self.lookup(maker)("joe@example.com") == "bob@example.net"


def test_a_disabled_account_is_found_and_lets_nobody_in(maker: Maker) -> None:
    store = maker.store()
    if isinstance(store, SqliteAccounts):
        maker.add(store, "joe", "joe@example.org", keep_secret=True)
        store.disable("joe")
    else:
        store.add(Account("joe", ("{PLAIN}geheim",), email="joe@example.org", disabled=True))
    for address in ("joe@example.org", "joe@elsewhere.example"):
        found = store.lookup_address(address)
        assert found is not None
        assert found.disabled
    assert "PLAIN" not in store.held_schemes()
    account = store.lookup("joe")
    assert account is not None
    assert account.disabled
    assert not Verifier(store).check(account, PasswordClaim("joe", "geheim"))


def test_threads_may_share_a_store(maker: Maker) -> None:
    store = maker.store()
    maker.add(store, "joe")
    found: list[str | None] = []
    added: list[int] = []

    def use(number: int) -> None:
        for turn in range(10):
            try:
                maker.add(store, f"user-{turn}")
                added.append(turn)
            except AccountExists:
                pass
            found.append(named(store.lookup("joe")))

    threads = [Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["joe"] * 40
    assert sorted(added) == list(range(10))
    assert len(store.list()) == 11
