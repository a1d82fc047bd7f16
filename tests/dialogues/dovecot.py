"""Debian's Dovecot beside us: the dialogues on which two servers should agree."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import Authority
from tests.dialogues.runner import Dialogue, Link, Venue
from tests.dialogues.venues import PASSWORDS, PATIENCE_SECONDS, SocketLink

NOBODY = 65534

CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
instance_name = dialogues
protocols = pop3
listen = 127.0.0.1
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = 1
pop3_uidl_format = %f
# RFC 1939 §4 wants the exclusive lock, which is off by default.
pop3_lock_session = yes
pop3_no_flag_updates = yes
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 apop
auth_failure_delay = 0
auth_username_chars =
auth_username_format = %u
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{certificate}
ssl_dh =
mail_fsync = never
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""


class Dovecot:
    """A running Dovecot with joe's Maildir."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._given = 0
        self.port = port

    def give(self, messages: dict[str, bytes]) -> None:
        """Let joe have these messages and no others, in a Maildir that no session has seen."""
        self._given += 1
        maildir = self._maildir("joe")
        for name in ("cur", "new", "tmp"):
            (maildir / name).mkdir(parents=True)
            os.chown(maildir / name, NOBODY, NOBODY)
        os.chown(maildir, NOBODY, NOBODY)
        for name, message in messages.items():
            path = maildir / "cur" / f"{name}:2,"
            path.write_bytes(message)
            os.chown(path, NOBODY, NOBODY)
        self._write_users()

    def _maildir(self, name: str) -> Path:
        return self._folder / "mail" / f"{name}-{self._given}"

    def _write_users(self) -> None:
        fresh = self._folder / "users.new"
        lines = [
            f"{name}:{{PLAIN}}{password}:{NOBODY}:{NOBODY}::{self._folder}/mail::"
            f"userdb_mail=maildir:{self._maildir(name)}\n"
            for name, password in PASSWORDS.items()
        ]
        fresh.write_text("".join(lines), "utf-8")
        os.utime(fresh, (self._given, self._given))  # by another time it knows another file
        fresh.replace(self._folder / "users")

    def remove(self, unique_id: str) -> None:
        """Remove a message as another program would."""
        (self._maildir("joe") / "cur" / f"{unique_id}:2,").unlink()


class DovecotVenue(Venue):
    """Dovecot, holding a dialogue's messages."""

    exact = False

    def __init__(self, dovecot: Dovecot, dialogue: Dialogue, authority: Authority) -> None:
        self._dovecot = dovecot
        self._trust = authority.client_context()
        dovecot.give(dialogue.maildrop)

    def connect(self) -> Link:
        return SocketLink(self._dovecot.port, self._trust)

    def remove(self, unique_id: str) -> None:
        self._dovecot.remove(unique_id)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(program: str, authority: Authority) -> Iterator[Dovecot]:
    """Dovecot in the foreground, as a child of ours, with everything in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="dovecot-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # its workers run as other users and must get to theirs
        with _started(program, folder, authority) as dovecot:
            yield dovecot


@contextlib.contextmanager
def _started(program: str, folder: Path, authority: Authority) -> Iterator[Dovecot]:
    port = _free_port()
    for part in ("run", "state", "mail"):
        (folder / part).mkdir()
    os.chown(folder / "mail", NOBODY, NOBODY)
    config = folder / "dovecot.conf"
    config.write_text(
        CONFIG.format(folder=folder, port=port, certificate=authority.certificate.chain)
    )
    process = subprocess.Popen(
        [program, "-F", "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_it_answers(process, port, folder / "log")
        yield Dovecot(folder, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 1) as client,
        ):
            if client.recv(3) == b"+OK":
                return
        time.sleep(0.02)
    said = log.read_text("utf-8", "replace") if log.exists() else ""
    raise AssertionError(f"Dovecot does not answer:\n{said}")
