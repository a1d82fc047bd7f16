"""What survives a restart, and what processes and nodes tell each other through a ban store.

It holds for each of its engines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

import pytest

from restante.guard import postgres_bans, sqlite_bans
from restante.guard.admission import BANNED, REFUSED
from restante.guard.ban_store import Ban, BanStore, Failure, News, Old
from restante.guard.guard import Guard
from restante.guard.postgres_bans import PostgresBanStore
from restante.guard.settings import GuardSettings
from restante.guard.sqlite_bans import SqliteBanStore
from tests.guard.kit import HERE, HOUR, THERE, Clock, arrive, guess, is_open, owner
from tests.guard.test_guard import banned
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer

NEVER = Old(0, 0, 0)


Make = Callable[[], BanStore]


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=[only_cpython, pytest.mark.peer])],
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes ban stores that share what they keep, as processes and nodes do."""
    if request.param == "sqlite":
        return lambda: SqliteBanStore(tmp_path / "bans.sqlite")
    server: PostgresServer = request.getfixturevalue("server")
    schema: str = request.getfixturevalue("schema")
    return lambda: PostgresBanStore(server.dsn, schema=schema, timeout=60)


class House:
    """Processes that share a store and a clock."""

    def __init__(self, make: Make) -> None:
        self.make = make
        self.clock = Clock()
        self.guards: list[Guard] = []

    def open(self) -> Guard:
        guard = Guard(GuardSettings(), self.make(), clock=self.clock)
        guard.refresh()
        self.guards.append(guard)
        return guard

    def close(self) -> None:
        for guard in self.guards:
            guard.close()
        self.guards.clear()

    def share(self) -> None:
        """What happens within a second or two."""
        for _ in range(2):
            for guard in self.guards:
                guard.refresh()


@pytest.fixture
def house(make: Make) -> Iterator[House]:
    with closing(House(make)) as house:
        yield house


def test_bans_failures_and_owners_survive_a_restart(house: House) -> None:
    clock, guard = house.clock, house.open()
    owner(guard)
    banned(guard, clock)
    for number in range(6):
        guess(guard, clock, f"203.0.113.{number}")
    guard.ban("10.0.0.0/8", None, "for good")
    house.close()
    guard = house.open()
    assert arrive(guard, HERE) == BANNED
    assert arrive(guard, "10.1.1.1") == REFUSED
    assert not is_open(guard, "203.0.113.99", "joe")
    assert is_open(guard, THERE, "joe")
    clock.now += 30 * 86_400
    house.close()
    guard = house.open()
    assert [ban.network for ban in guard.bans()] == ["10.0.0.0/8"]
    assert guard.throttled() == []
    assert len(guard.known) == 0


def test_the_next_ban_is_longer_after_a_restart_too(house: House) -> None:
    banned(house.open(), house.clock)
    house.close()
    house.clock.now += HOUR
    guard = house.open()
    assert arrive(guard, HERE) is None
    assert is_open(guard, HERE, "other")  # what led to the ban has been atoned for
    assert banned(guard, house.clock) >= 20
    assert [ban.times for ban in guard.bans()] == [2]


def test_processes_hear_of_each_other(house: House) -> None:
    clock = house.clock
    one, two = house.open(), house.open()
    owner(one)
    for number in range(8):
        guess(one if number % 2 else two, clock, HERE, f"user{number}")
    assert is_open(one, HERE, "other")
    assert is_open(two, HERE, "other")
    house.share()
    assert not is_open(one, HERE, "other")
    assert not is_open(two, HERE, "other")
    assert {each.failures for each in one.throttled()} == {8}
    for number in range(20):
        guess(one, clock, f"203.0.113.{number}")
    house.share()
    assert not is_open(two, "203.0.113.99", "joe")
    assert is_open(two, THERE, "joe")


def test_a_ban_is_made_once_and_held_by_all(house: House) -> None:
    one, two = house.open(), house.open()
    banned(one, house.clock)
    house.share()
    assert one.bans() == two.bans()
    assert [ban.times for ban in two.bans()] == [1]
    assert arrive(two, HERE) == BANNED
    assert two.unban(HERE)
    house.share()
    assert arrive(one, HERE) is None
    assert is_open(one, HERE, "joe")


