"""Checks that need mail: what becomes of them where the maildrop can't be emptied or filled."""

from __future__ import annotations

import json
import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from restante.app.cli.main import run
from restante.testing import MailServer
from restante.testing.conformance.probe import State, Target
from restante.testing.conformance.run import Outcome, choose, run_one
from restante.testing.conformance.seed import parse_seed
from restante.testing.faults import DeletesAtOnce, DeletionForgotten, Fault, QuitFails, Raw

PASSWORD = "tell-nobody"

THERE = b"Subject: Keep me\r\n\r\ntext\r\n"


@contextmanager
def serving(*faults: Fault) -> Iterator[MailServer]:
    """A server that takes mail by SMTP, with a message in joe's maildrop."""
    accounts = {"joe": PASSWORD, "ann": PASSWORD}
    with MailServer(accounts=accounts, smtp=True, faults=faults) as server:
        server.accounts["joe"].add(THERE)
        yield server


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTANTE_CONFORMANCE_PASSWORD", PASSWORD)


def conformance(server: MailServer, *more: str, seed: str | None = None) -> int:
    way = seed or f"smtp:{server.host}:{server.smtp_port}:joe"
    given = ["--port", str(server.port), "--user", "joe", "--write", "--seed", way]
    return run(["conformance", server.host, *given, *more])


def test_a_server_whose_quit_fails_fails_the_check_of_quit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    only = ["--only", "message.plain", "--only", "quit.removes"]
    with serving(QuitFails()) as server:
        assert conformance(server, *only, "--format", "json") == 1
    told = json.loads(capsys.readouterr().out)
    rows = {row["id"]: row for row in told["results"]}
    assert rows["quit.removes"]["outcome"] == "failed"
    assert '"QUIT" is refused: "-ERR [SYS/TEMP]' in rows["quit.removes"]["reason"]
    assert "1 C: QUIT" in rows["quit.removes"]["dialogue"]
    assert rows["message.plain"]["outcome"] == "not made"
    assert (told["failed"], told["not_applicable"], told["not_made"]) == (1, 0, 1)


def test_checks_that_could_not_be_made_are_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--only", "message.plain", "--only", "noop"]
    with serving(QuitFails()) as server:
        assert conformance(server, *only, "--format", "junit") == 3
    said = capsys.readouterr()
    assert "1 check could not be made" in said.err
    suite = ET.fromstring(said.out)
    assert (suite.attrib["errors"], suite.attrib["skipped"]) == ("1", "0")
    (error,) = suite.iter("error")
    assert "the maildrop can't be prepared" in error.attrib["message"]


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (DeletesAtOnce(), "quit.not-by-close"),
        (DeletionForgotten(), "quit.removes"),
        (QuitFails(), "quit.removes"),
        (Raw("DELE", b"-ERR no\r\n", obeyed=False), "dele.works"),
    ],
    ids=str,
)
def test_the_rule_fails_that_is_broken_while_others_are_prepared(fault: Fault, rule: str) -> None:
    with serving(fault) as server:
        seed = parse_seed(f"smtp:{server.host}:{server.smtp_port}:joe", "joe", PASSWORD)
        target = Target(server.host, server.port, user="joe", password=PASSWORD, seed=seed)
        state = State()
        for check in choose(["dele.stat", "dele.list"]):
            run_one(target, state, check)
        assert list(state.broken) == [rule]
        (check,) = choose([rule])
        assert run_one(target, state, check).outcome is Outcome.FAILED


def test_a_check_of_an_empty_maildrop_is_not_made_where_it_can_not_be_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    only = ["--only", "empty.stat", "--only", "quit.removes", "--only", "message.plain"]
    with serving(DeletionForgotten()) as server:
        assert conformance(server, *only, "--format", "json") == 1
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["results"]}
    assert rows["empty.stat"]["outcome"] == "not made"
    assert "what QUIT has removed is still there" in rows["empty.stat"]["reason"]
    assert rows["quit.removes"]["outcome"] == "failed"
    assert rows["message.plain"]["outcome"] == "passed"


def test_where_messages_went_away_the_checks_are_made_all_the_same() -> None:
    with serving(DeletesAtOnce()) as server:
        seed = parse_seed(f"smtp:{server.host}:{server.smtp_port}:joe", "joe", PASSWORD)
        target = Target(server.host, server.port, user="joe", password=PASSWORD, seed=seed)
        state = State()
        results = [run_one(target, state, each) for each in choose(["dele.stat", "dele.list"])]
    assert [each.outcome for each in results] == [Outcome.PASSED, Outcome.PASSED]


def test_a_way_in_that_is_none_is_status_3_and_the_mail_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving() as server, MailServer(smtp=True) as gone:
        nobody = f"smtp:{gone.host}:{gone.smtp_port}:joe"
        gone.close()
        assert conformance(server, "--only", "quit.removes", seed=nobody) == 3
        assert server.accounts["joe"].messages == [THERE]
    said = capsys.readouterr()
    assert "no mail can be brought in, and none was removed" in said.err
    assert "Connection refused" in said.err
    assert not said.out


@pytest.mark.parametrize("way", ["smtp:{}:joe", "lmtp:{}:joe", "imap:{}"])
def test_a_way_in_that_says_nothing_is_status_3_as_soon_as_any_wait_is_over(
    capsys: pytest.CaptureFixture[str], way: str
) -> None:
    """It accepts connections, as a port behind a firewall may, and never greets."""
    with serving() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert conformance(server, "--timeout", "0.5", seed=way.format(address)) == 3
        assert server.accounts["joe"].messages == [THERE]
    assert f"{address} says nothing for 0.5 seconds" in capsys.readouterr().err


def test_mail_that_arrives_elsewhere_is_status_3_and_the_mail_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving() as server:
        other = f"smtp:{server.host}:{server.smtp_port}:ann"
        assert conformance(server, "--timeout", "0.5", seed=other) == 3
        assert server.accounts["joe"].messages == [THERE]
    assert "doesn't arrive in the maildrop of joe" in capsys.readouterr().err


def test_nothing_that_is_applicable_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        given = ["--port", str(server.port), "--user", "joe", "--only", "message.dots"]
        assert run(["conformance", server.host, *given]) == 3
    said = capsys.readouterr()
    assert "1 not applicable" in said.out
    assert "nothing was checked" in said.err
