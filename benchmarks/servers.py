"""The servers under measurement: which there are, and how each is started and stopped."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import dovecot, others, ours
from benchmarks.client import wait_for_greeting
from benchmarks.ground import Ground, Unavailable
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


@dataclass(frozen=True)
class Peer:
    """A server that can be measured.

    scenarios: the names of those that it can do; empty for all. why: it can't do others.
    learns: it becomes quicker with each session, until it has seen many of a kind.
    """

    name: str
    about: str
    scenarios: tuple[str, ...] = ()
    why: str = ""
    learns: bool = False

    def does(self, scenario: Scenario) -> bool:
        """Whether it can be measured by a scenario."""
        return not self.scenarios or scenario.name in self.scenarios


_CANNED = (
    "poll", "sync", "fetch-small", "pipelined", "fetch-mix", "fetch-large", "fetch-bare",
    "tls-poll", "tls-resumed", "tls-large",
)  # fmt: skip
_NO_FETCHES = (
    "it sends CR CR LF where a file has CRLF, and for other files LIST counts the file's octets"
)

PEERS = (
    Peer("dovecot", "Dovecot tuned for speed"),
    Peer("dovecot-alone", "the same, but a process for each session"),
    Peer("dovecot-default", "Dovecot as Debian configures it"),
    Peer("ceiling", "a C program with canned replies", _CANNED, "it knows no more"),
    Peer("twisted", "Twisted's POP3 server", ("poll", "sync"), _NO_FETCHES),
    Peer("restante-uvloop", "Restante on uvloop"),
    Peer("restante-asyncio", "Restante on the standard event loop"),
    Peer("restante-pypy", "Restante on PyPy", learns=True),
)
BY_NAME = {peer.name: peer for peer in PEERS}
RESTANTE = tuple(name for name in BY_NAME if name.startswith("restante-"))
"""All ways in which it is measured."""


@contextmanager
def running(peer: str, ground: Ground, ceiling: Path | None = None) -> Iterator[Running]:
    """Start a server; stop it at the end. ceiling: that program. Raises Unavailable."""
    folder = ground.folder_for(peer)
    log = folder / "errors.log"
    if peer.startswith("dovecot"):
        process, ports = dovecot.start_dovecot(peer, ground, folder, log)
    elif peer == "ceiling":
        process, ports = others.start_ceiling(ceiling, ground, folder, log)
    elif peer == "twisted":
        process, ports = others.start_twisted(ground, folder, log)
    else:
        process, ports = ours.start_restante(peer, ground, folder, log)
    try:
        wait_for_greeting(ports[0], log)
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
