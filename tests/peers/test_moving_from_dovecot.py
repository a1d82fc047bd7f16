"""The page on moving from Dovecot, done step by step beside a real one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.moving import Move, hashed, moved, run_page

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can start Dovecot"
    ),
]

PAGE = (Path(__file__).parents[2] / "docs" / "moving-from-dovecot.md").read_text("utf-8")

SCHEMES = ("PLAIN", "SHA512-CRYPT", "BLF-CRYPT", "SSHA", "PBKDF2", "MD5-CRYPT")


@pytest.fixture
def move(request: pytest.FixtureRequest) -> Iterator[Move]:
    users = [f"joe@example.org:{hashed('SHA512-CRYPT', 'secret')}::::::"]
    users += [f"{each.lower()}@example.org:{hashed(each, 'secret')}::::::" for each in SCHEMES]
    uidl_format = getattr(request, "param", "%08Xu%08Xv")
    with moved(PAGE, *users, kind=Move, uidl_format=uidl_format) as moving:
        yield moving


def page_of(move: Move) -> str:
    """The page; for Dovecot 2.4 with what that says in place of 2.3."""
    if not move.newer:
        return PAGE
    page = PAGE.replace("doveconf -h mail_location\nmaildir:", "doveconf -h mail_path\n")
    page = page.replace("/mail/%d/%n\n", "/mail/%{user | domain}/%{user | username}\n")
    return page.replace("\n%08Xu%08Xv\n", "\n%{uid | hex(8)}%{uidvalidity | hex(8)}\n")


def test_every_command_of_the_page_does_what_it_says(move: Move) -> None:
    assert move.fetch()[0] == 0  # before the move, from Dovecot
    fetched = (move.folder / "mbox").read_bytes()
    assert fetched.count(b"Subject: ") == 3
    run_page(page_of(move), move)
    # fetchmail fetches new mail, and nothing else again.
    move.deliver(4)
    assert move.fetch()[0] == 0
    assert b"Subject: 4" in (move.folder / "mbox").read_bytes().removeprefix(fetched)
    assert (move.folder / "mbox").read_bytes().count(b"Subject: ") == 4


def test_all_passwords_are_the_old_ones_whatever_they_are_hashed_with(move: Move) -> None:
    move.stop()
    move.start("restante")
    for scheme in SCHEMES:
        for password, right in (("secret", True), ("wrong", False)):
            status, shown = move.run(
                f"curl -s --user {scheme.lower()}@example.org:{password} pop3://localhost:110/"
            )
            assert (status == 0) is right, (scheme, shown)


@pytest.mark.parametrize("move", ["%f"], indirect=True)
def test_file_names_as_unique_ids_are_what_restante_shows_by_itself(move: Move) -> None:
    uidl = "curl -s --user joe@example.org:secret --request UIDL pop3://localhost:110/"
    before = move.run(uidl)
    move.stop()
    file = move.folder / "etc" / "restante" / "restante.toml"
    file.write_text(file.read_text().replace('unique_ids = "dovecot"', 'unique_ids = "own"'))
    move.start("restante")
    assert move.run(uidl) == before
    assert before[1].count("\n") == 3
