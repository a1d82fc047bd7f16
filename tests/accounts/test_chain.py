"""Several stores of accounts as one."""

from __future__ import annotations

import asyncio
import inspect
import threading
from pathlib import Path

import pytest

from restante.accounts.chain import Chain
from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.passwd_file import PasswdFile
from restante.accounts.static import StaticAccounts
from restante.calls import OnThread


class Plain(AccountStore):
    """The smallest store: plain, and it may wait."""

    upgrades = True

    def __init__(self, *names: str) -> None:
        self.names = names
        self.asked: list[str] = []
        self.threads: set[int] = set()

    def lookup(self, name: str) -> Account | None:
        self.asked.append(name)
        self.threads.add(threading.get_ident())
        if "nobody-knows" in self.names:
            raise AccountError("away")
        return Account(name, maildrop=type(self).__name__) if name in self.names else None


class Quick(Plain):
    blocking = False


class Full(Quick):
    """A store that has all of the contract."""

    def __init__(self, *names: str, held: frozenset[str] = frozenset()) -> None:
        super().__init__(*names)
        self.held = held
        self.done: list[tuple[str, ...]] = []

    def lookup_address(self, address: str) -> Account | None:
        return self.lookup(address.partition("@")[0])

    def check_decoy(self, name: str, password: str) -> None:
        self.done.append((name, password))

    def held_schemes(self) -> frozenset[str]:
        return self.held

    def slowest_scheme(self) -> str | None:
        return next(iter(self.held), None)

    def replace_credential(self, name: str, old: str, new: str) -> None:
        self.done.append((name, old, new))

    def record_use(self, name: str, app_password: str) -> None:
        self.done.append((name, app_password))

    async def aclose(self) -> None:
        self.done.append(("closed",))


class Async(Plain):
    async def lookup(self, name: str) -> Account | None:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().lookup(name)


class AsyncFull(Full):
    async def held_schemes(self) -> frozenset[str]:  # type: ignore[override]
        return self.held

    async def record_use(self, name: str, app_password: str) -> None:  # type: ignore[override]
        super().record_use(name, app_password)


class Threaded(Full):
    """May wait, so it is asked on threads."""

    blocking = True


class Fails(Full):
    async def aclose(self) -> None:
        raise OSError("stuck")


def answer(result: object) -> object:
    """What a chain gives, however it gives it: as a server does."""

    async def wait() -> object:
        given = await asyncio.to_thread(result) if isinstance(result, OnThread) else result
        return await given if inspect.isawaitable(given) else given

    return asyncio.run(wait())


