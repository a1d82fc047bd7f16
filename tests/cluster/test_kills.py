"""Nodes are killed under load, at any moment: what was promised is kept."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.app.support import environment, wait_until
from tests.cluster.clients import ACCOUNTS, Clients, Ports
from tests.cluster.conftest import Make
from tests.cluster.faults import FAULTS
from tests.cluster.forked import UNDELETE_SECONDS
from tests.cluster.moments import MOMENTS
from tests.cluster.nodes import running
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer
from tests.stores.blobs.radosgw import Radosgw

pytestmark = [only_cpython, pytest.mark.peer, pytest.mark.slow]

KILLS = int(os.environ.get("RESTANTE_KILLS", "35"))
"""How many times a node is killed, over each place of bodies."""

BATCH = 100
"""After so many kills all maildrops are held against the ledger."""

NODES = 4
ROOT = Path(__file__).parents[2]


@dataclass
class Life:
    """What one node is to die of.

    begun: when it was started. times: it may serve so many times as long as it took to start.
    due: when it is killed, if it hasn't died by itself; not known before it serves. pauses:
    whether it is stopped for a while first.
    """

    moment: str
    begun: float = 0.0
    times: float = inf
    due: float = inf
    pauses: bool = False
    paused_until: float = 0.0
    killed: bool = False


class Forked:
    """Nodes that a process forks; see `tests.cluster.forked`. fault: what is wrong with them.

    kills: at which moments, and how often. pauses: how often one was stopped for a while.
    """

    def __init__(self, files: Sequence[Path], chance: random.Random, fault: str = "none") -> None:
        self._chance = chance
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.forked", fault, *map(str, files)],
            cwd=ROOT,
            env=environment() | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._told = self._process.stdin, self._process.stdout
        self._unread = b""
        while not (lines := self._lines(60)):
            pass
        self.ports = [Ports("127.0.0.1", **each) for each in json.loads(lines[0])]
        self.kills: Counter[str] = Counter()
        self.pauses = self.failures = 0
        self._lives: dict[int, Life] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._orders.close()
        self._process.wait(60)
        self._told.close()

    def any_ports(self) -> Ports:
        """Those of a node."""
        return self._chance.choice(self.ports)

    def start(self) -> None:
        """Let those live that don't."""
        for number in set(range(len(self.ports))) - set(self._lives):
            self._lives[number] = Life("any")
            self._order("start", number, "any", 0, 0)

    def kill(self, kills: int) -> None:
        """Kill nodes so often, and start them again each time."""
        wanted = self.kills.total() + kills
        for life in self._lives.values():
            life.due = 0.0
        while self._lives:
            now = time.monotonic()
            for number, life in self._lives.items():
                self._look_after(number, life, now)
            for line in self._lines(0.01):
                what, node, *more = line.split()
                number = int(node)
                if what == "failed":
                    self.failures += 1
                    continue
                if what == "serves":
                    life, now = self._lives[number], time.monotonic()
                    life.due = min(life.due, now + life.times * (now - life.begun))
                    continue
                assert int(more[0]) in (-signal.SIGKILL, -signal.SIGALRM), line
                life = self._lives.pop(number)
                self.kills["any" if life.killed else life.moment] += 1
                if self.kills.total() + len(self._lives) < wanted:
                    self._begin(number)
        self.start()

    def has_failed(self) -> bool:
        """Whether a node has refused a recipient since this was asked for the last time."""
        failures, self.failures = self.failures, 0
        for line in self._lines(0):
            assert line.split()[0] in ("serves", "failed"), line
            failures += line.startswith("failed")
        return bool(failures)

    def _begin(self, number: int) -> None:
        chance = self._chance
        moment = chance.choice(MOMENTS) if chance.random() < 0.7 else "any"
        times, seconds = chance.choice((1, 1, 2, 3)), chance.uniform(0.0001, 0.004)
        self._order("start", number, moment, times, seconds)
        begun, lives = time.monotonic(), chance.uniform(0, 1.5) if moment == "any" else 5
        life = Life(moment, begun, lives, pauses=chance.random() < 0.05)
        self._lives[number] = life
        if chance.random() < 0.1:  # perhaps while it starts
            life.due = begun + chance.uniform(0, 0.2)

    def _look_after(self, number: int, life: Life, now: float) -> None:
        if life.killed:
            return
        if life.due <= now:
            life.killed = True
            self._order("kill", number)
        elif life.paused_until and life.paused_until <= now:
            life.paused_until = 0.0
            self._order("continue", number)
        elif life.pauses and life.due < inf:
            self.pauses += 1
            life.pauses = False
            life.paused_until = now + self._chance.uniform(0, 1)
            life.due = max(life.due, life.paused_until + 0.3)
            self._order("stop", number)

    def _order(self, *words: object) -> None:
        self._orders.write(" ".join(map(str, words)).encode() + b"\n")

    def _lines(self, seconds: float) -> list[str]:
        """What it says within so many seconds."""
        ready, _, _ = select.select([self._told], [], [], seconds)
        if not ready:
            return []
        block = self._told.read(1 << 16)
        assert block, "the process that forks nodes has ended"
        *lines, self._unread = (self._unread + block).split(b"\n")
        return [line.decode() for line in lines]


