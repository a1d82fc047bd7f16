"""The guard, rule by rule, by its clock; and what an attacker gets, whatever he does."""

from __future__ import annotations

import logging
import sys
import threading
from collections import defaultdict
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from restante.guard import failure_counts, failures
from restante.guard import known as memory
from restante.guard.admission import BANNED, CROWDED, FULL, REFUSED, Admission
from restante.guard.guard import Guard
from restante.guard.login_delay import LoginDelay
from restante.guard.settings import GuardSettings
from tests.guard.kit import (
    HERE,
    HOUR,
    THERE,
    Clock,
    arrive,
    ask,
    connection,
    enter,
    fail,
    guess,
    guesses,
    is_open,
    new_guard,
    owner,
)

# Delays


def test_some_failures_are_free_and_then_each_doubles_the_delay() -> None:
    clock = Clock()
    guard = new_guard(clock)
    waits = [guess(guard, clock, name=f"user{number}") for number in range(12)]
    assert waits[:5] == [0, 0, 0, 0, 0]
    assert waits[5:] == pytest.approx([1, 2, 4, 8, 16, 30, 30], rel=0.01)


def test_the_waiting_is_the_same_when_tries_come_all_at_once() -> None:
    guard = new_guard()
    waits = [ask(guard, HERE, f"name{number}") for number in range(100)]
    assert waits[:10] == [0, 0, 0, 0, 0, 1, 3, 7, 15, None]
    assert waits[10:] == [None] * 90


def test_an_account_is_slow_for_strangers_wherever_they_are() -> None:
    clock = Clock()
    guard = new_guard(clock)
    waits = []
    for number in range(20):
        wait = guess(guard, clock, f"203.0.113.{number}")
        waits.append(wait)
        if wait is None:
            clock.now += 100
    assert waits[:5] == [0, 0, 0, 0, 0]
    assert waits[5:10] == pytest.approx([1, 2, 4, 8, 16], rel=0.01)
    assert None in waits[10:]
    assert guess(guard, clock, HERE, "ann") == 0


def test_an_address_that_is_known_to_the_account_does_not_wait_for_its_sake() -> None:
    clock = Clock()
    guard = new_guard(clock)
    assert owner(guard) == 0
    for number in range(50):
        guess(guard, clock, f"203.0.113.{number}")
    assert ask(guard, HERE, "joe") is None or is_open(guard, HERE, "joe") is False
    assert owner(guard) == 0
    assert is_open(guard, THERE, "joe")
    clock.now += 31 * 86_400
    guard.refresh()
    assert len(guard.known) == 0


def test_being_known_to_one_account_is_nothing_to_another() -> None:
    clock = Clock()
    guard = new_guard(clock)
    assert owner(guard, THERE, "mallory") == 0
    for number in range(50):
        guess(guard, clock, f"203.0.113.{number}")
    assert not is_open(guard, THERE, "joe")


def test_names_are_the_same_however_they_are_spelt() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for number, name in enumerate(["joe", "JOE", "Joe", "jOE", "joE"]):
        guess(guard, clock, f"203.0.113.{number}", name)
    assert not is_open(guard, HERE, "joe")


@pytest.mark.parametrize("name", [" ", "x" * 100_000, "\udcff", "a\0b", "\u1e9e" * 300])
def test_any_name_is_counted(name: str) -> None:
    clock = Clock()
    guard = new_guard(clock)
    for number in range(5):
        guess(guard, clock, f"203.0.113.{number}", name)
    assert not is_open(guard, HERE, name)


def test_without_a_name_only_the_address_counts() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for number in range(20):
        guess(guard, clock, f"203.0.113.{number}", "")
    assert is_open(guard, HERE, "")
    for _ in range(5):
        guess(guard, clock, HERE, "")
    assert not is_open(guard, HERE, "")
    assert owner(guard, THERE, "") == 0
    assert len(guard.known) == 0


def test_a_right_password_does_not_make_up_for_wrong_ones() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for number in range(6):  # one more is free, for mallory's being known
        guess(guard, clock, name=f"user{number}")
        assert owner(guard, HERE, "mallory") is not None
    assert not is_open(guard, HERE, "ann")


def test_a_try_that_could_not_be_decided_is_none() -> None:
    guard = new_guard()
    for _ in range(100):
        assert is_open(guard, HERE, "joe")
    assert is_open(guard, HERE, "joe")
    assert len(guard.failures) == 0


def test_many_at_once_from_an_office_get_in() -> None:
    guard = new_guard()
    for number in range(60):
        assert owner(guard, HERE, f"user{number}") == 0
    waits = [ask(guard, HERE, f"user{number}") for number in range(60)]
    assert waits == [0] * 60


