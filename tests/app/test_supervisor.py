"""`restante serve` with worker processes: they crash, are told to end, share, and are replaced."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from restante.app.cert import make_certificate
from restante.app.processes.admin_client import Row, ask
from restante.app.run import worker_count
from tests.app.conftest import Call
from tests.app.support import (
    PASSWORD,
    Server,
    client_context,
    restante,
    wait_until,
    write_config,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes can fork")

TWO = ("--workers", "2")


def rows(server: Server, question: str) -> list[Row]:
    return list(ask(server.folder / "data" / "restante.sock", question))[:-1]


def pids(server: Server) -> list[int]:
    return [row["pid"] for row in rows(server, "status")]


def is_alive(pid: int) -> bool:
    """Whether there is such a process; one that waits to be buried is none."""
    if sys.platform != "linux":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def worker_of(server: Server, port: int) -> int:
    """Who serves the connection that comes from this port of ours."""
    found: int = wait_until(
        lambda: next((r["worker"] for r in rows(server, "sessions") if r["port"] == port), 0),
        "the connection among the sessions",
    )
    return found


def connected(server: Server, pid: int, source: str = "127.0.0.1") -> socket.socket:
    """A connection to this worker, greeted."""
    address = "127.0.0.1", server.port("pop3", "starttls")
    for _ in range(500):  # a busy machine may have only the other accept for a while
        client = socket.create_connection(address, 20, (source, 0))
        greeted = client.recv(500).startswith(b"+OK")
        if greeted and worker_of(server, client.getsockname()[1]) == pid:
            return client
        client.close()
    raise AssertionError("500 connections, and none came to that worker")


def say(client: socket.socket, *lines: str) -> bytes:
    """The reply to the last of these lines, its status line at least."""
    for line in lines:
        client.sendall(line.encode() + b"\r\n")
        reply = client.recv(2000)
    return reply


def logged_in(
    server: Server, pid: int, name: str = "joe", source: str = "127.0.0.1"
) -> socket.socket:
    client = connected(server, pid, source)
    assert say(client, f"USER {name}", f"PASS {PASSWORD}").startswith(b"+OK")
    return client


def configure(folder: Path, text: str = "") -> None:
    write_config(folder, text)
    file = folder / "restante.toml"
    more = f'ann = "{PASSWORD}"\nbob = "{PASSWORD}"\n[tls]'
    file.write_text(file.read_text().replace("[tls]", more, 1))


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    configure(folder)
    with Server(folder, *TWO) as running:
        yield running


def test_a_crash_of_one_worker_touches_no_other_and_is_mended(server: Server) -> None:
    lost, kept = pids(server)
    with logged_in(server, kept) as client, logged_in(server, lost, "ann") as cut:
        os.kill(lost, signal.SIGKILL)
        assert cut.recv(100) == b""
        assert say(client, "NOOP").startswith(b"+OK")
        wait_until(lambda: "serves" in server.log.read_text(), "a successor")
        found = rows(server, "status")
        assert [row["restarts"] for row in found] == [1, 0]
        assert [row["state"] for row in found] == ["ready"] * 2
        assert found[1]["pid"] == kept
        assert f"worker {lost} ended by signal 9" in server.log.read_text()
        logged_in(server, found[0]["pid"], "ann").close()  # its lease was given back
        assert say(client, "QUIT").startswith(b"+OK")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a queue for each worker")
def test_connections_that_wait_for_a_worker_that_dies_are_its_successors(server: Server) -> None:
    stopped, _ = pids(server)
    os.kill(stopped, signal.SIGSTOP)
    address = "127.0.0.1", server.port("pop3", "starttls")
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address, 20)) for _ in range(16)]
        for client in clients:
            client.settimeout(0.05)
        waiting = []
        for client in clients:
            try:
                client.recv(500)
            except TimeoutError:
                waiting.append(client)
        assert waiting
        os.kill(stopped, signal.SIGKILL)
        for client in waiting:
            client.settimeout(20)
            assert client.recv(500).startswith(b"+OK")


def test_limits_hold_across_workers(folder: Path) -> None:
    configure(
        folder,
        "max_connections = 5\n[guard]\nshared_networks = []\n"
        "max_sessions_per_account = 1\nmax_connections_per_address = 3\n",
    )
    with Server(folder, *TWO) as server, ExitStack() as stack:
        one, other = pids(server)
        stack.enter_context(logged_in(server, one))
        second = stack.enter_context(connected(server, other))

        def is_refused() -> bool:
            reply = say(second, "USER joe", f"PASS {PASSWORD}")
            assert reply.startswith(b"-ERR")
            return b"more than 1 sessions of this account" in reply

        wait_until(is_refused, "the limit of an account")
        stack.enter_context(connected(server, one))
        wait_until(lambda: turned_away(server, b"from this address"), "the limit of an address")
        for _ in range(2):
            stack.enter_context(connected(server, other, "127.0.0.2"))
        wait_until(
            lambda: turned_away(server, b"too many connections: ", "127.0.0.3"),
            "the limit of all connections",
        )


def turned_away(server: Server, why: bytes, source: str = "127.0.0.1") -> bool:
    """Whether each of eight connections is refused, so that there is hardly a worker that isn't
    asked."""
    address = "127.0.0.1", server.port("pop3", "starttls")
    for _ in range(8):
        with socket.create_connection(address, 20, (source, 0)) as client:
            greeting = client.recv(500)
        if not greeting.startswith(b"-ERR") or why not in greeting:
            return False
    return True


NO_BOOK = "import restante.server.server as u; u.SWEEP_SECONDS = 60"
"""Within that time nothing is heard of the guard's book."""


