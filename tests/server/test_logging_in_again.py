"""A login that was right a while ago needs no look-up where the store sees accounts itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from restante.accounts import Account, AccountRow, AccountStore, AppPassword
from restante.accounts.chain import Chain
from restante.accounts.static import StaticAccounts
from restante.protocol.claims import PasswordClaim
from restante.protocol.errors import Pop3Error
from restante.server.backend import StandardBackend
from restante.server.peer import Peer
from restante.stores.contract import AccountChanged, MaildropInUse
from restante.stores.memory import MemoryMaildrop, MemoryStore
from restante.threads import WorkerThreads
from tests.server.backends import backend_over

HERE = "192.0.2.7"
PHONE = AppPassword("phone", "{PLAIN}phone")
JOE = Account("joe", ("{PLAIN}secret",), app_passwords=(PHONE,), row=AccountRow(b"", "joe", "1"))
RIGHT = PasswordClaim("joe", "secret", "PLAIN")


class Accounts(AccountStore):
    """Accounts with rows, which can be changed. asked: the names that were looked up."""

    blocking = False
    has_rows = True

    def __init__(self, *accounts: Account) -> None:
        self.accounts = {each.name: each for each in accounts}
        self.asked: list[str] = []
        self.used: list[str] = []

    def lookup(self, name: str) -> Account | None:
        self.asked.append(name)
        return self.accounts.get(name)

    def record_use(self, name: str, app_password: str) -> None:
        self.used.append(app_password)

    def change(self, name: str, **what: Any) -> None:
        account = self.accounts[name]
        assert account.row is not None
        row = account.row._replace(version=account.row.version + "+")
        self.accounts[name] = replace(account, row=row, **what)


class Seeing(MemoryStore):
    """A store that sees accounts."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__()
        self.accounts = accounts.accounts

    def open_unchanged(self, account: Account) -> MemoryMaildrop:
        found = self.accounts.get(account.name)
        if found is None or found.row != account.row:
            raise AccountChanged("another one")
        return self.open(account)


class Admits(Peer):
    """Notes whose sessions began."""

    __slots__ = ("accounts",)

    def __init__(self, address: str = HERE) -> None:
        super().__init__((address, 51423))
        self.accounts: list[Account] = []
        self.admit = self.accounts.append

    @property
    def admitted(self) -> list[str]:
        return [each.name for each in self.accounts]


@pytest.fixture
def accounts() -> Accounts:
    return Accounts(JOE, Account("boss", ("{PLAIN}power",), master=True))


@pytest.fixture
def threads() -> Iterator[WorkerThreads]:
    made = WorkerThreads("test", 0, 2)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def backend(accounts: Accounts, threads: WorkerThreads) -> StandardBackend:
    return backend_over(accounts, threads, Seeing(accounts), master_separator="*")


async def log_in(
    backend: StandardBackend, claim: PasswordClaim = RIGHT, address: str = HERE
) -> str | None:
    """Whose session begins, if one does."""
    peer = Admits(address)
    maildrop = await backend.log_in(claim, peer)
    if maildrop is None:
        assert peer.admitted == []
        return None
    maildrop.close()
    [name] = peer.admitted
    return name


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await work()

    asyncio.run(all_of_it())


def test_the_second_login_looks_nothing_up(accounts: Accounts, backend: StandardBackend) -> None:
    async def work() -> None:
        for _ in range(3):
            assert await log_in(backend) == "joe"
        assert accounts.asked == ["joe"]

    run(work)


def test_nothing_is_opened_for_a_session_that_has_no_room(
    accounts: Accounts, backend: StandardBackend
) -> None:
    """What is opened may be the lease of another session of the account."""

    async def work() -> None:
        assert await log_in(backend) == "joe"
        peer = Admits()
        peer.has_room = lambda account: False

        def refuse(account: Account) -> None:
            raise Pop3Error("no room")

        peer.admit = refuse
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Seeing, "open_unchanged", None)
            patch.setattr(Seeing, "open", None)
            with pytest.raises(Pop3Error, match="no room"):
                await backend.log_in(RIGHT, peer)
        assert accounts.asked == ["joe"] * 2

    run(work)


