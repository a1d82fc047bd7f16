"""The measurement of the test kit runs."""

from __future__ import annotations

import re

import pytest

from benchmarks import kit


def test_it_measures_start_close_and_the_recorder(capsys: pytest.CaptureFixture[str]) -> None:
    assert kit.main(["--rounds", "1", "--sessions", "1"]) == 0
    output = capsys.readouterr().out
    for kind in kit.KINDS:
        assert re.search(rf"^\| {kind} \| [\d.]+ ms \| \d+% \| [\d.]+ ms \|$", output, re.M)
    assert "A session of 14 commands takes" in output
