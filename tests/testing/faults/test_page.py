"""The page on faults knows all of them. That its examples run is tested in tests/docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from restante.testing.faults import load_profile, parse, profile_names
from restante.testing.faults.fault import KINDS, Fault

PAGE = (Path(__file__).parents[3] / "docs" / "testing-faults.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \| ", PAGE, re.M))
EXAMPLES = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S))

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)


@each_kind
def test_each_fault_has_a_row_with_its_text_form(kind: type[Fault]) -> None:
    assert type(parse(ROWS[kind.__name__])) is kind


@each_kind
def test_each_fault_has_an_example_that_runs(kind: type[Fault]) -> None:
    assert re.search(rf"\b{kind.__name__}\(", EXAMPLES)


def test_the_page_knows_no_other_faults() -> None:
    assert set(ROWS) == {kind.__name__ for kind in KINDS.values()}


def test_the_page_knows_all_profiles_and_no_others() -> None:
    assert re.findall(r"^\| `([a-z]+)` \| ", PAGE, re.M) == list(profile_names())
    titles = re.findall(r"^\| `[a-z]+` \| ([^|]+) \| ", PAGE, re.M)
    assert titles == [load_profile(name).title for name in profile_names()]
