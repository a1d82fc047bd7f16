"""Peers besides Dovecot: the C program with canned replies, and Twisted's POP3 server."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import corpus
from benchmarks.corpus import Group
from benchmarks.ground import Ground, Started, Unavailable, mail_user, wait_for_ready
from benchmarks.processes import free_port, start
from benchmarks.scenarios import CANNED

PLACES = ("pop3", "pop3s", "maildirs", "passwd", "certificate", "key")
"""What the command line of a further server is told, by the names it has there in braces."""

_PLACE = re.compile(r"\{(\w+)\}")


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


def words_of(line: str) -> list[str]:
    """The words of a further server's command line. Raises ValueError for what can't be one."""
    words = shlex.split(line)
    named = {name for word in words for name in _PLACE.findall(word)}
    if unknown := sorted(named.difference(PLACES)):
        raise ValueError(f"{{{unknown[0]}}} is unknown; known are {', '.join(PLACES)}")
    if "pop3" not in named:
        raise ValueError(f"{line!r}: {{pop3}} is missing, the port")
    return words


def start_further(words: Sequence[str], ground: Ground, folder: Path, log: Path) -> Started:
    """A server that this program knows by its command line only; see `words_of`.

    It has no TLS where `{pop3s}` isn't asked for.
    """
    ports = (free_port(), free_port())
    passwd = folder / "passwd"
    passwd.write_text("".join(_passwd_lines(ground)))
    places = (*ports, ground.maildrops, passwd, ground.certificate, ground.key)
    told = dict(zip(PLACES, map(str, places), strict=True))
    command = [_PLACE.sub(lambda place: told[place[1]], word) for word in words]
    process = start(command, ground.core, log)
    return process, (ports[0], ports[1] if any("{pop3s}" in word for word in words) else 0)


def _passwd_lines(ground: Ground) -> Iterator[str]:
    """`name:{SCHEME}word:uid:gid::home::`, as Dovecot and many others read it."""
    uid, gid = mail_user()
    for name, word in ground.accounts.items():
        hashed = word if word.startswith("{") else f"{{PLAIN}}{word}"
        yield f"{name}:{hashed}:{uid}:{gid}::{ground.maildrops / name}::\n"
