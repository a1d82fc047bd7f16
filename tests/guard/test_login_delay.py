"""LOGIN-DELAY as a token bucket, by its clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.guard import login_delay
from restante.guard.login_delay import LoginDelay


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_as_many_as_the_burst_at_once_and_then_one_at_a_time() -> None:
    clock = Clock(5.0)
    delay = LoginDelay(60, clock, burst=3)
    for _ in range(3):
        assert delay.wait_for("joe") == 0
        delay.count("joe")
    assert delay.wait_for("joe") == 60
    assert delay.wait_for("ann") == 0
    clock.now += 60
    assert delay.wait_for("joe") == 0
    delay.count("joe")
    assert delay.wait_for("joe") == 60
    clock.now += 10_000
    for _ in range(3):
        assert delay.wait_for("joe") == 0
        delay.count("joe")
    assert delay.wait_for("joe") == 60


@given(
    st.integers(1, 5),
    st.integers(1, 100),
    st.lists(st.floats(0, 500), max_size=60),
)
def test_never_more_than_the_bucket_holds(burst: int, seconds: int, pauses: list[float]) -> None:
    clock = Clock(0.0)
    delay = LoginDelay(seconds, clock, burst=burst)
    logins: list[float] = []
    for pause in pauses:
        clock.now += pause
        if delay.wait_for("joe") == 0:
            delay.count("joe")
            logins.append(clock.now)
    for first, begun in enumerate(logins):
        for last in range(first, len(logins)):
            passed = logins[last] - begun
            assert last - first + 1 <= burst + passed / seconds + 1e-6


def test_what_is_told_is_what_has_to_be_waited() -> None:
    clock = Clock(0.0)
    delay = LoginDelay(30, clock, burst=2)
    for _ in range(10):
        clock.now += delay.wait_for("joe")
        assert delay.wait_for("joe") == 0
        delay.count("joe")
    assert clock.now == 240


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_delay, "MAX_ACCOUNTS", 10)
    delay = LoginDelay(30, Clock(0.0))
    for number in range(100):
        delay.count(f"user{number}")
    assert len(delay._last) == 10
    assert delay.wait_for("user99") == 30
    assert delay.wait_for("user0") == 0


def test_a_burst_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="burst=0: allowed is 1 or more"):
        LoginDelay(30, burst=0)
