"""Other POP3 servers, each as a throw-away on loopback with one account and its mail."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from restante import Maildir, Pop3Server, __version__
from restante.testing.conformance.probe import Target
from restante.testing.conformance.seed import MaildirSeed, MboxSeed
from tests.conftest import Authority
from tests.dialogues import dovecot

NAME, PASSWORD = "joe", "secret"
UID, GID = 65533, 8

UNPACKED = "RESTANTE_POP3_SERVERS"
"""The variable that names the folder of scripts/pop3-servers."""

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Peer:
    """name, version: for the table. started: a running server to check."""

    name: str
    version: Callable[[], str]
    started: Callable[[Path, Authority], contextlib.AbstractContextManager[Target]]


@contextmanager
def restante(folder: Path, authority: Authority) -> Iterator[Target]:
    """Restante with its defaults, over a Maildir, STLS offered."""
    (folder / "mail" / NAME).mkdir(parents=True)
    with Pop3Server(
        port=0,
        tls="starttls",
        certificate=authority.certificate,
        accounts={NAME: PASSWORD},
        store=Maildir(folder / "mail"),
    ) as server:
        yield _target(server.port, authority, "stls", MaildirSeed(folder / "mail" / NAME))


def _target(
    port: int, authority: Authority, tls: str, seed: MaildirSeed | MboxSeed, wait: float = 5.0
) -> Target:
    return Target(
        "127.0.0.1", port, tls=tls, ca=authority.file, user=NAME, password=PASSWORD, seed=seed,
        timeout=wait,
    )  # fmt: skip


@contextmanager
def debians_dovecot(folder: Path, authority: Authority) -> Iterator[Target]:
    """As tests/dialogues starts it: with the exclusive lock, mail in a Maildir."""
    with dovecot.running(authority) as server:
        server.give({})  # makes folders for another client, and takes the number
        maildir = server._maildir("127.0.0.1")
        for part in ("cur", "new", "tmp"):
            (maildir / part).mkdir(parents=True)
        for path in (maildir, *maildir.iterdir()):
            os.chown(path, dovecot.NOBODY, dovecot.NOBODY)
        yield _target(server.port, authority, "stls", MaildirSeed(maildir))


def dovecot_version() -> str:
    said = subprocess.run(["dovecot", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[0]


OCTETS = """
from benchmarks import twisted_server
twisted_server.Mailbox.getMessage = lambda self, index: open(self.list[index], "rb")
twisted_server.main()
"""


@contextmanager
def twisted(folder: Path, authority: Authority) -> Iterator[Target]:
    """twisted.mail.pop3 over its own Maildir, as benchmarks/twisted_server.py has it.

    But messages are read as octets: as it is, RETR sends nothing after its status line.
    """
    if importlib.util.find_spec("twisted") is None:
        pytest.skip("only with Twisted (pip install -r benchmarks/requirements.txt)")
    maildir = folder / "mail" / NAME
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    about, ready = folder / "about.json", folder / "ready"
    about.write_text(json.dumps({"maildrops": str(folder / "mail"), "accounts": {NAME: PASSWORD}}))
    process = subprocess.Popen(
        [sys.executable, "-c", OCTETS, about, ready],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 30
        while not ready.exists() or not ready.read_text().endswith("\n"):
            assert process.poll() is None, "Twisted doesn't start"
            assert time.monotonic() < until
            time.sleep(0.05)
        yield _target(int(ready.read_text()), authority, "none", MaildirSeed(maildir))
    finally:
        process.kill()
        process.wait()


# Servers that inetd starts, for users of the system: here in a namespace of its own, in which
# /etc/passwd and the like are those of a folder.

IN_NAMESPACE = """
set -e
mount --bind "$0/passwd" /etc/passwd
mount --bind "$0/shadow" /etc/shadow
mount --bind "$0/pam.d" /etc/pam.d
mount --bind "$0/var-mail" /var/mail
mount --bind "$0/var-lib" /var/lib
exec "$@"
"""


def unpacked() -> Path:
    """Where scripts/pop3-servers has put them."""
    folder = Path(os.environ.get(UNPACKED, ""))
    if not (folder / "usr").is_dir():
        pytest.skip(f"only where {UNPACKED} names the folder of scripts/pop3-servers")
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can start it in a namespace of its own")
    return folder


@contextmanager
def by_inetd(folder: Path, authority: Authority, command: Sequence[str]) -> Iterator[Target]:
    """A program that speaks on its standard input, started for each connection."""
    where = unpacked()
    _users(folder)
    libraries = [
        where / "usr/lib/x86_64-linux-gnu",
        where / "usr/lib",
        where / "lib/x86_64-linux-gnu",
    ]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    program = [str(where / command[0]), *command[1:]]
    whole = ["unshare", "--mount", "--", "sh", "-c", IN_NAMESPACE, str(folder), *program]
    listener = socket.create_server(("127.0.0.1", 0))
    processes: list[subprocess.Popen[bytes]] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = listener.accept()
                with conn:
                    processes.append(
                        subprocess.Popen(
                            whole,
                            stdin=conn.fileno(),
                            stdout=conn.fileno(),
                            stderr=subprocess.DEVNULL,
                            env=environment,
                        )
                    )  # fmt: skip

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        mbox = folder / "var-mail" / NAME
        yield _target(listener.getsockname()[1], authority, "none", MboxSeed(mbox))
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for each in processes:
            each.kill()
            each.wait()


def _users(folder: Path) -> None:
    folder.chmod(0o755)
    for part in ("pam.d", "var-mail", "var-lib", "home", "var-lib/popa3d"):
        (folder / part).mkdir()
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", PASSWORD], capture_output=True, text=True, check=True
    ).stdout.strip()
    users = [f"{NAME}:x:{UID}:{GID}::{folder}/home:/bin/sh"]
    users.append(f"popa3d:x:{UID - 1}:65534::/nonexistent:/bin/false")
    known = Path("/etc/passwd").read_text().rstrip("\n")
    (folder / "passwd").write_text("\n".join([known, *users, ""]))
    (folder / "shadow").write_text(f"root:*:19000::::::\n{NAME}:{hashed}:19000:0:99999:7:::\n")
    for service in ("popa3d", "pop3d", "mailutils", "other"):
        (folder / "pam.d" / service).write_text(
            "auth required pam_unix.so\naccount required pam_unix.so\n"
        )
    mbox = folder / "var-mail" / NAME
    mbox.touch(0o660)
    os.chown(mbox, UID, GID)
    os.chown(folder / "home", UID, GID)
    os.chown(folder / "var-mail", 0, GID)
    (folder / "var-mail").chmod(0o3777)


def _inetd_peer(name: str, package: str, *command: str) -> Peer:
    def found() -> str:
        (file,) = (unpacked() / "packages").glob(f"{package}_*.deb")
        said = subprocess.run(
            ["dpkg-deb", "-f", file, "Version"], capture_output=True, text=True, check=True
        )
        return said.stdout.strip()

    return Peer(name, found, lambda folder, authority: by_inetd(folder, authority, command))


PEERS = [
    Peer("Restante", lambda: __version__, restante),
    Peer("Dovecot", dovecot_version, debians_dovecot),
    _inetd_peer("GNU mailutils", "mailutils-pop3d", "usr/sbin/pop3d", "--inetd"),
    _inetd_peer("popa3d", "popa3d", "usr/sbin/popa3d"),
    Peer("Twisted", lambda: version("twisted"), twisted),
]
