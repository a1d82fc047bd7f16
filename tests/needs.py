"""What a test needs from outside of Python, and what happens when it isn't there."""

from __future__ import annotations

import os
import shutil
import sys
from typing import NoReturn

import pytest

only_cpython = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="only CPython has what this is about"
)

NO_GSSAPI = (
    "gssapi is not installed"
    if sys.implementation.name == "cpython"
    else "only for CPython gssapi is installed"
)


def need(program: str, *, package: str) -> str:
    """The path of `program`. Without it the test is skipped; on CI, where scripts/test
    installs the Debian package, it fails."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        missing(f"{program} is not installed (Debian package {package})")
    return found


def missing(what: str) -> NoReturn:
    """Skip the test for want of something that scripts/test installs; on CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
