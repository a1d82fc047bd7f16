"""What the load generators must notice: the Python one, and the C program if it compiles."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from benchmarks.corpus import PASSWORD, Expected, Group
from benchmarks.ground import Ground, make_certificate
from benchmarks.load import Generator, Outcome, Work, converse_all
from benchmarks.programs import Programs

from benchmarks import corpus
from restante import Certificate, Maildir, Pop3Server

GROUP = Group("few", 2, (600, 6000, 40))
SCRIPTS = ["poll", "sync", "fetch", "pipelined", "drain"]


def generators(programs: Programs, channel: str = "clear") -> list[Callable[[int, Work], Outcome]]:
    found: list[Callable[[int, Work], Outcome]] = [converse_all]
    if programs.find("load") and (programs.tls or channel == "clear"):
        found.append(Generator(programs, None).run)
    return found


@pytest.mark.parametrize("crlf", [True, False])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_server_in_order_has_no_violations(
    script: str, crlf: bool, tmp_path: Path, programs: Programs
) -> None:
    group = Group("few", 2, GROUP.sizes, crlf)
    accounts = dict.fromkeys(group.names, PASSWORD)
    with Pop3Server(accounts=accounts, store=Maildir(tmp_path), port=0) as server:
        for generate in generators(programs):
            expected = corpus.fill(tmp_path, group)
            outcome = generate(server.port, Work(script, group.prefix, 2, expected, 2, 2))
            assert outcome.first_violation == ""
            assert (outcome.sessions, outcome.violations) == (2, 0)
            assert outcome.octets > 0
            assert 0 < outcome.p50_ms <= outcome.p99_ms <= outcome.longest_ms


def lists(listed: str, unique: str, stat: str = "+OK 2 30") -> list[bytes]:
    """The replies of a session that syncs two messages of 30 octets in all."""
    blocks = [f"+OK\r\n{lines}.\r\n".encode() for lines in (unique, listed)]
    return [b"+OK\r\n"] * 3 + [stat.encode() + b"\r\n", *blocks, b"+OK\r\n"]


LISTED, UNIQUE = "1 10\r\n2 20\r\n", "1 a\r\n2 b\r\n"
LISTS = {
    "in order": lists(LISTED, UNIQUE),
    "another sum": lists("1 10\r\n2 21\r\n", UNIQUE),
    "no octets": lists("1 10\r\n2\r\n", UNIQUE),
    "a message missing": lists("1 10\r\n", UNIQUE),
    "a number left out": lists("1 10\r\n3 20\r\n", UNIQUE),
    "STAT says another": lists(LISTED, UNIQUE, "+OK 2 31"),
    "the same unique-id twice": lists(LISTED, "1 a\r\n2 a\r\n"),
    "no unique-id": lists(LISTED, "1 a\r\n2 \r\n"),
    "a unique-id too long": lists(LISTED, f"1 a\r\n2 {'b' * 71}\r\n"),
    "a blank in a unique-id": lists(LISTED, "1 a\r\n2 b c\r\n"),
    "octets after QUIT": [*lists(LISTED, UNIQUE)[:-1], b"+OK\r\n+OK\r\n"],
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_are_checked_line_by_line(what: str, programs: Programs) -> None:
    work = Work("sync", "joe", 1, Expected(2, 30, 0), 1, 1)
    with canned(LISTS[what]) as port:
        for generate in generators(programs):
            assert bool(generate(port, work).violations) == (what != "in order")


def test_more_messages_than_are_ever_fetched_are_listed(programs: Programs) -> None:
    numbers = range(1, 3001)
    listed = "".join(f"{number} 10\r\n" for number in numbers)
    unique = "".join(f"{number} {number:x}\r\n" for number in numbers)
    work = Work("sync", "joe", 1, Expected(3000, 30_000, 0), 1, 1)
    with canned(lists(listed, unique, "+OK 3000 30000")) as port:
        for generate in generators(programs):
            assert generate(port, work).first_violation == ""


ANSWERS = {
    "in order": b"+OK\r\nSubject: a\r\n\r\n..dot\r\n.\r\n",
    "bare LF": b"+OK\r\nSubject: a\n\r\n..dot\r\n.\r\n",
    "a lone CR": b"+OK\r\nSubject:\ra\r\n\r\n..dot\r\n.\r\n",
    "CR CR LF": b"+OK\r\nSubject: a\r\r\n\r\n..dot\r\n.\r\n",
    "a dot not stuffed": b"+OK\r\nSubject: a\r\n\r\n.dot\r\n.\r\n",
    "octets missing": b"+OK\r\nSubject: a\r\n\r\n..do\r\n.\r\n",
    "octets too many": b"+OK\r\nSubject: a\r\n\r\n..dots\r\n.\r\n",
    "another message's dots": b"+OK\r\nSubject: a\r\n\r\nadot\r\n.\r\n",
    "a refusal": b"-ERR no\r\n",
    "an early end": b"+OK\r\nSubject: a\r\n\r\n..do",
}


@pytest.mark.parametrize("what", ANSWERS)
def test_messages_are_checked_octet_by_octet(what: str, programs: Programs) -> None:
    octets = len(b"Subject: a\r\n\r\n.dot\r\n")
    work = Work("fetch", "joe", 1, Expected(1, octets, 1), 1, 1)
    replies = [b"+OK\r\n"] * 3 + [f"+OK\r\n1 {octets}\r\n.\r\n".encode()]
    replies += [ANSWERS[what], b"+OK\r\n"]
    with canned(replies) as port:
        for generate in generators(programs):
            assert bool(generate(port, work).violations) == (what != "in order")


@contextmanager
def canned(replies: list[bytes], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that gives these replies, one for each command, whatever is asked."""

    def converse(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            for reply in replies[:-1]:
                connection.sendall(reply)
                if reply.endswith(b"..do") or not lines.readline():
                    return
            connection.sendall(replies[-1])

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                converse(connection)
            except OSError:
                continue  # a generator that has seen enough
            finally:
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A folder with a certificate."""
    pytest.importorskip("cryptography", reason="makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    found = Ground(folder, folder / "mail", {}, None)
    make_certificate(found)
    return found


@pytest.mark.parametrize("channel", ["tls", "resumed"])
@pytest.mark.parametrize("script", ["poll", "fetch"])
def test_tls_full_and_resumed(
    script: str, channel: str, ground: Ground, programs: Programs
) -> None:
    expected = corpus.fill(ground.maildrops, GROUP)
    accounts, store = dict.fromkeys(GROUP.names, PASSWORD), Maildir(ground.maildrops)
    certificate = Certificate(ground.certificate, ground.key)
    with Pop3Server(
        accounts=accounts, store=store, port=0, tls="implicit", certificate=certificate
    ) as server:
        for generate in generators(programs, channel):
            outcome = generate(server.port, Work(script, GROUP.prefix, 2, expected, 6, 2, channel))
            assert outcome.first_violation == ""
            assert outcome.resumed == (4 if channel == "resumed" else 0)


def test_what_should_be_resumed_and_is_not_counts(ground: Ground, programs: Programs) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ground.certificate, ground.key)
    context.num_tickets = 0
    replies = [b"+OK\r\n"] * 3 + [b"+OK 2 30\r\n", b"+OK\r\n"]
    work = Work("poll", "joe", 1, Expected(2, 30, 0), 3, 1, "resumed")
    with canned(replies, context) as port:
        for generate in generators(programs, "resumed"):
            outcome = generate(port, work)
            assert outcome.first_violation == "0 of 3 sessions were resumed"


def test_without_a_compiler_python_makes_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    without = Programs(tmp_path)
    assert "no C compiler" in without.about
    accounts = dict.fromkeys(GROUP.names, PASSWORD)
    with Pop3Server(accounts=accounts, store=Maildir(tmp_path), port=0) as server:
        work = Work("sync", GROUP.prefix, 2, corpus.fill(tmp_path, GROUP), 4, 2)
        outcome = Generator(without, None).run(server.port, work)
    assert (outcome.sessions, outcome.first_violation) == (4, "")


def test_load_can_be_ended_early(tmp_path: Path, programs: Programs) -> None:
    if programs.find("load") is None:
        pytest.skip("there is no C compiler")
    accounts = dict.fromkeys(GROUP.names, PASSWORD)
    with Pop3Server(accounts=accounts, store=Maildir(tmp_path), port=0) as server:
        work = Work("poll", GROUP.prefix, 1, corpus.fill(tmp_path, GROUP), 1_000_000, 1)
        load = Generator(programs, None).begin(server.port, work)
        time.sleep(0.2)
        outcome = load.stop()
    assert 0 < outcome.sessions < 1_000_000
    assert outcome.first_violation == ""
