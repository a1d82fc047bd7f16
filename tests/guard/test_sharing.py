"""Guards of several processes that tell each other what they count."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from restante.app.processes.counters import Counters
from restante.guard.admission import BANNED, CROWDED, FULL
from restante.guard.ban_store import BanStore, News, Old
from restante.guard.gossip import Gossip, by_label
from restante.guard.guard import Guard
from restante.guard.login_delay import LoginDelay
from restante.guard.settings import GuardSettings
from restante.guard.sqlite_bans import SqliteBanStore
from tests.guard.kit import HERE, arrive, ask, connection, enter, fail, owner

NEVER = Old(0.0, 0.0, 0.0)


class House:
    """Two guards, each of a process of its own, and the supervisor between them."""

    def __init__(
        self, stores: tuple[BanStore | None, BanStore | None] = (None, None), **settings: Any
    ) -> None:
        self.now = 1000.0
        self._ledger = Counters()
        self.guards = [
            Guard(GuardSettings(**settings), store, lambda: self.now, key=b"k" * 32)
            for store in stores
        ]
        for guard in self.guards:
            guard.share()

    def tell(self) -> int:
        """Have the guards tell each other what is new; how much it was."""
        told = [guard.changes() for guard in self.guards]
        for number, (_, numbers) in enumerate(told):
            self._ledger.update(number, numbers)
        for (_, (gossip, numbers)), (other, _) in permutations(enumerate(told), 2):
            elsewhere = self._ledger.elsewhere(other, numbers)
            self.guards[other].receive_numbers(by_label(json.loads(json.dumps(elsewhere))))
            self.guards[other].receive(Gossip(**json.loads(json.dumps(asdict(gossip)))))
        return sum(len(numbers) + bool(gossip) for gossip, numbers in told)


def test_connections_of_an_address_count_in_both() -> None:
    house = House(max_connections_per_address=3)
    one, other = house.guards
    first = connection(one)
    assert [first.arrive(), arrive(one, HERE), arrive(other, HERE)] == [None] * 3
    house.tell()
    assert arrive(one, HERE) == arrive(other, HERE) == CROWDED
    first.leave()
    house.tell()
    assert arrive(other, HERE) is None


def test_strangers_and_sessions_of_an_account_count_in_both() -> None:
    house = House(max_before_login=2, max_sessions_per_account=2)
    one, other = house.guards
    first, second = connection(one), connection(other)
    assert first.arrive() is None
    assert arrive(one, "192.0.2.2") is None
    house.tell()
    assert arrive(other, "192.0.2.3") == FULL
    assert other.is_filling
    first.settled()
    assert first.enter("joe") is second.enter("joe") is None
    house.tell()
    assert not enter(one, HERE, "joe")
    assert arrive(other, "192.0.2.3") is None
    second.step_back()
    house.tell()
    assert enter(one, HERE, "joe")


def test_what_comes_and_goes_between_two_times_is_nobodys_news() -> None:
    house = House()
    one = connection(house.guards[0])
    assert one.arrive() is None
    assert one.enter("joe") is None
    one.leave()
    assert house.tell() == 0


def test_failures_add_up_and_a_ban_holds_in_both() -> None:
    house = House(ban_after=4, delay_first=0)
    for number in range(4):
        guard = house.guards[number % 2]
        assert fail(guard, HERE, "joe", b"wrong %d" % number) == 0.0
        house.tell()
    one, other = house.guards
    assert arrive(one, HERE) == arrive(other, HERE) == BANNED
    assert one.bans() == other.bans()
    assert one.unban(HERE)
    house.tell()
    assert arrive(other, HERE) is None


def test_the_same_wrong_password_counts_once_wherever_it_is_tried() -> None:
    house = House(ban_after=3, delay_first=0)
    for number in range(20):
        guard = house.guards[number % 2]
        assert fail(guard, HERE, "joe", b"an old one") == 0.0
        house.tell()
    assert house.guards[0].bans() == house.guards[1].bans() == []


def test_tries_that_wait_at_one_guard_make_those_at_the_other_wait_behind_them() -> None:
    house = House(free_failures=1, delay_first=2.0)
    one, other = house.guards
    assert fail(one, HERE, "joe", None) == 0.0
    house.tell()
    waits, behind = connection(one), connection(other)
    assert waits.ask("joe") == 2.0
    house.tell()
    assert (behind.ask("joe") or 0.0) > 2.0
    behind.undecided()
    waits.proven("joe")
    house.tell()
    assert ask(other, HERE, "joe") == 2.0  # for the failure's sake, and nothing more


def test_turns_of_an_address_that_was_forgotten_are_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("restante.guard.failure_counts.MAX_COUNTED", 1)
    guard, _ = House(free_failures=1, delay_first=2.0).guards
    connections = [connection(guard), connection(guard, "192.0.2.2")]
    assert connections[0].ask("") == 0.0
    assert guard.changes()[1] == {f"turn:{HERE}": 1002.0}
    assert connections[1].ask("") == 0.0  # takes its place
    for each in connections:
        each.proven("")
    assert guard.changes()[1] == {f"turn:{HERE}": 0.0}


def test_an_owner_who_is_known_at_one_guard_is_known_at_the_other() -> None:
    house = House(free_failures=1, delay_first=10.0)
    one, other = house.guards
    assert owner(one, HERE, "joe") == 0.0
    assert fail(one, "198.51.100.1", "joe", None) == 0.0
    house.tell()
    assert ask(other, "203.0.113.1", "joe") == 10.0
    assert ask(other, HERE, "joe") == 0.0


def test_what_was_told_is_not_heard_again_from_the_store_except_by_a_successor(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bans.sqlite"
    stores = SqliteBanStore(path, 7), SqliteBanStore(path, 7)
    house = House(stores, free_failures=2)
    one, other = house.guards
    for guard in house.guards:
        guard.refresh()
    for _ in range(3):
        assert fail(one, HERE, "joe", None) is not None
        house.tell()
        one.refresh()
        other.refresh()
    failures = {each.kind: each.failures for each in other.throttled()}
    assert failures == {"address": 3, "account": 3}
    successor = Guard(GuardSettings(free_failures=2), SqliteBanStore(path, 7), lambda: house.now)
    successor.refresh()
    assert {each.kind: each.failures for each in successor.throttled()} == failures
    for guard in (*house.guards, successor):
        guard.close()


def test_a_store_gives_its_own_failures_to_nobody_but_its_first_reader(tmp_path: Path) -> None:
    store = SqliteBanStore(tmp_path / "bans.sqlite")
    house = House((store, None))
    one, _ = house.guards
    assert fail(one, HERE, "joe", None) == 0.0
    one.refresh()
    assert store.exchange(News(), NEVER).failures == []
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
        other.receive(one.changes())
    assert one.changes() == {}
    assert one.wait_for("joe") == other.wait_for("joe") == 60.0
