"""mypy and pyright say the same of an application: `good.py` is right, `bad.txt` is wrong in each
line that ends in `# E` and nowhere else."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        platform.python_implementation() != "CPython", reason="only where mypy runs: by CPython"
    ),
]

Lines = dict[str, set[int]]


def run(folder: Path, *command: str) -> str:
    """What a checker prints. Its caches are its own."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def by_mypy(folder: Path) -> Lines:
    options = ["--strict", "--ignore-missing-imports", "--config-file=", "--no-error-summary"]
    output = run(folder, sys.executable, "-m", "mypy", *options, "good.py", "bad.py")
    found: Lines = {"good.py": set(), "bad.py": set()}
    for name, line in re.findall(r"^(\S+):(\d+): error:", output, re.MULTILINE):
        found[name].add(int(line))
    return found


def by_pyright(folder: Path) -> Lines:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright isn't installed")
    if shutil.which("node") is None:
        pytest.skip("node isn't installed, by which pyright runs")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(SRC)], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    options = ["--outputjson", "--pythonpath", sys.executable]
    output = json.loads(run(folder, sys.executable, "-m", "pyright", *options))
    found: Lines = {"good.py": set(), "bad.py": set()}
    for each in output["generalDiagnostics"]:
        if each["severity"] == "error":
            found[Path(each["file"]).name].add(each["range"]["start"]["line"] + 1)
    return found


@pytest.mark.parametrize("check", [by_mypy, by_pyright])
def test_what_is_right_is_accepted_and_what_is_wrong_is_found(
    check: Callable[[Path], Lines], tmp_path: Path
) -> None:
    shutil.copy(HERE / "good.py", tmp_path / "good.py")
    shutil.copy(HERE / "bad.txt", tmp_path / "bad.py")
    wrong = {
        number
        for number, line in enumerate((HERE / "bad.txt").read_text().splitlines(), 1)
        if line.endswith("# E")
    }
    assert len(wrong) > 25
    assert check(tmp_path) == {"good.py": set(), "bad.py": wrong}
