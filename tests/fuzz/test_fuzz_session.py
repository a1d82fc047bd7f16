"""The fuzz target on inputs that never change, so that the suite says the same each time."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.states import State
from tests.fuzz.fuzz_session import dialogue_files, main, mutated, one_input, seeds

SEEDS = seeds()
STARTS = SEEDS + dialogue_files()


@pytest.mark.parametrize("cut", range(4))
def test_the_seeds_cut_in_several_ways(cut: int) -> None:
    for data in STARTS:
        if cut != 1 or len(data) < 5000:
            one_input(data[:1] + bytes([cut]) + data[2:])


def test_the_seeds_reach_what_they_are_for() -> None:
    """Otherwise the mutated ones would prove nothing."""
    drivers = [one_input(data) for data in SEEDS]
    assert {driver.session.state for driver in drivers} == set(State)
    assert any(driver.committed for driver in drivers)
    said = b"".join(each.wire for driver in drivers for each in driver.exchanges)
    for reply in (b"+OK begin TLS", b"-ERR [AUTH]", b"-ERR line of more", b"-ERR [UTF8]", b"+ "):
        assert reply in said, reply


@pytest.mark.parametrize("seed", range(8))
def test_mutated_dialogues(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(400):
        data = mutated(chance.choice(STARTS), chance)
        one_input(bytes([chance.randrange(256), chance.choice((0, 2, 2, 3, 4))]) + data[2:])


@given(st.binary(max_size=400))
def test_any_bytes_at_all(data: bytes) -> None:
    one_input(data)


def test_without_atheris_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(SystemExit, match="atheris is missing: pip install atheris"):
        main()
