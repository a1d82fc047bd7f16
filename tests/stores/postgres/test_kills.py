"""Processes that are killed while they deliver, remove and collect: the ledger must hold."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from restante.accounts.account import Account
from restante.protocol.listing import MessageNumber
from restante.stores import PostgresStore
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer

pytestmark = only_cpython

WORKER = """
import asyncio, sys
from restante import Account
from restante.stores import PostgresStore
from restante.stores.postgres import store as module

module.GRACE_SECONDS = 0.5
module.REPEAT_SECONDS = 0.5

async def work(dsn, schema, name, turn):
    store = PostgresStore(dsn, schema=schema, undelete_days=0)
    account = Account(name)
    print("ready", flush=True)
    while True:
        turn += 1
        incomings = [store.receive(account) for _ in range(3)]
        for number, incoming in enumerate(incomings):
            incoming.write(b"Subject: %d.%d\\n" % (turn % 5, number))
            incoming.write(b"\\n.\\n" + b"x" * 3000)
        await incomings[0].commit()
        print("kept", incomings[0].unique_id, flush=True)
        for unique_id in await store.commit(incomings[1:], together=True):
            print("kept", unique_id, flush=True)
        maildrop = await store.open(account)
        numbers = range(1, len(maildrop.listing) + 1, 2)
        chosen = [maildrop.listing.unique_ids[number - 1] for number in numbers]
        print("removing", *chosen, flush=True)
        await maildrop.commit(numbers)
        print("removed", *chosen, flush=True)
        await maildrop.close()
        await store.collect()

asyncio.run(work(*sys.argv[1:4], int(sys.argv[4])))
"""

WORKERS = 3
ROUNDS = 8


class Ledger:
    """What one worker after the other was told of a maildrop."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.removing: set[str] = set()

    def read(self, said: str) -> None:
        self.removing = set()
        for line in said.split("\n")[:-1]:
            what, *unique_ids = line.split()
            if what == "kept":
                self.kept.update(unique_ids)
            elif what == "removing":
                self.removing = set(unique_ids)
            elif what == "removed":
                self.kept -= set(unique_ids)
                self.removing = set()

    async def check(self, store: PostgresStore, name: str) -> None:
        """What was told is there once unless its removal had begun, and whole; no removal that
        was told is undone; only the deliveries under way may be there without having been told.
        """
        await store.release(name)  # of the worker that was killed
        maildrop = await store.open(Account(name))
        found = list(maildrop.listing.unique_ids)
        assert len(found) == len(set(found))
        assert self.kept - self.removing <= set(found)
        assert len(set(found) - self.kept) <= 2, "delivered and not told"
        for number in range(1, len(found) + 1):
            message = (await maildrop.fetch(MessageNumber(number))).source
            assert isinstance(message, bytes)
            assert message.startswith(b"Subject: ")
            assert message.endswith(b"\r\n\r\n.\r\n" + b"x" * 3000 + b"\r\n")
            assert maildrop.listing.octets[number - 1] == len(message)
        await maildrop.close()
        usage = await store.usage(Account(name))
        assert usage == (len(found), maildrop.listing.total)
        self.kept = set(found)


@pytest.mark.slow
def test_killed_at_random_points(server: PostgresServer, schema: str) -> None:
    dice = random.Random(4)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ledgers = {f"user{number}": Ledger() for number in range(WORKERS)}
    told = 0
    for turn in range(ROUNDS):
        workers = {
            name: subprocess.Popen(
                [sys.executable, "-c", WORKER, server.dsn, schema, name, str(turn)],
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
            )
            for name in ledgers
        }
        for worker in workers.values():
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for name, worker in workers.items():
            time.sleep(dice.uniform(0.02, 0.3))
            worker.send_signal(signal.SIGKILL)
            assert worker.stdout is not None
            with worker.stdout:
                said = worker.stdout.read()
            worker.wait(60)
            ledgers[name].read(said)
            told += said.count("kept ")

        async def check() -> None:
            store = PostgresStore(server.dsn, schema=schema)
            for name, ledger in ledgers.items():
                await ledger.check(store, name)
            await store.aclose()

        asyncio.run(check())
    assert told > ROUNDS