def test_failures_are_forgiven_in_time() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for _ in range(15):
        guess(guard, clock)
    assert {each.kind for each in guard.throttled()} == {"address", "account"}
    until = max(each.until for each in guard.throttled())
    clock.now = until + 1
    assert guard.throttled() == []
    clock.now += HOUR
    guard.refresh()
    assert len(guard.failures) == 0


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for _ in range(10):
        guess(guard, clock)
    clock.now -= 10 * 86_400
    wait = ask(guard, HERE, "joe")
    assert wait is not None
    assert wait <= 30


# The same wrong password


def test_the_same_wrong_password_counts_once() -> None:
    guard = new_guard()
    for _ in range(1000):
        assert fail(guard, HERE, "joe", b"last year's") == 0
    assert owner(guard, HERE) == 0
    assert guard.bans() == []


def test_the_same_password_for_other_names_or_from_elsewhere_counts() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for number in range(5):
        assert fail(guard, HERE, f"user{number}", b"123456") == 0
    assert not is_open(guard, HERE, "user9")
    for number in range(5):
        assert fail(guard, f"203.0.113.{number}", "ann", b"123456") is not None
    assert not is_open(guard, "203.0.113.99", "ann")


def test_what_no_password_came_with_counts_each_time() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for _ in range(5):
        fail(guard, HERE, "joe", None)
    assert not is_open(guard, HERE, "joe")


def test_passwords_are_not_kept() -> None:
    guard = new_guard()
    fail(guard, HERE, "joe", b"correct horse")
    assert "horse" not in repr(vars(guard._wrong)) + repr(vars(guard))


# Bans


def banned(guard: Guard, clock: Clock, address: str = HERE) -> int:
    """Guess until there is a ban; how many guesses that took."""
    for number in range(1, 1000):
        assert guess(guard, clock, address, f"user{number}") is not None
        visitor = connection(guard, address)
        if visitor.arrive() == BANNED:
            return number
        visitor.leave()
    raise AssertionError("no ban")


def test_who_goes_on_is_banned_for_longer_each_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    guard = new_guard(clock)
    lengths = []
    with caplog.at_level(logging.WARNING, "restante.access"):
        for _ in range(7):
            assert banned(guard, clock) <= 25
            (ban,) = guard.bans()
            assert ban.until is not None
            lengths.append(ban.until - ban.since)
            assert ask(guard, HERE, "joe") is None
            assert not is_open(guard, HERE, "joe")
            clock.now = ban.until
            visitor = connection(guard, HERE)
            assert visitor.arrive() is None
            visitor.leave()
    assert lengths == [HOUR * n for n in (1, 2, 4, 8, 16, 24, 24)]
    assert f"banned: network={HERE} seconds=3600 times=1" in caplog.text


def test_a_ban_is_forgotten_a_day_after_its_end() -> None:
    clock = Clock()
    guard = new_guard(clock)
    banned(guard, clock)
    clock.now += HOUR + 86_401
    guard.refresh()
    banned(guard, clock)
    assert [each.times for each in guard.bans()] == [1]


def test_slow_guessing_stays_below_the_ban_and_below_twenty_an_hour() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for number in range(200):
        assert guess(guard, clock, name=f"user{number}") is not None
        clock.now += 185
    assert guard.bans() == []


def test_an_operator_bans_and_unbans() -> None:
    clock = Clock()
    guard = new_guard(clock)
    ban = guard.ban("192.0.2.0/24", 60, "noise")
    assert (ban.network, ban.until, ban.reason) == ("192.0.2.0/24", clock.now + 60, "noise")
    assert arrive(guard, HERE) == REFUSED
    assert arrive(guard, "::ffff:192.0.2.9") == REFUSED
    assert arrive(guard, THERE) is None
    clock.now += 60
    assert arrive(guard, HERE) is None
    guard.ban("2001:db8::/32", None)
    clock.now += 10 * 365 * 86_400
    guard.refresh()
    assert arrive(guard, "2001:db8:1::1") == REFUSED
    assert guard.unban("2001:db8::/32")
    assert not guard.unban("2001:db8::/32")
    assert arrive(guard, "2001:db8:1::1") is None
    for wrong in ("x", "192.0.2.1/24"):
        with pytest.raises(ValueError):
            guard.ban(wrong)
        with pytest.raises(ValueError):
            guard.unban(wrong)


def test_who_is_unbanned_begins_anew() -> None:
    clock = Clock()
    guard = new_guard(clock)
    first = banned(guard, clock)
    assert guard.unban(HERE)
    assert banned(guard, clock) == first
    assert [each.times for each in guard.bans()] == [1]