def test_failures_at_one_worker_count_at_the_other(folder: Path) -> None:
    configure(folder, "[guard]\nshared_networks = []\nban_after = 9\ndelay_first = 0\n")
    with Server(folder, *TWO, prelude=NO_BOOK) as server:
        one, other = pids(server)
        with connected(server, one) as client, connected(server, other) as second:
            tries = iter(range(100))
            for _ in range(8):
                assert say(client, "USER joe", f"PASS {next(tries)}").startswith(b"-ERR")

            def banned() -> bool:
                assert say(second, "USER joe", f"PASS {next(tries)}").startswith(b"-ERR")
                time.sleep(0.05)
                return "banned: network=127.0.0.1" in server.log.read_text()

            wait_until(banned, "the ban")
            assert next(tries) < 8 + 9  # for its own failures alone it would have come then
            wait_until(lambda: turned_away(server, b"too many failed logins"), "the ban at all")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ticket_of_one_worker_is_good_at_the_other_also_after_a_renewal(
    folder: Path, version: ssl.TLSVersion
) -> None:
    make_certificate(folder / "c.pem", folder / "k.pem")
    configure(folder)
    file = folder / "restante.toml"
    own = 'certificate = "c.pem"\nkey = "k.pem"'
    file.write_text(file.read_text().replace("development = true", own))
    context = client_context()
    context.minimum_version = context.maximum_version = version
    with Server(folder, *TWO) as server:
        session = resumed_at_all(server, context, None)
        before = server.certificate()
        make_certificate(folder / "c.pem", folder / "k.pem", replace=True)
        server.signal(signal.SIGHUP)
        server.wait_for_log("restante.app: reloaded")
        assert server.certificate() != before
        resumed_at_all(server, context, session)
        lost = pids(server)[0]
        os.kill(lost, signal.SIGKILL)
        wait_until(lambda: "serves" in server.log.read_text(), "a successor")
        resumed_at_all(server, context, session)


