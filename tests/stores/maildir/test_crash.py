"""Killed at any moment: what was told is true, and nothing else has happened."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import close, ids, opened, python, read

WORKER = """
import sys
from restante.calls import finished
from restante.accounts.contract import Account
from restante.stores.maildir.store import Maildir
store, anna = Maildir(sys.argv[1]), Account("anna")
print("ready", flush=True)
turn = 0
while True:
    turn += 1
    for number in range(3):
        incoming = store.receive(anna)
        incoming.write(b"Subject: %d.%d\\n" % (turn, number))
        incoming.write(b"\\n.\\n" + b"x" * 3000)
        print("kept", incoming.commit(), flush=True)
    maildrop = finished(store.open(anna))
    numbers = range(1, len(maildrop.listing) + 1, 2)
    chosen = [maildrop.listing.unique_ids[number - 1] for number in numbers]
    print("removing", *chosen, flush=True)
    finished(maildrop.commit(numbers))
    print("removed", *chosen, flush=True)
    finished(maildrop.close())
"""


def test_killed_at_random_points_of_delivery_and_commit(tmp_path: Path) -> None:
    """Every message that was told is there once unless its removal had begun; every
    removal that was told is done; at most one delivery a round was done and not told."""
    dice = random.Random(4)
    kept: set[str] = set()
    for _ in range(25):
        process = python(WORKER, tmp_path)
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(dice.uniform(0.001, 0.04))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        out = process.stdout.read()  # not communicate(): it passes by what readline() read ahead
        process.stdout.close()
        process.stdin.close()
        lines = out.decode().split("\n")[:-1]
        removing: set[str] = set()
        for line in lines:
            what, *unique_ids = line.split()
            if what == "kept":
                kept.update(unique_ids)
            elif what == "removing":
                removing = set(unique_ids)
            else:
                kept -= removing
                removing = set()
        store = Maildir(tmp_path)
        maildrop = opened(store)
        found = list(maildrop.listing.unique_ids)
        assert len(found) == len(set(found))
        assert kept - removing <= set(found)
        assert len(set(found) - kept) <= 1, "delivered and not told"
        for number in range(1, len(found) + 1):
            message = read(maildrop, number)
            assert message.startswith(b"Subject: ")
            assert message.endswith(b"\r\n\r\n.\r\n" + b"x" * 3000 + b"\r\n")
            assert maildrop.listing.octets[number - 1] == len(message)
        close(maildrop)
        assert ids(Maildir(tmp_path)) == found
        kept = set(found)
    assert kept
