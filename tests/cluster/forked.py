"""Nodes that start within some milliseconds: `python -m tests.cluster.forked FAULT CONFIG...`.

This process has loaded everything and listens for all nodes; a node is a fork of it. Each node is
what `restante serve` has as a worker process, by the configuration CONFIG, and it is killed
(SIGKILL) either by this process or by itself, at a moment of `tests.cluster.moments`. A connection
that comes while a node is dead waits for the next one.

At first, the ports of all nodes are told, as JSON. Then each line of standard input is an order:
`start NODE MOMENT TIMES SECONDS`, `kill NODE`, `stop NODE` (SIGSTOP) or `continue NODE`. What
becomes of a node is told: `serves NODE`, `died NODE STATUS`; `failed NODE` if it has refused a
recipient. At the end of standard input all of
them are killed.

A node does more than a worker: every now and then it collects, and it answers `ACCOUNT SECONDS` at
its control port when `undelete` has done that. Grace, leases and what else takes an hour or a
minute take a moment here. FAULT is one of `tests.cluster.faults`, or "none".
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from restante import Account
from restante.app.config.load import Loaded, load
from restante.app.files import make_private_folder
from restante.app.first_start import make_development_certificate
from restante.app.maildrops import make_folder_of_mail, make_store
from restante.app.processes.listen_sockets import Bound, Given, bind_all
from restante.app.processes.memory import freeze_objects
from restante.app.service import Service
from restante.app.tls import make_all_tls
from restante.server import server as server_module
from restante.stores import PostgresStore, StoreError
from restante.stores.postgres import store as store_module
from tests.cluster import moments
from tests.cluster.faults import FAULTS

GRACE_SECONDS = 3.0
LEASE_SECONDS = 0.6
UNDELETE_SECONDS = 2.0
COLLECT_SECONDS = 0.2


LATER = (
    "restante.guard.postgres_bans", "restante.observing.history_postgres",
    "restante.stores.postgres.plain",
)  # fmt: skip
"""What a server loads when it needs it."""


def shorten() -> None:
    """What takes minutes elsewhere takes a moment."""
    store_module.GRACE_SECONDS = GRACE_SECONDS
    store_module.PUT_SECONDS = GRACE_SECONDS * 2 / 3
    store_module.REPEAT_SECONDS = UNDELETE_SECONDS
    server_module.SWEEP_SECONDS = LEASE_SECONDS / 6  # leases are renewed that often


def say(line: str) -> None:
    """All processes write to the same pipe: at once, so that no line comes into another."""
    os.write(1, f"{line}\n".encode())


class Node:
    """What one node listens on, and its process."""

    def __init__(self, number: int, fault: str, file: Path) -> None:
        self.number = number
        self.fault = fault
        self.loaded: Loaded = load(file, environ={})
        settings = self.loaded.settings
        make_private_folder(settings.server.data)
        make_folder_of_mail(settings)
        make_development_certificate(settings)
        make_store(settings)  # it loads the libraries that it needs
        self.bound: list[Bound] = bind_all(settings, 1)
        self.given = Given(
            [(each.endpoint, each.shares[0]) for each in self.bound], *make_all_tls(settings)
        )
        self.control = socket.create_server(("127.0.0.1", 0))
        self.pid = 0
        self.alive = -1
        """Readable when the process has ended."""

    @property
    def ports(self) -> dict[str, int]:
        """By name."""
        found = {each.endpoint.protocol.lower(): each.endpoint.port for each in self.bound}
        return {**found, "control": self.control.getsockname()[1]}

    def start(self, moment: str, times: int, seconds: float) -> None:
        """Fork it."""
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                asyncio.run(self._serve(moment, times, seconds))
            except BaseException as error:
                sys.stderr.write(f"node: {error!r}\n")
            finally:
                os._exit(status)
        self.alive = os.pidfd_open(self.pid)

    def reap(self) -> int:
        """Its process has ended: how."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.alive)
        self.pid, self.alive = 0, -1
        return status

    async def _serve(self, moment: str, times: int, seconds: float) -> None:
        random.seed()
        loaded = self.loaded
        service = Service(loaded, lambda: loaded, self.given)
        store = service._store
        assert isinstance(store, PostgresStore)
        store.lease_seconds = LEASE_SECONDS
        store.undelete_days = UNDELETE_SECONDS / 86400
        if self.fault != "none":
            FAULTS[self.fault](store)
        moments.arm(store, moment, times, seconds)
        self._tell_failures(store)
        await service.open()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(StoreError, ConnectionError):
                account, within = (await reader.readline()).decode().split()
                count = await store.undelete(Account(account), float(within))
                writer.write(f"{count}\n".encode())
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, sock=self.control)
        say(f"serves {self.number}")
        async with server:
            while True:
                await asyncio.sleep(random.uniform(0, 2 * COLLECT_SECONDS))
                with contextlib.suppress(StoreError):
                    await store.collect()

    def _tell_failures(self, store: PostgresStore) -> None:
        """Say so whenever the body of a message can't be stored, for one recipient or more."""
        have_body = store._have_body
        replaced: Any = store

        async def watched(incoming: Any) -> None:
            try:
                await have_body(incoming)
            except StoreError:
                say(f"failed {self.number}")
                raise

        replaced._have_body = watched


def obey(nodes: list[Node], line: str) -> None:
    """Do one order."""
    order, number, *more = line.split()
    node = nodes[int(number)]
    if order == "start":
        moment, times, seconds = more
        node.start(moment, int(times), float(seconds))
    elif node.pid:  # else it has just died by itself
        numbers = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "continue": signal.SIGCONT}
        os.kill(node.pid, numbers[order])


def main() -> None:
    """Obey until the end of standard input."""
    shorten()
    _, fault, *files = sys.argv
    nodes = [Node(number, fault, Path(each)) for number, each in enumerate(files)]
    say(json.dumps([each.ports for each in nodes]))
    for module in LATER:
        importlib.import_module(module)
    gc.disable()
    freeze_objects()
    unread = b""
    try:
        while True:
            living = {each.alive: number for number, each in enumerate(nodes) if each.pid}
            ready, _, _ = select.select([0, *living], [], [])
            for fd in ready:
                if fd in living:
                    number = living[fd]
                    say(f"died {number} {nodes[number].reap()}")
            if 0 in ready:
                if not (block := os.read(0, 1 << 16)):
                    return
                *lines, unread = (unread + block).split(b"\n")
                for line in lines:
                    obey(nodes, line.decode())
    finally:
        for node in nodes:
            if node.pid:
                os.kill(node.pid, signal.SIGKILL)
                node.reap()


if __name__ == "__main__":
    main()
