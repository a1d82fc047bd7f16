"""What the tests of the measurements share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

collect_ignore_glob = [] if sys.platform.startswith("linux") else ["test_*.py"]

if sys.platform.startswith("linux"):
    from benchmarks.programs import Programs

    @pytest.fixture(scope="session")
    def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
        """The C programs, compiled once."""
        folder: Path = tmp_path_factory.mktemp("programs")
        return Programs(folder)
