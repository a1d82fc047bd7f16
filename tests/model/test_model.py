"""The rules of the store in databases, checked by trying every order of their steps.

The model is in docs/model, what it says in words in docs/store-rules.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from explore import Step, explore
from rules import SCOPES, STEPS, WHAT_FOR, Guards, StoreModel, check

from restante.stores.postgres import statements

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "store-rules.md").read_text()
EITHER = "number_raised_by_operator"
"""The one guard that another one can take the place of."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SCOPES)
def test_no_promise_is_broken_by_any_order_of_the_steps(name: str) -> None:
    found = check(SCOPES[name])
    assert not found.broken, found
    assert f"| `{name}` | {found.states:,} |" in re.sub(r"\| [^|`]+ \|\n", "|\n", PAGE)


@pytest.mark.parametrize("guard", [each for each in WHAT_FOR if each != EITHER])
def test_without_a_guard_its_promise_is_broken(guard: str) -> None:
    scope, promise = WHAT_FOR[guard]
    found = check(scope, guard, wanted=promise)
    assert found.broken == promise
    assert found.trace


def test_either_the_holder_is_checked_or_the_operator_raises_the_number() -> None:
    scope, _ = WHAT_FOR[EITHER]
    assert not check(scope, EITHER).broken
    assert check(scope, EITHER, "holder_checked").broken


def test_every_guard_is_tried() -> None:
    assert tuple(WHAT_FOR) == Guards._fields


def test_the_page_names_every_guard_and_every_step_and_no_other() -> None:
    steps = {method.__name__ for methods in STEPS.values() for method in methods}
    table = PAGE.split("## The guards")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == list(Guards._fields)
    told = set(re.findall(r"`(\w+)\(\)`", PAGE))
    assert told - {"now"} == steps - {"answer_too_early"}


def test_the_page_names_statements_of_the_store() -> None:
    table = PAGE.split("## In the code")[1].split("\n## ")[0]
    told = set(re.findall(r"`([A-Z_]+)`", table))
    assert told
    assert told <= {name for name in vars(statements) if name.isupper()}


def test_the_page_shows_what_the_checker_prints() -> None:
    [(guard, shown)] = re.findall(
        r"^\$ python docs/model/rules.py (\w+)\n(.*?)^```", PAGE, re.M | re.S
    )
    done = subprocess.run(
        [sys.executable, "docs/model/rules.py", guard],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout == shown


# ---- The explorer itself


class Puddle:
    """A model of a number that grows to 5; from 4 on it can't get back to 0."""

    def start(self) -> int:
        return 0

    def steps(self, state: int) -> Iterator[Step[int]]:
        if state < 5:
            yield Step("rain", "falls", state + 1)
        if state < 4:
            yield Step("sun", "shines", 0)

    def canonical(self, state: int) -> int:
        return state

    def broken(self, state: int) -> str:
        return ""

    def unsettled(self, state: int) -> str:
        return f"{state} is left" if state else ""


class Flood(Puddle):
    def broken(self, state: int) -> str:
        return "too much" if state == 3 else "much" if state == 2 else ""


def test_the_shortest_trace_is_found() -> None:
    found = explore(Flood())
    assert (found.broken, len(found.trace)) == ("much", 2)
    assert str(found).splitlines()[1:] == ["  1. rain      falls", "  2. rain      falls"]


def test_a_certain_promise_can_be_looked_for() -> None:
    found = explore(Flood(), wanted="too much")
    assert (found.broken, len(found.trace)) == ("too much", 3)


def test_a_state_from_which_nothing_is_tidied_up_is_found() -> None:
    found = explore(Puddle())
    assert (found.broken, len(found.trace)) == ("never tidied up: 4 is left", 4)


def test_the_search_is_bounded() -> None:
    with pytest.raises(OverflowError, match="more than 3 states"):
        explore(Puddle(), most=3)


def test_nodes_keep_their_numbers_in_a_trace() -> None:
    scope, promise = WHAT_FOR["key_has_number_of_row"]
    trace = explore(StoreModel(scope, "key_has_number_of_row"), wanted=promise).trace
    for delivery in "12":
        who = {step.who for step in trace if step.what.startswith(f"delivery {delivery}:")}
        assert len(who) == 1