@dataclass
class Bodies:
    """A place of bodies. config: the configuration's lines. keys: what lies there."""

    config: str
    keys: Callable[[PostgresServer, str], list[str]]


@pytest.fixture(params=["postgres", "folder", "s3"])
def bodies(request: pytest.FixtureRequest, tmp_path: Path) -> Bodies:
    if request.param == "folder":
        folder = tmp_path / "blobs"
        config = f'[store.bodies]\nkind = "folder"\n[store.bodies.folder]\npath = "{folder}"'
        return Bodies(config, lambda *_: [each.name for each in folder.glob("??/??/*")])
    if request.param == "s3":
        server: Radosgw = request.getfixturevalue("radosgw")
        bucket = server.make_bucket()
        return Bodies(
            f'[store.bodies]\nkind = "s3"\n[store.bodies.s3]\nendpoint = "{server.endpoint}"\n'
            f'bucket = "{bucket}"\naccess_key = "{server.user.access_key}"\n'
            f'secret_key = "{server.user.secret_key}"',
            lambda *_: server.keys(bucket),
        )
    return Bodies("", lambda database, schema: keys(database, schema, "blocks"))


def keys(database: PostgresServer, schema: str, having: str) -> list[str]:
    """The keys of blobs whose bodies have blocks, or messages."""
    return database.ask(
        "SELECT encode(digest, 'hex') || '-' || id"
        " || CASE encoding WHEN 'identity' THEN '' ELSE '.' || encoding END"
        f" FROM {schema}.bodies AS b WHERE EXISTS (SELECT FROM {schema}.{having} WHERE body = b.id)"
    ).split()


def configurations(make_nodes: Make, server: PostgresServer, bodies: str) -> tuple[list[Path], str]:
    """Files of nodes with new tables, and the tables' schema."""
    nodes = make_nodes(NODES, bodies=bodies, dsn=f"{server.dsn}?sslmode=disable")
    nodes[0].run("db", "upgrade")
    files = [node.folder / "restante.toml" for node in nodes]
    for file in files:  # the server takes no more than 40 connections
        text = file.read_text().replace("timeout = 5\n", "timeout = 5\nmax_connections = 6\n")
        file.write_text(text)
    return files, nodes[0].schema


@pytest.mark.timeout(600 + 10 * KILLS)
def test_what_clients_were_told_outlasts_kills(
    make_nodes: Make, server: PostgresServer, bodies: Bodies
) -> None:
    files, schema = configurations(make_nodes, server, bodies.config)
    begun = time.monotonic()
    with Forked(files, random.Random(KILLS)) as forked:
        forked.start()
        clients = Clients(forked.any_ports, few=len(ACCOUNTS), undelete=0.75 * UNDELETE_SECONDS)
        clients.settle()  # it makes the maildrops
        while (left := KILLS - forked.kills.total()) > 0:
            with clients:
                forked.kill(min(left, BATCH))
                clients.wait_for(5)
            clients.settle(whole=not forked.has_failed())
            print(
                f"{time.monotonic() - begun:.0f} s: {forked.kills.total()} kills,"
                f" {forked.pauses} pauses, {dict(clients.done)},"
                f" {len(clients.errors)} refused or broken",
                flush=True,
            )
        print(dict(forked.kills))
        assert min(clients.done[what] for what in ("deliveries", "sessions", "removed")) > KILLS / 4

        def all_collected() -> bool:
            there = bodies.keys(server, schema)
            there = [key for key in there if not key.startswith("check-")]  # in S3, of starts
            return sorted(there) == sorted(keys(server, schema, "messages"))

        wait_until(all_collected, "blobs are left over, or missing")
        clients.settle()


@pytest.mark.parametrize("fault", FAULTS)
def test_it_would_notice_a_store_that(fault: str, make_nodes: Make, server: PostgresServer) -> None:
    """A test that can't fail proves nothing."""
    files, _ = configurations(make_nodes, server, "")
    with Forked(files, random.Random(7), fault) as forked:
        forked.start()
        clients = Clients(forked.any_ports, few=len(ACCOUNTS), undelete=0.75 * UNDELETE_SECONDS)
        clients.settle()
        with clients:
            wait_until(lambda: clients.wrong, "the fault", 300)


def test_what_clients_were_told_outlasts_a_server_that_is_killed(make_nodes: Make) -> None:
    """The whole of `restante serve`, without anybody who listens for it meanwhile."""
    nodes = make_nodes(2)
    chance = random.Random(2)
    alive = list(nodes)
    with running(nodes):
        with Clients(lambda: chance.choice(alive).ports) as clients:
            for node in nodes:
                clients.wait_for(3)
                alive.remove(node)
                node.kill()
                node.start()
                alive.append(node)
            clients.wait_for(5)
        clients.settle()
