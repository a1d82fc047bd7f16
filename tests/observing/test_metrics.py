"""Metrics: what is counted, by one process and by several, and the endpoints that show it."""

from __future__ import annotations

import http.client
import os
import re
import selectors
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from restante import (
    Account,
    Certificate,
    Listener,
    MaildropStore,
    MessageGone,
    MessageInfo,
    Pop3Error,
    StoreError,
)
from restante.app import http_endpoint
from restante.app.cert import make_certificate
from restante.app.cli.show import SHIPPED
from restante.app.http_endpoint import HttpAnswer, HttpEndpoint
from restante.observing import Metrics
from restante.observing.families import FAMILIES, SERVER_FAMILIES, SIZE, STORE_CALLS
from tests.app.conftest import Call
from tests.app.support import Server, wait_until, write_config
from tests.needs import missing
from tests.observing.history_kit import Ends
from tests.server.kit import Client, new_server, serving, until

ROOT = Path(__file__).parents[2]
MESSAGE = b"Subject: hi\r\n\r\nhello\r\n"
LONG = b"Subject: long\r\n\r\n" + b"a line\r\n" * 40_000
HALF = len(LONG) // 2


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(name, labels)
    assert found is not None, (name, labels)
    return found


# An application's own


def test_a_session_is_counted() -> None:
    registry = CollectorRegistry()
    with serving([MESSAGE, MESSAGE]) as server:
        Metrics(server, registry=registry)
        with Client(server.port) as client:
            client.ask("USER joe")
            client.ask("PASS wrong")
            client.log_in()
            assert sample(registry, "restante_sessions_open") == 1
            assert sample(registry, "restante_connections_open") == 1
            client.ask("NONSENSE and more")
            client.ask("STAT")
            client.send("RETR 1\r\nTOP 1 0\r\n")
            client.ask("DELE 2")
            client.ask("DELE 9")
            client.send("QUIT\r\n")
            client.rest()  # what is left unread would reset the connection
        until(lambda: sample(registry, "restante_sessions_total", ended="quit") == 1)

        def commands(verb: str, outcome: str = "ok") -> float:
            return sample(registry, "restante_commands_total", verb=verb, outcome=outcome)

        assert (commands("USER"), commands("PASS"), commands("PASS", "err")) == (2, 1, 1)
        assert (commands("STAT"), commands("RETR"), commands("TOP")) == (1, 1, 1)
        assert (commands("DELE"), commands("DELE", "err")) == (1, 1)
        assert (commands("other"), commands("other", "err")) == (0, 1)
        logins = {
            outcome: sample(registry, "restante_logins_total", mechanism="USER", outcome=outcome)
            for outcome in ("ok", "failed", "held_off")
        }
        assert logins == {"ok": 1, "failed": 1, "held_off": 0}
        assert sample(registry, "restante_connections_total") == 1
        assert sample(registry, "restante_messages_sent_total", by="RETR") == 1
        assert sample(registry, "restante_messages_sent_total", by="TOP") == 1
        assert sample(registry, "restante_messages_removed_total") == 1
        assert sample(registry, "restante_message_octets_total") > len(MESSAGE)
        assert sample(registry, "restante_reply_octets_total") > 100
        for step, count in (("login", 1), ("open", 1), ("fetch", 2), ("commit", 1)):
            name = f"restante_{step}_duration_seconds_count"
            assert sample(registry, name, outcome="ok") == count, step
        assert sample(registry, "restante_login_duration_seconds_count", outcome="refused") == 1
        assert sample(registry, "restante_session_duration_seconds_count") == 1
        assert sample(registry, "restante_session_duration_seconds_bucket", le="+Inf") == 1
        assert sample(registry, "restante_storage_calls_total", where="in_place") >= 4
        assert sample(registry, "restante_sessions_open") == 0


def test_connections_without_a_command_leave_nothing_to_be_counted() -> None:
    with serving() as server:
        metrics, ends = Metrics(server), Ends()
        empty = gathered(metrics)
        server.observe(ends)
        for _ in range(3):
            Client(server.port).close()
        ends.wait(3)
        assert gathered(metrics) == empty


def gathered(metrics: Metrics) -> dict[str, int]:
    """How much each list of it has: they grow until somebody asks, or there are many answers."""
    return {name: len(each) for name, each in vars(metrics).items() if isinstance(each, list)}


