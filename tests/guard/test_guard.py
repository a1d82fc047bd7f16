"""The door, rule by rule, by its clock; and what an attacker gets, whatever he does."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from restante.guard import known as memory
from restante.guard import rates as tally
from restante.guard.guard import BANNED, CROWDED, FULL, REFUSED, Door
from restante.guard.settings import DoorSettings

HERE, THERE = "192.0.2.1", "198.51.100.7"
HOUR = 3600.0


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def new_door(clock: Clock | None = None, **given: Any) -> Door:
    return Door(DoorSettings(**given), clock=clock or Clock())


_guesses = iter(range(1_000_000_000))


def guess(door: Door, clock: Clock, address: str = HERE, name: str = "joe") -> float | None:
    """One wrong password, never the same, after the wait that is asked for."""
    wait = door.ask(address, name)
    if wait is not None:
        clock.now += wait
        door.failed(address, name, b"wrong %d" % next(_guesses))
    return wait


def owner(door: Door, address: str = THERE, name: str = "joe") -> float | None:
    wait = door.ask(address, name)
    if wait is not None:
        door.succeeded(address, name)
    return wait


# Delays


def test_some_failures_are_free_and_then_each_doubles_the_delay() -> None:
    clock = Clock()
    door = new_door(clock)
    waits = [guess(door, clock, name=f"user{number}") for number in range(12)]
    assert waits[:5] == [0, 0, 0, 0, 0]
    assert waits[5:] == pytest.approx([1, 2, 4, 8, 16, 30, 30], rel=0.01)


def test_the_waiting_is_the_same_when_tries_come_all_at_once() -> None:
    door = new_door()
    waits = [door.ask(HERE, f"name{number}") for number in range(100)]
    assert waits[:10] == [0, 0, 0, 0, 0, 1, 3, 7, 15, None]
    assert waits[10:] == [None] * 90


def test_an_account_is_slow_for_strangers_wherever_they_are() -> None:
    clock = Clock()
    door = new_door(clock)
    waits = []
    for number in range(20):
        wait = guess(door, clock, f"203.0.113.{number}")
        waits.append(wait)
        if wait is None:
            clock.now += 100
    assert waits[:5] == [0, 0, 0, 0, 0]
    assert waits[5:10] == pytest.approx([1, 2, 4, 8, 16], rel=0.01)
    assert None in waits[10:]
    assert guess(door, clock, HERE, "ann") == 0


def test_an_address_that_is_known_to_the_account_does_not_wait_for_its_sake() -> None:
    clock = Clock()
    door = new_door(clock)
    assert owner(door) == 0
    for number in range(50):
        guess(door, clock, f"203.0.113.{number}")
    assert door.ask(HERE, "joe") is None or door.is_open(HERE, "joe") is False
    assert owner(door) == 0
    assert door.is_open(THERE, "joe")
    clock.now += 31 * 86_400
    door.refresh()
    assert len(door._known) == 0


def test_being_known_to_one_account_is_nothing_to_another() -> None:
    clock = Clock()
    door = new_door(clock)
    assert owner(door, THERE, "mallory") == 0
    for number in range(50):
        guess(door, clock, f"203.0.113.{number}")
    assert not door.is_open(THERE, "joe")


def test_names_are_the_same_however_they_are_spelt() -> None:
    clock = Clock()
    door = new_door(clock)
    for number, name in enumerate(["joe", "JOE", "Joe", "jOE", "joE"]):
        guess(door, clock, f"203.0.113.{number}", name)
    assert not door.is_open(HERE, "joe")


@pytest.mark.parametrize("name", [" ", "x" * 100_000, "\udcff", "a\0b", "\u1e9e" * 300])
def test_any_name_is_counted(name: str) -> None:
    clock = Clock()
    door = new_door(clock)
    for number in range(5):
        guess(door, clock, f"203.0.113.{number}", name)
    assert not door.is_open(HERE, name)


def test_without_a_name_only_the_address_counts() -> None:
    clock = Clock()
    door = new_door(clock)
    for number in range(20):
        guess(door, clock, f"203.0.113.{number}", "")
    assert door.is_open(HERE, "")
    for _ in range(5):
        guess(door, clock, HERE, "")
    assert not door.is_open(HERE, "")
    assert owner(door, THERE, "") == 0
    assert len(door._known) == 0


def test_a_right_password_does_not_make_up_for_wrong_ones() -> None:
    clock = Clock()
    door = new_door(clock)
    for number in range(6):  # one more is free, for mallory's being known
        guess(door, clock, name=f"user{number}")
        assert owner(door, HERE, "mallory") is not None
    assert not door.is_open(HERE, "ann")


def test_a_try_that_could_not_be_decided_is_none() -> None:
    door = new_door()
    for _ in range(100):
        assert door.ask(HERE, "joe") == 0
        door.undecided(HERE, "joe")
    assert door.is_open(HERE, "joe")
    assert len(door._tries) == 0


def test_many_at_once_from_an_office_get_in() -> None:
    door = new_door()
    for number in range(60):
        assert owner(door, HERE, f"user{number}") == 0
    waits = [door.ask(HERE, f"user{number}") for number in range(60)]
    assert waits == [0] * 60


def test_failures_are_forgiven_in_time() -> None:
    clock = Clock()
    door = new_door(clock)
    for _ in range(15):
        guess(door, clock)
    assert {each.kind for each in door.throttled()} == {"address", "account"}
    until = max(each.until for each in door.throttled())
    clock.now = until + 1
    assert door.throttled() == []
    clock.now += HOUR
    door.refresh()
    assert len(door._tries) == 0


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    clock = Clock()
    door = new_door(clock)
    for _ in range(10):
        guess(door, clock)
    clock.now -= 10 * 86_400
    wait = door.ask(HERE, "joe")
    assert wait is not None
    assert wait <= 30


# The same wrong password


def test_the_same_wrong_password_counts_once() -> None:
    door = new_door()
    for _ in range(1000):
        assert door.ask(HERE, "joe") == 0
        door.failed(HERE, "joe", b"last year's")
    assert owner(door, HERE) == 0
    assert door.bans() == []


def test_the_same_password_for_other_names_or_from_elsewhere_counts() -> None:
    clock = Clock()
    door = new_door(clock)
    for number in range(5):
        assert door.ask(HERE, f"user{number}") == 0
        door.failed(HERE, f"user{number}", b"123456")
    assert not door.is_open(HERE, "user9")
    for number in range(5):
        assert door.ask(f"203.0.113.{number}", "ann") is not None
        door.failed(f"203.0.113.{number}", "ann", b"123456")
    assert not door.is_open("203.0.113.99", "ann")


def test_what_no_password_came_with_counts_each_time() -> None:
    clock = Clock()
    door = new_door(clock)
    for _ in range(5):
        door.ask(HERE, "joe")
        door.failed(HERE, "joe", None)
    assert not door.is_open(HERE, "joe")


def test_passwords_are_not_kept() -> None:
    door = new_door()
    door.ask(HERE, "joe")
    door.failed(HERE, "joe", b"correct horse")
    assert "horse" not in repr(vars(door._wrong)) + repr(vars(door))


# Bans


def banned(door: Door, clock: Clock, address: str = HERE) -> int:
    """Guess until there is a ban; how many guesses that took."""
    for number in range(1, 1000):
        assert guess(door, clock, address, f"user{number}") is not None
        if door.admit(address) == BANNED:
            return number
        door.leave(address, logged_in=False)
    raise AssertionError("no ban")


def test_who_goes_on_is_banned_for_longer_each_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    door = new_door(clock)
    lengths = []
    with caplog.at_level(logging.WARNING, "restante.access"):
        for _ in range(7):
            assert banned(door, clock) <= 25
            (ban,) = door.bans()
            assert ban.until is not None
            lengths.append(ban.until - ban.since)
            assert door.ask(HERE, "joe") is None
            assert not door.is_open(HERE, "joe")
            clock.now = ban.until
            assert door.admit(HERE) is None
            door.leave(HERE, logged_in=False)
    assert lengths == [HOUR * n for n in (1, 2, 4, 8, 16, 24, 24)]
    assert f"banned: network={HERE} seconds=3600 times=1" in caplog.text


def test_a_ban_is_forgotten_a_day_after_its_end() -> None:
    clock = Clock()
    door = new_door(clock)
    banned(door, clock)
    clock.now += HOUR + 86_401
    door.refresh()
    banned(door, clock)
    assert [each.times for each in door.bans()] == [1]


def test_slow_guessing_stays_below_the_ban_and_below_twenty_an_hour() -> None:
    clock = Clock()
    door = new_door(clock)
    for number in range(200):
        assert guess(door, clock, name=f"user{number}") is not None
        clock.now += 185
    assert door.bans() == []


def test_an_operator_bans_and_unbans() -> None:
    clock = Clock()
    door = new_door(clock)
    ban = door.ban("192.0.2.0/24", 60, "noise")
    assert (ban.network, ban.until, ban.reason) == ("192.0.2.0/24", clock.now + 60, "noise")
    assert door.admit(HERE) == REFUSED
    assert door.admit("::ffff:192.0.2.9") == REFUSED
    assert door.admit(THERE) is None
    clock.now += 60
    assert door.admit(HERE) is None
    door.ban("2001:db8::/32", None)
    clock.now += 10 * 365 * 86_400
    door.refresh()
    assert door.admit("2001:db8:1::1") == REFUSED
    assert door.unban("2001:db8::/32")
    assert not door.unban("2001:db8::/32")
    assert door.admit("2001:db8:1::1") is None
    for wrong in ("x", "192.0.2.1/24"):
        with pytest.raises(ValueError):
            door.ban(wrong)
        with pytest.raises(ValueError):
            door.unban(wrong)


def test_who_is_unbanned_begins_anew() -> None:
    clock = Clock()
    door = new_door(clock)
    first = banned(door, clock)
    assert door.unban(HERE)
    assert banned(door, clock) == first
    assert [each.times for each in door.bans()] == [1]


def test_no_bans_when_they_last_no_time() -> None:
    clock = Clock()
    door = new_door(clock, ban_seconds=0)
    for number in range(100):
        guess(door, clock, name=f"user{number}")
    assert door.bans() == []
    assert guess(door, clock, name="last") == pytest.approx(30)


# Addresses


def test_ipv6_counts_by_64_bits() -> None:
    clock = Clock()
    door = new_door(clock)
    for number in range(5):
        guess(door, clock, f"2001:db8:1:2::{number}", f"user{number}")
    assert not door.is_open("2001:db8:1:2:ffff::1", "joe")
    assert door.is_open("2001:db8:1:3::1", "joe")


def test_a_48_is_slowed_later_and_never_banned() -> None:
    clock = Clock()
    door = new_door(clock)
    waits = [
        guess(door, clock, f"2001:db8:1:{number:x}::1", f"user{number}") or 0.0
        for number in range(500)
    ]
    assert waits[:40] == [0] * 40
    assert min(waits[-100:]) == 16  # what is forgiven meanwhile keeps it from 30
    assert door.bans() == []
    assert [each.kind for each in door.throttled()] == ["network"]


def test_ipv4_mapped_addresses_are_ipv4() -> None:
    clock = Clock()
    door = new_door(clock)
    for number in range(5):
        guess(door, clock, f"::ffff:{HERE}", f"user{number}")
    assert not door.is_open(HERE, "joe")


def test_what_is_no_address_is_counted_all_the_same() -> None:
    clock = Clock()
    door = new_door(clock)
    for number in range(5):
        guess(door, clock, f"garbage{number}", f"user{number}")
    assert not door.is_open("other garbage", "joe")


@pytest.mark.parametrize("address", ["", "10.1.2.3", "::ffff:10.1.2.3"])
def test_the_trusted_and_the_local_are_exempt_from_everything(address: str) -> None:
    clock = Clock()
    door = new_door(
        clock,
        trusted_networks=("10.0.0.0/8",),
        deny_networks=("0.0.0.0/0",),
        max_connections_per_address=1,
        max_before_login=1,
        max_sessions_per_account=1,
    )
    door.ban("10.0.0.0/8")
    for _ in range(100):
        assert door.admit(address) is None
        assert guess(door, clock, address) == 0
        assert door.enter_account("joe", address)
    assert door.is_open(address, "joe")
    door.succeeded(address, "joe")
    door.undecided(address, "joe")
    for _ in range(100):
        door.logged_in(address)
        door.leave(address, logged_in=True)
        door.leave_account("joe")
    assert len(door._places) == len(door._tries) == 0


def test_a_shared_address_is_never_banned_but_its_accounts_are_slow() -> None:
    clock = Clock()
    door = new_door(clock, max_connections_per_address=1)
    for number in range(100):
        assert guess(door, clock, "127.0.0.1", f"user{number}") == 0
        assert door.admit("::1") is None
    assert owner(door, "127.0.0.1", "joe") == 0
    for _ in range(5):
        guess(door, clock, "127.0.0.1", "joe")
    assert not door.is_open("127.0.0.1", "joe")  # everybody is behind it, so it isn't joe's
    assert door.bans() == []


def test_lists_of_networks() -> None:
    door = new_door(allow_networks=("192.0.2.0/24",), deny_networks=("192.0.2.128/25",))
    assert door.admit(HERE) is None
    assert door.admit("192.0.2.200") == REFUSED
    assert door.admit(THERE) == REFUSED


# Connections


def test_connections_of_an_address() -> None:
    door = new_door(max_connections_per_address=2)
    assert [door.admit(HERE) for _ in range(3)] == [None, None, CROWDED]
    assert door.admit(THERE) is None
    door.logged_in(HERE)
    assert door.admit(HERE) == CROWDED
    door.leave(HERE, logged_in=True)
    assert door.admit(HERE) is None


def test_connections_of_a_48() -> None:
    door = new_door(max_connections_per_address=2)
    answers = [door.admit(f"2001:db8:1:{number:x}::1") for number in range(9)]
    assert answers == [None] * 8 + [CROWDED]


def test_connections_before_login_but_not_for_those_who_are_known() -> None:
    door = new_door(max_before_login=3)
    owner(door)
    assert [door.admit(f"203.0.113.{number}") for number in range(4)] == [None, None, None, FULL]
    assert door.admit(THERE) is None
    door.logged_in(THERE)
    assert door.admit(HERE) == FULL
    door.leave("203.0.113.0", logged_in=False)
    assert door.admit(HERE) is None


def test_sessions_of_an_account() -> None:
    door = new_door(max_sessions_per_account=2)
    assert [door.enter_account("joe", HERE) for _ in range(3)] == [True, True, False]
    assert door.enter_account("ann", HERE)
    door.leave_account("joe")
    assert door.enter_account("joe", THERE)


# Settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"free_failures": 0}, "free_failures=0: allowed is 1 to 1000"),
        ({"delay_max": float("nan")}, "delay_max=nan: allowed is 0 to 300"),
        ({"delay_first": 31}, r"delay_first=31: allowed is up to delay_max=30\.0"),
        ({"ban_seconds": 90_000}, r"ban_seconds=90000: allowed is up to ban_max=86400\.0"),
        ({"trusted_networks": ("x",)}, "trusted_networks='x': allowed are addresses and networks"),
        ({"deny_networks": ("10.0.0.1/8",)}, "deny_networks='10.0.0.1/8': allowed are"),
    ],
)
def test_a_mistake_is_named_with_its_value_and_what_is_allowed(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DoorSettings(**given)


def test_no_delays_when_none_are_wanted() -> None:
    clock = Clock()
    door = new_door(clock, delay_first=0, delay_max=0, account_delay_max=0, ban_seconds=0)
    assert [guess(door, clock) for _ in range(200)] == [0] * 200


# Whatever an attacker does


def test_threads_may_use_it_together() -> None:
    door = new_door(max_connections_per_address=1_000_000, max_before_login=1_000_000)

    def use(number: int) -> None:
        address = f"203.0.113.{number}"
        for turn in range(200):
            assert door.admit(address) is None
            if door.ask(address, f"user{number}") is not None:
                door.succeeded(address, f"user{number}")
            door.logged_in(address)
            door.leave(address, logged_in=True)
            if turn % 50 == 0:
                door.refresh()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(door._places) == len(door._tries) == 0
    assert not door._places.full


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MAX_TALLIES", 50)
    for name in ("MAX_BANS", "MAX_SECRETS", "MAX_KNOWN"):
        monkeypatch.setattr(memory, name, 50)
    clock = Clock()
    door = new_door(clock, ban_after=1)
    for number in range(1000):
        address = f"10.{number // 200}.0.{number % 200}"
        owner(door, address, f"user{number}")
        guess(door, clock, address.replace("10.", "11."), f"user{number}")
    assert len(door._tries) <= 100
    assert (len(door._bans), len(door._wrong), len(door._known)) == (50, 50, 50)
    assert len(door._known._accounts) <= 50


class Attack(RuleBasedStateMachine):
    """An attacker with many addresses, who connects, guesses and waits as he likes."""

    names = st.sampled_from(["joe", "ann", "nobody"])
    addresses = st.integers(1, 40).map("203.0.113.{}".format)

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.door = new_door(self.clock)
        assert owner(self.door) == 0
        self.waiting: list[tuple[float, str, str]] = []
        self.by_address: dict[str, list[float]] = defaultdict(list)
        self.by_account: dict[str, list[float]] = defaultdict(list)

    @rule(address=addresses, name=names, times=st.integers(1, 40))
    def guess_at_once(self, address: str, name: str, times: int) -> None:
        for _ in range(times):
            wait = self.door.ask(address, name)
            if wait is not None:
                assert 0 <= wait <= 30
                self.waiting.append((self.clock.now + wait, address, name))

    @rule(name=names, each=st.integers(1, 5))
    def guess_from_everywhere(self, name: str, each: int) -> None:
        for number in range(1, 41):
            self.guess_at_once(f"203.0.113.{number}", name, each)

    @rule(address=addresses)
    def log_in_to_his_own(self, address: str) -> None:
        if self.door.ask(address, "mallory") is not None:
            self.door.succeeded(address, "mallory")

    @rule(seconds=st.floats(0, 120) | st.floats(0, 5000))
    def wait(self, seconds: float) -> None:
        end = self.clock.now + seconds
        for at, address, name in sorted(self.waiting):
            if at <= end:
                self.clock.now = max(self.clock.now, at)
                self.waiting.remove((at, address, name))
                self.door.failed(address, name, b"%d" % next(_guesses))
                self.by_address[address].append(at)
                self.by_account[name].append(at)
        self.clock.now = end

    @rule()
    def sweep(self) -> None:
        self.door.refresh()

    @invariant()
    def the_owner_gets_in_at_once(self) -> None:
        assert owner(self.door) == 0

    @invariant()
    def nobody_guesses_often(self) -> None:
        since = self.clock.now - HOUR
        for times in self.by_address.values():
            assert sum(at > since for at in times) <= 50
        for times in self.by_account.values():
            assert sum(at > since for at in times) <= 50


Attack.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40)
TestAttack = Attack.TestCase