def test_all_spellings_of_a_name_take_one_place(threads: WorkerThreads) -> None:
    class AnyCase(Accounts):
        def lookup(self, name: str) -> Account | None:
            return super().lookup(name.lower())

        has_rows = True

    accounts = AnyCase(JOE)
    backend = backend_over(accounts, threads, Seeing(accounts))

    async def work() -> None:
        for name in ("joe", "Joe", "jOE", "JOE"):
            assert await log_in(backend, PasswordClaim(name, "secret", "PLAIN")) == "joe"
        assert len(backend.verifier._logins) == 1

    run(work)


@pytest.mark.parametrize("who", ["accounts", "store"])
def test_a_subclass_with_reasons_of_its_own_is_asked_each_time(
    threads: WorkerThreads, who: str
) -> None:
    class Refusing(Accounts):
        def lookup(self, name: str) -> Account | None:
            return None if closed else super().lookup(name)

    class Shut(Seeing):
        def open(self, account: Account) -> MemoryMaildrop:
            if closed:
                raise MaildropInUse("closed")
            return super().open(account)

    closed = False
    accounts = Refusing(JOE) if who == "accounts" else Accounts(JOE)
    store = Shut(accounts) if who == "store" else Seeing(accounts)
    backend = backend_over(accounts, threads, store)

    async def work() -> None:
        nonlocal closed
        assert await log_in(backend) == "joe"
        closed = True
        if who == "accounts":
            assert await log_in(backend) is None
        else:
            with pytest.raises(MaildropInUse):
                await log_in(backend)

    run(work)


def test_a_wrong_password_is_looked_up_each_time(
    accounts: Accounts, backend: StandardBackend
) -> None:
    async def work() -> None:
        assert await log_in(backend) == "joe"
        assert await log_in(backend, PasswordClaim("joe", "wrong", "PLAIN")) is None
        assert await log_in(backend, PasswordClaim("joe", "wrong", "PLAIN")) is None
        assert accounts.asked == ["joe"] * 3

    run(work)


@pytest.mark.parametrize(
    "change",
    [{"credentials": ("{PLAIN}new",), "app_passwords": ()}, {"disabled": True}, {"expires": 1.0}],
)
def test_a_change_counts_at_once(
    accounts: Accounts, backend: StandardBackend, change: dict[str, Any]
) -> None:
    async def work() -> None:
        assert await log_in(backend) == "joe"
        accounts.change("joe", **change)
        assert await log_in(backend) is None
        assert await log_in(backend) is None

    run(work)


def test_an_account_that_was_removed_is_gone_at_once(
    accounts: Accounts, backend: StandardBackend
) -> None:
    async def work() -> None:
        assert await log_in(backend) == "joe"
        del accounts.accounts["joe"]
        assert await log_in(backend) is None

    run(work)


def test_a_change_that_leaves_the_password_right_is_seen_by_the_session(
    accounts: Accounts, backend: StandardBackend
) -> None:
    async def work() -> None:
        assert await log_in(backend) == "joe"
        accounts.change("joe", display_name="Joe")
        peer = Admits()
        maildrop = await backend.log_in(RIGHT, peer)
        assert maildrop is not None
        maildrop.close()
        again = await backend.log_in(RIGHT, peer)
        assert again is not None
        assert [each.display_name for each in peer.accounts] == ["Joe", "Joe"]
        assert accounts.asked == ["joe", "joe"]

    run(work)


def test_where_and_how_one_may_log_in_is_asked_each_time(
    accounts: Accounts, threads: WorkerThreads
) -> None:
    accounts.change("joe", networks=("192.0.2.0/24",), expires=2000.0)
    now = [1000.0]
    backend = backend_over(accounts, threads, Seeing(accounts), clock=lambda: now[0])

    async def work() -> None:
        assert await log_in(backend) == "joe"
        assert await log_in(backend, address="198.51.100.1") is None
        assert await log_in(backend) == "joe"
        now[0] = 2000.0
        assert await log_in(backend) is None

    run(work)