def test_what_goes_wrong_is_counted() -> None:
    registry = CollectorRegistry()
    with serving([MESSAGE], failure_delay=0) as server:
        Metrics(server, registry=registry)
        with Client(server.port) as first, Client(server.port) as second:
            first.log_in()
            second.ask("USER joe")
            assert second.ask("PASS secret").startswith(b"-ERR [IN-USE]")
        until(lambda: sample(registry, "restante_leases_refused_total") == 1)
        assert sample(registry, "restante_open_duration_seconds_count", outcome="refused") == 1

        @server.on("accept_connection")
        def refuse(session: object) -> None:
            raise Pop3Error("not today")

        with Client(server.port) as client:
            assert client.greeting == b"-ERR not today"
        assert sample(registry, "restante_connections_turned_away_total", reason="other") == 1


class Broken(MaildropStore):
    """A database that goes away: whatever is in `down` fails."""

    def __init__(self) -> None:
        self.down: set[str] = set()

    def _ask(self, call: str) -> None:
        if call in self.down:
            raise StoreError("the database is down")

    def list(self, account: Account) -> list[MessageInfo]:
        self._ask("open")
        return [MessageInfo(name, len(LONG)) for name in ("a", "b", "gone")]

    def read(self, account: Account, unique_id: str) -> Iterator[bytes]:
        self._ask("fetch")
        if unique_id == "gone":
            raise MessageGone("it was removed")
        yield LONG[:HALF]
        self._ask("the rest")
        yield LONG[HALF:]

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
        self._ask("commit")


def test_errors_of_the_store_are_counted_by_what_was_wanted_of_it() -> None:
    registry, store = CollectorRegistry(), Broken()

    def counted() -> dict[str, float]:
        calls = [(call, sample(registry, "restante_store_errors_total", call=call))
                 for call in STORE_CALLS]  # fmt: skip
        return {call: number for call, number in calls if number}

    with new_server(store) as server:
        Metrics(server, registry=registry)
        with Client(server.port) as client:
            client.log_in()
            assert client.ask("RETR 3").startswith(b"-ERR")  # only this message is gone
            assert counted() == {}
            store.down = {"fetch"}
            for _ in range(2):
                assert client.ask("RETR 1").startswith(b"-ERR [SYS/TEMP]")
            assert counted() == {"fetch": 2}
            store.down = {"commit"}
            client.ask("DELE 1")
            assert client.ask("QUIT").startswith(b"-ERR [SYS/TEMP]")
            assert counted() == {"fetch": 2, "commit": 1}
        store.down = {"open"}
        with Client(server.port) as client:
            client.ask("USER joe")
            assert client.ask("PASS secret").startswith(b"-ERR [SYS/TEMP]")
        assert counted() == {"fetch": 2, "commit": 1, "open": 1}
        store.down = {"the rest"}  # half a message is on the wire: the connection is cut
        with Client(server.port) as client:
            client.log_in()
            client.send("RETR 1\r\n")
            assert not client.rest().endswith(b"\r\n.\r\n")
        until(lambda: sample(registry, "restante_sessions_total", ended="error") == 1)
        assert counted() == {"fetch": 3, "commit": 1, "open": 1}


def test_who_is_dropped_before_tls_is_counted(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    make_certificate(tmp_path / "c.pem", tmp_path / "k.pem")
    certificate = Certificate(tmp_path / "c.pem", tmp_path / "k.pem")
    listeners = [Listener(port=0, tls="implicit")]
    with serving([MESSAGE], listeners=listeners, certificate=certificate) as server:
        server.context.guard.ban("127.0.0.1", 600)
        Metrics(server, registry=registry)
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.addresses[0][1]), 20) as client:
                assert client.recv(1) == b""
        assert sample(registry, "restante_connections_turned_away_total", reason="denied") == 3
        assert sample(registry, "restante_connections_turned_away_total", reason="denied") == 3
        assert sample(registry, "restante_connections_total") == 0


def test_no_client_can_make_the_array_grow() -> None:
    with serving([MESSAGE]) as server:
        metrics = Metrics(server)
        with Client(server.port) as client:
            for verb in ("X" * 30, "FOO", "AUTH WHATEVER", "AUTH PLAIN !"):
                client.ask(verb)
        assert len(metrics.values) == SIZE


