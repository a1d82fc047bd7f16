"""Public names stand twice: for type checkers and for lazy loading. See restante/public.py."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
LAZY = [
    ".".join(path.parent.relative_to(SRC).parts)
    for path in sorted((SRC / "restante").rglob("__init__.py"))
    if "import lazily" in path.read_text()
]


def for_type_checkers(package: str) -> dict[str, str]:
    """The module of each name that `if TYPE_CHECKING:` imports for others."""
    tree = ast.parse((SRC / package.replace(".", "/") / "__init__.py").read_text())
    (block,) = (each for each in tree.body if isinstance(each, ast.If))
    found: dict[str, str] = {}
    for each in block.body:
        assert isinstance(each, ast.ImportFrom)
        assert each.module is not None
        for alias in each.names:
            assert alias.asname == alias.name, "without `as` it isn't for others"
            found[alias.name] = each.module
    return found


def test_there_are_packages_whose_names_are_loaded_lazily() -> None:
    assert {"restante", "restante.accounts", "restante.delivery", "restante.server"} <= set(LAZY)


@pytest.mark.parametrize("package", LAZY)
def test_the_names_that_type_checkers_see_are_those_that_are_loaded(package: str) -> None:
    module, seen = import_module(package), for_type_checkers(package)
    assert module.__all__ == sorted(seen)
    for name, home in seen.items():
        assert getattr(module, name) is getattr(import_module(home), name)
        assert name in dir(module)


@pytest.mark.parametrize("package", LAZY)
def test_a_name_that_is_not_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nothing'"):
        _ = import_module(package).Nothing
