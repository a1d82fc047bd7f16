"""A maildrop of very many messages: seen first, unchanged, and after a delivery."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.corpus import Expected
from benchmarks.ground import Ground, mail_user
from benchmarks.load import Generator, Outcome, Work
from benchmarks.measure import Samples, used_by
from benchmarks.processes import forget_peak, peak_resident, resident
from benchmarks.servers import Running, running

NAME = "huge0"
SCENARIOS = {
    "huge-first": "first sight",
    "huge-disk": "unchanged, after a start",
    "huge-worker": "unchanged, served before",
    "huge-delivered": "after one delivery",
}
SIZES = (600, 700, 800, 900)
AGAIN = 10
"""Sessions of a round at an unchanged maildrop."""

MANY = 1_000_000


@dataclass
class Drop:
    """The maildrop. expected: what sessions must see in it."""

    folder: Path
    expected: Expected

    def __post_init__(self) -> None:
        self.at_first = self.expected

    def work(self, sessions: int) -> Work:
        """Sessions that log in and ask for STAT, UIDL and LIST, one after the other."""
        return Work("sync", NAME[:-1], 1, self.expected, sessions, 1)

    def deliver(self) -> None:
        """One more message."""
        wire = corpus.message(7, SIZES[0])
        number = self.expected.messages
        name = corpus.file_name(number, f"{time.time_ns():x}", len(wire), len(wire))
        draft = self.folder / "tmp" / name
        draft.write_bytes(wire)
        corpus.give_to(draft, *mail_user())
        draft.rename(self.folder / "new" / name.partition(":")[0])
        octets, dots = self.expected.octets + len(wire), wire.count(b"\r\n.")
        self.expected = Expected(number + 1, octets, self.expected.dots + dots)

    def reset(self) -> None:
        """As it was at first: without what was delivered, and what servers have kept."""
        for sub in ("new", "cur"):
            for file in (self.folder / sub).iterdir():
                if int(file.name.partition(".")[0]) >= corpus.SENT + self.at_first.messages:
                    file.unlink()
        for kept in self.folder.iterdir():
            if kept.is_file():
                kept.unlink()
        corpus.make_older(self.folder)
        self.expected = self.at_first


def make(mail: Path, messages: int) -> Drop:
    """Fill it."""
    mail.mkdir(parents=True, exist_ok=True)
    sources = []
    for number, size in enumerate(SIZES):
        sources.append(mail / f".source{number}")
        sources[-1].write_bytes(corpus.message(number, size))
    drop = Drop(mail / NAME, corpus.link(mail / NAME, sources, messages))
    for path in (mail, *sources, drop.folder, *drop.folder.iterdir()):
        corpus.give_to_one(path, *mail_user())
    return drop


class Huge:
    """Measures servers by such a maildrop, and by another account's polls beside it."""

    def __init__(self, ground: Ground, generator: Generator, beside: Work, messages: int) -> None:
        mail = ground.maildrops
        self._generator = generator
        self._beside = beside
        self._drop = make(mail, messages)
        self._samples: dict[str, dict[str, Samples]] = {}
        self._more: dict[str, dict[str, object]] = {}
        word = next(iter(ground.accounts.values()))
        self._ground = replace(ground, accounts={**ground.accounts, NAME: word})

    def measure(self, name: str) -> None:
        """One round at one server. Raises Unavailable."""
        self._drop.reset()
        with self._started(name) as server:
            found = self._samples.setdefault(name, {each: Samples() for each in SCENARIOS})
            before = resident(server.pid)
            forget_peak(server.pid)
            found["huge-first"].add(*self._used(server, 1))
            grown = peak_resident(server.pid) - before
            found["huge-worker"].add(*self._used(server, AGAIN))
        with self._started(name) as server:
            found["huge-disk"].add(*self._used(server, 1))
            self._drop.deliver()
            found["huge-delivered"].add(*self._used(server, 1))
        if name not in self._more:
            octets = grown / self._drop.at_first.messages
            self._more[name] = {"octets_a_message": octets, **self._undisturbed(name)}

    def figures(self) -> dict[str, dict[str, dict[str, Any]]]:
        """What the rounds gave, by scenario and server."""
        found: dict[str, dict[str, dict[str, Any]]] = {
            scenario: {
                name: samples[scenario].figures()
                for name, samples in self._samples.items()
                if samples[scenario].cpu_us
            }
            for scenario in SCENARIOS
        }
        for name, more in self._more.items():
            found["huge-first"][name] |= more
        return found

    def remove(self) -> None:
        """Remove the maildrop."""
        shutil.rmtree(self._drop.folder)

    @contextmanager
    def _started(self, name: str) -> Iterator[Running]:
        with running(name, self._ground) as server:
            self._generator.run(server.port, self._beside)  # what is needed once is there
            yield server

    def _used(self, server: Running, sessions: int) -> tuple[float, Outcome]:
        work = self._drop.work(sessions)
        return used_by(server, lambda: self._generator.run(server.port, work))

    def _undisturbed(self, name: str) -> dict[str, object]:
        """How long polls last, one after the other, while the maildrop is seen first."""
        self._drop.reset()
        with self._started(name) as server:
            alone = self._generator.run(server.port, replace(self._beside, concurrency=1))
            polls = self._generator.begin(
                server.port, replace(self._beside, concurrency=1, sessions=MANY)
            )
            self._generator.run(server.port, self._drop.work(1))
            beside = polls.stop()
        return {
            "alone_p99_ms": alone.p99_ms,
            "beside_p99_ms": beside.p99_ms,
            "beside_longest_ms": beside.longest_ms,
        }