def test_a_maildrop_in_use_is_told_only_of_an_unchanged_account(
    accounts: Accounts, backend: StandardBackend
) -> None:
    async def work() -> None:
        assert await log_in(backend) == "joe"
        holding = await backend.log_in(RIGHT, Admits())
        peer = Admits()
        with pytest.raises(MaildropInUse):
            await backend.log_in(RIGHT, peer)
        assert peer.admitted == ["joe"]
        accounts.change("joe", credentials=("{PLAIN}new",))
        assert await log_in(backend) is None
        assert holding is not None
        holding.close()

    run(work)


def test_a_master_is_looked_up_each_time(accounts: Accounts, backend: StandardBackend) -> None:
    async def work() -> None:
        claim = PasswordClaim("joe*boss", "power", "PLAIN")
        assert await log_in(backend, claim) == "joe"
        assert await log_in(backend, claim) == "joe"
        assert accounts.asked == ["boss", "joe"] * 2

    run(work)


def test_the_use_of_an_app_password_is_noted_once_in_that_time(
    accounts: Accounts, threads: WorkerThreads
) -> None:
    backend = backend_over(accounts, threads, Seeing(accounts), remember_seconds=900.0)
    now = [0.0]
    backend.verifier._clock = lambda: now[0]
    claim = PasswordClaim("joe", "phone", "PLAIN")

    async def work() -> None:
        for seconds, uses in ((0, 1), (600, 1), (1200, 2), (1800, 2)):
            now[0] = seconds
            maildrop = await backend.log_in(claim, Admits())
            assert maildrop is not None
            maildrop.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*tasks)
            assert len(accounts.used) == uses
        assert accounts.asked == ["joe"], "each login put it off again"
        now[0] += 901
        assert await log_in(backend, claim) == "joe"
        assert accounts.asked == ["joe", "joe"]

    run(work)


def test_nothing_is_remembered_for_no_time(accounts: Accounts, threads: WorkerThreads) -> None:
    backend = backend_over(accounts, threads, Seeing(accounts), remember_seconds=0.0)

    async def work() -> None:
        assert await log_in(backend) == "joe"
        assert await log_in(backend) == "joe"
        assert accounts.asked == ["joe", "joe"]

    run(work)


def test_a_backend_that_asks_more_is_asked_each_time(
    accounts: Accounts, threads: WorkerThreads
) -> None:
    class Strict(StandardBackend):
        async def authenticate(self, claim: Any, peer: Peer) -> Account | None:
            account = await super().authenticate(claim, peer)
            return account if peer.address[0] == HERE else None

    backend = backend_over(accounts, threads, Seeing(accounts), kind=Strict)

    async def work() -> None:
        assert await log_in(backend) == "joe"
        assert await log_in(backend, address="198.51.100.1") is None

    run(work)


def test_a_row_of_a_later_store_says_nothing_of_the_first() -> None:
    joe = Accounts(JOE)
    first = Chain([joe, StaticAccounts({})])
    later = Chain([StaticAccounts({}), joe])
    assert (first.has_rows, later.has_rows) == (True, False)
    found = [chain.lookup("joe") for chain in (first, later)]
    assert [each.row for each in found if isinstance(each, Account)] == [JOE.row, None]


def test_a_session_that_isnt_admitted_leaves_no_lease(backend: StandardBackend) -> None:
    class TooSoon(Exception):
        pass

    def refuse(account: Account) -> None:
        raise TooSoon(account.name)

    async def work() -> None:
        assert await log_in(backend) == "joe"
        peer = Admits()
        peer.admit = refuse
        with pytest.raises(TooSoon, match="joe"):
            await backend.log_in(RIGHT, peer)
        assert await log_in(backend) == "joe"

    run(work)
