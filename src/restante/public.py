"""Public names that are imported when they are first asked for.

Some need libraries of an extra, and whoever needs one of them needn't load them all.

A package says its names twice: type checkers read import statements (`from … import Name as Name`
is how they know that a name is meant for others), and what is loaded when it is first asked for
must not be imported by one. tests/test_public.py holds the two equal.

    if TYPE_CHECKING:
        from restante.stores.memory import MemoryStore as MemoryStore
    else:
        __getattr__, __dir__, __all__ = lazily(__name__, {"memory": "MemoryStore"})
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose names come when they are asked for.

    homes: names, separated by blanks, by the module below the package that they come from.
    """
    home_of = {name: home for home, names in homes.items() for name in names.split()}
    public = sorted(home_of)

    def get(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(import_module(f"{package}.{home_of[name]}"), name)
        setattr(sys.modules[package], name, found)  # so that the next one who asks has it
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *public})

    return get, names, public