def test_no_bans_when_they_last_no_time() -> None:
    clock = Clock()
    guard = new_guard(clock, ban_seconds=0)
    for number in range(100):
        guess(guard, clock, name=f"user{number}")
    assert guard.bans() == []
    assert guess(guard, clock, name="last") == pytest.approx(30)


# Addresses


def test_ipv6_counts_by_64_bits() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for number in range(5):
        guess(guard, clock, f"2001:db8:1:2::{number}", f"user{number}")
    assert not is_open(guard, "2001:db8:1:2:ffff::1", "joe")
    assert is_open(guard, "2001:db8:1:3::1", "joe")


def test_a_48_is_slowed_later_and_never_banned() -> None:
    clock = Clock()
    guard = new_guard(clock)
    waits = [
        guess(guard, clock, f"2001:db8:1:{number:x}::1", f"user{number}") or 0.0
        for number in range(500)
    ]
    assert waits[:40] == [0] * 40
    assert min(waits[-100:]) == 16  # what is forgiven meanwhile keeps it from 30
    assert guard.bans() == []
    assert [each.kind for each in guard.throttled()] == ["network"]


def test_ipv4_mapped_addresses_are_ipv4() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for number in range(5):
        guess(guard, clock, f"::ffff:{HERE}", f"user{number}")
    assert not is_open(guard, HERE, "joe")


def test_what_is_no_address_is_counted_all_the_same() -> None:
    clock = Clock()
    guard = new_guard(clock)
    for number in range(5):
        guess(guard, clock, f"garbage{number}", f"user{number}")
    assert not is_open(guard, "other garbage", "joe")


@pytest.mark.parametrize("address", ["", "10.1.2.3", "::ffff:10.1.2.3"])
def test_the_trusted_and_the_local_are_exempt_from_everything(address: str) -> None:
    clock = Clock()
    guard = new_guard(
        clock,
        trusted_networks=("10.0.0.0/8",),
        deny_networks=("0.0.0.0/0",),
        max_connections_per_address=1,
        max_before_login=1,
        max_sessions_per_account=1,
    )
    guard.ban("10.0.0.0/8")
    connections = []
    for _ in range(100):
        one = connection(guard, address)
        assert one.arrive() is None
        assert guess(guard, clock, address) == 0
        assert one.ask("joe") == 0
        one.proven("joe")
        assert one.is_known("joe")
        assert one.enter("joe") is None
        one.settled()
        connections.append(one)
    assert is_open(guard, address, "joe")
    for one in connections:
        one.leave()
    assert len(guard.limits) == len(guard.failures) == guard.limits.before_login == 0


def test_a_shared_address_is_never_banned_but_its_accounts_are_slow() -> None:
    clock = Clock()
    guard = new_guard(clock, max_connections_per_address=1)
    for number in range(100):
        assert guess(guard, clock, "127.0.0.1", f"user{number}") == 0
        assert arrive(guard, "::1") is None
    assert owner(guard, "127.0.0.1", "joe") == 0
    for _ in range(5):
        guess(guard, clock, "127.0.0.1", "joe")
    assert not is_open(guard, "127.0.0.1", "joe")  # everybody is behind it, so it isn't joe's
    assert guard.bans() == []


def test_lists_of_networks() -> None:
    guard = new_guard(allow_networks=("192.0.2.0/24",), deny_networks=("192.0.2.128/25",))
    assert arrive(guard, HERE) is None
    assert arrive(guard, "192.0.2.200") == REFUSED
    assert arrive(guard, THERE) == REFUSED


# Connections


def test_connections_of_an_address() -> None:
    guard = new_guard(max_connections_per_address=2)
    one = connection(guard, HERE)
    assert [one.arrive(), arrive(guard, HERE), arrive(guard, HERE)] == [None, None, CROWDED]
    assert one.arrive() is None  # it is counted in already
    assert arrive(guard, THERE) is None
    assert one.enter("joe") is None
    assert arrive(guard, HERE) == CROWDED
    one.leave()
    one.leave()
    assert [arrive(guard, HERE), arrive(guard, HERE)] == [None, CROWDED]


def test_connections_of_a_48() -> None:
    guard = new_guard(max_connections_per_address=2)
    answers = [arrive(guard, f"2001:db8:1:{number:x}::1") for number in range(9)]
    assert answers == [None] * 8 + [CROWDED]


