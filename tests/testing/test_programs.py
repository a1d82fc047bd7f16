"""Programs that fetch mail, against servers that fail: what they do is in docs/testing-clients.md.

A program of another version than the page's may do something else, and is held only against what
can be said in the table.
"""

from __future__ import annotations

import re

import pytest

from tests.conftest import Authority
from tests.needs import only_cpython
from tests.peers.harness import Peer
from tests.testing.programs import (
    OUTCOMES,
    PAGE,
    PROGRAMS,
    TRIALS,
    all_outcomes,
    outcome,
    read_table,
    version,
)

pytestmark = [pytest.mark.peer, only_cpython]

TRIES = 3
"""How often a program is run that does otherwise than the page says: a machine may be busy."""

TOGETHER = "message 2 comes octet by octet"
"""On a busy machine a program reads several octets at once, and then gets along with them."""


def test_the_page_has_all_faults_and_programs() -> None:
    columns = read_table(PAGE.read_text())
    assert [name.split()[0] for name in columns] == [peer.name for peer in PROGRAMS]
    assert len(TRIALS) >= 20
    for column in columns.values():
        assert len(column) == len(TRIALS)
        assert {word for cell in column for word in cell.split(", ")} <= set(OUTCOMES)
    for trial in TRIALS:
        assert f"| {trial.words} |" in PAGE.read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_programs_do_what_the_page_says(authority: Authority) -> None:
    for peer in PROGRAMS:
        peer.require()
    told = read_table(PAGE.read_text())
    found = all_outcomes(authority, PROGRAMS)
    wrong = []
    for peer in PROGRAMS:
        name = f"{peer.name} {version(peer)}"
        if name not in told:
            continue
        for trial, expected, got in zip(TRIALS, told[name], found[name], strict=True):
            if (trial.words, got) == (TOGETHER, "ok"):
                continue
            if got != expected and not _again(peer, trial.words, expected, authority):
                wrong.append(f"{name}: {trial.words}: {got}, and the page says {expected}")
    assert not wrong, "\n".join(wrong)


def _again(peer: Peer, words: str, expected: str, authority: Authority) -> bool:
    (trial,) = [each for each in TRIALS if each.words == words]
    return any(outcome(peer, trial, authority) == expected for _ in range(TRIES - 1))


def test_the_page_names_versions() -> None:
    for name in read_table(PAGE.read_text()):
        assert re.fullmatch(r"[\w-]+ \d+(\.\d+)+", name)
