"""The pytest plugin, as a project sees it that has Restante installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = "restante.testing.plugin"

SETTINGS = """[pytest]
filterwarnings = error
addopts = --strict-markers
asyncio_default_fixture_loop_scope = function
"""


def run(folder: Path, code: str, *options: str) -> str:
    """The output of pytest, in a project of its own with one file of tests."""
    (folder / "test_it.py").write_text(code)
    (folder / "pytest.ini").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def outcome(output: str) -> dict[str, int]:
    """How many tests passed, failed …, by pytest's last line."""
    return {
        what.rstrip("s"): int(count)
        for count, what in re.findall(
            r"(\d+) (passed|failed|errors?|skipped)", output.splitlines()[-1]
        )
    }


def test_the_entry_point_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}


FIXTURES = """
import poplib, smtplib
import pytest

ONE = b"Subject: one\\r\\n\\r\\nHello\\r\\n"

def fetch(host, port, name, password):
    client = poplib.POP3(host, port)
    client.user(name)
    client.pass_(password)
    found = [b"\\r\\n".join(client.retr(n + 1)[1]) for n in range(client.stat()[0])]
    client.quit()
    return found

def test_pop3_server(pop3_server):
    joe = pop3_server.account("joe", "secret")
    joe.add(ONE, unique_id="a1")
    fetch(pop3_server.host, pop3_server.port, "joe", "secret")
    assert joe.messages == [ONE]
    session = pop3_server.sessions[-1]
    assert session.commands == ["USER joe", "PASS ****", "STAT", "RETR 1", "QUIT"]
    assert session.retrieved == ["a1"] and session.ended_by == "QUIT"
    assert pop3_server.ca.path.exists()

def test_mail_server(mail_server):
    joe = mail_server.account("joe", "secret")
    with smtplib.SMTP(mail_server.host, mail_server.smtp_port) as smtp:
        smtp.sendmail("ann@example.com", "joe@example.org", ONE)
    assert fetch(mail_server.host, mail_server.port, "joe", "secret") == [ONE[:-2]]

def test_factory(pop3_server_factory):
    one, two = pop3_server_factory(), pop3_server_factory(certificate="expired", use_auth="pop")
    assert one.port != two.port

@pytest.mark.mail_server(certificate=None, accounts={"ann": "hush"})
def test_mark(pop3_server):
    assert set(pop3_server.accounts) == {"ann"}
    with pytest.raises(RuntimeError):
        pop3_server.ca
"""


def test_the_fixtures(tmp_path: Path) -> None:
    assert outcome(run(tmp_path, FIXTURES)) == {"passed": 4}


def test_the_fixtures_by_several_processes(tmp_path: Path) -> None:
    assert outcome(run(tmp_path, FIXTURES, "-n", "2")) == {"passed": 4}


FAILING = """
import poplib

def test_it(pop3_server_factory):
    talked, untouched = pop3_server_factory(), pop3_server_factory()
    talked.account("joe", "secret")
    client = poplib.POP3(talked.host, talked.port)
    client.user("joe")
    client.pass_("secret")
    client.close()
    talked.wait_for()
    assert False, "on purpose"

def test_one_that_passes(pop3_server):
    poplib.POP3(pop3_server.host, pop3_server.port).quit()
"""


@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_a_failing_test_shows_its_dialogues(tmp_path: Path, options: list[str]) -> None:
    output = run(tmp_path, FAILING, *options)
    assert outcome(output) == {"passed": 1, "failed": 1}
    assert len(re.findall(r"Dialogues with <MailServer 127\.0\.0\.1:\d+>", output)) == 2
    assert "C: USER joe\nS: +OK send PASS\nC: PASS ****\nS: +OK 0 messages" in output
    assert "no client has connected" in output
    assert output.count("C: QUIT") == 0


def test_a_mark_that_is_wrong_is_an_error(tmp_path: Path) -> None:
    code = """
import pytest

@pytest.mark.mail_server("expired")
def test_positional(pop3_server): ...

@pytest.mark.mail_server(certificat="expired")
def test_misspelt(pop3_server): ...
"""
    output = run(tmp_path, code)
    assert outcome(output) == {"error": 2}
    assert "give options by name, as in mail_server(certificate=" in output
    assert "certificat" in output


def test_loading_the_plugin_costs_nothing(tmp_path: Path) -> None:
    code = """
import sys

def test_nothing_was_imported():
    ours = {name for name in sys.modules if name.startswith("restante.")}
    assert ours <= {"restante.public", "restante.testing", "restante.testing.plugin"}
"""
    assert outcome(run(tmp_path, code)) == {"passed": 1}
