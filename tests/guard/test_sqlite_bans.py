"""The ban store that is a file."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from restante.guard import guard as guard_module
from restante.guard.admission import BANNED
from restante.guard.ban_store import Ban, BanStoreError, News
from restante.guard.sqlite_bans import SqliteBanStore
from tests.guard.kit import HERE, THERE, arrive, guess, owner
from tests.guard.test_ban_store import NEVER, House
from tests.guard.test_guard import banned


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bans.sqlite"


@pytest.fixture
def house(path: Path) -> Iterator[House]:
    with closing(House(lambda: SqliteBanStore(path))) as house:
        yield house


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
    store = SqliteBanStore(tmp_path / "missing" / "bans.sqlite")
    with pytest.raises(BanStoreError, match=r"bans\.sqlite"):
        store.exchange(News(), NEVER)


def test_a_store_of_another_version_is_not_used(path: Path) -> None:
    with closing(SqliteBanStore(path)) as store:
        store.exchange(News(), NEVER)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with (
        closing(SqliteBanStore(path)) as store,
        pytest.raises(BanStoreError, match="another version"),
    ):
        store.exchange(News(), NEVER)


def test_another_file_in_its_place_is_noticed(path: Path) -> None:
    with closing(SqliteBanStore(path)) as store, closing(SqliteBanStore(path)) as other:
        store.exchange(News(bans={HERE: Ban(HERE, 1, None)}), NEVER)
        for file in path.parent.glob("bans.sqlite*"):
            file.unlink()
        other.exchange(News(bans={THERE: Ban(THERE, 1, None)}), NEVER)
        assert set(store.exchange(News(), NEVER).bans) == {THERE}


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes can be forked")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # uvloop leaves threads
def test_a_process_that_inherits_the_store_opens_its_own(path: Path) -> None:
    with closing(SqliteBanStore(path)) as store:
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
