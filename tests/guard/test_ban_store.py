"""What survives a restart, and what processes tell each other through the ban store."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from restante.guard import ban_store as module
from restante.guard import guard as guard_module
from restante.guard.admission import BANNED, REFUSED
from restante.guard.ban_store import Ban, BanStore, BanStoreError, Failure, News, Old
from restante.guard.guard import Guard
from restante.guard.settings import GuardSettings
from tests.guard.kit import HERE, HOUR, THERE, Clock, arrive, guess, is_open, owner
from tests.guard.test_guard import banned

NEVER = Old(0, 0, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bans.sqlite"


class House:
    """Processes that share a store and a clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.guards: list[Guard] = []

    def open(self) -> Guard:
        guard = Guard(GuardSettings(), BanStore(self.path), clock=self.clock)
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
def house(path: Path) -> Iterator[House]:
    with closing(House(path)) as house:
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


def test_the_file_is_its_owners_only(house: House, path: Path) -> None:
    house.open()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"no database at all, but text " * 100, b"\0" * 5000])
def test_a_damaged_ban_store_is_told_once_and_the_guard_goes_on(
    house: House, path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    with caplog.at_level(logging.INFO, "restante.access"):
        guard = house.open()
        house.share()
    assert caplog.text.count("The ban store can't be used; bans are kept in memory only: ") == 1
    assert banned(guard, house.clock)
    path.unlink()
    with caplog.at_level(logging.INFO, "restante.access"):
        house.share()
    assert "The ban store can be used again" in caplog.text
    house.close()
    assert arrive(house.open(), HERE) == BANNED  # what couldn't be written is written now


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    store = BanStore(tmp_path / "missing" / "bans.sqlite")
    with pytest.raises(BanStoreError, match=r"bans\.sqlite"):
        store.exchange(News(), NEVER)


def test_a_store_of_another_version_is_not_used(path: Path) -> None:
    with closing(BanStore(path)) as store:
        store.exchange(News(), NEVER)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with closing(BanStore(path)) as store, pytest.raises(BanStoreError, match="another version"):
        store.exchange(News(), NEVER)


def test_another_file_in_its_place_is_noticed(path: Path) -> None:
    with closing(BanStore(path)) as store, closing(BanStore(path)) as other:
        store.exchange(News(bans={HERE: Ban(HERE, 1, None)}), NEVER)
        for file in path.parent.glob("bans.sqlite*"):
            file.unlink()
        other.exchange(News(bans={THERE: Ban(THERE, 1, None)}), NEVER)
        assert set(store.exchange(News(), NEVER).bans) == {THERE}


def test_what_is_old_is_removed_and_never_more_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 10)
    with closing(BanStore(path)) as store, closing(BanStore(path)) as other:
        for number in range(5):
            news = News(
                bans={f"10.0.{number}.{n}": Ban(f"10.0.{number}.{n}", 1, 2) for n in range(20)},
                known={(f"10.0.{number}.{n}", "joe"): 5.0 for n in range(20)},
                failures=[Failure(HERE, "joe", 5.0)] * 20,
            )
            store.exchange(news, NEVER)
        heard = other.exchange(News(), NEVER)
        assert (len(heard.bans), len(heard.known), len(heard.failures)) == (10, 10, 10)
        store.exchange(News(known={("x", "y"): 9.0}), Old(3, 6, 6))
    with closing(sqlite3.connect(path)) as database:
        counts = [
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("bans", "known", "failures")
        ]
    assert counts == [0, 1, 0]


def test_each_row_is_heard_once_and_never_the_own_failures(path: Path) -> None:
    with closing(BanStore(path)) as one, closing(BanStore(path)) as two:
        failure = Failure("2001:db8::/64", "jos\u00e9", 1.5)
        assert one.exchange(News(failures=[failure]), NEVER).failures == []
        assert two.exchange(News(), NEVER).failures == [failure]
        assert two.exchange(News(), NEVER).failures == []


def test_what_waits_for_the_store_is_bounded(
    house: House, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "MAX_UNWRITTEN", 10)
    path.mkdir()
    guard = house.open()
    for number in range(100):
        owner(guard, f"203.0.113.{number}")
        guess(guard, house.clock, f"198.51.100.{number}", f"user{number}")
        if number % 7 == 0:
            guard.refresh()
    assert len(guard._news.failures) <= 10
    assert len(guard._news.known) <= 20


def test_threads_may_use_it_together(path: Path) -> None:
    heard: list[Failure] = []
    with closing(BanStore(path)) as one, closing(BanStore(path)) as two:
        numbers = count()

        def write() -> None:
            for _ in range(20):
                one.exchange(News(failures=[Failure(HERE, "joe", float(next(numbers)))]), NEVER)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            heard += two.exchange(News(), NEVER).failures
        heard += two.exchange(News(), NEVER).failures
        for thread in threads:
            thread.join()
    assert sorted(failure.at for failure in heard) == list(range(80))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes can be forked")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # uvloop leaves threads
def test_a_process_that_inherits_the_store_opens_its_own(path: Path) -> None:
    with closing(BanStore(path)) as store:
        store.exchange(News(), NEVER)
        child = os.fork()
        if child == 0:
            try:
                store.exchange(News(bans={HERE: Ban(HERE, 1, None)}), NEVER)
                store.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert HERE in store.exchange(News(), NEVER).bans
