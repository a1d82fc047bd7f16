"""A PostgreSQL for tests: Debian's programs over a temporary folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_interface
from pathlib import Path
from urllib.parse import quote

from tests.accounts.mysql_server import own_folder, unprivileged, wait_until
from tests.needs import missing, need
from tests.ports import free_port

USER = "restante"
PASSWORD = "ge:heim/@#%"

_TESTED = ("fsync=off", "max_connections=40")
_MEASURED = (
    "fsync=on", "max_connections=100", "shared_preload_libraries=pg_stat_statements",
    "track_wal_io_timing=on",
)  # fmt: skip


class PostgresServer:
    """A server over `folder`, which speaks TLS to those who want it, and scram for passwords.

    networks: from which clients may come, by the server's address in each, such as
        `10.0.0.1/30`; besides this machine.
    measured: it waits until its log is on the disk, as it does for users, and counts
        statements and the time that the log takes.
    """

    def __init__(
        self,
        folder: Path,
        certificate: Path,
        networks: Sequence[str] = (),
        *,
        measured: bool = False,
    ) -> None:
        self.folder = folder
        self._measured = measured
        self._networks = networks
        self.port = free_port()
        self.programs = _programs()
        self._as = unprivileged("postgres")
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return self.dsn_at(f"localhost:{self.port}")

    @property
    def name(self) -> str:
        """By which a primary knows it as a standby."""
        return f"at{self.port}"

    def dsn_at(self, hosts: str) -> str:
        """As `dsn`, for other names of it, or for several servers."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@{hosts}/postgres"

    @property
    def pid(self) -> int:
        """The process above all others of the running server."""
        assert self._process is not None
        return self._process.pid

    def prepare(self) -> None:
        """Lay the database's files."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", self.folder / "data", "-U", USER, "--pwfile", secret, "--no-sync",
            "--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8",
        )  # fmt: skip
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            for network in self._networks:
                rules.write(f"host all all {ip_interface(network).network} scram-sha-256\n")
        key = self.folder / "data" / "server.pem"
        shutil.copy(self._certificate, key)
        key.chmod(0o600)
        if self._as:
            shutil.chown(key, self._as)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        hosts = ",".join(["localhost", *(each.split("/")[0] for each in self._networks)])
        self._process = subprocess.Popen(
            [
                self.programs / "postgres", "-D", "data", "-p", str(self.port),
                "-c", f"unix_socket_directories={self.folder}",
                "-c", f"listen_addresses={hosts}",
                *(f"-c{each}" for each in (_MEASURED if self._measured else _TESTED)),
                "-c", "ssl=on", "-c", "ssl_cert_file=server.pem", "-c", "ssl_key_file=server.pem",
            ],
            cwd=self.folder,
            user=self._as,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ready = [str(self.programs / "pg_isready"), "-h", "localhost", "-p", str(self.port), "-q"]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0)

    def prepare_standby(self, primary: PostgresServer) -> None:
        """Lay a copy of a running server's files, to follow it, in place of what was there."""
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        at = f"host={primary.folder} port={primary.port} user={USER} application_name={self.name}"
        self._run("pg_basebackup", "-D", data, "-d", at, "--write-recovery-conf", "-c", "fast")
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write("synchronous_standby_names = ''\n")

    def wait_for(self, standby: PostgresServer) -> None:
        """From now on, a commit waits until that standby has it on its disk."""
        self.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby.name}'")
        self.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self.ask("SELECT sync_state FROM pg_stat_replication") == "sync")

    def promote(self) -> None:
        """Have a standby take over, and wait until it does."""
        self.execute("SELECT pg_promote()")

    def kill(self) -> None:
        """End it with all its processes at once, as a loss of power does."""
        assert self._process is not None
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        self._process.kill()
        for child in map(int, children):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait()
        self._process = None
        # This recovers what is on the disk, and frees the shared memory.
        self._run("postgres", "--single", "-D", self.folder / "data", "postgres")

    @property
    def is_running(self) -> bool:
        """Whether it was started and hasn't ended, by itself even."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop it, at once for its clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def execute(self, *statements: str) -> None:
        """Run statements as the superuser."""
        self.ask(";\n".join(statements))

    def ask(self, statement: str) -> str:
        """What a statement gives, by psql: columns divided by `|`."""
        return self._run(
            "psql", "-h", self.folder, "-p", str(self.port), "-U", USER, "-d", "postgres",
            "-qXAt", "-v", "ON_ERROR_STOP=1", text=statement,
        ).strip()  # fmt: skip

    def _run(self, program: str, *arguments: object, text: str = "") -> str:
        done = subprocess.run(
            [str(self.programs / program), *map(str, arguments)],
            cwd=self.folder,
            user=self._as,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = done.stdout.decode(errors="replace")
        assert done.returncode == 0, said
        return said


@contextmanager
def postgres(
    certificate: Path, networks: Sequence[str] = (), *, measured: bool = False
) -> Iterator[PostgresServer]:
    """A running server; the file holds its certificate and key."""
    with own_folder("postgres") as folder:
        server = PostgresServer(folder, certificate, networks, measured=measured)
        server.prepare()
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def primary_and_standby(
    certificate: Path, networks: Sequence[str] = ()
) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """Two running servers. The second follows the first, whose commits wait for it."""
    with postgres(certificate, networks) as primary, own_folder("postgres") as folder:
        standby = PostgresServer(folder, certificate, networks)
        try:
            standby.prepare_standby(primary)
            standby.start()
            primary.wait_for(standby)
            yield primary, standby
        finally:
            standby.stop()


@contextmanager
def pgbouncer(server: PostgresServer) -> Iterator[int]:
    """The port of a PgBouncer in transaction mode before the server."""
    program, port = need("pgbouncer", package="pgbouncer"), free_port()
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    # Since 1.21 it can prepare statements itself on each connection; older ones don't know the key.
    knows_statements = tuple(map(int, re.findall(r"\d+", said.stdout)[:2])) >= (1, 21)
    with own_folder("postgres") as folder:
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"postgres = host={server.folder} port={server.port} user={USER}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n"
            "server_check_delay = 0\nserver_round_robin = 1\n"
            + ("max_prepared_statements = 0\n" if knows_statements else "")
        )
        settings.chmod(0o644)
        process = subprocess.Popen(
            [program, "-q", str(settings)],
            user=unprivileged("postgres"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: _answers(port))
            yield port
        finally:
            process.kill()  # told to end, it waits for its clients
            process.wait(30)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _programs() -> Path:
    """Where the newest version's programs are; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        missing("initdb is not installed (Debian package postgresql)")
    return found[-1].parent
