"""What the tests of Maildir share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from restante.accounts.contract import Account
from restante.calls import finished
from restante.protocol.listing import MessageNumber
from restante.stores.contract import Content, Maildrop
from restante.stores.maildir.store import Maildir
from tests.stores.stores import drained

ANNA = Account("anna")
HERE = Path(__file__).resolve().parents[3]


def put(root: Path, name: str, message: bytes, sub: str = "new", user: str = "anna") -> Path:
    """A message file as another program makes it."""
    folder = root / user
    for part in ("tmp", "new", "cur"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    path = folder / sub / name
    path.write_bytes(message)
    return path


def settle(root: Path, user: str = "anna") -> None:
    """Make the folders look as if they had last changed a minute ago."""
    then = time.time() - 60
    for sub in ("new", "cur"):
        os.utime(root / user / sub, (then, then))


def fetch(maildrop: Maildrop, number: int, lines: int | None = None) -> Content:
    content: Any = maildrop.fetch(MessageNumber(number), lines)
    content = finished(content)
    assert isinstance(content, Content)
    return content


def read(maildrop: Maildrop, number: int) -> bytes:
    return drained(fetch(maildrop, number).source)


def commit(maildrop: Maildrop, *numbers: int) -> None:
    rest: Any = maildrop.commit([MessageNumber(number) for number in numbers])
    finished(rest)


def asked(answer: Any) -> Any:
    """What a method of the store gave, done to its end."""
    return finished(answer)


def close(maildrop: Maildrop) -> None:
    rest: Any = maildrop.close()
    finished(rest)


def opened(store: Maildir, account: Account = ANNA) -> Maildrop:
    return finished(store.open(account))


def ids(store: Maildir, account: Account = ANNA) -> list[str]:
    maildrop = opened(store, account)
    close(maildrop)
    return list(maildrop.listing.unique_ids)


def python(code: str, *args: object) -> subprocess.Popen[bytes]:
    """Another process that runs `code`; its standard output is a pipe."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE / "src"), str(HERE)])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
    )


def count_calls(monkeypatch: pytest.MonkeyPatch, function: str) -> list[str]:
    """The first arguments with which a function of `os` is called from now on."""
    calls: list[str] = []
    real = getattr(os, function)

    def counted(path: object, *args: object, **kwargs: object) -> object:
        calls.append(str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, function, counted)
    return calls
