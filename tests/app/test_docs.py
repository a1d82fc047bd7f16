"""What the documents say of the configuration is so, and all of it is said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from restante.app.config.load import model_in, read, toml_value
from restante.app.config.settings import Settings
from tests.app.support import COMMAND, environment

DOCS = Path(__file__).parents[2] / "docs"
OURS = ("authentication.md", "configuration.md", "operating.md")

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


def existing(model: type[BaseModel] = Settings, above: str = "") -> dict[str, tuple[str, str]]:
    """The same as the models have it."""
    found: dict[str, tuple[str, str]] = {}
    for name, field in model.model_fields.items():
        key = f"{above}{name}"
        below = model_in(field.annotation)
        if below is not None:
            found |= existing(below, f"{key}.")
        if below is None or get_origin(field.annotation) is not None:
            found[key] = (_default(field.default), field.description or "")
    return found


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
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
@pytest.mark.parametrize("name", OURS)
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
            done = subprocess.run(
                ["sh", "-c", f"exec 2>&1; {command}"],
                cwd=folder,
                env={**environment(), "PATH": path},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, (command, done.stdout)
            wanted = ".*".join(map(re.escape, expected.strip().split("...")))
            assert re.fullmatch(wanted, done.stdout.strip(), re.DOTALL), (command, done.stdout)