def test_connections_before_login_but_not_for_those_who_are_known() -> None:
    guard = new_guard(max_before_login=3)
    owner(guard)
    strangers = [connection(guard, f"203.0.113.{number}") for number in range(4)]
    assert [each.arrive() for each in strangers] == [None, None, None, FULL]
    known = connection(guard, THERE)
    assert known.arrive() is None
    assert known.enter("joe") is None
    assert arrive(guard, HERE) == FULL
    strangers[0].leave()
    assert arrive(guard, HERE) is None


def test_whose_login_comes_to_nothing_counts_as_before_login_again() -> None:
    guard = new_guard(max_before_login=1)
    one = connection(guard, THERE)
    assert one.arrive() is None
    assert arrive(guard, HERE) == FULL
    assert one.enter("joe") is None
    assert guard.limits.before_login == 0
    one.step_back()  # the maildrop couldn't be opened
    assert arrive(guard, HERE) == FULL
    one.leave()
    assert guard.limits.before_login == 0
    assert arrive(guard, HERE) is None


def test_sessions_of_an_account() -> None:
    guard = new_guard(max_sessions_per_account=2)
    one, two = connection(guard), connection(guard)
    assert one.enter("joe") is two.enter("joe") is None
    refusal = connection(guard).enter("joe")
    assert refusal is not None
    assert (refusal.code, refusal.values) == ("SYS/TEMP", {"limit": 2})
    assert enter(guard, HERE, "ann")
    one.step_back()
    one.step_back()
    assert enter(guard, THERE, "joe")
    assert not enter(guard, THERE, "joe")
    two.leave()
    assert enter(guard, THERE, "joe")


def test_an_account_that_has_just_logged_in_must_wait_for_its_next_login() -> None:
    guard, clock = new_guard(), Clock()
    delay = LoginDelay(60, clock)
    connections = [Admission(guard, delay, HERE) for _ in range(4)]
    assert connections[0].enter("joe") is None
    connections[0].step_back()  # the maildrop couldn't be opened, so the login doesn't count
    assert connections[1].enter("joe") is None
    connections[1].settled()
    refusal = connections[2].enter("joe")
    assert refusal is not None
    assert (refusal.code, refusal.values) == ("LOGIN-DELAY", {"seconds": 60})
    assert connections[2].enter("ann") is None
    clock.now += 60
    assert connections[3].enter("joe") is None


def test_an_attempt_goes_on_when_it_is_asked_for_again_and_fails_when_another_begins() -> None:
    """SCRAM asks for the keys of a name, and then whether the proof fits."""
    guard = new_guard()
    one = connection(guard)
    assert one.ask("joe") == one.ask("joe") == 0
    assert one.ask("ann") == 0
    one.undecided()
    one.failed(b"nothing is left to fail")
    (count,) = [count for _, count in guard.failures.addresses]
    assert count.failures(0.0, guard.failures._rules.account) == 1
    two = connection(guard, THERE)
    assert two.ask("kim") == 0
    two.leave()  # who leaves before the answer has failed
    assert guard.failures.accounts.get("kim") is not None


def test_an_address_is_known_to_the_accounts_that_logged_in_from_it() -> None:
    guard = new_guard(trusted_networks=("10.0.0.0/8",))
    assert not connection(guard).is_known("joe")
    owner(guard, HERE, "joe")
    assert connection(guard).is_known("JOE")
    assert not connection(guard).is_known("ann")
    assert connection(guard, "10.1.1.1").is_known("ann")
    owner(guard, "127.0.0.1", "joe")  # everybody is behind a shared address
    assert not connection(guard, "127.0.0.1").is_known("joe")


def test_who_is_known_goes_first_and_so_does_an_account_that_nobody_guesses_at() -> None:
    guard = new_guard(trusted_networks=("10.0.0.0/8",))
    owner(guard, THERE, "joe")

    def goes_first(address: str, name: str, has_succeeded: bool) -> bool:
        one = connection(guard, address)
        assert one.arrive() is None
        assert one.ask(name) is not None
        return one.goes_first(name, has_succeeded)

    assert goes_first(HERE, "joe", True)
    assert not goes_first("203.0.113.1", "joe", True)  # it's the second at once
    assert not goes_first(HERE, "ann", True)  # so it is for the address
    assert not goes_first("203.0.113.2", "kim", False)
    assert goes_first(THERE, "joe", False)
    assert goes_first("10.1.1.1", "kim", False)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython's calls are counted")
