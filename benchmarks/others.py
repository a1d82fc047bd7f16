"""Peers besides Dovecot: the C program with canned replies, and Twisted's POP3 server."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import corpus
from benchmarks.corpus import Group
from benchmarks.ground import Ground, Unavailable, wait_for_ready
from benchmarks.processes import start
from benchmarks.scenarios import CANNED

Started = tuple[subprocess.Popen[bytes], tuple[int, int]]


def start_ceiling(
    program: Path | None, ground: Ground, folder: Path, log: Path, groups: Sequence[Group] = CANNED
) -> Started:
    """A program that sends what was prepared of the groups' maildrops. Raises Unavailable.

    Its port for TLS is 0 where it was compiled without OpenSSL.
    """
    if program is None:
        raise Unavailable("there is no C compiler")
    canned, ready = folder / "canned", folder / "ready"
    canned.mkdir(exist_ok=True)
    ready.unlink(missing_ok=True)
    for group in groups:
        maildrop = ground.maildrops / group.names[0]
        if maildrop.exists():
            prepare(maildrop, canned / group.prefix)
    tls = (ground.certificate, ground.key) if ground.certificate.exists() else ()
    process = start((program, canned, ready, *tls), ground.core, log)
    port, tls_port = map(int, wait_for_ready(process, ready, log).split())
    return process, (port, tls_port)


def prepare(maildrop: Path, file: Path) -> None:
    """Write the replies that a maildrop's messages give, as ceiling.c reads them."""
    messages = [corpus.wire(path.read_bytes()) for path in corpus.files(maildrop)]
    sizes = [len(message) for message in messages]
    numbered = list(enumerate(sizes, 1))
    unique = "".join(f"{number} {number:016x}\r\n" for number, _ in numbered)
    listed = "".join(f"{number} {size}\r\n" for number, size in numbered)
    replies = [
        f"+OK {len(sizes)} {sum(sizes)}\r\n".encode(),
        f"+OK\r\n{unique}.\r\n".encode(),
        f"+OK\r\n{listed}.\r\n".encode(),
        *(b"+OK\r\n" + corpus.stuffed(message) + b".\r\n" for message in messages),
    ]
    with file.open("wb") as out:
        for reply in replies:
            out.write(b"%d\n" % len(reply) + reply)


def start_twisted(ground: Ground, folder: Path, log: Path) -> Started:
    """Twisted's own server over the same Maildirs. Raises Unavailable."""
    if importlib.util.find_spec("twisted") is None:
        raise Unavailable("it is not installed (pip install -r benchmarks/requirements.txt)")
    about, ready = folder / "about.json", folder / "ready"
    ready.unlink(missing_ok=True)
    about.write_text(
        json.dumps({"maildrops": str(ground.maildrops), "accounts": dict(ground.accounts)})
    )
    command = (sys.executable, "-m", "benchmarks.twisted_server", about, ready)
    process = start(command, ground.core, log)
    return process, (int(wait_for_ready(process, ready, log)), 0)
