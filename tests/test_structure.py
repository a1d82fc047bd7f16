"""The shape of the source: no import circle, and arrows that lead downwards only."""

from __future__ import annotations

import ast
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"

Graph = dict[str, set[str]]


def name_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted((SRC / "restante").rglob("*.py"))}


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """The names that a module's import statements give, wherever in it they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: -node.level + is_package or None]
                base = ".".join([*above, base] if base else above)
            yield from (f"{base}.{each.name}" for each in node.names)


def imports_of(
    tree: ast.AST, module: str, is_package: bool, known: Mapping[str, object]
) -> set[str]:
    """The known modules that a module imports from."""
    found = set()
    for name in imported(tree, module, is_package):
        # `from module import something` names a module, or what is in one.
        parents = [name.rsplit(".", count)[0] for count in range(name.count(".") + 1)]
        found.update([each for each in parents if each in known][:1])
    return found - {module}


def circles(graph: Graph) -> list[list[str]]:
    """The strongly connected components of more than one module (Tarjan's search)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            component = stack[at:]
            del stack[at:]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def graph_of(sources: Mapping[str, tuple[str, bool]]) -> Graph:
    """The graph of modules, given by name as source text and whether it is a package."""
    return {
        module: imports_of(ast.parse(source), module, is_package, sources)
        for module, (source, is_package) in sources.items()
    }


def test_the_search_finds_circles() -> None:
    sources = {
        "top": ("from top.a import x", True),
        "top.a": ("if TYPE_CHECKING:\n    from .b import y", False),
        "top.b": ("def f():\n    import top.c", False),
        "top.c": ("from top import a", False),
        "top.d": ("import top.a, os.path", False),
    }
    graph = graph_of(sources)
    assert graph["top.a"] == {"top.b"}
    assert graph["top.c"] == {"top.a"}
    assert circles(graph) == [["top.a", "top.b", "top.c"]]
    assert circles(graph | {"top.b": set()}) == []


def test_there_is_no_import_circle() -> None:
    """Imports for type checkers and imports within functions count as well."""
    graph = graph_of(
        {name: (path.read_text(), path.name == "__init__.py") for name, path in MODULES.items()}
    )
    assert len(graph) > 100
    assert circles(graph) == []


@pytest.mark.skipif(
    platform.python_implementation() != "CPython", reason="only by CPython import-linter runs"
)
def test_the_layers_are_kept() -> None:
    if find_spec("importlinter") is None:
        pytest.skip("import-linter isn't installed")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
