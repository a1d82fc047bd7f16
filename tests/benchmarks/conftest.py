"""What the tests of the measurements share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MEASURES = hasattr(os, "sched_getaffinity")  # not by PyPy, and on Linux only
collect_ignore_glob = [] if MEASURES else ["test_*.py"]

if MEASURES:
    from benchmarks.programs import Programs

    @pytest.fixture(scope="session")
    def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
        """The C programs, compiled once."""
        folder: Path = tmp_path_factory.mktemp("programs")
        return Programs(folder)
