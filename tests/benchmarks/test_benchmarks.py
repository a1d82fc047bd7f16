"""The measurements work: a tiny run, and what the load generators must notice."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from restante import Maildir, Pop3Server

if not sys.platform.startswith("linux"):
    pytest.skip("processor time is read from /proc", allow_module_level=True)

from benchmarks.__main__ import main
from benchmarks.corpus import PASSWORD, Expected, Group
from benchmarks.load import Generator, Outcome, Work, converse_all
from benchmarks.report import compare, ratios

from benchmarks import corpus

GROUP = Group("few", 2, (600, 6000, 40))


def generators(folder: Path) -> list[Callable[[int, Work], Outcome]]:
    """The Python and, if there is a compiler, the C generator."""
    found: list[Callable[[int, Work], Outcome]] = [converse_all]
    if shutil.which("cc") or shutil.which("gcc"):
        found.append(Generator(folder, None).run)
    return found


@pytest.mark.slow
def test_a_tiny_run_measures_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pydantic", reason="restante serve needs it")
    output = tmp_path / "results.json"
    arguments = ["--quick", "--rounds", "1", "--servers", "restante-asyncio", "--idle", "3"]
    arguments += ["--scenarios", "poll", "pipelined", "tls-poll", "drain", "--output", str(output)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "TLS poll, full handshake" in printed
    results = json.loads(output.read_text())
    assert set(results["scenarios"]) == {"poll", "pipelined", "tls-poll", "drain"}
    for by_server in results["scenarios"].values():
        assert by_server["restante-asyncio"]["violations"] == 0
        assert by_server["restante-asyncio"]["cpu_us"] > 0
    assert set(results["memory"]) == {"idle", "idle-tls"}


@pytest.mark.parametrize("crlf", [True, False])
@pytest.mark.parametrize("script", ["poll", "sync", "fetch", "pipelined", "drain"])
def test_a_server_in_order_has_no_violations(script: str, crlf: bool, tmp_path: Path) -> None:
    group = Group("few", 2, GROUP.sizes, crlf)
    mail = tmp_path / "mail"
    accounts = dict.fromkeys(group.names, PASSWORD)
    with Pop3Server(accounts=accounts, store=Maildir(mail), port=0) as server:
        for generate in generators(tmp_path):
            expected = corpus.fill(mail, group)
            outcome = generate(server.port, Work(script, group.prefix, 2, expected, 2, 2))
            assert outcome.first_violation == ""
            assert (outcome.sessions, outcome.violations) == (2, 0)
            assert outcome.octets > 0


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
def test_both_generators_notice(what: str, tmp_path: Path) -> None:
    octets = len(b"Subject: a\r\n\r\n.dot\r\n")
    work = Work("fetch", "joe", 1, Expected(1, octets, 1), 1, 1)
    replies = [b"+OK\r\n"] * 3 + [f"+OK\r\n1 {octets}\r\n.\r\n".encode()]
    replies += [ANSWERS[what], b"+OK\r\n"]
    with canned(replies) as port:
        for generate in generators(tmp_path):
            assert bool(generate(port, work).violations) == (what != "in order")


@contextmanager
def canned(replies: list[bytes]) -> Iterator[int]:
    """A server that gives these replies, one for each command, whatever is asked."""

    def converse(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            for reply in replies[:-1]:
                connection.sendall(reply)
                if reply.endswith(b"..do") or not lines.readline():
                    return
            connection.sendall(replies[-1])

    def serve() -> None:
        for _ in range(2):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            converse(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_ratio_that_has_become_worse_is_pointed_at() -> None:
    def results(ours: float) -> dict[str, object]:
        figures = {"dovecot": {"cpu_us": 1000.0}, "restante-uvloop": {"cpu_us": ours}}
        return {"scenarios": {"poll": figures}, "memory": {}}

    assert ratios(results(250.0)) == {"poll": {"restante-uvloop": 4.0}}
    text, worse = compare(results(500.0), results(250.0), 0.2)
    assert worse
    assert "WORSE" in text
    assert compare(results(260.0), results(250.0), 0.2)[1] is False
