"""Which Python is measured, and whether it was built to be fast."""

from __future__ import annotations

import json
import platform

import pytest

from benchmarks import python_build

OPTIMISED = {"CONFIG_ARGS": "'--enable-optimizations' '--with-lto'", "PY_CFLAGS": "-g -O3 -Wall"}
USUAL, DEBIANS = ("posix_prefix",), ("posix_prefix", "deb_system")


def test_the_last_level_counts() -> None:
    assert python_build.level("-O0 -g -O3 -Wall") == "-O3"
    assert python_build.level("-g") == ""


@pytest.mark.parametrize(
    ("changed", "schemes", "wrong"),
    [
        ({}, USUAL, ""),
        ({"CONFIG_ARGS": "'--prefix=/opt'"}, USUAL, "without --enable-optimizations"),
        ({"CONFIG_ARGS": "'--prefix=/usr'", "PY_CFLAGS": "-O2"}, DEBIANS, ""),
        ({"PY_CFLAGS": "-O3 -O0"}, USUAL, "compiled with -O0"),
        ({"PY_CFLAGS": "-g"}, DEBIANS, "compiled with no -O"),
        ({"CONFIG_ARGS": None, "PY_CFLAGS": None}, USUAL, ""),
    ],
)
def test_what_is_missing_is_named(
    changed: dict[str, str | None], schemes: tuple[str, ...], wrong: str
) -> None:
    found = python_build.missing({**OPTIMISED, **changed}, schemes)
    assert wrong in found
    assert bool(found) == bool(wrong)


def test_this_python_is_told_without_paths() -> None:
    found = python_build.build()
    assert platform.python_version() in python_build.told(found)
    assert "/" not in json.dumps(found)
    assert "WARNING" in python_build.told({**found, "wrong": "it was compiled with -O0"})
