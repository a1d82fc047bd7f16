"""PyPy among the servers: found or skipped by name, and given time to learn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.ground import Ground, Unavailable
from benchmarks.load import Generator, Outcome, Work
from benchmarks.measure import LEARNING, Field
from benchmarks.programs import Programs
from benchmarks.scenarios import SCENARIOS
from benchmarks.servers import Running

from benchmarks import ours


@pytest.fixture(autouse=True)
def looked_for_again() -> Iterator[None]:
    ours.find_pypy.cache_clear()
    yield
    ours.find_pypy.cache_clear()


def test_without_it_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ours.PYPY, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="there is no pypy3"):
        ours.find_pypy()


def test_one_that_lacks_something_says_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pypy3"
    program.write_text("#!/bin/sh\necho 'No module named pydantic' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv(ours.PYPY, str(program))
    with pytest.raises(Unavailable, match="can't run it: No module named pydantic"):
        ours.find_pypy()


def test_it_runs_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ours.PYPY, sys.executable)
    shown = subprocess.run(
        [*ours.command("pypy"), "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env=ours.environment(ours.HERE),
    )
    assert "restante" in shown.stdout.lower()


class Counting(Generator):
    """Counts the sessions that it would begin."""

    def __init__(self, programs: Programs) -> None:
        super().__init__(programs, None)
        self.sessions = 0

    def run(self, port: int, work: Work) -> Outcome:
        self.sessions += work.sessions
        return Outcome(work.sessions, 1.0, 0, 0, "")


def test_it_learns_each_kind_of_session_once(tmp_path: Path, programs: Programs) -> None:
    generator = Counting(programs)
    field = Field(Ground(tmp_path, tmp_path / "mail", {}, None), generator, quick=True)
    poll, sync = SCENARIOS[:2]
    field.prepare({scenario.group for scenario in (poll, sync) if scenario.group is not None})
    for scenario in (poll, poll, sync):
        field.teach(scenario, Running("restante-pypy", 1, 110, 995))
    assert generator.sessions == LEARNING * (poll.sessions + sync.sessions)
    field.teach(poll, Running("restante-uvloop", 2, 110, 995))
    assert generator.sessions == LEARNING * (poll.sessions + sync.sessions)