def test_counters_go_on_from_what_is_there() -> None:
    registry = CollectorRegistry()
    values = [5.0] * SIZE
    with serving([MESSAGE]) as server:
        Metrics(server, registry=registry, values=values)
        with Client(server.port) as client:
            client.log_in()
            assert sample(registry, "restante_connections_total") == 6
            assert sample(registry, "restante_hashing_refused_total") == 5
            assert sample(registry, "restante_connections_open") == 1


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "restante.observing.exposition", raising=False)
    registry = CollectorRegistry()
    with serving() as server, pytest.raises(ImportError, match=r"restante\[metrics\]"):
        Metrics(server, registry=registry)


# The server's own


def ask(server: Server, path: str, host: str = "localhost", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port("metrics", "none"), timeout=20)
    connection.request(method, path, headers={"Host": host})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, text


def scraped(server: Server) -> dict[str, float]:
    """All samples, by name and label values, with `|` between them."""
    status, text = ask(server, "/metrics")
    assert status == 200
    return {
        sample.name
        + "".join(f"|{value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_one_endpoint_for_all_workers(folder: Path, workers: int) -> None:
    write_config(folder, f"[server]\nworkers = {workers}\n[metrics]\nport = 0\n")
    with Server(folder) as server:
        for _ in range(6):
            server.login().quit()
        with smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as mail:
            mail.sendmail("ann@example.org", ["joe"], MESSAGE)
        found = wait_until(
            lambda: (s := scraped(server))["restante_sessions_total|quit"] == 6 and s,
            "six sessions",
        )
        assert found["restante_workers|ready"] == workers
        assert found["restante_worker_restarts_total"] == 0
        assert found["restante_deliveries_total|delivered|smtp"] == 1
        assert found["restante_delivery_octets_total"] == len(MESSAGE)
        assert (
            found["restante_certificate_expiry_timestamp_seconds"]
            > found["restante_start_time_seconds"]
        )
        for part in ("storage", "accounts", "certificate"):
            assert found[f"restante_ready|{part}"] == 1
        assert ask(server, "/healthz") == (200, "ok\n")
        assert ask(server, "/readyz") == (
            200, "storage: ok\naccounts: ok\ncertificate: ok\nworkers: ok\nnew clients: ok\n",
        )  # fmt: skip
        server.signal(signal.SIGHUP)
        server.wait_for_log("reloaded")
        assert scraped(server)["restante_reloads_total"] == 1


def test_a_message_without_room_is_refused_and_raises_no_alarm(folder: Path) -> None:
    write_config(folder, "[store]\nquota_octets = 10\n[metrics]\nport = 0\n")
    with Server(folder) as server:
        with smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as mail:
            mail.ehlo("mta")
            mail.docmd("MAIL FROM:<ann@example.org>")  # without SIZE
            mail.docmd("RCPT TO:<joe>")
            assert mail.data(MESSAGE)[0] == 552
        found = scraped(server)
    assert found["restante_deliveries_total|refused|smtp"] == 1
    assert found["restante_deliveries_total|not_delivered|smtp"] == 0


def test_a_worker_that_was_killed_loses_and_doubles_nothing(folder: Path) -> None:
    write_config(folder, "[server]\nworkers = 2\n[metrics]\nport = 0\n")
    with Server(folder) as server:
        for _ in range(7):
            client = server.login()
            client.noop()
            client.quit()
        client = server.login()
        client.noop()
        before = wait_until(
            lambda: (
                (found := scraped(server))["restante_sessions_open"] == 1
                and found["restante_commands_total|ok|NOOP"] == 8
                and found
            ),
            "the ends, and what the open session has done",
        )
        pids = children(server.process.pid)
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGKILL)
        server.wait_for_log("ended by signal 9")
        wait_until(lambda: scraped(server)["restante_workers|ready"] == 2, "the successor")
        after = scraped(server)
        for name in (
            "restante_connections_total", "restante_commands_total|ok|NOOP",
            "restante_commands_total|ok|PASS", "restante_login_duration_seconds_count|ok",
        ):  # fmt: skip
            assert after[name] == before[name] == 8, name
        assert after["restante_worker_restarts_total"] == 1
        client.close()
        wait_until(lambda: scraped(server)["restante_sessions_open"] == 0, "the end of sessions")
        server.login().quit()
        wait_until(lambda: scraped(server)["restante_connections_total"] == 9, "one more")


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_doesn_t_work_is_told(folder: Path, workers: int) -> None:
    """The mail folder is gone: the server lives, but it isn't ready."""
    write_config(folder, f"[server]\nworkers = {workers}\n[metrics]\nport = 0\n")
    with Server(folder) as server:
        assert ask(server, "/readyz")[0] == 200
        (folder / "data" / "mail").rename(folder / "data" / "elsewhere")
        (folder / "data" / "mail").write_text("nothing can be put into a file")
        wait_until(lambda: ask(server, "/readyz")[0] == 503, "the next look")
        assert "storage: failed\naccounts: ok" in ask(server, "/readyz")[1]
        assert ask(server, "/healthz")[0] == 200
        assert scraped(server)["restante_ready|storage"] == 0
        with (
            smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=60) as client,
            pytest.raises(smtplib.SMTPResponseException, match="451"),
        ):
            client.sendmail("ann@example.org", ["joe@example.org"], MESSAGE)
        wait_until(
            lambda: (
                (found := scraped(server))["restante_store_errors_total|check"]
                and found["restante_store_errors_total|deliver"] == 1
            ),
            "the numbers",
        )


