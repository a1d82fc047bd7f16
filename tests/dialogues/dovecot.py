"""Debian's Dovecot beside us: the dialogues on which two servers should agree."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Authority
from tests.dialogues.runner import Dialogue, Link, Venue
from tests.dialogues.venues import PASSWORDS, SocketLink
from tests.peers.dovecot import dovecot

NOBODY = 65534

BOTH = """
protocols = pop3
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = 1
# RFC 1939 §4 wants the exclusive lock, which is off by default.
pop3_lock_session = yes
pop3_no_flag_updates = yes
auth_mechanisms = {mechanisms}
ssl = yes
mail_fsync = never
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""

# A client's address, one of the loopback net, says which dialogue it plays.
DOVECOT_23 = """
mail_location = maildir:{folder}/mail/%n-%r
pop3_uidl_format = %f
disable_plaintext_auth = no
auth_username_format = %u
ssl_cert = <{certificate}
ssl_key = <{certificate}
ssl_dh =
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid={nobody} gid={nobody} home={folder}/mail/%n-%r
}}
"""

DOVECOT_24 = """
mail_driver = maildir
mail_path = {folder}/mail/%{{user | username}}-%{{remote_ip}}
pop3_uidl_format = %{{filename}}
auth_allow_cleartext = yes
auth_username_format = %{{user}}
ssl_server_cert_file = {certificate}
ssl_server_key_file = {certificate}
passdb passwd-file {{
  default_password_scheme = PLAIN
  passwd_file_path = {folder}/users
}}
userdb static {{
  fields {{
    uid = {nobody}
    gid = {nobody}
    home = {folder}/mail/%{{user | username}}-%{{remote_ip}}
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


@contextmanager
def running(
    authority: Authority, *, mechanisms: str = "plain login cram-md5 apop"
) -> Iterator[Dovecot]:
    """A Dovecot with the accounts that dialogues use."""
    port = _free_port()
    with dovecot(
        BOTH,
        dovecot_23=DOVECOT_23,
        dovecot_24=DOVECOT_24,
        port=port,
        nobody=NOBODY,
        mechanisms=mechanisms,
        certificate=authority.certificate.chain,
    ) as folder:
        users = [f"{name}:{{PLAIN}}{password}::::::\n" for name, password in PASSWORDS.items()]
        (folder / "users").write_text("".join(users), "utf-8")
        os.chown(folder / "mail", NOBODY, NOBODY)
        yield Dovecot(folder, port)
