"""Whose dialogues are logged: the choice in its file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from restante.app.debug_log import Choice, read_choice, write_choice
from tests.app.conftest import Call


def test_a_choice_is_read_as_it_was_written(folder: Path) -> None:
    file = folder / "data" / "debug-log.json"
    assert read_choice(file) == Choice()
    choice = Choice().with_on(7.5, everything=True, accounts=["j\u00f6e"], addresses=["::1"])
    write_choice(file, choice)
    assert read_choice(file) == choice


def test_each_part_ends_by_itself() -> None:
    choice = Choice().with_on(5, everything=False, accounts=["joe"], addresses=[])
    choice = choice.with_on(9, everything=True, accounts=["ann"], addresses=["::1"])
    assert choice.at(4.9) == choice
    assert choice.at(5) == Choice(9, {"ann": 9}, {"::1": 9})
    assert not choice.at(9)


def test_parts_are_taken_out() -> None:
    choice = Choice().with_on(9, everything=True, accounts=["Joe", "ann"], addresses=["::1"])
    rest = choice.with_off(everything=False, accounts=["jOE"], addresses=["::1"])
    assert rest == Choice(9, {"ann": 9}, {})
    assert rest.with_off(everything=True, accounts=[], addresses=[]) == Choice(0, {"ann": 9})


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"accounts": []}', '{"accounts": {"a": "x"}}', '{"everything": true}',
     '{"everything": NaN}', '{"addresses": {"a": null}}'],
)  # fmt: skip
def test_a_damaged_file_is_an_error(folder: Path, text: str) -> None:
    (folder / "x").write_text(text)
    with pytest.raises(ValueError):
        read_choice(folder / "x")


def test_the_commands(folder: Path, call: Call) -> None:
    on = call("log", "on", "--account", "joe", "--address", "0:0::1")
    assert on.out.startswith("debug log: account joe until ")
    given = json.loads((folder / "data" / "debug-log.json").read_text())
    assert 3500 < given["accounts"]["joe"] - time.time() < 3601
    assert list(given["addresses"]) == ["::1"]
    assert call("log", "show").out == on.out
    assert call("log", "off", "--account", "joe").out.startswith("debug log: address ::1 until ")
    assert call("log", "off").out == "debug log: off\n"


@pytest.mark.parametrize(
    "arguments", [[], ["--address", "nowhere"], ["--account", "a", "--minutes", "0"]]
)
def test_what_makes_no_choice_is_refused(call: Call, arguments: list[str]) -> None:
    assert call("log", "on", *arguments).status == 2
