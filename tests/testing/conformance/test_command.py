"""`restante conformance`: what it takes, what it prints, how it ends."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restante.app.cli.main import run
from restante.testing import MailServer
from restante.testing.conformance.check import CHECKS, add, check
from restante.testing.conformance.levels import MUST
from restante.testing.conformance.probe import Probe
from restante.testing.conformance.run import choose
from restante.testing.conformance.seed import parse_seed
from restante.testing.faults import Close, Fault, Raw

ROOT = Path(__file__).parents[3]

PASSWORD = "tell-nobody"


@contextmanager
def serving(*faults: Fault) -> Iterator[MailServer]:
    """A server with a message in joe's maildrop."""
    with MailServer(accounts={"joe": PASSWORD}, faults=faults) as server:
        server.accounts["joe"].add(b"Subject: Hello\r\n\r\ntext\r\n")
        yield server


@pytest.fixture
def right() -> Iterator[MailServer]:
    with serving() as server:
        yield server


@pytest.fixture
def wrong() -> Iterator[MailServer]:
    """Wrong at the level must, and says the password."""
    with serving(Raw("STAT", b"+OK many %b\r\n" % PASSWORD.encode())) as server:
        yield server


def conformance(server: MailServer, *more: str) -> int:
    return run(["conformance", "127.0.0.1", "--port", str(server.port), *more])


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("RESTANTE_CONFORMANCE_PASSWORD", PASSWORD)
    return ["--user", "joe"]


def test_all_holds(
    right: MailServer, capsys: pytest.CaptureFixture[str], account: list[str]
) -> None:
    assert conformance(right, *account, "--only", "stat", "--only", "list.form") == 0
    out = capsys.readouterr().out
    assert "list.form" in out
    assert "list.count" not in out
    assert "3 passed, 0 failed" in out


def test_a_must_that_fails_is_status_1(
    wrong: MailServer, capsys: pytest.CaptureFixture[str], account: list[str]
) -> None:
    assert conformance(wrong, *account, "--only", "stat.form") == 1
    out = capsys.readouterr().out
    assert "FAILED" in out
    assert "C: PASS ****" in out
    assert "S: +OK many ****" in out
    assert PASSWORD not in out


def test_what_counts_as_a_failure_is_chosen(
    capsys: pytest.CaptureFixture[str], account: list[str]
) -> None:
    with serving(Close("unknown", nth=2)) as server:
        one = [*account, "--only", "command.unknown-goes-on"]
        assert conformance(server, *one) == 0
        assert conformance(server, *one, "--fail-on", "should") == 0
        assert conformance(server, *one, "--fail-on", "breaks") == 1
    assert "0 must, 0 should, 1 breaks clients" in capsys.readouterr().out


def test_the_password_comes_on_standard_input(
    right: MailServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))
    given = ["--user", "joe", "--password-stdin", "--only", "noop"]
    assert conformance(right, *given) == 0
    assert "1 passed" in capsys.readouterr().out


def test_json_has_every_outcome_with_its_dialogue(
    wrong: MailServer, capsys: pytest.CaptureFixture[str], account: list[str]
) -> None:
    conformance(wrong, *account, "--only", "stat", "--only", "idle", "--format", "json")
    told = json.loads(capsys.readouterr().out)
    rows = {row["id"]: row for row in told["results"]}
    assert rows["stat.form"]["outcome"] == "failed"
    assert rows["stat.form"]["source"] == "RFC 1939 §5 STAT"
    assert "1 C: STAT" in rows["stat.form"]["dialogue"]
    assert rows["idle.ten-minutes"]["outcome"] == "not applicable"
    assert rows["idle.ten-minutes"]["reason"] == "it takes minutes (--slow)"
    assert told["failed"] == 1


