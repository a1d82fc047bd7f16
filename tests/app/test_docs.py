"""What the documents say of the configuration is so, and all of it is said."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from restante.app.config.load import read
from restante.app.config.read_tables import hints_of, section_in, words_of
from restante.app.config.settings import Secret, Settings
from restante.app.config.toml import toml_value
from restante.settings_fields import allowed_of
from tests.app.support import COMMAND, environment, run_as_shown

DOCS = Path(__file__).parents[2] / "docs"
OURS = (
    "authentication.md", "client-settings.md", "configuration.md", "console.md", "explaining.md",
    "observing.md", "operating.md", "moving-from-dovecot.md",
)  # fmt: skip

_SECTION = re.compile(r"^##+ \[?([a-z0-9_.]+)\]?$")
_ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$")


def documented() -> dict[str, tuple[str, str]]:
    """Default and what is allowed, by key, as the document has it."""
    found = {}
    section = ""
    for line in (DOCS / "configuration.md").read_text("utf-8").splitlines():
        if match := _SECTION.match(line):
            section = match[1]
        elif match := _ROW.match(line):
            found[f"{section}.{match[1]}"] = (match[2], match[3])
    return found


def existing(kind: Any = Settings, above: str = "") -> dict[str, tuple[str, str]]:
    """The same as the sections have it."""
    found: dict[str, tuple[str, str]] = {}
    for each in fields(kind):
        key, hint = f"{above}{each.name}", hints_of(kind)[each.name]
        below = section_in(hint)
        if below is not None:
            found |= existing(below, f"{key}.")
        if below is not hint:
            found[key] = (_default(each), words_of(allowed_of(kind)[each.name]))
    return found


def _default(key: Any) -> str:
    if key.default_factory is not MISSING:
        return f"`{toml_value(key.default_factory())}`"
    if key.default is MISSING:
        return "required"
    value = "" if isinstance(key.default, Secret) else key.default
    return "none" if value is None else f"`{toml_value(value)}`"


def test_every_key_is_documented_with_its_default_and_what_it_allows() -> None:
    assert documented() == existing()


def blocks(kind: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"^```{kind}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        (name, block)
        for name in OURS
        for block in pattern.findall((DOCS / name).read_text("utf-8"))
    ]


@pytest.mark.parametrize(("name", "block"), blocks("toml"))
def test_configurations_in_the_documents_are_accepted(folder: Path, name: str, block: str) -> None:
    file = folder / "restante.toml"
    file.write_text(block)
    assert read(file, environ={}).problems == ()


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize("name", [each for each in OURS if each != "moving-from-dovecot.md"])
def test_commands_in_the_documents_do_what_is_shown(folder: Path, name: str) -> None:
    """Blocks run one after the other in one folder; `...` stands for anything."""
    programs = folder / "programs"
    programs.mkdir()
    script = programs / "restante"
    script.write_text(f"#!/bin/sh\nexec {COMMAND[0]} -c '{COMMAND[2]}' \"$@\"\n")
    script.chmod(0o755)
    path = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"]))
    for _, block in (each for each in blocks("console") if each[0] == name):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = step.partition("\n")
            while command.endswith("\\"):
                more, _, expected = expected.partition("\n")
                command = f"{command}\n{more.removeprefix('> ')}"
            run_as_shown(command, expected, folder, {**environment(), "PATH": path})