@pytest.mark.parametrize("address", ["127.0.0.1", HERE, "2001:db8::1", ""])
def test_a_login_with_nothing_counted_against_it_is_cheap(address: str) -> None:
    """Counted in calls of Python functions; the methods themselves are six of them.

    IPv6 connections are counted by two keys.
    """
    guard = Guard()
    delay = LoginDelay(0)

    def session() -> None:
        one = Admission(guard, delay, address)
        before = len(calls)
        assert one.arrive() is None
        assert one.ask("joe@example.org") == 0
        one.proven("joe@example.org")
        assert one.enter("joe@example.org") is None
        one.settled()
        one.leave()
        spent.append(len(calls) - before)

    calls: list[str] = []
    spent: list[int] = []

    def watch(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    session()  # fills the caches
    sys.setprofile(watch)
    try:
        session()
    finally:
        sys.setprofile(None)
    assert spent[-1] <= (14 if ":" in address else 12), calls


# Settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"free_failures": 0}, "free_failures=0: allowed is a whole number from 1 to 1000"),
        ({"delay_max": float("nan")}, "delay_max=nan: allowed is seconds from 0 to 300"),
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
        GuardSettings(**given)


def test_no_delays_when_none_are_wanted() -> None:
    clock = Clock()
    guard = new_guard(clock, delay_first=0, delay_max=0, account_delay_max=0, ban_seconds=0)
    assert [guess(guard, clock) for _ in range(200)] == [0] * 200


# Whatever an attacker does


def test_threads_may_use_it_together() -> None:
    guard = new_guard(max_connections_per_address=1_000_000, max_before_login=1_000_000)

    def use(number: int) -> None:
        address = f"203.0.113.{number}"
        for turn in range(200):
            one = connection(guard, address)
            assert one.arrive() is None
            if one.ask(f"user{number}") is not None:
                one.proven(f"user{number}")
            assert one.enter(f"user{number}") is None
            one.settled()
            one.leave()
            if turn % 50 == 0:
                guard.refresh()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(guard.limits) == len(guard.failures) == guard.limits.before_login == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (failures, failure_counts):
        monkeypatch.setattr(module, "MAX_COUNTED", 50)
    for name in ("MAX_BANS", "MAX_SECRETS", "MAX_KNOWN"):
        monkeypatch.setattr(memory, name, 50)
    clock = Clock()
    guard = new_guard(clock, ban_after=1)
    for number in range(1000):
        address = f"10.{number // 200}.0.{number % 200}"
        owner(guard, address, f"user{number}")
        guess(guard, clock, address.replace("10.", "11."), f"user{number}")
    assert len(guard.failures) <= 100
    assert (len(guard.bans_by_network), len(guard._wrong), len(guard.known)) == (50, 50, 50)
    assert len(guard.known._accounts) <= 50


class Attack(RuleBasedStateMachine):
    """An attacker with many addresses, who connects, guesses and waits as he likes."""

    names = st.sampled_from(["joe", "ann", "nobody"])
    addresses = st.integers(1, 40).map("203.0.113.{}".format)

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.guard = new_guard(self.clock)
        assert owner(self.guard) == 0
        self.waiting: list[tuple[float, int, Admission, str]] = []
        self.by_address: dict[str, list[float]] = defaultdict(list)
        self.by_account: dict[str, list[float]] = defaultdict(list)

    @rule(address=addresses, name=names, times=st.integers(1, 40))
    def guess_at_once(self, address: str, name: str, times: int) -> None:
        for _ in range(times):
            one = connection(self.guard, address)
            wait = one.ask(name)
            if wait is not None:
                assert 0 <= wait <= 30
                self.waiting.append((self.clock.now + wait, next(guesses), one, name))

    @rule(name=names, each=st.integers(1, 5))
    def guess_from_everywhere(self, name: str, each: int) -> None:
        for number in range(1, 41):
            self.guess_at_once(f"203.0.113.{number}", name, each)

    @rule(address=addresses)
    def log_in_to_his_own(self, address: str) -> None:
        owner(self.guard, address, "mallory")

    @rule(seconds=st.floats(0, 120) | st.floats(0, 5000))
    def wait(self, seconds: float) -> None:
        end = self.clock.now + seconds
        for at, number, one, name in sorted(self.waiting, key=lambda each: each[:2]):
            if at <= end:
                self.clock.now = max(self.clock.now, at)
                self.waiting.remove((at, number, one, name))
                one.failed(b"%d" % number)
                self.by_address[one.address].append(at)
                self.by_account[name].append(at)
        self.clock.now = end

    @rule()
    def sweep(self) -> None:
        self.guard.refresh()

    @invariant()
    def the_owner_gets_in_at_once(self) -> None:
        assert owner(self.guard) == 0

    @invariant()
    def nobodyguesses_often(self) -> None:
        since = self.clock.now - HOUR
        for times in self.by_address.values():
            assert sum(at > since for at in times) <= 50
        for times in self.by_account.values():
            assert sum(at > since for at in times) <= 50


Attack.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40)
TestAttack = Attack.TestCase
