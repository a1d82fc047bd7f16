"""Public names stand in three forms: for type checkers, for lazy loading, and in `__all__`.

One form can't serve all: type checkers read import statements, and what is loaded when it is
first asked for must not be imported by one.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
LAZY = [
    ".".join(path.parent.relative_to(SRC).parts)
    for path in sorted((SRC / "restante").rglob("__init__.py"))
    if "_HOMES = {" in path.read_text()
]


def for_type_checkers(package: str) -> dict[str, set[str]]:
    """Names by module, as `if TYPE_CHECKING:` imports them."""
    tree = ast.parse((SRC / package.replace(".", "/") / "__init__.py").read_text())
    (block,) = (each for each in tree.body if isinstance(each, ast.If))
    found: dict[str, set[str]] = {}
    for each in block.body:
        assert isinstance(each, ast.ImportFrom)
        assert each.module is not None
        names = {alias.name for alias in each.names}
        found[each.module.removeprefix(f"{package}.")] = names
    return found


def test_there_are_packages_whose_names_are_loaded_lazily() -> None:
    assert {"restante", "restante.accounts", "restante.delivery", "restante.server"} <= set(LAZY)


@pytest.mark.parametrize("package", LAZY)
def test_the_names_that_type_checkers_see_are_those_that_are_loaded(package: str) -> None:
    module = import_module(package)
    homes = {home: set(names.split()) for home, names in module._HOMES.items()}
    assert for_type_checkers(package) == homes
    assert sorted(module.__all__) == sorted(name for names in homes.values() for name in names)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


@pytest.mark.parametrize("package", LAZY)
def test_a_name_that_is_not_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nothing'"):
        _ = import_module(package).Nothing
