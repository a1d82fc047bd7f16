"""Public names that are imported when they are first asked for.

Some need libraries of an extra, and whoever needs one of them needn't load them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def load(package: str, homes: Mapping[str, str], name: str) -> Any:
    """A public name of `package`. Raises AttributeError.

    homes: names, separated by blanks, by the module below the package that they come from.
    """
    for home, names in homes.items():
        if name in names.split():
            return getattr(import_module(f"{package}.{home}"), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
