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
# A client's address, one of the loopback net, says which dialogue it plays.
mail_location = maildir:{folder}/mail/%n-%r
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
  driver = static
  args = uid={nobody} gid={nobody} home={folder}/mail/%n-%r
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
    """A running Dovecot. Each dialogue has maildrops that no session has seen."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._given = 0
        self.port = port

    def give(self, messages: dict[str, bytes]) -> str:
        """Let joe have these messages; the address that his client must come from."""
        self._given += 1
        client = f"127.1.{self._given >> 8}.{self._given & 0xFF}"
        maildir = self._maildir(client)
        for name in ("cur", "new", "tmp"):
            (maildir / name).mkdir(parents=True)
        for name, message in messages.items():
            (maildir / "cur" / f"{name}:2,").write_bytes(message)
        for path in (maildir, *maildir.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        return client

    def _maildir(self, client: str) -> Path:
        return self._folder / "mail" / f"joe-{client}"

    def remove(self, client: str, unique_id: str) -> None:
        """Remove a message as another program would."""
        (self._maildir(client) / "cur" / f"{unique_id}:2,").unlink()


class DovecotVenue(Venue):
    """Dovecot, holding a dialogue's messages."""

    exact = False

    def __init__(self, dovecot: Dovecot, dialogue: Dialogue, authority: Authority) -> None:
        self._dovecot = dovecot
        self._trust = authority.client_context()
        self._client = dovecot.give(dialogue.maildrop)

    def connect(self) -> Link:
        return SocketLink(self._dovecot.port, self._trust, source=self._client)

    def remove(self, unique_id: str) -> None:
        self._dovecot.remove(self._client, unique_id)


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
    users = [f"{name}:{{PLAIN}}{password}::::::\n" for name, password in PASSWORDS.items()]
    (folder / "users").write_text("".join(users), "utf-8")
    for part in ("run", "state", "mail"):
        (folder / part).mkdir()
    os.chown(folder / "mail", NOBODY, NOBODY)
    config = folder / "dovecot.conf"
    config.write_text(
        CONFIG.format(
            folder=folder, port=port, nobody=NOBODY, certificate=authority.certificate.chain
        )
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
