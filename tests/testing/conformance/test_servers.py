"""Real servers under the checks: Restante, and those that this machine has besides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from restante import Maildir, Pop3Server
from restante.testing.conformance.levels import Level
from restante.testing.conformance.probe import Target
from restante.testing.conformance.report import as_table
from restante.testing.conformance.run import Outcome, Report, choose, run
from restante.testing.conformance.seed import MaildirSeed
from restante.testing.faults import DeletionForgotten, Faults
from tests.conftest import Authority
from tests.testing.conformance import servers
from tests.testing.conformance.debian13 import NAME, PASSWORD

PATIENCE = 20.0


def failures(report: Report, *levels: Level) -> str:
    """What failed, for the message of an assertion."""
    return as_table(replace(report, results=tuple(report.failed(*levels))))


def outcomes(report: Report) -> dict[str, Outcome]:
    return {each.check.id: each.outcome for each in report.results}


OURS: dict[str, Literal["none", "starttls", "implicit"]] = {
    "none": "none",
    "stls": "starttls",
    "implicit": "implicit",
}


@pytest.fixture(params=["none", "stls", "implicit"])
def restante(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority
) -> Iterator[Target]:
    """Restante over a Maildir, reached in each of three ways."""
    tls = request.param
    (tmp_path / NAME).mkdir()
    with Pop3Server(
        port=0,
        tls=OURS[tls],
        certificate=None if tls == "none" else authority.certificate,
        accounts={NAME: PASSWORD},
        store=Maildir(tmp_path),
        for_tests=True,
    ) as server:
        yield Target(
            "127.0.0.1",
            server.port,
            tls=tls,
            ca=authority.file,
            user=NAME,
            password=PASSWORD,
            seed=MaildirSeed(tmp_path / NAME),
            timeout=PATIENCE,
        )


def test_restante_fails_no_check(restante: Target) -> None:
    report = run(restante, choose())
    assert not report.failed(), failures(report)
    assert report.count(Outcome.PASSED) > 250


def test_without_an_account_nothing_is_said_of_what_needs_one(restante: Target) -> None:
    report = run(replace(restante, user=None, password=None, seed=None), choose())
    assert not report.failed(), failures(report)
    for each in report.results:
        if "login" in each.check.needs:
            assert each.outcome is Outcome.NOT_APPLICABLE
            assert each.reason


def test_nothing_is_changed_unless_it_may_be(restante: Target, tmp_path: Path) -> None:
    maildir = MaildirSeed(tmp_path / NAME)
    for each in (b"Subject: one\r\n\r\n1\r\n", b"Subject: two\r\n\r\n.\r\n"):
        maildir.put(each)

    def files() -> dict[str, bytes]:
        places = ((tmp_path / NAME / part).glob("*") for part in ("new", "cur"))
        return {each.name.partition(":")[0]: each.read_bytes() for part in places for each in part}

    before = files()
    report = run(replace(restante, seed=None), choose())
    assert not report.failed(), failures(report)
    assert files() == before


def test_a_server_that_removes_nothing_is_checked_all_the_same(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    faults = Faults(DeletionForgotten())
    server = Pop3Server(
        port=0,
        accounts={NAME: PASSWORD},
        store=faults.wrap_store(Maildir(tmp_path)),
        for_tests=True,
    )
    faults.attach(server)
    seed = MaildirSeed(tmp_path / NAME)
    with server:
        target = Target(
            "127.0.0.1", server.port, user=NAME, password=PASSWORD, seed=seed, timeout=PATIENCE
        )
        report = run(target, choose(["message.plain", "quit.removes", "empty.stat"]))
    found = outcomes(report)
    assert found.pop("quit.removes") is Outcome.FAILED
    assert set(found.values()) == {Outcome.PASSED}
    (said,) = [each.dialogue for each in report.results if each.check.id == "empty.stat"]
    assert "- *: the maildrop was emptied without the server" in said


# What others do wrong, as docs/conformance.md says. These are facts about one version.


@pytest.mark.peer
@pytest.mark.slow
def test_dovecot_keeps_the_name_that_was_said_before_tls(
    tmp_path: Path, authority: Authority
) -> None:
    with servers.debians_dovecot(tmp_path, authority) as target:
        report = run(replace(target, timeout=PATIENCE), choose(["stls", "message", "uidl", "top"]))
    found = outcomes(report)
    assert found["stls.injection"] is Outcome.PASSED
    assert found["message.large"] is Outcome.PASSED
    if servers.dovecot_version().startswith("2.3."):
        assert found["stls.forgets-user"] is Outcome.FAILED
        assert found["message.octets-in-list"] is Outcome.FAILED


@pytest.mark.peer
def test_twisted_gives_uidl_without_the_number(tmp_path: Path, authority: Authority) -> None:
    with servers.twisted(tmp_path, authority) as target:
        report = run(replace(target, timeout=PATIENCE), choose(["uidl.one", "list.one"]))
    found = outcomes(report)
    assert found["uidl.one"] is Outcome.FAILED
    assert found["list.one"] is Outcome.PASSED


# Debian 13's, where scripts/pop3-servers has been


PACKAGED = {peer.name: peer for peer in servers.PEERS if peer.started.__class__ is partial}


@pytest.mark.peer
@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_server_starts_and_is_checked(
    name: str, tmp_path: Path, authority: Authority
) -> None:
    tmp_path.chmod(0o755)
    with PACKAGED[name].started(tmp_path, authority) as target:
        report = run(replace(target, timeout=PATIENCE), choose(["login.user-pass", "stat", "dele"]))
    found = outcomes(report)
    assert found["login.user-pass"] is found["stat.form"] is Outcome.PASSED
    assert found["dele.works"] is Outcome.PASSED
