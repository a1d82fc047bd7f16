"""Sessions that are held: what each takes of memory, and what others feel of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import corpus
from benchmarks.corpus import PASSWORD, Group
from benchmarks.ground import Ground, Unavailable, mail_user
from benchmarks.load import Generator, Load, Work
from benchmarks.measure import settled_seconds
from benchmarks.processes import private_memory, raise_file_limit, start_on
from benchmarks.programs import Programs
from benchmarks.scenarios import IDLE_SIZES
from benchmarks.servers import Running, running

MOST = {"dovecot": 1000, "dovecot-alone": 200, "dovecot-default": 200}
"""How many sessions a peer is given to hold, where that isn't as many as were asked for."""

ASYNCIO_TLS = 2000
"""The standard loop keeps some 256 KiB for each connection inside TLS."""

SOURCES = 8
"""Addresses of 127.0.0.0/8 that sessions come from."""

EACH_HOLDER = 8000
FILES_EACH = 2
"""Files that a server has open for a session: its socket, and the lease of its maildrop."""

POLLS = 300
SPARE = 100
"""Sessions that are let go when no more can be held, so that others can be served."""

PREFIX = "held"
BESIDE = Group("beside", 2, IDLE_SIZES)


class Holder:
    """A process that logs in and stays. Raises Unavailable."""

    def __init__(self, programs: Programs, port: int, channel: str) -> None:
        program = programs.find("hold")
        if program is None:
            raise Unavailable("there is no C compiler")
        if channel != "clear" and not programs.tls:
            raise Unavailable("OpenSSL's headers are missing (Debian: libssl-dev)")
        command = (program, port, channel, PREFIX, PASSWORD, SOURCES)
        self._process = start_on(None, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.trouble = ""
        self.held = 0

    def hold(self, first: int, end: int) -> None:
        """Log in as accounts from the first on up to `end`. See `held` and `trouble`."""
        self.held += self._ask(f"hold {first} {end}")

    def alive(self) -> int:
        """How many of those that are held answer NOOP."""
        return self._ask("noop")

    def drop(self, count: int) -> None:
        """Close the last ones."""
        self.held -= self._ask(f"drop {count}")

    def end(self) -> None:
        """Let all go."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, line: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        done, _, said = self._process.stdout.readline().decode().partition(" ")
        self.trouble = "" if said.startswith("+OK") else said.strip()
        return int(done)


class Crowd:
    """Accounts `held0` … with a maildrop each, and others that poll beside them.

    files: how many a server may have open.
    """

    def __init__(self, ground: Ground, programs: Programs, generator: Generator, most: int) -> None:
        self._programs = programs
        self._generator = generator
        mail = ground.folder / "held-mail"
        names = [f"{PREFIX}{number}" for number in range(most)]
        self.files = raise_file_limit(FILES_EACH * most + 1000)
        self._expected = corpus.fill(mail, BESIDE)
        _fill(mail, names)
        corpus.give_to(mail, *mail_user())
        accounts = dict.fromkeys([*names, *BESIDE.names], PASSWORD)
        self.ground = replace(ground, maildrops=mail, accounts=accounts, connections=most + 1000)

    @contextmanager
    def holders(self, port: int, channel: str, sessions: int) -> Iterator[list[Holder]]:
        """As many as are needed to hold so many sessions."""
        found: list[Holder] = []
        try:
            for _ in range(-(-sessions // EACH_HOLDER)):
                found.append(Holder(self._programs, port, channel))
            yield found
        finally:
            for each in found:
                each.end()

    def polls(self, server: Running, count: int = POLLS) -> Load:
        """Begin to have sessions beside those that are held, one after the other."""
        work = Work("poll", BESIDE.prefix, 1, self._expected, count, 1)
        return self._generator.begin(server.port, work)

    def hold(self, server: Running, wanted: int, channel: str) -> dict[str, object]:
        """Hold sessions. *_kib: memory of one, what four fifths add to the first ones;
        *_ms: how long polls last, alone and beside them. Raises Unavailable."""
        port = server.port_for(channel)
        with self.holders(port, channel, wanted) as holders:
            self.polls(server).outcome()
            alone = self.polls(server).outcome()
            first = max(1, wanted // 5)
            hold_until(holders, first)
            before = _memory(server)
            trouble = hold_until(holders, wanted)
            after, held = _memory(server), sum(each.held for each in holders)
            if trouble:
                holders[-1].drop(SPARE)
            beside = self.polls(server).outcome()
            asked, alive = sum(each.held for each in holders), sum(e.alive() for e in holders)
        if alive < asked:
            trouble = f"{asked - alive} of {asked} were gone when they were asked; {trouble}"
            held = alive
        private, share = (
            (then - now) / max(1, held - first) / 1024
            for then, now in zip(after, before, strict=True)
        )
        return {
            "wanted": wanted,
            "sessions": held,
            "trouble": trouble,
            "private_kib": private,
            "share_kib": share,
            "alone_p50_ms": alone.p50_ms,
            "alone_p99_ms": alone.p99_ms,
            "beside_p50_ms": beside.p50_ms,
            "beside_p99_ms": beside.p99_ms,
            "violations": alone.violations + beside.violations,
            "first_violation": alone.first_violation or beside.first_violation,
        }


def hold_until(holders: list[Holder], wanted: int) -> str:
    """Let them hold so many sessions in all; what was in the way, if anything was."""
    for number, holder in enumerate(holders):
        begin = number * EACH_HOLDER
        end = min(wanted, begin + EACH_HOLDER)
        if end > begin + holder.held:
            holder.hold(begin + holder.held, end)
        if begin + holder.held < end:
            return holder.trouble or "no more could be held"
    return ""


def _fill(mail: Path, names: list[str]) -> None:
    sources = []
    for number, name in enumerate(names):
        if number % 50_000 == 0:
            sources = [mail / f".source{number}"]
            sources[0].write_bytes(corpus.message(0, IDLE_SIZES[0]))
        corpus.link(mail / name, sources, 1)


def _memory(server: Running) -> tuple[int, int]:
    settled_seconds(server.pid)
    return private_memory(server.pid)


def sizes(server: str, wanted: int, channel: str) -> int:
    """How many sessions a server is given to hold."""
    most = ASYNCIO_TLS if server == "restante-asyncio" and channel != "clear" else wanted
    return min(wanted, most, MOST.get(server, wanted))


def measure(crowd: Crowd, name: str, wanted: int, channel: str) -> dict[str, object]:
    """Idle sessions at a server started afresh. Raises Unavailable."""
    with running(name, crowd.ground) as server:
        return crowd.hold(server, sizes(name, wanted, channel), channel)