def resumed_at_all(
    server: Server, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> ssl.SSLSession:
    """Come back to each worker with one session, made now if there is none; gives it."""
    missing = set(pids(server))
    for _ in range(500):  # a busy machine may have only the other accept for a while
        plain = socket.create_connection(("127.0.0.1", server.port("pop3", "implicit")), 20)
        with context.wrap_socket(plain, session=session) as client:
            assert client.recv(500).startswith(b"+OK")
            if session is None:
                session = client.session
                assert session is not None
                continue
            assert client.session_reused
            missing.discard(worker_of(server, client.getsockname()[1]))
        if not missing:
            return session
    raise AssertionError("500 connections, and none came to one of the workers")


def test_sigterm_lets_all_workers_finish_what_they_send(server: Server) -> None:
    size = 20_000_000
    with ExitStack() as stack:
        clients = []
        for pid, name in zip(pids(server), ("joe", "ann"), strict=True):
            logged_in(server, pid, name).close()  # makes the maildrop
            new = server.folder / "data" / "mail" / name / "new"
            (new / "1.big").write_bytes((b"x" * 98 + b"\r\n") * (size // 100))
        workers = pids(server)
        for pid, name in zip(workers, ("joe", "ann"), strict=True):
            clients.append(stack.enter_context(again(server, pid, name)))
            clients[-1].sendall(b"RETR 1\r\n")
        begun = [client.recv(1000) for client in clients]
        server.signal(signal.SIGTERM)
        server.wait_for_log("SIGTERM: stopping")
        wait_until(lambda: not listens(server), "refusal")
        for client, first in zip(clients, begun, strict=True):
            pieces = [first]
            while block := client.recv(1 << 20):
                pieces.append(block)
            reply = b"".join(pieces)
            assert len(reply) > size
            assert b"xx\r\n.\r\n" in reply[-200:]
        assert server.process.wait(10) == 0
        assert not any(map(is_alive, workers))


def again(server: Server, pid: int, name: str) -> socket.socket:
    """Logged in, as soon as the session before is over."""
    while True:
        client = connected(server, pid)
        reply = say(client, f"USER {name}", f"PASS {PASSWORD}")
        if reply.startswith(b"+OK"):
            return client
        client.close()
        assert b"[IN-USE]" in reply


def listens(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port("pop3", "starttls")), 5).close()
    except OSError:
        return False
    return True


def test_a_second_signal_ends_the_workers_too(server: Server) -> None:
    workers = pids(server)
    os.kill(workers[0], signal.SIGSTOP)  # would be waited for
    server.signal(signal.SIGTERM)
    server.wait_for_log("SIGTERM: stopping")
    server.signal(signal.SIGINT)
    assert server.process.wait(10) == 128 + signal.SIGINT
    assert not any(map(is_alive, workers))
    assert not (server.folder / "data" / "restante.sock").exists()


def test_workers_end_when_their_supervisor_is_killed(server: Server) -> None:
    workers = pids(server)
    with logged_in(server, workers[0]) as client:
        server.process.kill()
        server.process.wait()
        while client.recv(1000):  # whatever it is told, that is the end
            pass
    wait_until(lambda: not any(map(is_alive, workers)), "the workers' end")
    assert not listens(server)


def test_workers_say_in_one_line_that_their_supervisor_was_killed(server: Server) -> None:
    """Even while one of them is answering a question."""
    workers = pids(server)
    with logged_in(server, workers[0]), socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(server.folder / "data" / "restante.sock"))
        os.kill(workers[0], signal.SIGSTOP)
        asking.sendall(b"sessions\n")
        rows(server, "status")  # answered after that question was passed on
        server.process.kill()
        server.process.wait()
        os.kill(workers[0], signal.SIGCONT)
        wait_until(lambda: not any(map(is_alive, workers)), "the workers' end")
    log = server.log.read_text()
    assert log.count("the supervisor is gone, stopping") == 2
    assert "Traceback" not in log


def test_signals_that_come_to_the_whole_group_are_the_supervisors(server: Server) -> None:
    workers = pids(server)
    for pid in workers:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
    logged_in(server, workers[1]).close()
    assert pids(server) == workers


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows it in /proc")
def test_nothing_is_forked_that_a_copy_would_break_and_no_worker_has_what_is_anothers(
    server: Server,
) -> None:
    supervisor = Path(f"/proc/{server.process.pid}")
    assert len(list((supervisor / "task").iterdir())) == 1
    assert not [name for name in opened(supervisor) if ".sqlite" in name]
    shared = [opened(Path(f"/proc/{pid}")) for pid in pids(server)]
    sockets = [{name for name in names if name.startswith("socket:")} for names in shared]
    assert not sockets[0] & sockets[1]


def opened(process: Path) -> set[str]:
    found = set()
    for each in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(each.readlink()))
    return found


def test_how_many_workers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_count(3) == 3
    monkeypatch.setattr("restante.app.run.usable_cores", lambda: 3)
    assert worker_count("auto") == 3
    monkeypatch.delattr(os, "fork")
    assert worker_count("auto") == worker_count(3) == 1


def test_a_server_that_is_there_already_keeps_its_addresses(server: Server) -> None:
    port = server.port("pop3", "starttls")
    others = ("--pop3s-port", "off", "--smtp-port", "off", "--lmtp-port", "off")
    done = restante("serve", *TWO, "--pop3-port", str(port), *others, cwd=server.folder)
    assert done.returncode == 1
    assert f"pop3.port = {port}: can't listen on 127.0.0.1: another" in done.stderr.decode()
    assert "It is Restante that listens there" in done.stderr.decode()
    assert len(pids(server)) == 2


def test_a_worker_that_dies_again_and_again_is_replaced_more_slowly(server: Server) -> None:
    kept = pids(server)[1]
    with logged_in(server, kept) as client:
        begun = time.monotonic()
        for times in range(1, 5):
            os.kill(rows(server, "status")[0]["pid"], signal.SIGKILL)
            wait_until(lambda: restarts(server) == times, "a successor")  # noqa: B023
        assert time.monotonic() - begun > 0.1 + 0.2 + 0.4
        assert say(client, "NOOP").startswith(b"+OK")
    assert "worker process" not in server.log.read_text()