def test_an_older_ban_does_not_replace_a_newer_one(house: House) -> None:
    one, two = house.open(), house.open()
    one.ban(HERE, 60)
    house.clock.now += 1
    two.ban(HERE, 3600)
    one.refresh()
    two.refresh()
    one.refresh()
    assert one.bans() == two.bans()
    assert one.bans()[0].until == house.clock.now + 3600


def test_what_is_old_is_removed_and_never_more_is_kept(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite_bans, postgres_bans):
        monkeypatch.setattr(module, "KEPT", 10)
    with closing(make()) as store, closing(make()) as other, closing(make()) as third:
        for number in range(5):
            news = News(
                bans={f"10.0.{number}.{n}": Ban(f"10.0.{number}.{n}", 1, 2) for n in range(20)},
                known={(f"10.0.{number}.{n}", "joe"): 5.0 for n in range(20)},
                failures=[Failure(HERE, "joe", 5.0)] * 20,
            )
            store.exchange(news, NEVER)
        heard = other.exchange(News(), NEVER)
        assert (len(heard.bans), len(heard.known), len(heard.failures)) == (10, 10, 10)
        assert set(heard.bans) == {f"10.0.4.{n}" for n in range(10, 20)}
        store.exchange(News(known={("x", "y"): 9.0}), Old(3, 6, 6))
        assert third.exchange(News(), NEVER) == News(known={("x", "y"): 9.0})
        assert other.exchange(News(), NEVER) == News(known={("x", "y"): 9.0})


def test_each_row_is_heard_once_and_never_the_own_failures(make: Make) -> None:
    with closing(make()) as one, closing(make()) as two:
        failure = Failure("2001:db8::/64", "jos\u00e9", 1.5)
        assert one.exchange(News(failures=[failure]), NEVER).failures == []
        assert one.exchange(News(), NEVER).failures == []
        assert two.exchange(News(), NEVER).failures == [failure]
        assert two.exchange(News(), NEVER).failures == []


def test_what_replaces_a_row_is_heard_by_those_who_know_the_row(make: Make) -> None:
    with closing(make()) as one, closing(make()) as two:
        for times, until in ((1, 5.0), (2, None), (0, 9.0)):
            ban = Ban(HERE, 1.0 + times, until, "reason", times) if times else Ban(HERE, 4, until)
            one.exchange(News({HERE: ban}, {(HERE, "joe"): ban.since}), NEVER)
            heard = two.exchange(News(), NEVER)
            assert heard == News({HERE: ban}, {(HERE, "joe"): ban.since})


def test_what_clients_may_send_can_be_kept(make: Make) -> None:
    names = ["a\0b", "a\ufffdb", "\\udc80", "'; --", "x" * 5000]
    with closing(make()) as one, closing(make()) as two:
        one.exchange(
            News(
                {HERE: Ban(HERE, 1, None, "\0")},
                {(HERE, name): 1.0 for name in names},
                [Failure(HERE, name, 2.0) for name in names],
            ),
            NEVER,
        )
        heard = two.exchange(News(), NEVER)
        assert [*heard.bans] == [HERE]
        assert len(heard.failures) == len(names)
        assert set(names[1:]) <= {account for _, account in heard.known}


def test_several_may_write_at_once_and_nothing_is_missed(make: Make) -> None:
    heard: list[Failure] = []
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(make())) for _ in range(3)]
        reader = stack.enter_context(closing(make()))
        numbers = count()

        def write(store: BanStore) -> None:
            for _ in range(20):
                at = float(next(numbers))
                store.exchange(
                    News({HERE: Ban(HERE, at, None)}, failures=[Failure(HERE, "joe", at)]), NEVER
                )

        threads = [threading.Thread(target=write, args=(each,)) for each in (*stores, stores[0])]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            heard += reader.exchange(News(), NEVER).failures
        for thread in threads:
            thread.join()
        heard += reader.exchange(News(), NEVER).failures
    assert sorted(failure.at for failure in heard) == list(range(80))


def test_an_operator_whose_clock_is_behind_is_heeded(make: Make) -> None:
    with closing(House(make)) as ahead, closing(House(make)) as behind:
        ahead.clock.now += 5
        one, two = ahead.open(), behind.open()
        one.ban(HERE)
        one.refresh()
        two.refresh()
        assert two.unban(HERE)
        two.refresh()
        one.refresh()
        assert one.bans() == two.bans() == []
        assert arrive(one, HERE) is None
