"""A machine with a real Dovecot and Restante, in one folder, for pages that move from the one to
the other."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, TypeVar

from tests.app.support import COMMAND, environment
from tests.needs import need
from tests.peers.dovecot import START_24, is_24

NOBODY = 65534
SECONDS = 20.0

DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = {protocols}
listen = 127.0.0.1
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = 1
auth_failure_delay = 0
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
{more}
"""

DOVECOT_23 = """
mail_location = {location}:{folder}/srv/mail/%d/%n
pop3_uidl_format = {format}
disable_plaintext_auth = no
passdb {{
  driver = passwd-file
  args = {folder}/etc/dovecot/users
}}
userdb {{
  driver = static
  args = uid={nobody} gid={nobody} home={folder}/srv/mail/%d/%n
}}
"""

DOVECOT_24 = """
mail_driver = {location}
mail_path = {folder}/srv/mail/%{{user | domain}}/%{{user | username}}
pop3_uidl_format = {format}
auth_allow_cleartext = yes
passdb passwd-file {{
  passwd_file_path = {folder}/etc/dovecot/users
}}
userdb static {{
  fields {{
    uid = {nobody}
    gid = {nobody}
    home = {folder}/srv/mail/%{{user | domain}}/%{{user | username}}
  }}
}}
"""

NEWER = {
    "%08Xu": "%{uid | hex(8)}", "%08Xv": "%{uidvalidity | hex(8)}", "%u": "%{uid}",
    "%v": "%{uidvalidity}", "%f": "%{filename}",
    "ssl_cert = <": "ssl_server_cert_file = ", "ssl_key = <": "ssl_server_key_file = ",
}  # fmt: skip
"""What Dovecot 2.4 says in place of what 2.3 says."""

M = TypeVar("M", bound="Move")


