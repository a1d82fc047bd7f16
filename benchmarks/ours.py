"""Restante: how it is set up and started."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import restante
from benchmarks.ground import Ground, Started, Unavailable, wait_for_ready
from benchmarks.processes import start

_RUN = "import sys; {hide}from restante.app.entry import main; main()"
_HIDE_UVLOOP = "sys.modules['uvloop'] = None; "

HERE = Path(restante.__file__).parent.parent
"""The sources of this checkout's Restante."""

PYPY = "RESTANTE_PYPY"
"""The environment variable that names the PyPy to be measured; else `pypy3` is looked for."""

_SERVE = """
[server]
data = "{folder}/data"
{workers}
[pop3]
port = 0
tls_port = 0
{limits}
[smtp]
port = "off"
[lmtp]
port = "off"
[tls]
certificate = "{certificate}"
key = "{key}"
[maildrops]
root = "{maildrops}"
[log]
file = "{folder}/access.log"
[accounts]
kind = "static"
[accounts.static]
"""


def configuration(ground: Ground, folder: Path, *, workers: bool, further: str = "") -> str:
    """Only places, ports, accounts and the number of workers; and limits, where a scenario
    is about more connections than are allowed otherwise. further: sections to be added."""
    text = _SERVE.format(
        folder=folder,
        certificate=ground.certificate,
        key=ground.key,
        maildrops=ground.maildrops,
        workers=f"workers = {ground.workers}" if workers else "",
        limits=f"max_connections = {ground.connections}" if ground.connections else "",
    )
    text += "".join(f'{name} = "{word}"\n' for name, word in ground.accounts.items())
    return text + further


def start_restante(
    sources: Path, way: str, ground: Ground, folder: Path, log: Path, *, further: str = ""
) -> Started:
    """`restante serve` as it comes. sources: of which checkout. further: sections that its
    configuration has, too. Raises Unavailable."""
    if ground.workers > 1 and not can_have_workers(sources):
        raise Unavailable("this version has no --workers")
    return start_with(command(way), ground, folder, log, sources, further=further)


def command(way: str) -> tuple[str, ...]:
    """How `restante` is run: on `uvloop`, on `asyncio`'s own loop, or on `pypy`."""
    if way == "pypy":
        return find_pypy(), "-c", _RUN.format(hide="")
    if way == "uvloop" and importlib.util.find_spec("uvloop") is None:
        raise Unavailable("uvloop is not installed (pip install uvloop)")
    return sys.executable, "-c", _RUN.format(hide="" if way == "uvloop" else _HIDE_UVLOOP)


def environment(sources: Path) -> dict[str, str]:
    """In which a Python finds Restante in `sources`, wherever else it is installed."""
    more = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{sources}{os.pathsep}{more}" if more else str(sources)}


def sources_of(checkout: Path) -> Path:
    """Where the sources of a checkout are. Raises ValueError for another folder."""
    sources = (checkout / "src").resolve()
    if not (sources / "restante" / "app" / "entry.py").exists():
        raise ValueError(f"{checkout} is no checkout of Restante: there is no src/restante/app")
    return sources


@cache
def find_pypy() -> str:
    """A PyPy that can run `restante serve`. Raises Unavailable."""
    pypy = os.environ.get(PYPY) or shutil.which("pypy3")
    if pypy is None:
        raise Unavailable(f"there is no pypy3 (3.11 or later; {PYPY} may name one)")
    tried = subprocess.run(
        [pypy, "-c", _RUN.format(hide=""), "--help"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(HERE),
    )
    if tried.returncode:
        why = (tried.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise Unavailable(f"{pypy} can't run it: {why}")
    return pypy


def pypy_version() -> str:
    """Its own, not that of the Python that it is. Raises Unavailable."""
    program = "import sys; print('.'.join(map(str, sys.implementation.version[:3])))"
    said = subprocess.run([find_pypy(), "-c", program], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def start_with(
    command: Sequence[object],
    ground: Ground,
    folder: Path,
    log: Path,
    sources: Path = HERE,
    *,
    further: str = "",
) -> Started:
    """`command` is what runs `restante`; it gets the arguments."""
    config, ready = folder / "restante.toml", folder / "ready.json"
    ready.unlink(missing_ok=True)
    workers = can_have_workers(sources)
    config.write_text(configuration(ground, folder, workers=workers, further=further))
    config.chmod(0o600)
    arguments = ("serve", "--config", config, "--ready-file", ready)
    process = start((*command, *arguments), ground.core, log, environment(sources))
    listening = json.loads(wait_for_ready(process, ready, log))["listening"]
    ports = {each["tls"]: each["port"] for each in listening}
    return process, (ports["starttls"], ports["implicit"])


@cache
def can_have_workers(sources: Path = HERE) -> bool:
    """Whether `restante serve` has worker processes."""
    program = _RUN.format(hide="")
    shown = subprocess.run(
        [sys.executable, "-c", program, "serve", "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**environment(sources), "COLUMNS": "200"},
    )
    return "--workers" in shown.stdout


def start_embedded(
    sources: Path, handlers: Sequence[str], ground: Ground, folder: Path, log: Path
) -> Started:
    """A program that embeds the server, with a handler that does nothing for these events."""
    about, ready = folder / "about.json", folder / "ready"
    ready.unlink(missing_ok=True)
    about.write_text(
        json.dumps(
            {
                "maildrops": str(ground.maildrops),
                "accounts": dict(ground.accounts),
                "handlers": list(handlers),
            }
        )
    )
    program = Path(__file__).with_name("embedded.py")  # not as a module: of any checkout
    command = (sys.executable, "-P", program, about, ready)
    process = start(command, ground.core, log, environment(sources))
    return process, (int(wait_for_ready(process, ready, log)), 0)
