"""Guards of several processes that tell each other what they count."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from restante.app.processes.counters import Counters
from restante.guard.ban_store import BanStore, News, Old
from restante.guard.gossip import Word, by_label
from restante.guard.guard import BANNED, CROWDED, FULL, Guard
from restante.guard.login_delay import LoginDelay
from restante.guard.settings import GuardSettings

HERE = "192.0.2.1"
NEVER = Old(0.0, 0.0, 0.0)


class House:
    """Two guards, each of a process of its own, and the supervisor between them."""

    def __init__(
        self, books: tuple[BanStore | None, BanStore | None] = (None, None), **settings: Any
    ) -> None:
        self.now = 1000.0
        self._counters = Counters()
        self.guards = [
            Guard(GuardSettings(**settings), book, lambda: self.now, key=b"k" * 32)
            for book in books
        ]
        for guard in self.guards:
            guard.share()

    def tell(self) -> int:
        """Have the guards tell each other what is new; how much it was."""
        told = [guard.tell() for guard in self.guards]
        for number, (_, numbers) in enumerate(told):
            self._counters.update(number, numbers)
        for (_, (word, numbers)), (other, _) in permutations(enumerate(told), 2):
            elsewhere = self._counters.elsewhere(other, numbers)
            self.guards[other].hear_numbers(by_label(json.loads(json.dumps(elsewhere))))
            self.guards[other].hear(Word(**json.loads(json.dumps(asdict(word)))))
        return sum(len(numbers) + bool(word) for word, numbers in told)


def test_connections_of_an_address_count_in_both() -> None:
    house = House(max_connections_per_address=3)
    one, other = house.guards
    assert [one.admit(HERE), one.admit(HERE), other.admit(HERE)] == [None] * 3
    house.tell()
    assert one.admit(HERE) == other.admit(HERE) == CROWDED
    one.leave(HERE, logged_in=False)
    house.tell()
    assert other.admit(HERE) is None


def test_strangers_and_sessions_of_an_account_count_in_both() -> None:
    house = House(max_before_login=2, max_sessions_per_account=2)
    one, other = house.guards
    assert one.admit(HERE) is None
    assert one.admit("192.0.2.2") is None
    house.tell()
    assert other.admit("192.0.2.3") == FULL
    assert other.is_filling
    one.logged_in(HERE)
    assert one.enter_account("joe", HERE)
    assert other.enter_account("joe", HERE)
    house.tell()
    assert not one.enter_account("joe", HERE)
    assert other.admit("192.0.2.3") is None
    other.leave_account("joe")
    house.tell()
    assert one.enter_account("joe", HERE)


def test_what_comes_and_goes_between_two_times_is_nobodys_news() -> None:
    house = House()
    one, _ = house.guards
    assert one.admit(HERE) is None
    assert one.enter_account("joe", HERE)
    one.leave_account("joe")
    one.leave(HERE, logged_in=False)
    assert house.tell() == 0


def test_failures_add_up_and_a_ban_holds_in_both() -> None:
    house = House(ban_after=4, delay_first=0)
    for number in range(4):
        guard = house.guards[number % 2]
        assert guard.ask(HERE, "joe") == 0.0
        guard.failed(HERE, "joe", b"wrong %d" % number)
        house.tell()
    one, other = house.guards
    assert one.admit(HERE) == other.admit(HERE) == BANNED
    assert one.bans() == other.bans()
    assert one.unban(HERE)
    house.tell()
    assert other.admit(HERE) is None


def test_the_same_wrong_password_counts_once_wherever_it_is_tried() -> None:
    house = House(ban_after=3, delay_first=0)
    for number in range(20):
        guard = house.guards[number % 2]
        assert guard.ask(HERE, "joe") == 0.0
        guard.failed(HERE, "joe", b"an old one")
        house.tell()
    assert house.guards[0].bans() == house.guards[1].bans() == []


def test_tries_that_wait_at_one_guard_make_those_at_the_other_wait_behind_them() -> None:
    house = House(free_failures=1, delay_first=2.0)
    one, other = house.guards
    assert one.ask(HERE, "joe") == 0.0
    one.failed(HERE, "joe", None)
    house.tell()
    assert one.ask(HERE, "joe") == 2.0
    house.tell()
    behind = other.ask(HERE, "joe")
    assert behind is not None
    assert behind > 2.0
    other.undecided(HERE, "joe")
    one.succeeded(HERE, "joe")
    house.tell()
    assert other.ask(HERE, "joe") == 2.0  # for the failure's sake, and nothing more


def test_turns_of_an_address_that_was_forgotten_are_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("restante.guard.rates.MAX_TALLIES", 1)
    one, _ = House(free_failures=1, delay_first=2.0).guards
    assert one.ask(HERE, "") == 0.0
    assert one.tell()[1] == {f"turn:{HERE}": 1002.0}
    assert one.ask("192.0.2.2", "") == 0.0  # takes its place
    one.succeeded(HERE, "")
    one.succeeded("192.0.2.2", "")
    assert one.tell()[1] == {f"turn:{HERE}": 0.0}


def test_an_owner_who_is_known_at_one_guard_is_known_at_the_other() -> None:
    house = House(free_failures=1, delay_first=10.0)
    one, other = house.guards
    assert one.ask(HERE, "joe") == 0.0
    one.succeeded(HERE, "joe")
    assert one.ask("198.51.100.1", "joe") == 0.0
    one.failed("198.51.100.1", "joe", None)
    house.tell()
    assert other.ask("203.0.113.1", "joe") == 10.0
    assert other.ask(HERE, "joe") == 0.0


def test_what_was_told_is_not_heard_again_from_the_book_except_by_a_successor(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bans.sqlite"
    books = BanStore(path, 7), BanStore(path, 7)
    house = House(books, free_failures=2)
    one, other = house.guards
    for guard in house.guards:
        guard.refresh()
    for _ in range(3):
        assert one.ask(HERE, "joe") is not None
        one.failed(HERE, "joe", None)
        house.tell()
        one.refresh()
        other.refresh()
    failures = {each.kind: each.failures for each in other.throttled()}
    assert failures == {"address": 3, "account": 3}
    successor = Guard(GuardSettings(free_failures=2), BanStore(path, 7), lambda: house.now)
    successor.refresh()
    assert {each.kind: each.failures for each in successor.throttled()} == failures
    for guard in (*house.guards, successor):
        guard.close()


def test_a_book_gives_its_own_failures_to_nobody_but_its_first_reader(tmp_path: Path) -> None:
    book = BanStore(tmp_path / "bans.sqlite")
    house = House((book, None))
    one, _ = house.guards
    assert one.ask(HERE, "joe") == 0.0
    one.failed(HERE, "joe", None)
    one.refresh()
    assert book.exchange(News(), NEVER).failures == []
    one.close()


@pytest.mark.parametrize("burst", [1, 2])
def test_a_login_elsewhere_delays_the_next_one(burst: int) -> None:
    now = 100.0
    one, other = (LoginDelay(60, lambda: now, burst=burst) for _ in range(2))
    for each in (one, other):
        each.share()
    for _ in range(burst):
        assert other.wait_for("joe") == 0.0
        one.count("joe")
        other.hear(one.tell())
    assert one.tell() == {}
    assert one.wait_for("joe") == other.wait_for("joe") == 60.0
