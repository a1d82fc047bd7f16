"""`restante undelete`."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.accounts.account import Account
from restante.app.config.load import load
from restante.app.maildrops import make_store
from restante.calls import finished
from tests.app.conftest import Call
from tests.app.support import write_config

SQLITE = '[store]\nkind = "sqlite"\n'


@pytest.fixture(params=["", SQLITE], ids=["maildir", "sqlite"])
def folder_with_mail(request: pytest.FixtureRequest, folder: Path, call: Call) -> Path:
    """Three messages of joe's, of which a session has removed two."""
    write_config(folder, request.param)
    for number in range(3):
        assert call("deliver", "--to", "joe", given=b"Subject: %d\r\n\r\n" % number).status == 0
    maildrop: object = finished(make_store(load().settings).open(Account("joe")))
    finished(maildrop.commit([1, 2]))  # type: ignore[attr-defined]
    finished(maildrop.close())  # type: ignore[attr-defined]
    return folder


@pytest.mark.usefixtures("folder_with_mail")
def test_what_was_removed_is_listed_and_comes_back(call: Call) -> None:
    listed = call("undelete", "joe", "--since", "2h", "--list")
    assert listed.status == 0
    rows = [line.split("\t") for line in listed.out.splitlines()]
    assert [row[2] for row in rows] == ["14", "14"]
    assert len({row[1] for row in rows}) == 2
    done = call("undelete", "joe", "--since", "2h")
    assert (done.status, done.out) == (0, "2 messages put back\n")
    again = call("undelete", "joe", "--since", "7d")
    assert (again.status, again.out) == (0, "0 messages put back\n")
    empty = call("undelete", "joe", "--since", "2h", "--list")
    assert (empty.status, empty.out, empty.err) == (0, "", "nothing to put back\n")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["joe"], 2, "--since"),
        (["joe", "--since", "2 hours"], 2, "--since 2 hours: allowed is a time such as 90s"),
        (["joe", "--since", "-2h"], 2, "--since"),
        (["nobody", "--since", "2h"], 1, "no account 'nobody'"),
    ],
)
def test_wrong_arguments_are_refused(
    folder: Path, call: Call, arguments: list[str], status: int, says: str
) -> None:
    write_config(folder)
    done = call("undelete", *arguments)
    assert done.status == status
    assert says in done.err
