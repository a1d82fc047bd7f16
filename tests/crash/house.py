"""The house in which servers live for some milliseconds each, and clients go on."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from threading import Condition, Event, Thread
from typing import NamedTuple

from tests.crash.clients import Reader, deliver, fetch_all
from tests.crash.ledger import ACCOUNTS, Copy, Ledger, message, name_of

ROOT = Path(__file__).parents[2]
MOMENTS = ("data", "data", "quit", "quit", "drop", "retr", "login", "any")
PATIENCE = 0.15
"""Seconds to wait for a moment that may not come."""


class Standing(NamedTuple):
    """A file that nobody may touch."""

    content: bytes
    inode: int
    mtime: int


class House:
    """Servers over one folder of maildrops.

    fault: what is wrong with their store; see `tests.crash.faults`.
    """

    def __init__(self, folder: Path, seed: int, fault: str = "none") -> None:
        self.ledger = Ledger(seed)
        self.over = Event()
        self.kills = 0
        self._folder = folder
        self._chance = random.Random(seed)
        self._changed = Condition()
        self._number = 0
        self._ports: dict[str, int] | None = None
        self._wanted = ""
        self._reached = Event()
        self._fill()
        self._standing = self._look_at_bystanders()
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery", str(folder), fault],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the nursery, and the server with it."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.close()
        self._nursery.wait(10)
        self._nursery.stdout.close()

    # Bystanders

    def _fill(self) -> None:
        for number, account in enumerate(ACCOUNTS):
            folder = self._folder / account
            for sub in ("tmp", "new", "cur", ".Sent/cur", ".Sent/new", ".Sent/tmp"):
                (folder / sub).mkdir(parents=True)
            for extra in range(3):
                # The one whose name ends in 000 is large enough to be cut off in.
                name = f"bystander-{number}{extra * 1000:04}"
                sub, flags = ("cur", ":2,S") if extra % 2 else ("new", "")
                path = folder / sub / f"17000000{extra:02}.M1P1.old.host{flags}"
                path.write_bytes(message(self.ledger.seed, name))
                self.ledger.promise(Copy(account, name))
            (folder / "dovecot-uidlist").write_text("3 V1700000000 N9 G0\n")
            (folder / "subscriptions").write_text("Sent\n")
            (folder / ".Sent/cur/1700000099.M1P1.host:2,S").write_text("Subject: sent\n\nbody\n")
            (folder / "tmp/foreign.M1P1.host").write_text("a delivery of another program")

    def _look_at_bystanders(self) -> dict[Path, Standing]:
        found = {}
        for path in self._folder.rglob("*"):
            draft = path.parent.name == "tmp" and not path.name.startswith("foreign")
            own = draft or path.name.startswith("restante.")
            if path.is_file() and not own and not self._was_sent(path):
                about = path.stat()
                found[path] = Standing(path.read_bytes(), about.st_ino, about.st_mtime_ns)
        return found

    # Servers

    def server(self) -> tuple[int, dict[str, int]]:
        """The number and the ports of the server that lives, now or soon."""
        with self._changed:
            self._changed.wait_for(lambda: self._ports is not None, timeout=30)
            assert self._ports is not None, "no server came"
            return self._number, self._ports

    def lives(self, number: int) -> bool:
        """Whether the server of that number has not been killed yet."""
        with self._changed:
            return self._number == number and self._ports is not None

    def wants(self, name: str) -> bool:
        """Whether the server is to be killed at such a moment."""
        return name == self._wanted

    def moment(self, name: str) -> None:
        """A client has come to a moment at which the server may be killed."""
        if name == self._wanted:
            self._reached.set()

    def start(self) -> None:
        """Let a server live; clients are told of it when it listens."""
        ports = json.loads(self._ask("start"))
        with self._changed:
            self._number += 1
            self._ports = ports
            self._changed.notify_all()

    def _ask(self, order: str) -> str:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(order + "\n")
        self._nursery.stdin.flush()
        return self._nursery.stdout.readline()

    def kill(self) -> None:
        """Kill the server at once; it is dead when this returns."""
        with self._changed:
            self._ports = None  # before it dies, so that its clients see why
        assert self._ask("kill") == "dead\n"
        self.kills += 1

    def live_and_die(self, lives: int) -> list[str]:
        """Let so many servers live and die with clients at work, then one to be looked at.

        Gives what was violated, then or before.
        """
        chance = self._chance
        self.over.clear()
        threads = [
            Thread(target=deliver, args=(self, port, random.Random(chance.random())))
            for port in ("lmtp", "lmtp", "smtp")
        ]
        readers = [Reader(self, each, random.Random(chance.random())) for each in ACCOUNTS]
        threads += [Thread(target=reader.go_on) for reader in readers]
        for thread in threads:
            thread.start()
        try:
            for _ in range(lives):
                self.start()
                self._await_moment()
                self.kill()
            self.start()
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
        self._check()
        self.kill()
        return self.ledger.violations

    def _await_moment(self) -> None:
        self._reached.clear()
        self._wanted = self._chance.choice(MOMENTS)
        if self._wanted == "any":
            time.sleep(self._chance.uniform(0.0, 0.1))
        else:
            self._reached.wait(PATIENCE)
            time.sleep(self._chance.choice((0.0, self._chance.uniform(0.0, 0.006))))

    # The end

    def _check(self) -> None:
        """Hold what is there now against all promises."""
        ledger = self.ledger
        found = []
        for account in ACCOUNTS:
            found += fetch_all(self.server()[1]["pop3"], account, ledger)
            files = [
                path for sub in ("new", "cur") for path in (self._folder / account / sub).iterdir()
            ]
            if len(files) != sum(copy.account == account for copy in found):
                ledger.violated(f"{account}: {len(files)} files, not as many messages")
        ledger.check_end(found)
        now = self._look_at_bystanders()
        for path in self._standing.keys() | now.keys():
            if self._standing.get(path) != now.get(path):
                ledger.violated(f"not left alone: {path.relative_to(self._folder)}")

    @staticmethod
    def _was_sent(path: Path) -> bool:
        return name_of(path.read_bytes()).startswith("sent-")
