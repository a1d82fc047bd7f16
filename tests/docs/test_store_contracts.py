"""The examples' stores are held to the contract; what the guide says it finds in its own is so."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from restante.accounts.contract import Account
from restante.stores.contract import MaildropStore
from restante.testing.contracts import MaildropStoreContract
from tests.docs.test_pages import ROOT, python_of


def run(folder: Path, module: str) -> tuple[set[str], int]:
    """The tests of a module that failed, without their parameters, and how many passed."""
    (folder / "test_module.py").write_text(module)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", "--tb=no"],
        cwd=folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    names = {line.split(" ")[1].partition("::")[2].partition("[")[0] for line in failed}
    passed = [each.split(" passed")[0].split()[-1] for each in lines if " passed" in each]
    assert passed, done.stdout + done.stderr
    return names, int(passed[0])


def test_what_the_guide_shows_runs_and_finds_what_it_says(tmp_path: Path) -> None:
    failed, passed = run(tmp_path, python_of(ROOT / "docs" / "embedding.md"))
    assert passed > 150
    assert {each.partition("::")[0] for each in failed} == {"TestNotes"}
    assert failed >= {
        "TestNotes::test_maildrops_are_separate",
        "TestNotes::test_unique_ids_stay_and_are_never_used_again",
    }


sys.path.insert(0, str(ROOT / "examples"))
generated_mail = importlib.import_module("generated_mail")
sys.path.pop(0)

MADE = re.compile(
    "octet|total|many_messages|empty_message|oldest|any_order|same_each_time|by_turns|halves|torn|shift|vanished"
    "|removes_these|maildrops_are_separate|outlive|while_a_session"
)
"""Tests that look at the text of what was put in: an invoice's is made when it is read."""


class TestInvoicesOfTheExample(MaildropStoreContract):
    def make_store(self, folder: Path) -> MaildropStore:
        store: MaildropStore = generated_mail.Invoices(str(folder / "shop.db"))
        return store

    def put(self, store: Any, account: Account, message: bytes) -> None:
        with closing(store._open()) as database, database:
            row = "INSERT INTO invoice (customer, item, cents) VALUES (?, 'Cog', 1)"
            database.execute(row, (account.name,))


for _name in dir(TestInvoicesOfTheExample):
    if MADE.search(_name):
        setattr(TestInvoicesOfTheExample, _name, None)
