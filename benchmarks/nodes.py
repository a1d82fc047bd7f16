"""What a node over PostgreSQL takes beside the single box: `python -m benchmarks.nodes`.

It starts a PostgreSQL of its own that writes its log to the disk (Debian's package `postgresql`),
a `restante serve` with Maildirs (the box), and nodes whose bodies lie in PostgreSQL or in a
folder. All have the same messages. Rounds of one follow rounds of the other, so a machine that is
busy treats all alike: what counts are the ratios. Then one, two and three nodes take polls at
once, and pgbench makes a poll's statements without any node.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import smtplib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import trustme
from tests.postgres_server import PASSWORD as DATABASE_PASSWORD
from tests.postgres_server import USER, PostgresServer, postgres
from tests.stores.blobs.radosgw import Radosgw, radosgw

from benchmarks import corpus, ours, report
from benchmarks.corpus import PASSWORD, Expected, Group
from benchmarks.ground import wait_for_ready
from benchmarks.load import Generator, Outcome, Work
from benchmarks.measure import settled_seconds
from benchmarks.processes import free_port, processor_seconds, start, stop
from benchmarks.programs import Programs
from benchmarks.run import turned
from restante.accounts.account import Account
from restante.accounts.database import DatabaseAccounts, ManagedDatabase
from restante.accounts.schemes import hash_password, verify
from restante.stores import Blobs, FolderBlobs, S3Blobs
from restante.stores.postgres import statements
from restante.stores.postgres.schema import upgrade
from restante.stores.postgres.store import PostgresStore

Figures: TypeAlias = dict[str, float]

AT_ONCE = 8
NODES = 3
SESSIONS = {"poll": 1200, "sync": 800, "fetch": 400, "drain": 160, "deliver": 400}
ABOUT = {
    "poll": "poll (USER PASS STAT QUIT)",
    "sync": "sync (+UIDL LIST, 50 messages)",
    "fetch": "fetch 10 small messages",
    "drain": "drain (delete 10)",
    "deliver": "delivery by LMTP, a new body",
}
BOX, POSTGRES, FOLDER, S3, ACCOUNTS = "box", "postgres", "folder", "s3", "accounts"
KINDS = {
    BOX: "single box, Maildir",
    POSTGRES: "node, bodies in PostgreSQL",
    FOLDER: "node, bodies in a folder",
    S3: "node, bodies in S3",
    ACCOUNTS: "node, accounts in PostgreSQL too",
}
ONLY = {S3: ("fetch", "deliver"), ACCOUNTS: ("poll",)}
"""What some kinds are measured by; in all else they are as others."""
MESSAGE_OCTETS = 2000
RESULTS = report.FOLDER / "scaling.json"

_CONFIG = """
[server]
data = "{folder}/data"
workers = 1
[pop3]
port = {pop3}
tls_port = "off"
allow_plaintext = true
[smtp]
port = "off"
[lmtp]
port = {lmtp}
[tls]
development = true
[log]
file = "{folder}/access.log"
"""
# The history is where the box has it, so that statements are those of sessions.
_STORE = """
[history]
place = "file"
[store]
kind = "postgres"
[store.postgres]
dsn = "{dsn}"
schema = "{schema}"
node = "{name}"
"""
_BUCKET = """
[store.bodies]
kind = "s3"
[store.bodies.s3]
endpoint = "{endpoint}"
bucket = "{bucket}"
access_key = "{access_key}"
secret_key = "{secret_key}"
"""
_FOLDER = """
[store.bodies]
kind = "folder"
[store.bodies.folder]
path = "{path}"
"""


@dataclass(frozen=True)
class Node:
    """One that serves: the box, or a node. schema: of its mail; empty for the box."""

    name: str
    schema: str
    pid: int
    pop3: int
    lmtp: int


class Site:
    """Everything that is measured, in one folder. groups: by scenario. objects: an S3 server."""

    def __init__(
        self, folder: Path, database: PostgresServer, objects: Radosgw | None = None
    ) -> None:
        self.folder = folder
        self.database = database
        programs = Programs(folder)
        self.generator = Generator(programs, None)
        self.about_generator = programs.about
        self.expected: dict[str, Expected] = {}
        self.groups = {
            "poll": Group("box", 10 * NODES, (2500,) * 50),
            "fetch": Group("small", AT_ONCE, (MESSAGE_OCTETS,) * 10),
            "drain": Group("drain", SESSIONS["drain"], (MESSAGE_OCTETS,) * 10),
            "deliver": Group("new", AT_ONCE, ()),
        }
        self.groups["sync"] = self.groups["poll"]
        self._delivered = 0
        self._objects = objects
        self._bucket = "" if objects is None else objects.make_bucket()
        self.kinds = [kind for kind in KINDS if kind != S3 or objects is not None]
        self.schemas = [kind for kind in self.kinds if kind not in (BOX, ACCOUNTS)]

    # Mail

    def prepare(self) -> None:
        """The tables, accounts, and the maildrops that stay as they are."""
        self.database.execute("CREATE EXTENSION pg_stat_statements")
        for schema in self.schemas:
            asyncio.run(upgrade(self.database.dsn, schema=schema))
        accounts = DatabaseAccounts(self.database.dsn, schema=POSTGRES)
        with ManagedDatabase.opened(accounts) as managed:
            for group in (self.groups["poll"], self.groups["fetch"]):
                for name in group.names:
                    managed.add(name, credentials=["{PLAIN}" + PASSWORD])
        for scenario in ("poll", "fetch", "deliver"):
            group = self.groups[scenario]
            self.expected[group.prefix] = corpus.fill(self.folder / "mail", group)
            for schema in self.schemas:
                asyncio.run(self._fill(schema, group))
        self.database.execute("VACUUM ANALYZE", "CHECKPOINT")

    async def _fill(self, schema: str, group: Group) -> None:
        store = PostgresStore(self.database.dsn, schema=schema, bodies=self._bodies(schema))
        turn = asyncio.Semaphore(AT_ONCE)

        async def fill(name: str) -> None:
            async with turn:
                for number, size in enumerate(group.sizes):
                    incoming = store.receive(Account(name))
                    incoming.write(corpus.message(number, size))
                    await incoming.prepare()
                    await incoming.commit()

        await asyncio.gather(*map(fill, group.names))
        await store.aclose()

    def _bodies(self, schema: str) -> Blobs | None:
        if schema == FOLDER:
            return FolderBlobs(self.folder / "bodies")
        if schema != S3 or self._objects is None:
            return None
        user = self._objects.user
        return S3Blobs(
            self._bucket,
            endpoint=self._objects.endpoint,
            access_key=user.access_key,
            secret_key=user.secret_key,
        )

    def refill(self, node: Node) -> None:
        """The maildrops that a drain empties."""
        group = self.groups["drain"]
        if node.schema:
            asyncio.run(self._fill(node.schema, group))
            wires = [corpus.message(number, size) for number, size in enumerate(group.sizes)]
            octets, dots = sum(map(len, wires)), sum(wire.count(b"\r\n.") for wire in wires)
            self.expected[group.prefix] = Expected(len(wires), octets, dots)
        else:
            self.expected[group.prefix] = corpus.fill(self.folder / "mail", group)

    # Nodes

    @contextmanager
    def running(self, name: str, kind: str) -> Iterator[Node]:
        """Start one, and stop it in the end."""
        folder = self.folder / name
        folder.mkdir()
        pop3, lmtp = free_port(), free_port()
        text = _CONFIG.format(folder=folder, pop3=pop3, lmtp=lmtp)
        schema = "" if kind == BOX else POSTGRES if kind == ACCOUNTS else kind
        if schema:
            text += _STORE.format(dsn=self.database.dsn, schema=schema, name=name)
        else:
            text += f'[maildrops]\nroot = "{self.folder}/mail"\n'
        if kind == FOLDER:
            text += _FOLDER.format(path=self.folder / "bodies")
        if kind == S3 and self._objects is not None:
            text += _BUCKET.format(
                endpoint=self._objects.endpoint,
                bucket=self._bucket,
                access_key=self._objects.user.access_key,
                secret_key=self._objects.user.secret_key,
            )
        if kind == ACCOUNTS:
            text += '[accounts]\nkind = "database"\n'
        else:
            names = [name for group in self.groups.values() for name in group.names]
            text += '[accounts]\nkind = "static"\n[accounts.static]\n'
            text += "".join(f'{name} = "{PASSWORD}"\n' for name in dict.fromkeys(names))
        config, ready, log = folder / "restante.toml", folder / "ready.json", folder / "errors.log"
        config.write_text(text)
        config.chmod(0o600)
        way = "uvloop" if find_spec("uvloop") else "asyncio"
        command = (*ours.command(way), "serve", "--config", config, "--ready-file", ready)
        process = start(command, None, log, ours.environment(ours.HERE))
        try:
            wait_for_ready(process, ready, log)
            yield Node(name, schema, process.pid, pop3, lmtp)
        finally:
            stop(process)

    # Load

    def work(self, scenario: str, sessions: int, first: int = 0) -> Work:
        """Sessions of a scenario, at maildrops from number `first` on."""
        group = self.groups[scenario]
        many = group.accounts if scenario == "drain" else AT_ONCE
        prefix = group.prefix if not first else f"{group.prefix}{first}"
        return Work(scenario, prefix, many, self.expected[group.prefix], sessions, AT_ONCE)

    def load(self, node: Node, scenario: str, sessions: int) -> Outcome:
        """Have sessions, or deliveries."""
        if scenario == "deliver":
            return self._deliver(node, sessions)
        return self.generator.run(node.pop3, self.work(scenario, sessions))

    def _deliver(self, node: Node, count: int) -> Outcome:
        first, self._delivered = self._delivered, self._delivered + count
        names = self.groups["deliver"].names

        lasted: list[float] = []

        def deliver(place: int) -> None:
            with smtplib.LMTP("127.0.0.1", node.lmtp, local_hostname="localhost") as client:
                for number in range(first + place, first + count, AT_ONCE):
                    text = corpus.message(1_000_000 + number, MESSAGE_OCTETS)
                    at = time.monotonic()
                    client.sendmail("a@example.org", [names[place]], text)
                    lasted.append((time.monotonic() - at) * 1000)

        begun = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(deliver, range(AT_ONCE)))
        seconds = time.monotonic() - begun
        lasted.sort()
        middle, late = (lasted[int((count - 1) * rank)] for rank in (0.5, 0.99))
        octets = count * MESSAGE_OCTETS
        return Outcome(count, seconds, octets, 0, "", p50_ms=middle, p99_ms=late)

    # Measuring

    def measure(self, node: Node, scenario: str, sessions: int) -> Figures:
        """One round: what a session took of the node and of PostgreSQL."""
        if scenario == "drain":
            self.refill(node)
        else:
            self.load(node, scenario, 2 * AT_ONCE)
        counts = self.counts() if node.schema else {}
        node_before = settled_seconds(node.pid)
        base = processor_seconds(self.database.pid)
        outcome = self.load(node, scenario, sessions)
        spent = processor_seconds(self.database.pid) - base
        used = settled_seconds(node.pid) - node_before
        if outcome.violations:
            raise RuntimeError(f"{node.name}, {scenario}: {outcome.first_violation}")
        figures = {
            "node_us": used / outcome.sessions * 1e6,
            "sessions_per_second": outcome.sessions / outcome.seconds,
            "p50_ms": outcome.p50_ms,
            "p99_ms": outcome.p99_ms,
        }
        if node.schema:
            figures["postgres_us"] = spent / outcome.sessions * 1e6
            for name, count in self.counts().items():
                figures[name] = (count - counts[name]) / outcome.sessions
        return figures

    def counts(self) -> Figures:
        """What nodes have had PostgreSQL do since it was started. What this asks isn't counted."""
        row = self.database.ask(
            "SELECT sum(calls) FILTER (WHERE query !~ 'pg_stat_statements'),"
            " pg_current_wal_insert_lsn() - '0/0' FROM pg_stat_statements"
        )
        return dict(zip(("statements", "wal_octets"), map(float, row.split("|")), strict=True))

    def together(self, nodes: Sequence[Node], sessions: int) -> Figures:
        """Polls at all nodes at once, and where the machine's time went, as parts of it."""
        works = [self.work("poll", sessions, first) for first in range(len(nodes))]
        processes = [self.database.pid, *(node.pid for node in nodes)]
        before, idle = [processor_seconds(pid) for pid in processes], _idle_seconds()
        begun = time.monotonic()
        loads = [
            self.generator.begin(node.pop3, work) for node, work in zip(nodes, works, strict=True)
        ]
        outcomes = [load.outcome() for load in loads]
        seconds = time.monotonic() - begun
        idle = _idle_seconds() - idle
        used = [processor_seconds(pid) - was for pid, was in zip(processes, before, strict=True)]
        for outcome in outcomes:
            if outcome.violations:
                raise RuntimeError(outcome.first_violation)
        whole = seconds * (os.cpu_count() or 1)
        load = sum(outcome.cpu_seconds for outcome in outcomes)
        done = sum(outcome.sessions for outcome in outcomes)
        return {
            "polls_per_second": done / seconds,
            "p50_ms": median(outcome.p50_ms for outcome in outcomes),
            "postgres": used[0] / whole,
            "nodes": sum(used[1:]) / whole,
            "load": load / whole,
            "idle": idle / whole,
            "others": 1 - (sum(used) + load + idle) / whole,
        }

    def pgbench(self, seconds: int) -> Figures:
        """A poll's statements without a node: PostgreSQL's own ceiling."""
        script = self.folder / "poll.sql"
        script.write_text(_pgbench_script(POSTGRES))
        begun, before = time.monotonic(), processor_seconds(self.database.pid)
        done = subprocess.run(
            [
                self.database.programs / "pgbench", "-n", "-M", "prepared", "-f", script,
                "-c", str(AT_ONCE), "-j", "1", "-T", str(seconds),
                "-h", "localhost", "-p", str(self.database.port), "-U", USER, "postgres",
            ],
            env={**os.environ, "PGPASSWORD": DATABASE_PASSWORD, "PGSSLMODE": "prefer"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        spent = processor_seconds(self.database.pid) - before
        lasted = time.monotonic() - begun
        count = int(re.findall(r"actually processed: (\d+)", done.stdout)[0])
        return {"postgres_us": spent / count * 1e6, "polls_per_second": count / lasted}

    def flush_ms(self) -> float:
        """How long a write of the log to the disk has taken, on average."""
        return float(self.database.ask("SELECT wal_sync_time / wal_sync FROM pg_stat_wal"))

    def storage(self) -> Figures:
        """Octets in the tables and indexes: of a message, and of a body that is elsewhere."""
        found = {}
        for table, name in (("messages", "message_octets"), ("bodies", "body_octets")):
            row = self.database.ask(
                f"SELECT pg_total_relation_size('{FOLDER}.{table}')::float8 / count(*)"
                f" FROM {FOLDER}.{table}"
            )
            found[name] = float(row)
        return found


def verify_us() -> float:
    """Microseconds of a core that a password's check takes, kept as it is by default."""
    credential, took = hash_password(PASSWORD), []
    for _ in range(5):
        begun = time.process_time()
        if not verify(credential, PASSWORD):
            raise RuntimeError("the password isn't the one that was kept")
        took.append((time.process_time() - begun) * 1e6)
    return median(took)


def _idle_seconds() -> float:
    """How long this machine's cores have had nothing to do, all together."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _pgbench_script(schema: str) -> str:
    name = "('box' || :client_id)"
    opened = statements.OPEN.replace("$1", name).replace("$2", "'pgbench'").replace("$3", "60")
    opened = opened.replace("$4", "0").replace("$5", "1")
    opened = opened.replace("$6", "NULL").replace("$7", "NULL")
    released = statements.RELEASE.replace("$1", ":id").replace("$2", ":lease")
    script = f"{opened.strip()} \\gset\n{released.strip()};\n"
    return script.replace("{schema}", schema)


def medians(rounds: Sequence[Figures]) -> Figures:
    """Of each figure that the rounds have."""
    return {name: median(each[name] for each in rounds) for name in rounds[0]}


def measure(site: Site, rounds: int, part: float) -> dict[str, Any]:
    """All of it. part: of the sessions of a full run."""
    site.prepare()
    scenarios: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(site.running(kind, kind)) for kind in site.kinds}
        for scenario, count in SESSIONS.items():
            sessions = max(AT_ONCE, int(count * part))
            if scenario == "drain":
                sessions = SESSIONS["drain"]  # each empties a maildrop of its own
            kinds = [kind for kind in site.kinds if scenario in ONLY.get(kind, SESSIONS)]
            seen: dict[str, list[Figures]] = {kind: [] for kind in kinds}
            for turn in range(rounds):
                for kind in turned(kinds, turn):
                    seen[kind].append(site.measure(servers[kind], scenario, sessions))
                    _tell(f"{scenario} {kind}", seen[kind][-1])
            scenarios[scenario] = {
                kind: medians(each) | {"rounds": each} for kind, each in seen.items()
            }
        storage = site.storage()
    nodes, bench = _together(site, rounds, int(SESSIONS["poll"] * part))
    return {
        "scenarios": scenarios,
        "storage": storage,
        "nodes": nodes,
        "pgbench": bench,
        "flush_ms": site.flush_ms(),
        "verify_us": verify_us(),
    }


def _together(site: Site, rounds: int, sessions: int) -> tuple[dict[str, Any], dict[str, Any]]:
    seen: dict[str, list[Figures]] = {}
    bench: list[Figures] = []
    with ExitStack() as stack:
        box = [stack.enter_context(site.running("box-again", BOX))]
        nodes = [
            stack.enter_context(site.running(f"node{number}", POSTGRES)) for number in range(NODES)
        ]
        fields = {"box": box} | {str(count): nodes[:count] for count in range(1, NODES + 1)}
        for each in (*box, *nodes):
            site.load(each, "poll", 2 * AT_ONCE)
        for turn in range(rounds):
            for name in turned(list(fields), turn):
                seen.setdefault(name, []).append(site.together(fields[name], sessions))
                _tell(f"together {name}", seen[name][-1])
            bench.append(site.pgbench(max(1, sessions // 200)))
            _tell("pgbench", bench[-1])
    together = {name: medians(each) | {"rounds": each} for name, each in seen.items()}
    return together, medians(bench) | {"rounds": bench}


def _tell(what: str, figures: Figures) -> None:
    told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    print(f"{what}: {told}", file=sys.stderr)


def tables(results: dict[str, Any], form: Callable[[report.Rows], str]) -> str:
    """What was measured, for people."""
    rows: list[list[str]] = [
        [
            "a session", "served by", "CPU of the node, µs", "times the box's",
            "CPU of PostgreSQL, µs", "statements", "octets of WAL",
        ]
    ]  # fmt: skip
    for scenario, by_kind in results["scenarios"].items():
        box = by_kind[BOX]["rounds"]
        for kind, figures in by_kind.items():
            pairs = zip(figures["rounds"], box, strict=True)
            times = median(each["node_us"] / other["node_us"] for each, other in pairs)
            cells = [""] * 3
            if kind != BOX:
                counted = figures["postgres_us"], figures["statements"], figures["wal_octets"]
                cells = [f"{figure:,.0f}" for figure in counted]
            about = [ABOUT[scenario], KINDS[kind], f"{figures['node_us']:,.0f}"]
            rows.append([*about, f"{times:.1f}", *cells])
    shares: list[list[str]] = [
        ["polls at once", "polls a second", "median, ms", *(f"{each}, %" for each in _SHARES)]
    ]
    for name, figures in results["nodes"].items():
        label = "the single box" if name == "box" else f"nodes: {name}"
        parts = (f"{figures[each] * 100:.0f}" for each in _SHARES)
        shares.append(
            [label, f"{figures['polls_per_second']:,.0f}", f"{figures['p50_ms']:.1f}", *parts]
        )
    bench = results["pgbench"]
    return (
        f"{form(rows)}\n\n{form(shares)}\n\n"
        f"A poll's statements by pgbench: {bench['polls_per_second']:,.0f} polls a second,"
        f" {bench['postgres_us']:,.0f} µs of PostgreSQL for each.\n"
        f"In the tables a message takes {results['storage']['message_octets']:,.0f} octets, and"
        f" each different body {results['storage']['body_octets']:,.0f} beside the body itself."
    )


_SHARES = "nodes", "postgres", "load", "others", "idle"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and keep the results for `benchmarks.scaling`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nodes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each (default 5)")
    parser.add_argument("--part", type=float, default=1.0, help="of the sessions (default 1)")
    parser.add_argument("--output", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument(
        "--s3", action="store_true", help="also bodies in S3, by a Ceph of its own (radosgw)"
    )
    options = parser.parse_args(arguments)
    if not 1 <= options.rounds <= 50 or not 0 < options.part <= 10:
        parser.error("--rounds is from 1 to 50, --part more than 0 and up to 10")
    with tempfile.TemporaryDirectory(prefix="restante-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        certificate = folder / "server.pem"
        issued = trustme.CA().issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(certificate)
        with ExitStack() as stack:
            database = stack.enter_context(postgres(certificate, measured=True))
            objects = stack.enter_context(radosgw()) if options.s3 else None
            site = Site(folder, database, objects)
            results = {
                "taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
                "machine": report.machine(),
                "python": sys.version.split()[0],
                "postgresql": database.ask("SHOW server_version"),
                "generator": site.about_generator,
                "rounds": options.rounds,
                "load_before": os.getloadavg()[0],
            } | measure(site, options.rounds, options.part)
            results["load_after"] = os.getloadavg()[0]
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(tables(results, report.as_markdown if options.markdown else report.columns))
    print(f"\nresults in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
