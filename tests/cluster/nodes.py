"""Nodes that share a PostgreSQL, and HAProxy before them."""

from __future__ import annotations

import poplib
import smtplib
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests import pop3
from tests.app.support import PASSWORD, Server, restante, wait_until
from tests.cluster.clients import ACCOUNTS, Ports
from tests.cluster.networks import Place
from tests.needs import need
from tests.ports import free_port

CONFIG = """
[server]
workers = 1
notice_seconds = {notice}
finish_seconds = 60
[accounts]
kind = "static"
[accounts.static]
{accounts}
[tls]
development = true
[pop3]
host = "{host}"
port = {pop3}
tls_port = "off"
allow_plaintext = true
failure_delay = 0
{proxied}
[smtp]
port = "off"
[lmtp]
host = "{host}"
port = {lmtp}
[metrics]
port = {metrics}
[store]
kind = "postgres"
[store.postgres]
dsn = "{dsn}"
schema = "{schema}"
node = "{name}"
timeout = 5
lease_seconds = {lease}
{bodies}
"""

PROXIED = """proxy_protocol = true
proxy_networks = ["127.0.0.0/8"]"""


class Node:
    """`restante serve` in a folder of its own; it can be stopped, killed and started again.

    place: the network that it runs in.
    """

    def __init__(
        self, folder: Path, name: str, *, dsn: str, schema: str, bodies: str,
        host: str = "127.0.0.1", lease: int = 5, notice: float = 0, proxied: bool = False,
        place: Place | None = None,
    ) -> None:  # fmt: skip
        self._place = place
        self.name, self.host, self.schema = name, host, schema
        self.folder = folder / name
        self.folder.mkdir()
        self.pop3, self.lmtp, self.metrics = free_port(), free_port(), free_port()
        config = self.folder / "restante.toml"
        config.write_text(
            CONFIG.format(
                notice=notice, host=host, pop3=self.pop3, lmtp=self.lmtp, metrics=self.metrics,
                accounts="\n".join(f'{each} = "{PASSWORD}"' for each in ACCOUNTS),
                proxied=PROXIED if proxied else "", dsn=dsn, schema=schema, name=name, lease=lease,
                bodies=bodies,
            )
        )  # fmt: skip
        config.chmod(0o600)
        self._server = Server(self.folder, ports=False)
        if place is not None:
            self._server.command = (*place.wrapper, *self._server.command)
        self._log = ""

    def run(self, *arguments: str) -> str:
        """A command with this node's configuration; what it says."""
        done = restante(*arguments, cwd=self.folder)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
        return done.stdout.decode()

    @property
    def ports(self) -> Ports:
        """Where it serves."""
        return Ports(self.host, self.pop3, self.lmtp)

    @property
    def place(self) -> Place:
        """Where it runs."""
        assert self._place is not None
        return self._place

    def begin_with(self, program: str) -> None:
        """Have it run this first, whenever it is started."""
        *python, code = self._server.command
        self._server.command = (*python, f"{program}\n{code}")

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self._server.__enter__()

    @property
    def log(self) -> str:
        """What it has logged since it was created."""
        return self._log + self._server.log.read_text()

    def stop(self) -> None:
        """Tell it to stop, and wait for its end."""
        self._server.process.terminate()
        assert self._server.process.wait(120) == 0, self.log
        self._log = self.log

    def kill(self) -> None:
        """End it at once. Harmless when it has ended."""
        self._server.process.kill()
        self._server.process.wait()
        self._log = self.log


@contextmanager
def running(nodes: Sequence[Node]) -> Iterator[None]:
    """The tables are there, and the nodes run."""
    nodes[0].run("db", "upgrade")
    with ExitStack() as stack:
        for node in nodes:
            node.start()
            stack.callback(node.kill)
        yield


HAPROXY = """
global
  maxconn 2000
defaults
  mode tcp
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  timeout check 20s  # not 100 ms, in which a busy machine's node may not answer
  retries 3
  option redispatch
frontend pop3
  bind 127.0.0.1:{pop3}
  default_backend pop3
backend pop3
  balance roundrobin
  option httpchk
  http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
  default-server check inter 100ms fall 1 rise 1
{pop3_servers}
frontend lmtp
  bind 127.0.0.1:{lmtp}
  default_backend lmtp
backend lmtp
  balance roundrobin
  option httpchk
  http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
  default-server check inter 100ms fall 1 rise 1
{lmtp_servers}
"""


@contextmanager
def haproxy(folder: Path, nodes: Sequence[Node]) -> Iterator[tuple[int, int]]:
    """HAProxy before the nodes: its ports for POP3 and for LMTP."""
    program = need("haproxy", package="haproxy")
    pop3, lmtp = free_port(), free_port()
    config = folder / "haproxy.cfg"
    config.write_text(
        HAPROXY.format(
            pop3=pop3,
            lmtp=lmtp,
            pop3_servers="\n".join(
                f"  server {each.name} 127.0.0.1:{each.pop3} port {each.metrics} send-proxy-v2"
                for each in nodes
            ),
            lmtp_servers="\n".join(
                f"  server {each.name} 127.0.0.1:{each.lmtp} port {each.metrics}" for each in nodes
            ),
        )
    )
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", config], stdout=log, stderr=log)
    try:
        wait_until(lambda: _greets(pop3), "haproxy and a node")
        yield pop3, lmtp
    finally:
        process.kill()
        process.wait()


def _greets(port: int) -> bool:
    try:
        pop3.Session("127.0.0.1", port).close()
    except (OSError, poplib.error_proto):
        return False
    return True


def deliver(host: str, port: int, account: str, text: str, *others: str) -> None:
    """Deliver a message whose subject is `text`, by LMTP."""
    with smtplib.LMTP(host, port, local_hostname="localhost", timeout=60) as client:
        refused = client.sendmail(
            "a@example.org", [account, *others], f"Subject: {text}\r\n\r\n{text * 200}\r\n"
        )
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)