def test_by_a_unix_socket(folder: Path) -> None:
    write_config(folder, '[server]\nworkers = 1\n[metrics]\nsocket = "m.sock"\n')
    with Server(folder):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "m.sock"))
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.makefile("rb").read().endswith(b"\r\n\r\nok\n")
        assert (folder / "m.sock").stat().st_mode & 0o777 == 0o660
    assert not (folder / "m.sock").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_is_taken_is_told(folder: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write_config(folder, f"[server]\nworkers = {workers}\n[metrics]\nport = {port}\n")
        with pytest.raises(AssertionError, match=f"metrics.port = {port}: can't listen"):
            Server(folder).__enter__()


def test_check_config_knows_used_ports_and_a_missing_library(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(folder, "[metrics]\nport = 1110\n")
    assert "metrics.port = 1110: the same address as pop3.port" in call("check-config").err
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    write_config(folder, "[metrics]\nport = 9100\n")
    assert "pip install 'restante[metrics]'" in call("check-config").err
    write_config(folder, '[metrics]\nnames = ["x"]\n')
    assert "metrics.names" in call("check-config").err


# HTTP


class Endpoint:
    """An endpoint of its own, turned by hand."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = listening.getsockname()
        self.asked: list[str] = []
        self.endpoint = HttpEndpoint(self.selector, [listening], self.answer, ["mail.example.org"])

    def answer(self, path: str, headers: object) -> HttpAnswer | None:
        self.asked.append(path)
        if path == "/fault":
            raise ValueError("secret")
        return HttpAnswer(200, b"x" * 100_000) if path == "/here" else None

    def turn(self) -> None:
        for key, mask in self.selector.select(0.1):
            key.data(mask)

    def say(self, request: bytes) -> bytes:
        with socket.create_connection(self.address, timeout=20) as client:
            client.setblocking(False)
            client.sendall(request)
            got = bytearray()
            while True:
                self.turn()
                try:
                    data = client.recv(1 << 16)
                except BlockingIOError:
                    continue
                if not data:
                    return bytes(got)
                got += data


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.endpoint.close()
    made.selector.close()


@pytest.mark.parametrize(
    ("request_line", "host", "status"),
    [
        ("GET /here HTTP/1.1", "localhost:9100", 200),
        ("GET /here?x=1 HTTP/1.1", "mail.example.org", 200),
        ("GET /here HTTP/1.1", "MAIL.example.org.:9100", 200),
        ("GET /here HTTP/1.1", "[::1]:9100", 200),
        ("GET /here HTTP/1.1", "192.0.2.1", 200),
        ("GET /here HTTP/1.1", "evil.example.com", 421),
        ("GET /here HTTP/1.1", "localhost.evil.example.com", 421),
        ("GET /here HTTP/1.1", "", 421),
        ("GET /../etc/passwd HTTP/1.1", "localhost", 404),
        ("POST /here HTTP/1.1", "localhost", 405),
        ("GET /fault HTTP/1.1", "localhost", 500),
        ("GET /here HTTP/2.0", "localhost", 400),
        ("nonsense", "localhost", 400),
    ],
)
def test_requests(
    endpoint: Endpoint, request_line: str, host: str, status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    reply = endpoint.say(f"{request_line}\r\nHost: {host}\r\n\r\n".encode())
    assert reply.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"secret" not in reply
    head, _, body = reply.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    if status == 421:
        assert endpoint.asked == []


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["evil.example", "localhost"], b"400"),
        (["localhost", "evil.example"], b"400"),
        (["[::1]evil.example"], b"421"),
        (["[::1]:9110"], b"200"),
    ],
)
def test_a_request_has_one_host_and_nothing_behind_its_address(
    endpoint: Endpoint, hosts: list[str], status: bytes
) -> None:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    reply = endpoint.say(f"GET /here HTTP/1.1\r\n{lines}\r\n".encode())
    assert reply.split()[1] == status


def test_what_a_client_takes_may_be_nonsense() -> None:
    accept = 'application/openmetrics-text;version="x";q=\xff'
    from restante.observing.exposition import Collector, exposition  # noqa: PLC0415

    empty = Collector(lambda: [])
    assert exposition(empty, accept) == exposition(empty, "")


def test_head_has_no_body(endpoint: Endpoint) -> None:
    reply = endpoint.say(b"HEAD /here HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert reply.endswith(b"\r\n\r\n")
    assert b"Content-Length: 100000\r\n" in reply


def test_a_head_without_end_is_cut_off(endpoint: Endpoint) -> None:
    reply = endpoint.say(b"GET /here HTTP/1.1\r\nX: " + b"x" * 2 * http_endpoint.MAX_HEAD)
    assert reply.startswith(b"HTTP/1.1 431 ") or reply == b""


def test_silent_clients_keep_nobody_waiting(endpoint: Endpoint) -> None:
    clients = [
        socket.create_connection(endpoint.address, timeout=20)
        for _ in range(http_endpoint.MAX_OPEN + 4)
    ]
    for _ in range(http_endpoint.MAX_OPEN + 4):
        endpoint.turn()
    assert endpoint.say(b"GET /here HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(
        b"HTTP/1.1 200 "
    )
    assert [each.recv(1) for each in clients[:4]] == [b""] * 4  # who came first had to go
    for each in clients:
        each.close()


# The document, the dashboard and the rules

NAMES = {family.shown for family in (*FAMILIES, *SERVER_FAMILIES)}


def test_the_document_describes_each_metric() -> None:
    text = (ROOT / "docs" / "observing.md").read_text("utf-8")
    labels = {family.shown: family.label_names for family in (*FAMILIES, *SERVER_FAMILIES)}
    documented = dict(re.findall(r"^\| `(restante_\w+)` \| (.*?) \|", text, re.MULTILINE))
    assert documented.keys() == NAMES
    for name, given in documented.items():
        assert tuple(re.findall(r"`(\w+)`", given)) == labels[name], name


@pytest.mark.parametrize("what", ["grafana", "alerts"])
def test_what_is_shipped_names_metrics_that_exist(what: str) -> None:
    (file,) = [path for path in (SHIPPED / what).iterdir() if path.is_file()]
    found = set(re.findall(r"\brestante_\w+", file.read_text("utf-8")))
    known = NAMES | {f"{name}_{part}" for name in NAMES for part in ("bucket", "count", "sum")}
    assert found - known == set()
    assert len(found) >= 10


def promtool() -> str:
    found = shutil.which("promtool") or missing("promtool is not installed (prometheus)")
    return str(found)


@pytest.mark.peer
def test_promtool_accepts_the_rules() -> None:
    (file,) = (SHIPPED / "alerts").iterdir()
    done = subprocess.run(
        [promtool(), "check", "rules", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.peer
def test_promtool_accepts_what_a_scrape_gets(folder: Path) -> None:
    write_config(folder, "[server]\nworkers = 1\n[metrics]\nport = 0\n")
    with Server(folder) as server:
        server.login().quit()
        _, text = ask(server, "/metrics")
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
