"""What all workers together count, as each of them is told it."""

from __future__ import annotations

from restante.app.processes.counters import Counters


def test_numbers_elsewhere_are_those_of_all_others() -> None:
    counters = Counters()
    counters.update(0, {"connection:": 3, "session:joe": 1})
    counters.update(1, {"connection:": 4})
    counters.update(2, {"connection:": 5})
    assert counters.elsewhere(0, ["connection:", "session:joe"]) == {
        "connection:": 9,
        "session:joe": 0,
    }
    assert counters.elsewhere(1, ["session:joe"]) == {"session:joe": 1}
    assert counters.own(2, "connection:") == 5


def test_of_times_the_latest_counts() -> None:
    counters = Counters()
    counters.update(0, {"turn:192.0.2.1": 50.0})
    counters.update(1, {"turn:192.0.2.1": 70.0})
    assert counters.elsewhere(2, ["turn:192.0.2.1"]) == {"turn:192.0.2.1": 70.0}
    assert counters.elsewhere(1, ["turn:192.0.2.1"]) == {"turn:192.0.2.1": 50.0}


def test_what_a_dead_worker_counted_is_forgotten_and_nothing_of_nought_is_kept() -> None:
    counters = Counters()
    counters.update(0, {"connection:": 3, "session:joe": 1})
    counters.update(1, {"connection:": 4})
    assert counters.forget(0) == {"connection:", "session:joe"}
    assert counters.elsewhere(1, ["connection:"]) == {"connection:": 0}
    assert counters.names == {"connection:"}
    counters.update(1, {"connection:": 0})
    assert counters.names == set()
