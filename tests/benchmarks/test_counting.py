"""How much Python a warm poll and a RETR may be, and that the count can be believed."""

from __future__ import annotations

import sys

import pytest
from benchmarks.__main__ import main
from benchmarks.counting import POLLS, Counted, count, count_retr, retr_table, table, total

MOST_CALLS = 147
MOST_BYTECODES = 4473
"""What was counted when they were last set, and 2 % more. They are meant to become less."""

MOST_RETR_CALLS = 31
MOST_RETR_BYTECODES = 1114
"""The same of a RETR of a small message."""

COUNTED = sys.implementation.name == "cpython" and sys.version_info[:2] == (3, 11)

pytestmark = pytest.mark.skipif(not COUNTED, reason="only CPython 3.11 is counted")


@pytest.fixture(scope="module")
def counted() -> Counted:
    return count()


def test_a_warm_poll_has_not_become_more(counted: Counted) -> None:
    text = table(counted, by_function=True)
    assert counted.calls <= MOST_CALLS, text
    assert counted.bytecodes <= MOST_BYTECODES, text


def test_a_further_retr_has_not_become_more() -> None:
    spots = count_retr()
    every, text = total(spots), retr_table(spots, by_function=True)
    assert "OpenedMaildir.fetch (restante.stores.maildir.open_maildir)" in text
    assert 0 < every.calls <= MOST_RETR_CALLS, text
    assert 0 < every.bytecodes <= MOST_RETR_BYTECODES, text


def test_the_parts_are_the_whole(counted: Counted) -> None:
    assert sum(spot.calls for spot in counted.spots) == pytest.approx(counted.calls)
    assert sum(spot.bytecodes for spot in counted.spots) == pytest.approx(counted.bytecodes)
    assert len(counted.each_calls) == len(counted.each_bytecodes) == POLLS


def test_polls_are_alike_but_for_what_is_sampled(counted: Counted) -> None:
    assert counted.unexplained == ()
    assert max(counted.each_calls) - min(counted.each_calls) <= 1


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "--by-function"]) == 0
    printed = capsys.readouterr().out
    assert "Connection.data_received (restante.server.connection)" in printed
    assert printed.count("all functions") == 2
