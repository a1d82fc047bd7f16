"""The servers under measurement: which there are, and how each is started and stopped."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from benchmarks import dovecot, others, ours
from benchmarks.client import wait_for_greeting
from benchmarks.ground import Ground, Started, Unavailable
from benchmarks.processes import stop
from benchmarks.scenarios import Scenario


@dataclass(frozen=True)
class Running:
    """A server that has been started. pid: the root of its tree of processes.

    tls_port: 0 if it has none.
    """

    name: str
    pid: int
    port: int
    tls_port: int

    def port_for(self, channel: str) -> int:
        """The port that speaks it: clear, tls or resumed."""
        return self.port if channel == "clear" else self.tls_port


Start: TypeAlias = Callable[[Ground, Path, Path], Started]
"""Starts a server, given its folder and the file that takes its errors. Gives the process, and
the ports in the clear and for TLS. Raises Unavailable."""


@dataclass(frozen=True)
class Peer:
    """A server that can be measured.

    start: None for the ceiling, which needs its program. scenarios: the names of those that it
    can do; empty for all. why: it can't do others. learns: it becomes quicker with each
    session, until it has seen many of a kind. workers: it can be told how many to have.
    """

    name: str
    about: str
    start: Start | None
    scenarios: tuple[str, ...] = ()
    why: str = ""
    learns: bool = False
    workers: bool = False

    def does(self, scenario: Scenario) -> bool:
        """Whether it can be measured by a scenario."""
        return not self.scenarios or scenario.name in self.scenarios


_NAME = re.compile("[a-z][a-z0-9-]*")
_CANNED = (
    "poll", "sync", "fetch-small", "pipelined", "fetch-mix", "fetch-large", "fetch-bare",
    "tls-poll", "tls-resumed", "tls-large",
)  # fmt: skip
_NO_FETCHES = (
    "it sends CR CR LF where a file has CRLF, and for other files LIST counts the file's octets"
)


def _dovecot(name: str, about: str) -> Peer:
    return Peer(name, about, partial(dovecot.start_dovecot, name), workers=True)


def _restante(way: str, about: str, *, learns: bool = False) -> Peer:
    start = partial(ours.start_restante, ours.HERE, way)
    return Peer(f"restante-{way}", about, start, learns=learns, workers=True)


PEERS = (
    _dovecot("dovecot", "Dovecot tuned for speed"),
    _dovecot("dovecot-alone", "the same, but a process for each session"),
    _dovecot("dovecot-default", "Dovecot as Debian configures it"),
    Peer("ceiling", "a C program with canned replies", None, _CANNED, "it knows no more"),
    Peer("twisted", "Twisted's POP3 server", others.start_twisted, ("poll", "sync"), _NO_FETCHES),
    _restante("uvloop", "Restante on uvloop"),
    _restante("asyncio", "Restante on the standard event loop"),
    _restante("pypy", "Restante on PyPy", learns=True),
)
BY_NAME = {peer.name: peer for peer in PEERS}
"""Those that a run can measure; `add` puts further ones in."""

RESTANTE = tuple(name for name in BY_NAME if name.startswith("restante-"))
"""All ways in which it is measured."""


def add(peer: Peer) -> None:
    """Let a further server be measured by its name. Raises ValueError for a wrong name."""
    if not _NAME.fullmatch(peer.name):
        raise ValueError(f"{peer.name!r} is no name: a-z, 0-9 and - are allowed")
    if peer.name in {each.name for each in PEERS}:
        raise ValueError(f"{peer.name} is a server that there is already")
    BY_NAME[peer.name] = peer


@contextmanager
def running(peer: str, ground: Ground, ceiling: Path | None = None) -> Iterator[Running]:
    """Start a server; stop it at the end. ceiling: that program. Raises Unavailable."""
    folder = ground.folder_for(peer)
    log = folder / "errors.log"
    start = BY_NAME[peer].start or partial(others.start_ceiling, ceiling)
    process, ports = start(ground, folder, log)
    try:
        wait_for_greeting(ports[0], log, process)
        yield Running(peer, process.pid, *ports)
    finally:
        stop(process)


def versions() -> dict[str, str]:
    """What is installed, by name."""
    import restante  # noqa: PLC0415

    found = {"python": sys.version.split()[0], "restante": restante.__version__}
    with suppress(Unavailable):
        found["pypy"] = ours.pypy_version()
    for name in ("uvloop", "twisted"):
        if importlib.util.find_spec(name):
            found[name] = importlib.metadata.version(name)
    if program := dovecot.find():
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        found["dovecot"] = said.stdout.split()[0]
    return found