def restarts(server: Server) -> int:
    row = rows(server, "status")[0]
    count: int = row["restarts"]
    return count if row["state"] == "ready" else -1


@pytest.mark.parametrize(
    ("prelude", "told"),
    [
        ("w.Worker.run = lambda *_: 3", "no worker process gets ready; the log says why"),
        (
            "from restante.accounts.contract import AccountError\n"
            "async def fail(_): raise AccountError('no such database')\n"
            "w.Service.open = fail",
            "no such database",
        ),
    ],
)
def test_a_start_that_can_only_fail_fails(folder: Path, prelude: str, told: str) -> None:
    configure(folder)
    server = Server(folder, *TWO, prelude=f"import restante.app.processes.worker as w\n{prelude}")
    with pytest.raises(AssertionError):
        server.__enter__()
    assert server.process.returncode == 1
    assert server.log.read_text().splitlines()[-1] == f"restante: {told}"
    assert not listens_at(folder / "data" / "restante.sock")


def listens_at(path: Path) -> bool:
    return path.exists()


STUCK = (
    "import restante.app.processes.worker as w, restante.app.processes.supervisor as s\n"
    "w.BEAT_ROUNDS = 1; s.STUCK_SECONDS = 1"
)


def test_a_worker_that_is_stuck_holds_up_nobody_and_is_told_of(folder: Path) -> None:
    configure(folder)
    with Server(folder, *TWO, prelude=STUCK) as server:
        stuck, kept = pids(server)
        with logged_in(server, kept) as client:
            os.kill(stuck, signal.SIGSTOP)
            server.wait_for_log(f"worker {stuck} has not answered for 1 seconds")
            states = [row["state"] for row in rows(server, "status")]
            assert states == ["stuck", "ready"]
            assert say(client, "NOOP").startswith(b"+OK")
            os.kill(stuck, signal.SIGCONT)
            server.wait_for_log(f"worker {stuck} answers again")


def test_a_worker_that_does_not_answer_is_named(server: Server, call: Call) -> None:
    stuck, kept = pids(server)
    with logged_in(server, kept):
        os.kill(stuck, signal.SIGSTOP)
        done = call("sessions")
        os.kill(stuck, signal.SIGCONT)
    assert done.status == 0
    assert done.out.count("\n") == 1
    assert f"worker {stuck} doesn't answer" in done.err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sessions_and_status_are_listed(folder: Path, call: Call, workers: str) -> None:
    configure(folder)
    with Server(folder, "--workers", workers) as server:
        listed = call("status").out.splitlines()
        assert len(listed) == int(workers)
        assert all(line.split("\t")[1] == "ready" for line in listed)
        with logged_in(server, pids(server)[-1]):
            (shown,) = call("sessions").out.splitlines()
            account, address, tls, _, worker, _ = shown.split("\t")
            assert (account, address, tls) == ("joe", "127.0.0.1", "")
            assert int(worker) == pids(server)[-1]
            assert '"account": "joe"' in call("sessions", "--json").out
            wait_until(
                lambda: sum(row["sessions"] for row in rows(server, "status")) == 1, "the count"
            )
        mode = (folder / "data" / "restante.sock").stat().st_mode
        assert mode & 0o777 == 0o600
        processes = {server.process.pid, *pids(server)}
        assert len(processes) == (1 if workers == "1" else 3)
    done = call("sessions")
    assert done.status == 1
    assert "no server runs here" in done.err


def test_nonsense_at_the_socket_is_cut_off(server: Server) -> None:
    for question in (b"x" * 1000 + b"\n", b"\xff\n", b"\n"):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(20)
            asking.connect(str(server.folder / "data" / "restante.sock"))
            asking.sendall(question)
            with suppress(ConnectionResetError):
                assert asking.recv(1000) in (b"", b'{"end":true,"silent":[]}\n')
    assert len(pids(server)) == 2


def test_more_who_ask_than_are_answered_at_once_wait_their_turn(server: Server) -> None:
    path = server.folder / "data" / "restante.sock"
    with ExitStack() as stack:
        asking = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(12)]
        for each in asking:
            each.settimeout(20)
            each.connect(str(path))
        for each in asking[:8]:
            each.sendall(b"status\n")
        for each in asking[8:]:
            each.sendall(b"sessions\n")
        assert all(each.recv(1000) for each in asking)


def test_the_number_of_workers_is_checked(folder: Path, call: Call) -> None:
    for given in ("0", "many"):
        done = call("check-config", "--set", f"server.workers={given}")
        assert done.status == 2
        assert 'allowed: a whole number from 1 to 1024, or "auto"' in done.err