def test_junit_is_read_by_ci(
    wrong: MailServer, capsys: pytest.CaptureFixture[str], account: list[str]
) -> None:
    conformance(wrong, *account, "--only", "stat", "--only", "idle", "--format", "junit")
    suite = ET.fromstring(capsys.readouterr().out)
    assert suite.attrib["failures"] == "1"
    assert suite.attrib["skipped"] == "3"
    cases = {f"{each.attrib['classname']}.{each.attrib['name']}": each for each in suite}
    failure = cases["stat.form"].find("failure")
    assert failure is not None
    assert "C: STAT" in (failure.text or "")
    assert cases["idle.two-minutes"].find("skipped") is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["127.0.0.1", "--tls", "perhaps"], "tls='perhaps': one of none, stls, implicit"),
        (["127.0.0.1", "--format", "xml"], "--format xml: one of table, json, junit"),
        (["127.0.0.1", "--fail-on", "may"], "--fail-on may: one of must, should, breaks"),
        (["127.0.0.1", "--only", "uid"], "there is no check 'uid'"),
        (["127.0.0.1", "--write"], "--write and --seed belong together"),
        (["127.0.0.1", "--seed", "maildir:/x"], "--write and --seed belong together"),
        (["127.0.0.1", "--write", "--seed", "maildir:/x"], "--write needs --user"),
        (["127.0.0.1", "--password-stdin"], "--password-stdin needs --user"),
        (["127.0.0.1", "--user", "joe"], "--user needs a password"),
        (["127.0.0.1", "--ca", "/nowhere.pem"], "there is no such file"),
        ([], "which HOST?"),
    ],
)
def test_mistakes_are_status_2(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESTANTE_CONFORMANCE_PASSWORD", raising=False)
    assert run(["conformance", *given]) == 2
    assert said in capsys.readouterr().err


def test_no_server_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        port = str(server.port)
    assert run(["conformance", "127.0.0.1", "--port", port]) == 3
    assert "no connection" in capsys.readouterr().err


def test_a_refused_login_is_status_3(
    right: MailServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTANTE_CONFORMANCE_PASSWORD", "another")
    assert conformance(right, "--user", "joe") == 3
    assert "the login is refused" in capsys.readouterr().err


def test_the_table_of_checks_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conformance", "--list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == [each.id for each in choose()]
    assert len(rows) > 250


def test_every_check_says_what_must_be_true_and_why() -> None:
    for each in choose():
        assert re.fullmatch(r"[a-z0-9]+\.[a-z0-9.-]+", each.id)
        assert each.title.endswith("."), each.id
        assert len(each.title) < 110, each.id
        assert each.source, each.id


def test_a_check_is_declared_once() -> None:
    def nothing(p: Probe) -> None:
        """Nothing."""

    with pytest.raises(ValueError, match="two checks"):
        add(next(iter(CHECKS)), MUST, "RFC 1939 §3", "Nothing.", nothing)
    with pytest.raises(ValueError, match="unknown need 'luck'"):
        check("x.y", MUST, "RFC 1939 §3", "luck")(nothing)


@pytest.mark.parametrize(
    "text",
    ["", "smtp", "smtp:h", "smtp:h:25", "smtp:h:0:joe", "maildir:", "imap:h:143:joe", "ftp:h:1:x"],
)
def test_a_way_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="known are smtp:HOST:PORT:RECIPIENT"):
        parse_seed(text, "joe", "secret")


def test_the_checker_shares_nothing_with_the_server() -> None:
    code = (
        "import sys, restante.testing.conformance.checks, restante.testing.conformance.report\n"
        "print([each for each in sys.modules if each.startswith('restante.')"
        " and not each.startswith('restante.testing')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(re.findall(r"'([\w.]+)'", done.stdout)) <= {"restante.public"}


def test_the_page_names_every_option() -> None:
    text = (ROOT / "docs" / "conformance.md").read_text()
    done = subprocess.run(
        [sys.executable, "-c", "from restante.app.cli.main import run; run(['conformance', '-h'])"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for option in set(re.findall(r"--[a-z-]+", done.stdout)) - {"--help"}:
        assert f"`{option}`" in text or f"{option} " in text, option
