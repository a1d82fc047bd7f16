"""Each test in a folder of its own, with no settings in the environment."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, TypeAlias

import pytest

from restante.app.cli.main import run


class Done(NamedTuple):
    """What a command ended with."""

    status: int
    out: str
    err: str


Call: TypeAlias = Callable[..., Done]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    for name in list(os.environ):
        if name.startswith("RESTANTE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a command line in this process."""

    def called(*arguments: str, given: bytes = b"") -> Done:
        capsys.readouterr()
        stdin = SimpleNamespace(buffer=io.BytesIO(given), isatty=lambda: False)
        monkeypatch.setattr("sys.stdin", stdin)
        status = run(arguments)
        return Done(status, *capsys.readouterr())

    return called