class Move:
    """A machine with Dovecot and Restante, in one folder; `port` is the page's 110.

    location: the format of Dovecot's mail. protocols: what Dovecot speaks. more: further lines
    of its configuration. patience: seconds that a command may take.
    """

    patience: ClassVar[float] = 60.0

    def __init__(
        self,
        folder: Path,
        uidl_format: str,
        *,
        location: str = "maildir",
        protocols: str = "pop3",
        more: str = "ssl = no",
    ) -> None:
        self.folder = folder
        self.location = location
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        for part in ("run", "state", "bin", "etc/dovecot", "etc/restante", "var/lib/restante"):
            (folder / part).mkdir(parents=True)
        newer = self.newer = is_24(need("dovecot", package="dovecot-core"))
        for old, new in NEWER.items() if newer else ():
            uidl_format, more = uidl_format.replace(old, new), more.replace(old, new)
        (folder / "dovecot.conf").write_text(
            (START_24 if newer else "")
            + (DOVECOT + (DOVECOT_24 if newer else DOVECOT_23)).format(
                folder=folder,
                format=uidl_format,
                port=self.port,
                nobody=NOBODY,
                location=location,
                protocols=protocols,
                more=more.format(folder=folder),
            )
        )
        self.program("doveconf", f'exec {need("doveconf", package="dovecot-core")}'
                      f' -c {folder}/dovecot.conf "$@"')  # fmt: skip
        self.program("restante", f"exec {COMMAND[0]} -c '{COMMAND[2]}' \"$@\"")
        self._running: subprocess.Popen[bytes] | None = None

    def program(self, name: str, text: str) -> None:
        """Make a program that commands of the page find first."""
        program = self.folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    def here(self, text: str) -> str:
        """What the page says, for this folder and port."""
        text = re.sub(r"/(srv/mail|srv/back|etc/dovecot|etc/restante|var/lib/restante)\b",
                      rf"{self.folder}/\1", text)  # fmt: skip
        text = text.replace("localhost:110/", f"localhost:{self.port}/")
        return text.replace("port = 110\n", f'port = {self.port}\ntls_port = "off"\n')

    def deliver(self, number: int, user: str = "joe") -> None:
        """As a delivery agent does."""
        maildir = self.folder / "srv" / "mail" / "example.org" / user
        for part in ("new", "cur", "tmp"):
            (maildir / part).mkdir(parents=True, exist_ok=True)
        (maildir / "new" / f"{number}.host").write_text(f"Subject: {number}\n\n{number}\n")
        for path in (self.folder / "srv").rglob("*"):
            os.chown(path, NOBODY, NOBODY)

    def start(self, name: str) -> None:
        """`systemctl start`, waited for."""
        command = {
            "dovecot": [need("dovecot", package="dovecot-core"), "-F", "-c", "dovecot.conf"],
            "restante": ["bin/restante", "serve", "--config", "etc/restante/restante.toml"],
        }[name]
        with (self.folder / f"{name}.out").open("wb") as out:
            self._running = subprocess.Popen(
                command, cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL,
                stdout=out, stderr=out,
            )  # fmt: skip
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1) as client,
            ):
                if client.recv(3) == b"+OK":
                    return
            time.sleep(0.02)
        raise AssertionError((self.folder / f"{name}.out").read_text())

    def stop(self) -> None:
        """`systemctl stop`, waited for."""
        if self._running is not None:
            self._running.send_signal(signal.SIGTERM)
            self._running.wait(SECONDS)
            self._running = None

    def run(self, command: str) -> tuple[int, str]:
        """A command line of the page: its status and what it prints."""
        words = command.split()
        if words[0] == "systemctl":
            self.stop() if words[1] == "stop" else self.start(words[2])
            return 0, ""
        path = os.pathsep.join((f"{self.folder}/bin", os.environ["PATH"]))
        done = subprocess.run(
            ["sh", "-c", f"exec 2>&1; {self.here(command)}"], cwd=self.folder,
            env={**environment(), "PATH": path, "HOME": str(self.folder)},
            capture_output=True, text=True, timeout=self.patience, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def fetch(self, *options: str) -> tuple[int, str]:
        """fetchmail, keeping all; what it fetched is in the file `mbox`."""
        return self.run(f"fetchmail --keep --fetchmailrc joe.fetchmailrc {' '.join(options)}")


def hashed(scheme: str, password: str) -> str:
    command = [need("doveadm", package="dovecot-core"), "pw", "-s", scheme, "-p", password]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def moved(page: str, *users: str, kind: type[M], **options: str) -> Iterator[M]:
    """The machine of a page, Dovecot started, mail delivered: three messages for joe.

    users: lines of the passwd-file. kind, options: see `Move`.
    """
    for name in ("curl", "fetchmail"):
        need(name, package=name)
    folder = Path(tempfile.mkdtemp(prefix="move-"))
    folder.chmod(0o711)
    moving = kind(folder, options.pop("uidl_format", "%08Xu%08Xv"), **options)
    (folder / "etc" / "dovecot" / "users").write_text("\n".join(users) + "\n")
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", page, re.M | re.S)
    (folder / "etc" / "restante" / "restante.toml").write_text(moving.here(toml))
    (folder / "joe.fetchmailrc").write_text(
        f'poll localhost protocol pop3 port {moving.port} uidl\n'
        '  user "joe@example.org" password "secret" keep sslproto ""\n'
        f"  mda \"cat >>{folder}/mbox\"\n"
    )  # fmt: skip
    (folder / "joe.fetchmailrc").chmod(0o600)
    try:
        if moving.location == "maildir":
            for number in (1, 2, 3):
                moving.deliver(number)
        moving.start("dovecot")
        yield moving
    finally:
        moving.stop()
        shutil.rmtree(folder)


def run_page(page: str, move: Move) -> None:
    """Run the commands of a page, and see that they print what it says."""
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.M | re.S):
        for step in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, expected = step.partition("\n")
            while command.endswith("\\"):
                more, _, expected = expected.partition("\n")
                command = f"{command[:-1]}{more.removeprefix('> ')}"
            status, shown = move.run(command)
            assert status == 0, (command, shown)
            wanted = ".*".join(map(re.escape, move.here(expected).strip().split("...")))
            assert re.fullmatch(wanted, shown.strip(), re.S), (command, shown)
