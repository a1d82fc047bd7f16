"""Processes that use a store until they are killed, saying each step that was done."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

from restante.calls import finished
from restante.protocol.listing import MessageNumber
from restante.stores.contract import Store
from restante.stores.maildir.store import Maildir
from restante.stores.sqlite.store import SqliteStore
from tests.stores.maildir.kit import python
from tests.stores.stores import ANNA


def make(kind: str, folder: Path) -> Store:
    """A store. kind: maildir, resting maildir (where removed messages rest), or sqlite."""
    if kind == "sqlite":
        return SqliteStore(folder / "mail.sqlite")
    return Maildir(folder, undelete_days=7 if kind == "resting maildir" else 0)


def done(answer: Any) -> Any:
    """What a plain method of a store gives."""
    return finished(answer)


def say(*words: str) -> None:
    print(*words, flush=True)  # to standard output: who kills this process reads it


def work(kind: str, folder: Path, *, putting_back: bool = False) -> None:
    """Deliver three messages, remove every other one, and so on, until the process is killed.

    putting_back: after every other round what was removed lately comes back.
    """
    store = make(kind, folder)
    say("ready")
    turn = 0
    while True:
        turn += 1
        for number in range(3):
            incoming = done(store.receive(ANNA))
            done(incoming.write(b"Subject: %d.%d\n" % (turn, number)))
            done(incoming.write(b"\n.\n" + b"x" * 3000))
            if number:
                done(incoming.prepare())
            say("kept", done(incoming.commit()))
        maildrop = done(store.open(ANNA))
        numbers = [MessageNumber(n) for n in range(1, len(maildrop.listing) + 1, 2)]
        chosen = [maildrop.listing.unique_ids[number - 1] for number in numbers]
        say("removing", *chosen)
        done(maildrop.commit(numbers))
        say("removed", *chosen)
        done(maildrop.close())
        if putting_back and turn % 2:
            say("putting back")
            done(store.undelete(ANNA, 0.02))


def killed(seconds: float, kind: str, folder: Path, *, putting_back: bool = False) -> list[str]:
    """Run `work` in a process that is killed so many seconds after it has begun; what it said."""
    code = "from tests.stores.kills import main; main()"
    process = python(code, kind, folder, int(putting_back))
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        # Not communicate(): it passes by what readline() has read ahead.
        return process.stdout.read().decode().split("\n")[:-1]


def main() -> None:
    kind, folder, putting_back = sys.argv[1:]
    work(kind, Path(folder), putting_back=putting_back == "1")