@pytest.fixture(params=["in place", "threads", "async", "async first"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def chained(kind: str, *stores: AccountStore) -> Chain:
    """A chain of the stores, with empty ones between them that are asked in that manner."""
    if kind == "in place":
        return Chain(stores)
    between = {"threads": Threaded, "async": AsyncFull, "async first": AsyncFull}[kind]
    extra: list[AccountStore] = [between(held=frozenset())]
    mixed = [store for pair in zip(stores, extra * len(stores), strict=True) for store in pair]
    return Chain(extra + mixed if kind == "async first" else mixed)


def who(result: object) -> str | None:
    account = answer(result)
    assert account is None or isinstance(account, Account)
    return account.maildrop if account else None


def test_no_stores_are_no_chain() -> None:
    with pytest.raises(ValueError, match="needs a store"):
        Chain([])


def test_what_needs_no_waiting_is_answered_in_place() -> None:
    chain = Chain([Quick("joe"), Plain("max")])
    assert chain.blocking is False
    assert isinstance(chain.lookup("joe"), Account)
    assert isinstance(chain.lookup("max"), OnThread)


def test_the_first_that_knows_a_name_answers(kind: str) -> None:
    first, second = Quick("joe"), Plain("joe", "max")
    chain = chained(kind, first, second)
    assert who(chain.lookup("joe")) == "Quick"
    assert second.asked == []
    assert who(chain.lookup("max")) == "Plain"
    assert who(chain.lookup("ida")) is None


def test_a_store_that_cannot_answer_ends_the_look_up(kind: str) -> None:
    later = Full("joe")
    chain = chained(kind, Quick("max"), Full("nobody-knows"), later)
    for ask in (chain.lookup, chain.lookup_address):
        with pytest.raises(AccountError, match="away"):
            answer(ask("joe"))
    assert later.asked == []
    assert who(chain.lookup("max")) == "Quick"


@pytest.mark.parametrize("wrong", [ValueError("x"), StopIteration(), StopAsyncIteration()])
def test_whatever_a_store_raises_is_raised(wrong: Exception) -> None:
    class Broken(Quick):
        def lookup(self, name: str) -> Account | None:
            raise wrong

    with pytest.raises(type(wrong)):
        Chain([Broken(), Quick("joe")]).lookup("joe")
    with pytest.raises((type(wrong), RuntimeError)):
        answer(Chain([Async(), Broken(), Quick("joe")]).lookup("joe"))


def test_a_disabled_account_is_an_answer(kind: str) -> None:
    first = StaticAccounts([Account("joe", ("{PLAIN}a",), disabled=True)])
    chain = chained(kind, first, StaticAccounts({"joe": "b"}))
    account = answer(chain.lookup("joe"))
    assert isinstance(account, Account)
    assert account.disabled


def test_addresses_are_asked_of_one_after_the_other(kind: str) -> None:
    chain = chained(kind, Plain("joe", "kim@example.org"), Full("joe"), Full("max"))
    assert who(chain.lookup_address("joe@example.org")) == "Full"
    assert who(chain.lookup_address("max@example.org")) == "Full"
    assert who(chain.lookup_address("kim@example.org")) == "Plain"  # by its name
    assert who(chain.lookup_address("ida@example.org")) is None


def test_held_schemes_are_those_of_all(kind: str) -> None:
    stores = Full(held=frozenset({"PLAIN"})), Plain(), Full(held=frozenset({"NT", "PLAIN"}))
    assert answer(chained(kind, *stores).held_schemes()) == {"PLAIN", "NT"}
    assert answer(chained(kind, Plain()).held_schemes()) == frozenset()


def test_the_slowest_scheme_of_all() -> None:
    quick, slow = Full(held=frozenset({"PLAIN"})), Full(held=frozenset({"MD5-CRYPT"}))
    assert Chain([quick]).slowest_scheme() is None
    assert Chain([quick, slow]).slowest_scheme() == "MD5-CRYPT"
    assert Chain([quick, slow, Plain()]).slowest_scheme() == "ARGON2ID"


def test_changes_go_to_the_store_that_holds_the_account(kind: str) -> None:
    first, second = Full("joe"), Full("joe", "max")
    chain = chained(kind, Plain("ida"), first, second)
    for name in ("joe", "max", "ida", "kim"):
        answer(chain.replace_credential(name, "old", "new"))
        answer(chain.record_use(name, "phone"))
    assert first.done == [("joe", "old", "new"), ("joe", "phone")]
    assert second.done == [("max", "old", "new"), ("max", "phone")]


def test_stores_that_replace_nothing_are_asked_to_replace_nothing(kind: str) -> None:
    keeps = Full("joe")
    keeps.upgrades = False
    chain = chained(kind, keeps, Full("max"))
    answer(chain.replace_credential("joe", "old", "new"))
    assert keeps.done == []
    account = answer(chain.lookup("joe"))
    assert isinstance(account, Account)
    assert not account.upgradable
    assert chain.upgrades
    assert not Chain([keeps]).upgrades


def test_each_store_takes_its_time_over_an_unknown_name(kind: str) -> None:
    one, two = Full(), Full()
    answer(chained(kind, one, two).check_decoy("joe", "wrong"))
    assert one.done == two.done == [("joe", "wrong")]


def test_all_accounts_are_listed_where_all_stores_can() -> None:
    one, two = StaticAccounts({"joe": "a"}), StaticAccounts({"ann": "b"})
    assert [each.name for each in Chain([one, two]).list()] == ["joe", "ann"]
    with pytest.raises(AccountError, match="Plain can't list"):
        Chain([one, Plain()]).list()


def test_async_methods_are_awaited() -> None:
    first, second = Async("ida"), AsyncFull("joe", held=frozenset({"NT"}))
    chain = Chain([first, second])
    assert who(chain.lookup("ida")) == "Async"
    assert who(chain.lookup("joe")) == "AsyncFull"
    assert answer(chain.held_schemes()) == {"NT"}
    answer(chain.record_use("joe", "phone"))
    assert second.done == [("joe", "phone")]


@pytest.mark.parametrize("order", ["quick waits async", "async quick waits", "waits async quick"])
def test_a_plain_store_that_may_wait_does_not_hold_the_event_loop(order: str) -> None:
    waits, quick = Plain(), Quick()
    stores = {"waits": waits, "quick": quick, "async": Async()}
    chain = Chain([stores[each] for each in order.split()])
    assert who(chain.lookup("joe")) is None
    assert waits.asked == quick.asked == ["joe"]
    assert threading.get_ident() in quick.threads
    assert threading.get_ident() not in waits.threads


def test_all_are_closed(kind: str) -> None:
    one, two = Full(), Full()
    chain = chained(kind, one, Plain(), Fails(), two)
    for _ in range(2):
        with pytest.raises(OSError, match="stuck"):
            asyncio.run(chain.aclose())
    assert one.done == two.done == [("closed",)] * 2


def test_of_real_stores(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("joe:{SSHA}p3ihC8PengvYtx5wRdQ6mgIloAvFxEBH\n")
    chain = Chain([PasswdFile(path), StaticAccounts({"joe": "other", "max": "geheim"})])
    joe, max_ = chain.lookup("joe"), chain.lookup("max")
    assert isinstance(joe, Account)
    assert joe.credentials == ("{SSHA}p3ihC8PengvYtx5wRdQ6mgIloAvFxEBH",)
    assert max_ is not None
    assert answer(chain.held_schemes()) == {"SSHA", "PLAIN"}
    path.unlink()
    with pytest.raises(AccountError):
        chain.lookup("joe")
