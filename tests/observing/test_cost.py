"""What watching costs, by counts: seconds are measured in benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

import pytest
from benchmarks.__main__ import main
from benchmarks.counting import count

from benchmarks import observers
from restante.observing import HistoryWriter, Metrics

COUNTED = sys.implementation.name == "cpython" and sys.version_info[:2] == (3, 11)

MOST = {"metrics": (6, 432), "history": (12, 347)}
"""Calls and bytecodes that each adds to a poll."""


@pytest.mark.skipif(not COUNTED, reason="only CPython 3.11 is counted")
@pytest.mark.parametrize("who", MOST)
def test_who_watches_adds_little_to_a_poll(tmp_path: Path, who: str) -> None:
    writer = HistoryWriter(tmp_path / "history.sqlite")
    observe = {"metrics": Metrics, "history": lambda server: server.observe(writer.sessions)}[who]
    alone, counted = count(), count(observe)
    writer.close()
    calls, bytecodes = MOST[who]
    # The median: some polls wake the thread that writes the history.
    assert median(counted.each_calls) - median(alone.each_calls) <= calls
    assert median(counted.each_bytecodes) - median(alone.each_bytecodes) <= bytecodes


@pytest.mark.skipif(not COUNTED, reason="only CPython 3.11 is counted")
def test_the_command_compares_who_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "ROUNDS", 1)
    monkeypatch.setattr(observers, "POLLS", 2)
    assert main(["--observers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["nobody", "history", "metrics", "traces"]
