"""How the Python was built that is measured. One without optimisation is a third slower."""

from __future__ import annotations

import platform
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from typing import Any

OPTIMISED = ("-O2", "-O3")


def build() -> dict[str, Any]:
    """How this Python was built, without paths; `wrong` says what is missing, if anything."""
    settings = sysconfig.get_config_vars()
    found: dict[str, Any] = {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "compiler": platform.python_compiler(),
        "level": level(str(settings.get("PY_CFLAGS") or "")),
        "wrong": "",
    }
    if sys.implementation.name == "cpython":
        found["wrong"] = missing(settings, sysconfig.get_scheme_names())
    return found


def level(flags: str) -> str:
    """The compiler's level of optimisation: the last one counts."""
    levels = [flag for flag in flags.split() if flag.startswith("-O")]
    return levels[-1] if levels else ""


def missing(settings: Mapping[str, Any], schemes: Sequence[str]) -> str:
    """What of optimisation a CPython was built without; "" if nothing, or nobody knows.

    settings: of `sysconfig`. schemes: its names of places. Debian and what derives from it have
    one of their own. They build with a profile, as `--enable-optimizations` does, but by other
    means, which `sysconfig` doesn't show.
    """
    arguments = settings.get("CONFIG_ARGS")
    if arguments is None:  # Windows
        return ""
    found = level(str(settings.get("PY_CFLAGS") or ""))
    if found not in OPTIMISED:
        return f"it was compiled with {found or 'no -O'}, not with {' or '.join(OPTIMISED)}"
    if "--enable-optimizations" not in str(arguments) and "deb_system" not in schemes:
        return "it was configured without --enable-optimizations"
    return ""


def told(found: Mapping[str, Any]) -> str:
    """The same as a line, with a warning where something is missing."""
    parts = [f"{found['implementation']} {found['version']}", found["compiler"], found["level"]]
    text = ", ".join(part for part in parts if part)
    if found["wrong"]:
        text += f"\nWARNING: {found['wrong']}: figures of Python are worse than they need be"
    return text
