"""A MariaDB for tests: Debian's programs over a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.needs import need
from tests.ports import free_port

USER = "restante"
PASSWORD = "ge:heim/@#%"

_DATABASE = ("CREATE DATABASE IF NOT EXISTS mail CHARACTER SET utf8mb4", "USE mail")


class MysqlServer:
    """A server over `folder`, which speaks TLS to those who want it unless `tls` is False."""

    def __init__(self, folder: Path, certificate: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.tls = True
        self._as = unprivileged("mysql")
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"mysql://{USER}:{quote(PASSWORD, safe='')}@localhost:{self.port}/mail"

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def prepare(self) -> None:
        """Lay the database's files."""
        self._run(
            need("mariadb-install-db", package="mariadb-server"), "--no-defaults",
            f"--datadir={self.folder}/data", "--auth-root-authentication-method=normal",
            "--skip-test-db", "--skip-name-resolve",
        )  # fmt: skip
        key = self.folder / "server.pem"
        shutil.copy(self._certificate, key)
        key.chmod(0o600)
        if self._as:
            shutil.chown(key, self._as)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        tls = [f"--ssl-cert={self.folder}/server.pem", f"--ssl-key={self.folder}/server.pem"]
        self._process = subprocess.Popen(
            [
                need("mariadbd", package="mariadb-server"), "--no-defaults",
                f"--datadir={self.folder}/data", f"--socket={self.socket}",
                f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve",
                f"--pid-file={self.folder}/pid", "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=16M", *(tls if self.tls else ["--skip-ssl"]),
            ],
            cwd=self.folder,
            user=self._as,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        admin = need("mariadb-admin", package="mariadb-client")
        ping = [admin, *self._as_superuser, "--silent", "ping"]
        wait_until(lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0)

    def stop(self) -> None:
        """Stop it, at once for its clients."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def execute(self, *statements: str) -> None:
        """Run statements as the superuser, in the database `mail`."""
        self._run(
            need("mariadb", package="mariadb-client"), *self._as_superuser, "--batch",
            "--default-character-set=utf8mb4",
            text=";\n".join((*_DATABASE, *statements)),
        )  # fmt: skip

    @property
    def _as_superuser(self) -> tuple[str, ...]:
        """Arguments of MariaDB's clients. 11.8's want TLS, by a socket too, unless told not to."""
        return ("--no-defaults", f"--socket={self.socket}", "--user=root", "--skip-ssl")

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        done = subprocess.run(
            [program, *arguments],
            cwd=self.folder,
            user=self._as,
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")


@contextmanager
def mysql(certificate: Path) -> Iterator[MysqlServer]:
    """A running server, with a database `mail` that `USER` may use; the file holds its
    certificate and key."""
    with own_folder("mysql") as folder:
        server = MysqlServer(folder, certificate)
        server.prepare()
        try:
            server.start()
            server.execute(
                f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'",
                f"GRANT ALL ON mail.* TO '{USER}'@'%'",
            )
            yield server
        finally:
            server.stop()


def unprivileged(user: str) -> str | None:
    """Who runs a server that refuses to be run by root; None: whoever runs the tests."""
    return user if os.geteuid() == 0 else None


@contextmanager
def own_folder(user: str) -> Iterator[Path]:
    """A folder that belongs to whoever runs the server, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="restante-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if owner := unprivileged(user):
            shutil.chown(folder, owner)
        yield folder


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
