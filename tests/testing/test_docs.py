"""What the pages say about testing is what happens."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

from restante.testing import MailServer, RecordedSession
from tests.docs.test_pages import BLOCK
from tests.testing.test_plugin import outcome, run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text()


def test_every_block_of_the_page_is_executed(tmp_path: Path) -> None:
    blocks = BLOCK.findall(PAGE)
    output = run(tmp_path, "\n".join(blocks))
    assert set(outcome(output)) == {"passed"}, output
    assert outcome(output)["passed"] >= len(re.findall(r"^ *(?:async )?def test_", PAGE, re.M))


def test_the_readmes_test_passes(tmp_path: Path) -> None:
    code = BLOCK.findall((ROOT / "README.md").read_text())[1]
    assert outcome(run(tmp_path, code)) == {"passed": 1}


def test_all_arguments_and_all_that_is_recorded_are_described() -> None:
    given = set(inspect.signature(MailServer.__init__).parameters) - {"self", "settings"}
    recorded = {each.name for each in fields(RecordedSession) if not each.name.startswith("_")}
    properties = {n for n, v in vars(RecordedSession).items() if isinstance(v, property)}
    for name in given | recorded - {"id", "peer"} | properties:
        assert f"`{name}`" in PAGE, name
