"""Nodes that share a PostgreSQL, HAProxy before them, and clients that keep a ledger."""

from __future__ import annotations

import poplib
import random
import smtplib
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.app.support import PASSWORD, Server, restante, wait_until
from tests.cluster.networks import Place
from tests.needs import need
from tests.ports import free_port

ACCOUNTS = tuple(f"user{number}" for number in range(6))

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
        self.name, self.host = name, host
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
    def place(self) -> Place:
        """Where it runs."""
        assert self._place is not None
        return self._place

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


class Session(poplib.POP3):
    """A session, which leaves no socket behind when its server dies before the greeting."""

    def __init__(self, host: str, port: int) -> None:
        try:
            super().__init__(host, port, timeout=60)
        except BaseException:
            if hasattr(self, "sock"):
                self.close()
            raise


def _greets(port: int) -> bool:
    try:
        Session("127.0.0.1", port).close()
    except (OSError, poplib.error_proto):
        return False
    return True


def log_in(host: str, port: int, account: str) -> poplib.POP3:
    """A session."""
    client = Session(host, port)
    try:
        client.user(account)
        client.pass_(PASSWORD)
    except BaseException:
        client.close()
        raise
    return client


def deliver(host: str, port: int, account: str, text: str, *others: str) -> None:
    """Deliver a message whose subject is `text`, by LMTP."""
    with smtplib.LMTP(host, port, local_hostname="localhost", timeout=60) as client:
        refused = client.sendmail(
            "a@example.org", [account, *others], f"Subject: {text}\r\n\r\n{text * 200}\r\n"
        )
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)


@dataclass
class Box:
    """What a ledger knows of one maildrop.

    there: subjects of messages that must be there, and their unique-ids once they are known.
    unsure: subjects of which nobody was told whether they are there: any number of times.
    leaving: those that a QUIT without an answer may have removed.
    """

    there: dict[str, str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class Clients:
    """A client for each account, which delivers, fetches and deletes, and keeps a ledger.

    ports: of POP3 and LMTP, asked before each connection. errors: what clients were told or saw
    that isn't right when nothing breaks. wrong: what may never be.
    """

    def __init__(self, ports: Callable[[], tuple[str, int, int]], seed: int = 1) -> None:
        self._ports = ports
        self._chance = random.Random(seed)
        self.boxes = {account: Box() for account in ACCOUNTS}
        self.errors: list[str] = []
        self.wrong: list[str] = []
        self.done: Counter[str] = Counter()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._live, args=(name, random.Random(f"{seed} {name}")))
            for name in ACCOUNTS
        ]

    def __enter__(self) -> Clients:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def wait_for(self, sessions: int) -> None:
        """Wait until so many more sessions have gone well."""
        wanted = self.done["sessions"] + sessions
        wait_until(lambda: self.done["sessions"] >= wanted or self.wrong, "sessions", 120)

    def _live(self, account: str, chance: random.Random) -> None:
        number = 0
        while not self._over.is_set() and not self.wrong:
            number += 1
            try:
                if chance.random() < 0.5:
                    self._deliver(account, f"{account}-{number}")
                else:
                    self._fetch(account, chance)
            except (OSError, smtplib.SMTPException, poplib.error_proto, EOFError) as error:
                self.errors.append(f"{time.time():.2f} {account}: {error!r}")
                time.sleep(0.05)

    def _deliver(self, account: str, subject: str) -> None:
        box = self.boxes[account]
        host, _, port = self._ports()
        try:
            deliver(host, port, account, subject)
        except (OSError, smtplib.SMTPException):
            box.unsure.add(subject)
            raise
        box.there[subject] = ""
        self.done["deliveries"] += 1

    def _fetch(self, account: str, chance: random.Random) -> None:
        box = self.boxes[account]
        host, port, _ = self._ports()
        client = log_in(host, port, account)
        removing: set[str] = set()
        try:
            found = self.look(account, client)
            for subject, number in found:
                if subject in box.there and chance.random() < 0.4:
                    client.dele(number)
                    removing.add(subject)
            if chance.random() < 0.2:
                client.rset()
                removing.clear()
            for subject in removing:
                del box.there[subject]
            box.leaving |= removing
            client.quit()
            box.gone |= removing
            box.leaving -= removing
        finally:
            client.close()
        self.done["sessions"] += 1
        self.done["removed"] += len(removing)

    def look(self, account: str, client: poplib.POP3) -> list[tuple[str, int]]:
        """Hold a session's maildrop against the ledger; subjects and numbers."""
        box = self.boxes[account]
        found: list[tuple[str, int]] = []
        ids = dict(line.split() for line in client.uidl()[1])
        for number, unique_id in ids.items():
            lines = client.retr(int(number))[1]
            subject = lines[0].decode().removeprefix("Subject: ")
            if lines != [f"Subject: {subject}".encode(), b"", subject.encode() * 200]:
                self.wrong.append(f"{account}: {subject} isn't what was sent")
            if subject in box.gone:
                self.wrong.append(f"{account}: {subject} is there again")
            before = box.there.get(subject)
            if before and before != unique_id.decode():
                self.wrong.append(f"{account}: {subject} has another unique-id")
            if before == "":
                box.there[subject] = unique_id.decode()
            found.append((subject, int(number)))
        times = Counter(subject for subject, _ in found)
        for subject in box.there:
            if times[subject] != 1:
                self.wrong.append(f"{account}: {subject} is there {times[subject]} times")
        return found

    def settle(self) -> None:
        """After the end: hold every maildrop against the ledger once more."""
        for account in ACCOUNTS:
            host, port, _ = self._ports()

            def opened(account: str = account, host: str = host, port: int = port) -> object:
                with suppress(OSError, poplib.error_proto, EOFError):
                    return log_in(host, port, account)
                return None

            client = wait_until(opened, f"the maildrop of {account}")
            self.look(account, client)
            client.quit()
        assert self.wrong == []
