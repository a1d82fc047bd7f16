"""The tour of the architecture names what there is: files, folders, names, rooms in their order."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "restante"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
SPANS = sorted(set(re.findall(r"`([^`\n]+)`", TEXT)))

FILES = [span for span in SPANS if re.fullmatch(r"[\w/.]+\.(py|toml)", span)]
FOLDERS = [span for span in SPANS if re.fullmatch(r"[\w/]+/", span)]
NAMES = [span.split(":") for span in SPANS if re.fullmatch(r"[\w/]+\.py:[\w.]+", span)]
IN_MAILDIRS = {"cur/", "new/", "tmp/"}


def exists(path: str) -> bool:
    return (SOURCES / path).exists() or (ROOT / path).exists()


def names_in(file: Path) -> set[str]:
    """Classes, functions and variables of a module, and their members as `Class.member`."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        for name in names_of(node):
            found.add(name)
            if isinstance(node, ast.ClassDef):
                found |= {f"{name}.{member}" for part in node.body for member in names_of(part)}
    return found


def names_of(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.name]
        case ast.Assign(targets=targets):
            return [each.id for each in targets if isinstance(each, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


@pytest.mark.parametrize("path", [*FILES, *sorted(set(FOLDERS) - IN_MAILDIRS)])
def test_a_file_or_folder_exists(path: str) -> None:
    assert exists(path)


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_a_name_is_in_its_file(path: str, name: str) -> None:
    assert name in names_in(SOURCES / path)


def test_every_room_is_described() -> None:
    rooms = {each.parent.relative_to(SOURCES) for each in SOURCES.rglob("__init__.py")}
    described = {Path(folder) for folder in FOLDERS}
    # Named by their files, or by the room that they are in.
    inside = {
        "accounts/oauth", "accounts/schemes", "app/console", "app/console/pages",
        "stores/maildir", "stores/sqlite",
        "testing/conformance", "testing/conformance/checks", "testing/contracts",
        "testing/contracts/stores", "testing/faults",
    }  # fmt: skip
    assert {str(room) for room in rooms - described} <= {".", *inside}


def test_the_picture_has_the_layers_that_are_enforced() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = project["tool"]["importlinter"]["contracts"]
    picture = TEXT.split("## The rooms")[1].split("```")[1]
    at = 0
    for layer in contract["layers"]:
        places = [
            re.search(rf"\b{each.strip().removeprefix('restante.')}\b", picture[at:])
            for each in layer.split("|")
        ]
        assert all(places), layer
        at += max(place.end() for place in places if place is not None)
